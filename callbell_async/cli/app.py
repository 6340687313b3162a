"""`callbell-async`: its commands."""

from __future__ import annotations

import click

from callbell_async._version import __version__
from callbell_async.cli.program import Program

__all__ = ["app"]

_HOMES = {
    "send": "callbell_async.cli.commands.send:send",
    "send-many": "callbell_async.cli.commands.send_many:send_many",
    "resume": "callbell_async.cli.commands.resume:resume",
    "status": "callbell_async.cli.commands.journal:status",
    "reconcile": "callbell_async.cli.commands.journal:reconcile",
    "export": "callbell_async.cli.commands.journal:export",
    "me": "callbell_async.cli.commands.account:me",
    "templates": "callbell_async.cli.commands.account:templates",
    "channels": "callbell_async.cli.commands.account:channels",
    "contacts": "callbell_async.cli.commands.contacts:contacts",
    "listen": "callbell_async.cli.commands.listen:listen",
    "sandbox": "callbell_async.cli.commands.sandbox:sandbox",
}


@click.group("callbell-async", cls=Program, homes=_HOMES)
@click.version_option(__version__, prog_name="callbell-async")
def app() -> None:
    """Send messages through Callbell, and know what became of each.

    Exit status: 0 all was done, 1 some was not, 2 wrong use, 3 the journal can't be used, 130 interrupted.
    """
