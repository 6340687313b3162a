"""`callbell-async sandbox`: a Callbell on this machine, for programs in any language."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime

import click

from callbell_async.cli.output import pluralize
from callbell_async.sandbox import Sandbox

__all__ = ["sandbox"]

WRONG_USE = 2


@click.command(short_help="Run a Callbell on this machine.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="The port on 127.0.0.1; 0 for a free one.")
@click.option("--token", help="The only token it accepts; any, if not given.")
@click.option("--limit", default=300, show_default=True, type=click.IntRange(min=1), help="Requests in any second.")
@click.option(
    "--webhook-secret",
    envvar="CALLBELL_WEBHOOK_SECRET",
    help="What webhook events are signed with; better in the environment, CALLBELL_WEBHOOK_SECRET. Not signed, if not given.",
)
def sandbox(port: int, token: str | None, limit: int, webhook_secret: str | None) -> None:
    """Run a Callbell on this machine, in memory, until SIGINT or SIGTERM.

    Its base URL is the first line of output. Nothing that is sent to it goes anywhere but to a webhook on this machine.
    """
    now = datetime.now(UTC)
    try:
        asyncio.run(_serve(Sandbox(token=token, port=port, limit=limit, start=now, webhook_secret=webhook_secret)))
    except OSError as error:
        click.echo(f"callbell-async: --port: {port} can't be used ({error.strerror})", err=True)
        raise SystemExit(WRONG_USE) from None


async def _serve(server: Sandbox) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    try:
        async with server:
            click.echo(server.url)
            await stop.wait()
        requests, messages = pluralize(len(server.requests), "request"), pluralize(len(server.messages), "message")
        click.echo(f"stopped; {requests}, {messages} accepted")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
