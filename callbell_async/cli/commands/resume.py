"""`callbell-async resume`: go on where a run of `send-many` ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import click

from callbell_async.cli.campaign import run_campaign
from callbell_async.cli.commands.journal import existing
from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.failed_rows import Outputs
from callbell_async.cli.notes import SendJob, saved_job, check_unchanged
from callbell_async.cli.options import FILE, MAX_CONCURRENCY, concurrency_range, output_options
from callbell_async.cli.saved_run import keys_in
from callbell_async.journal import Journal

__all__ = ["resume"]


@click.command(short_help="Go on where a run with a journal ended.")
@click.argument("journal", type=FILE)
@click.option(
    "--resend",
    multiple=True,
    metavar="KEY",
    help="Send this one again, though it may have been accepted; may be repeated.",
)
@click.option(
    "--resend-file",
    type=FILE,
    help="Send those again whose keys are in this file: what export --outcome unknown wrote, without what is not to be sent.",
)
@output_options
@click.option("--concurrency", type=concurrency_range, help="Other than before: messages under way at once.")
@click.option("--rate", type=click.IntRange(min=1), help="Other than before: requests a second at the most.")
@connection_options(sandbox=False)
def resume(
    journal: Path,
    resend: tuple[str, ...],
    resend_file: Path | None,
    as_json: bool,
    failed_to: Path | None,
    failed_unknown: bool,
    concurrency: int | None,
    rate: int | None,
    connection: Connection,
) -> int:
    """Send what is not yet done of JOURNAL, which send-many wrote: the same file, with the same options.

    Exit status: 0 all are accepted by now, 1 some are not, 2 wrong use, 3 the journal can't be used, 130 interrupted.
    """
    outputs = Outputs(as_json=as_json, failed_to=failed_to, failed_unknown=failed_unknown)
    keys = dict.fromkeys([*resend, *(() if resend_file is None else keys_in(resend_file))])
    order = asyncio.run(_order(require_journal(journal)))
    check_unchanged(order, journal)
    order = attrs.evolve(
        order,
        rate=rate or order.rate,
        concurrency=min(concurrency or order.concurrency, MAX_CONCURRENCY),
        base_url=connection.base_url or order.base_url,
    )
    return run_campaign(order, connection, outputs, journal=journal, resend=tuple(keys))


async def _order(path: Path) -> SendJob:
    async with Journal(path, read_only=True) as journal:
        return saved_job(await journal.notes(), path)
