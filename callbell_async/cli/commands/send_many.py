"""`callbell-async send-many` and `resume`: a message to each row of a file, and the rest of a run that ended early."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import attrs
import click

from callbell_async.cli.campaign import open_input, run_job
from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.duplicates import DuplicateRowError, DuplicateRows
from callbell_async.cli.exits import DONE, NOT_ALL_DONE
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.message_form import MessageForm, MessagePlan
from callbell_async.cli.options import (
    FILE,
    MAX_CONCURRENCY,
    GroupedCommand,
    concurrency_range,
    exclude_option,
    message_options,
    option,
    run_options,
)
from callbell_async.cli.output import info, result, result_json
from callbell_async.cli.output_files import Outputs, output_options
from callbell_async.cli.places import JOURNAL, JournalPlace, are_same
from callbell_async.cli.results import explain_no_rows, opted_out_row, unsendable_row
from callbell_async.cli.saved_run import SendJob, check_unchanged, read_keys, saved_job
from callbell_async.errors import ConfigurationError
from callbell_async.models.messages import Message
from callbell_async.recipients.opt_outs import OptOutList
from callbell_async.wire import dump_message, load_json

__all__ = ["resume", "send_many"]

DUPLICATES = ("skip", "send")


@click.command("send-many", cls=GroupedCommand, short_help="Send a message to each row of a file.")
@click.argument("file", type=FILE)
@message_options
@option(
    "--metadata",
    multiple=True,
    metavar="NAME[=COLUMN]",
    group="Message",
    help="A column to send as metadata under this name; repeatable.",
)
@option(
    "--to-column",
    metavar="NAME",
    default="to",
    show_default=True,
    group="Input",
    help="Column with the recipients.",
)
@option(
    "--bsuid-column",
    metavar="NAME",
    group="Input",
    help="Column with WhatsApp user IDs (BSUID); a row that has one needs no number.",
)
@option("--key-column", metavar="NAME", group="Input", help="Column with the key of each message in the journal.")
@option(
    "--encoding",
    metavar="NAME",
    group="Input",
    help="Encoding of FILE, such as cp1252.  [default: utf-8]",
)
@option(
    "--delimiter",
    metavar="CHAR",
    group="Input",
    help="Character between the cells of CSV, such as '|', or tab; by default found in the header row.",
)
@option(
    "--sheet", metavar="NAME", group="Input", help="Sheet of a spreadsheet; by default the first that is not hidden."
)
@exclude_option
@option("--allow-empty", is_flag=True, group="Input", help="Send texts in which a cell is empty.")
@option(
    "--duplicates",
    type=click.Choice(DUPLICATES),
    default="skip",
    show_default=True,
    group="Input",
    help="Skip or send rows that become the same message as an earlier row.",
)
@option("--no-check", is_flag=True, group="Run", help="Do not check the template before sending.")
@option(
    "--journal",
    type=JOURNAL,
    metavar="FILE|URL",
    group="Run",
    help="Record each message in this file, or in PostgreSQL, so that a message in it is never sent twice.",
)
@option("--dry-run", is_flag=True, group="Run", help="Check every row, show the first messages, and send nothing.")
@run_options
@output_options
@connection_options()
def send_many(
    file: Path,
    form: MessageForm,
    to_column: str,
    bsuid_column: str | None,
    key_column: str | None,
    encoding: str | None,
    delimiter: str | None,
    sheet: str | None,
    exclude: tuple[Path, ...],
    duplicates: str,
    no_check: bool,
    journal: JournalPlace | None,
    dry_run: bool,
    outputs: Outputs,
    rate: int,
    concurrency: int | None,
    outage_timeout: int,
    connection: Connection,
) -> int:
    """Send a message to each row of FILE: CSV or a spreadsheet with a header row, JSONL, or - for standard input.

    In the message options, {column} is replaced with the cell of the row.

    Exit status: 0 all accepted (now or before), 1 some not accepted, 2 wrong use, 3 journal unusable, 129, 130 or 143 ended by a signal.
    """
    if journal is not None and journal.path is not None and are_same(journal.path, file):
        raise ConfigurationError(f"--journal: {journal} is the input file; give another")
    if journal is not None and duplicates == "send":
        raise ConfigurationError(
            "--duplicates send: can't be combined with --journal, which sends each message once; give each row its own key with --key-column"
        )
    job = SendJob(
        file=file,
        form=form,
        to_column=to_column,
        bsuid_column=bsuid_column,
        key_column=key_column,
        encoding=encoding,
        delimiter=delimiter,
        sheet=sheet,
        exclude=exclude,
        duplicates=duplicates,
        check_template=not no_check,
        sandbox=connection.sandbox,
        base_url=None if connection.sandbox else connection.base_url,
        rate=rate,
        concurrency=concurrency,
        outage_timeout=outage_timeout,
    )
    if dry_run:
        return _check_rows(
            *open_input(job),
            outputs,
            skip_duplicates=duplicates == "skip",
            exclude=job.opt_outs(),
            lists=job.exclude,
        )
    if journal is not None:
        job = job.with_digest()
    return run_job(job, connection, outputs, journal=journal)


# --- --dry-run ---------------------------------------------------------------------------------------------------------

SHOWN_BODIES = 5
"""The number of messages that are shown: enough to check the placeholders."""


def _check_rows(
    rows: RowFile,
    plan: MessagePlan,
    outputs: Outputs,
    *,
    skip_duplicates: bool = True,
    exclude: OptOutList | None = None,
    lists: Iterable[Path] = (),
) -> int:
    """Check every row, print all errors, duplicates and opt-outs, and return the exit status."""
    counts = {"good": 0, "bad": 0, "duplicates": 0, **({} if exclude is None else {"opted_out": 0})}
    with ExitStack() as stack:
        writer = outputs.failed_rows(rows, lists=lists)
        failed = None if writer is None else stack.enter_context(writer)
        duplicates = stack.enter_context(DuplicateRows()) if skip_duplicates else None
        for row in rows.rows():
            item = plan.item(row)
            if duplicates is not None:
                item = duplicates.checked(item, row.line)
            if isinstance(item, Message) and exclude is not None and exclude.excludes(item):
                counts["opted_out"] += 1
                found = opted_out_row(row.line)
            elif isinstance(item, Message):
                counts["good"] += 1
                if counts["good"] <= SHOWN_BODIES:
                    _show_body(row.line, dump_message(item), as_json=outputs.as_json)
                continue
            else:
                counts["duplicates" if isinstance(item, DuplicateRowError) else "bad"] += 1
                found = unsendable_row(row.line, item)
            if failed is not None:
                failed.add(row, found)
            if outputs.as_json:
                result_json(found.as_json())
            else:
                info(f"line {row.line}: {found.outcome.value}: {found.reason}")
    total = sum(counts.values())
    if outputs.as_json:
        result_json({"total": total, **counts})
    else:
        for name, count in counts.items():
            result(f"{name.replace('_', ' '):<12}{count}")
    if not total:
        explain_no_rows(rows.name)
        return NOT_ALL_DONE
    if not outputs.as_json:
        info("dry run: nothing was sent")
    return NOT_ALL_DONE if counts["bad"] else DONE


def _show_body(line: int, body: bytes, *, as_json: bool) -> None:
    if as_json:
        result_json({"line": line, "body": load_json(body)})
    else:
        result(f"line {line}: {body.decode()}")


# --- resume -----------------------------------------------------------------------------------------------------------


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
    outputs: Outputs,
    connection: Connection,
) -> int:
    """Send the messages of JOURNAL that were not sent yet, from the same file and with the same options as send-many.

    Exit status: 0 all messages are accepted by now, 1 some are not, 2 wrong use, 3 journal unusable, 129, 130 or 143 ended by a signal.
    """
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
