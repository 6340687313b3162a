"""`callbell-async resume`: send the rest of a run of `send-many`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import click

from callbell_async.cli.campaign import run_job
from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.failed_rows import Outputs
from callbell_async.cli.options import (
    FILE,
    MAX_CONCURRENCY,
    GroupedCommand,
    concurrency_range,
    exclude_option,
    option,
    output_options,
)
from callbell_async.cli.places import JOURNAL, JournalPlace
from callbell_async.cli.saved_run import SendJob, check_unchanged, read_keys, saved_job
from callbell_async.errors import ConfigurationError

__all__ = ["resume"]


@click.command(cls=GroupedCommand, short_help="Send the rest of a run that has a journal.")
@click.argument("journal", type=JOURNAL)
@option(
    "--resend",
    multiple=True,
    metavar="KEY",
    group="Run",
    help="Send this message again, although it may have been accepted; repeatable.",
)
@option(
    "--resend-file",
    type=FILE,
    group="Run",
    help="Send the messages with the keys in this file again: the output of export --outcome unknown, "
    "without the lines that must not be sent.",
)
@option(
    "--concurrency", type=concurrency_range, group="Run", help="Most messages in flight at once; as before by default."
)
@option(
    "--rate",
    type=click.IntRange(min=1),
    group="Run",
    help="Maximum number of requests per second; as before by default.",
)
@option(
    "--outage-timeout",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    group="Run",
    help="How long the run waits during an outage before it stops; as before by default.",
)
@exclude_option
@output_options
@connection_options()
def resume(
    journal: JournalPlace,
    resend: tuple[str, ...],
    resend_file: Path | None,
    concurrency: int | None,
    rate: int | None,
    outage_timeout: int | None,
    exclude: tuple[Path, ...],
    as_json: bool,
    failed_to: Path | None,
    failed_unknown: bool,
    force: bool,
    connection: Connection,
) -> int:
    """Send the messages of JOURNAL that were not sent yet, from the same file and with the same options as send-many.

    Exit status: 0 all messages are accepted by now, 1 some are not, 2 wrong use, 3 journal unusable, 129, 130 or 143 ended by a signal.
    """
    outputs = Outputs(as_json=as_json, failed_to=failed_to, failed_unknown=failed_unknown, force=force)
    keys = dict.fromkeys([*resend, *(() if resend_file is None else read_keys(resend_file))])
    job = asyncio.run(_read_job(journal.existing()))
    check_unchanged(job, journal)
    if job.sandbox:
        # Every run of such a journal goes to a new mock server.
        base_url = None
    elif connection.sandbox:
        raise ConfigurationError(f"--sandbox: the messages of {journal} were sent to Callbell; use another journal")
    else:
        connection = attrs.evolve(connection, offers_sandbox=False)
        base_url = connection.for_journal({"base_url": job.base_url}).base_url
    most = concurrency or job.concurrency
    job = attrs.evolve(
        job,
        rate=rate or job.rate,
        concurrency=None if most is None else min(most, MAX_CONCURRENCY),
        outage_timeout=job.outage_timeout if outage_timeout is None else outage_timeout,
        base_url=base_url,
        exclude=tuple(dict.fromkeys((*job.exclude, *exclude))),
    )
    return run_job(job, connection, outputs, journal=journal, resend=tuple(keys))


async def _read_job(place: JournalPlace) -> SendJob:
    async with place.journal(read_only=True) as journal:
        return saved_job(await journal.notes(), place)
