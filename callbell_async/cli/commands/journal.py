"""`callbell-async status`, `reconcile` and `export`: what a journal knows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exit_codes import DONE, NOT_ALL_DONE
from callbell_async.cli.export_writer import RecordWriter, form_option
from callbell_async.cli.funnel import stages
from callbell_async.cli.options import FILE, json_option
from callbell_async.cli.output import bar, counted, printable, say, tell, tell_json
from callbell_async.cli.paths import part_of_journal
from callbell_async.errors import ConfigurationError, Outcome
from callbell_async.journal import Journal
from callbell_async.models.journal import JournalEntry, ReconcileReport
from callbell_async.wire import load_json

__all__ = ["existing", "export", "reconcile", "status"]

COLUMNS = ("key", "to", "outcome", "status", "uuid", "attempts", "tried_at", "finished_at", "reason", "body")


@click.command(short_help="Say how many messages of a journal came how far.")
@click.argument("journal", type=FILE)
@click.option("--refresh", is_flag=True, help="First ask Callbell how far each message is; one request for each.")
@json_option
@connection_options(sandbox=False)
def status(journal: Path, refresh: bool, as_json: bool, connection: Connection) -> int:
    """Say what JOURNAL knows: how many messages by outcome, and how far the accepted ones have come, from enqueued to read.

    Exit status: 0 done, 1 Callbell could not tell all, 2 wrong use, 3 the journal can't be used, 130 interrupted.
    """
    all_told = not refresh or asyncio.run(_refresh(existing(journal), connection.ready()))
    outcomes, funnel = asyncio.run(_look(existing(journal)))
    if as_json:
        tell_json({"outcomes": outcomes, "funnel": funnel})
        return DONE if all_told else NOT_ALL_DONE
    for name, count in outcomes.items():
        tell(f"{name:<12}{count}")
    tell("")
    most = outcomes[Outcome.ACCEPTED.value]
    for name, count in funnel.items():
        share = f"{100 * count / most:.0f} %" if most else ""
        tell(f"{printable(name):<12}{count:<9}{share:>6}  {bar(count, most)}".rstrip())
    return DONE if all_told else NOT_ALL_DONE


async def _refresh(path: Path, connection: Connection) -> bool:
    async with Journal(path) as journal, connection.like(await journal.notes()).open() as callbell:
        found = await callbell.refresh(journal)
    say(f"asked for {counted(found.requested, 'message')}: changed {found.changed}, could not be told {found.failed}")
    return not found.failed


async def _look(path: Path) -> tuple[Mapping[str, int], Mapping[str, int]]:
    async with Journal(path, read_only=True) as journal:
        counts = await journal.counts()
        return {outcome.value: count for outcome, count in counts.items()}, stages(await journal.funnel())


@click.command(short_help="Find out what became of those that may have been accepted.")
@click.argument("journal", type=FILE)
@json_option
@connection_options(sandbox=False)
def reconcile(journal: Path, as_json: bool, connection: Connection) -> int:
    """Look for the messages of JOURNAL that may have been accepted in their contacts' histories, and settle those that are there.

    Exit status: 0 none is left, 1 some are, 2 wrong use, 3 the journal can't be used, 130 interrupted.
    """
    found = asyncio.run(_reconcile(existing(journal), connection.ready()))
    counts = {"inferred": found.inferred, "confirmed": found.confirmed, "unresolved": len(found.unresolved)}
    for unresolved in found.unresolved:
        key, reason = unresolved.entry.key, unresolved.reason
        if as_json:
            tell_json({"key": key, "outcome": unresolved.entry.outcome.value, "reason": reason})
        else:
            tell(printable(f"{key}: {reason}"))
    if as_json:
        tell_json(counts)
    else:
        for name, count in counts.items():
            tell(f"{name:<12}{count}")
    return NOT_ALL_DONE if found.unresolved else DONE


async def _reconcile(path: Path, connection: Connection) -> ReconcileReport:
    async with Journal(path) as journal, connection.like(await journal.notes()).open() as callbell:
        return await callbell.reconcile(journal)


@click.command(short_help="Write every entry of a journal.")
@click.argument("journal", type=FILE)
@form_option
@click.option("--output", type=FILE, help="The file to write; standard output, if not given.")
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=click.Choice([outcome.value for outcome in Outcome]),
    help="Only those with this outcome; may be repeated.",
)
def export(journal: Path, as_csv: bool, output: Path | None, outcomes: tuple[str, ...]) -> int:
    """Write every entry of JOURNAL as CSV or as JSONL, recipients and texts included.

    Exit status: 0 done, 2 wrong use, 3 the journal can't be used, 130 interrupted.
    """
    path = existing(journal)
    if output is not None and (part := part_of_journal(output, path)):
        raise ConfigurationError(f"--output: {output} {part}; give another file")
    with RecordWriter(output, as_csv=as_csv, columns=COLUMNS) as writer:
        asyncio.run(_export(path, tuple(map(Outcome, outcomes)), writer))
    say(counted(writer.count, "entry", "entries"))
    return DONE


async def _export(path: Path, outcomes: tuple[Outcome, ...], writer: RecordWriter) -> None:
    async with Journal(path, read_only=True) as journal:
        async for entry in journal.entries(*outcomes):
            writer.add(record_of(entry, as_json=writer.is_json))


def record_of(entry: JournalEntry, *, as_json: bool) -> dict[str, Any]:
    """An entry as it is written: `body` is an object in JSON, and its JSON in CSV."""
    body = load_json(entry.message_body)
    record = {name: getattr(entry, name) for name in COLUMNS if name not in ("to", "body")}
    record["to"] = body.get("to") or body.get("bsuid")
    record["body"] = body if as_json else entry.message_body.decode()
    return {name: record[name] for name in COLUMNS}


def existing(journal: Path) -> Path:
    """The path of a journal that is there; raises `ConfigurationError` for one that is not, instead of making one."""
    if not journal.exists():
        raise ConfigurationError(f"{journal}: there is no such journal")
    return journal
