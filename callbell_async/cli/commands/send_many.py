"""`callbell-async send-many`: a message to each row of a file."""

from __future__ import annotations

from pathlib import Path

import click

from callbell_async.cli.campaign import run_campaign, open_input
from callbell_async.cli.commands.dry_run import dry_run as check_only
from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.failed_rows import Outputs
from callbell_async.cli.message_form import MessageForm
from callbell_async.cli.notes import SendJob
from callbell_async.cli.options import FILE, message_options, output_options, pace_options
from callbell_async.errors import ConfigurationError

__all__ = ["send_many"]


@click.command("send-many", short_help="Send a message to each row of a file.")
@click.argument("file", type=FILE)
@message_options
@click.option(
    "--metadata", multiple=True, metavar="NAME[=COLUMN]", help="A column to send along as metadata; may be repeated."
)
@click.option("--to-column", metavar="NAME", default="to", show_default=True, help="The column with the recipients.")
@click.option(
    "--bsuid-column",
    metavar="NAME",
    help="The column with the recipients' WhatsApp user IDs; who has one needs no number.",
)
@click.option("--key-column", metavar="NAME", help="The column with each message's key in the journal.")
@click.option("--journal", type=FILE, help="Write down what becomes of each message; nothing in it is sent twice.")
@click.option("--dry-run", is_flag=True, help="Check every row, show the first bodies, and send nothing.")
@output_options
@pace_options
@connection_options()
def send_many(
    file: Path,
    form: MessageForm,
    to_column: str,
    bsuid_column: str | None,
    key_column: str | None,
    journal: Path | None,
    dry_run: bool,
    as_json: bool,
    failed_to: Path | None,
    failed_unknown: bool,
    rate: int,
    concurrency: int,
    connection: Connection,
) -> int:
    """Send a message to each row of FILE: CSV whose first line names its columns, JSONL, or - for standard input.

    {column} in an option that says what is sent stands for a cell of the row.

    Exit status: 0 all were accepted (now or before), 1 some were not, 2 wrong use, 3 the journal can't be used, 130 interrupted.
    """
    if journal is not None and journal.exists() and file.exists() and journal.samefile(file):
        raise ConfigurationError(f"--journal: {journal} is the file that is read; give another")
    order = SendJob(
        file=file,
        form=form,
        to_column=to_column,
        bsuid_column=bsuid_column,
        key_column=key_column,
        sandbox=connection.sandbox,
        base_url=connection.base_url,
        rate=rate,
        concurrency=concurrency,
    )
    outputs = Outputs(as_json=as_json, failed_to=failed_to, failed_unknown=failed_unknown)
    if dry_run:
        return check_only(*open_input(order), outputs)
    if journal is not None:
        order = order.with_digest()
    return run_campaign(order, connection, outputs, journal=journal)
