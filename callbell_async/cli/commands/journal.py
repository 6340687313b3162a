"""`callbell-async status`, `reconcile` and `export`: the messages in a journal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exits import DONE, NOT_ALL_DONE
from callbell_async.cli.options import GroupedCommand, json_option, option
from callbell_async.cli.output import bar, info, pluralize, result, result_json
from callbell_async.cli.output_files import ExportOptions, RecordWriter, export_options
from callbell_async.cli.places import JOURNAL, JournalPlace
from callbell_async.cli.saved_run import saved_options
from callbell_async.errors import ConfigurationError, Outcome
from callbell_async.journal import body_of
from callbell_async.models.journal import JournalEntry, ReconcileReport
from callbell_async.models.receipts import MessageStatus

__all__ = ["export", "funnel_stages", "reconcile", "status"]

COLUMNS = (
    "key",
    "to",
    "outcome",
    "confirmed_by",
    "status",
    "uuid",
    "attempts",
    "tried_at",
    "finished_at",
    "reason",
    "body",
)

_STAGES = (MessageStatus.ENQUEUED, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ)


# --- status -----------------------------------------------------------------------------------------------------------


@click.command(cls=GroupedCommand, short_help="Show how many messages of a journal reached each status.")
@click.argument("journal", type=JOURNAL)
@option(
    "--refresh",
    is_flag=True,
    group="Run",
    help="First ask Callbell for the status of each message, with one request for each.",
)
@json_option
@connection_options(sandbox=False)
def status(journal: JournalPlace, refresh: bool, as_json: bool, connection: Connection) -> int:
    """Show the messages of JOURNAL by outcome, and the accepted ones by status, from enqueued to read.

    Exit status: 0 success, 1 a status could not be refreshed, 2 wrong use, 3 journal unusable.
    """
    place = journal.existing()
    refreshed = not refresh or asyncio.run(_refresh(place, _connection_for(place, connection)))
    outcomes, funnel = asyncio.run(_read_counts(place))
    if as_json:
        result_json({"outcomes": outcomes, "funnel": funnel})
    else:
        _write_counts(outcomes, funnel)
    return DONE if refreshed else NOT_ALL_DONE


def _connection_for(place: JournalPlace, connection: Connection) -> Connection:
    """The connection for a journal's messages. The token comes last: it is of no use for a journal of the sandbox."""
    return connection.for_journal(asyncio.run(_saved_options(place))).ready()


async def _saved_options(place: JournalPlace) -> Mapping[str, Any]:
    async with place.journal(read_only=True) as journal:
        return saved_options(await journal.notes())


async def _refresh(place: JournalPlace, connection: Connection) -> bool:
    async with place.journal() as journal, connection.open() as callbell:
        report = await callbell.refresh(journal)
    requested = pluralize(report.requested, "message")
    info(f"refreshed the status of {requested}: {report.changed} changed, {report.failed} failed")
    return not report.failed


async def _read_counts(place: JournalPlace) -> tuple[Mapping[str, int], Mapping[str, int]]:
    async with place.journal(read_only=True) as journal:
        counts = await journal.counts()
        return {outcome.value: count for outcome, count in counts.items()}, funnel_stages(await journal.funnel())


def funnel_stages(statuses: Mapping[str, int]) -> dict[str, int]:
    """From the numbers of messages by their last status: how many reached each stage, and then how many ended otherwise.

    A message that was read was also delivered. All were enqueued; whether a failed one had been sent is not known.
    """
    stages: dict[str, int] = {}
    for index, stage in enumerate(_STAGES):
        stages[stage.value] = sum(statuses.get(later, 0) for later in _STAGES[index:])
    others = {str(status): count for status, count in statuses.items() if status not in _STAGES and count}
    stages[MessageStatus.ENQUEUED.value] += sum(others.values())
    return {**stages, **others}


def _write_counts(outcomes: Mapping[str, int], funnel: Mapping[str, int]) -> None:
    for name, count in outcomes.items():
        result(f"{name:<12}{count}")
    result("")
    accepted = outcomes[Outcome.ACCEPTED.value]
    for name, count in funnel.items():
        share = f"{100 * count / accepted:.0f} %" if accepted else ""
        result(f"{name:<12}{count:<9}{share:>6}  {bar(count, accepted)}".rstrip())


# --- reconcile --------------------------------------------------------------------------------------------------------


@click.command(cls=GroupedCommand, short_help="Resolve messages that may have been accepted.")
@click.argument("journal", type=JOURNAL)
@json_option
@connection_options(sandbox=False)
def reconcile(journal: JournalPlace, as_json: bool, connection: Connection) -> int:
    """Look for the messages of JOURNAL that may have been accepted in their contacts' histories, and resolve those that are found.

    Exit status: 0 none is left, 1 some are left, 2 wrong use, 3 journal unusable.
    """
    place = journal.existing()
    report = asyncio.run(_reconcile(place, _connection_for(place, connection)))
    counts = {"inferred": report.inferred, "confirmed": report.confirmed, "unresolved": len(report.unresolved)}
    for unresolved in report.unresolved:
        key, reason = unresolved.entry.key, unresolved.reason
        if as_json:
            result_json({"key": key, "outcome": unresolved.entry.outcome.value, "reason": reason})
        else:
            result(f"{key}: {reason}")
    if as_json:
        result_json(counts)
    else:
        for name, count in counts.items():
            result(f"{name:<12}{count}")
    return NOT_ALL_DONE if report.unresolved else DONE


async def _reconcile(place: JournalPlace, connection: Connection) -> ReconcileReport:
    async with place.journal() as journal, connection.open() as callbell:
        return await callbell.reconcile(journal)


# --- export -----------------------------------------------------------------------------------------------------------


@click.command(cls=GroupedCommand, short_help="Write the entries of a journal as CSV or JSONL.")
@click.argument("journal", type=JOURNAL)
@option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=click.Choice([outcome.value for outcome in Outcome]),
    group="Filter",
    help="Only entries with this outcome; repeatable.",
)
@export_options
def export(journal: JournalPlace, outcomes: tuple[str, ...], export: ExportOptions) -> int:
    """Write the entries of JOURNAL as CSV or JSONL, with recipients and texts.

    Exit status: 0 success, 2 wrong use, 3 journal unusable.
    """
    place = journal.existing()
    if export.output is not None and (part := place.part(export.output)):
        raise ConfigurationError(f"--output: {export.output} {part}; give another file")
    with RecordWriter(export, columns=COLUMNS) as writer:
        asyncio.run(_export(place, tuple(map(Outcome, outcomes)), writer))
    info(pluralize(writer.count, "entry", "entries"))
    return DONE


async def _export(place: JournalPlace, outcomes: tuple[Outcome, ...], writer: RecordWriter) -> None:
    async with place.journal(read_only=True) as journal:
        async for entry in journal.entries(*outcomes):
            writer.add(record_of(entry, as_json=writer.is_json))


def record_of(entry: JournalEntry, *, as_json: bool) -> dict[str, Any]:
    """An entry as a record: `body` is an object in JSON, and JSON text in CSV."""
    body = body_of(entry.key, entry.message_body)
    record = {name: getattr(entry, name) for name in COLUMNS if name not in ("to", "body")}
    record["to"] = body.get("to") or body.get("bsuid")
    record["body"] = body if as_json else entry.message_body.decode()
    return {name: record[name] for name in COLUMNS}
