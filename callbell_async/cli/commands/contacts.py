"""`callbell-async contacts`: the account's contacts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exit_codes import DONE
from callbell_async.cli.export_writer import RecordWriter, form_option
from callbell_async.cli.options import FILE
from callbell_async.cli.output import pluralize, json_text, info
from callbell_async.models.account import Channel
from callbell_async.models.contacts import Contact

__all__ = ["contacts"]

COLUMNS = (
    "uuid",
    "name",
    "phone_number",
    "source",
    "channel",
    "tags",
    "team",
    "assigned_user",
    "created_at",
    "closed_at",
    "blocked_at",
    "bsuid",
    "custom_fields",
)


@click.group()
def contacts() -> None:
    """The account's contacts."""


@contacts.command(short_help="Write all contacts as CSV or JSONL.")
@form_option
@click.option("--output", type=FILE, help="The file to write; standard output, if not given.")
@click.option("--source", metavar="KIND", help="Only those of this kind of channel.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only those with this tag; may be repeated.")
@click.option("--team", metavar="UUID", help="Only those of this team.")
@connection_options()
def export(
    as_csv: bool,
    output: Path | None,
    source: str | None,
    tags: tuple[str, ...],
    team: str | None,
    connection: Connection,
) -> int:
    """Write all contacts, page after page, as CSV or as JSONL (each as Callbell gives it).

    Exit status: 0 done, 1 Callbell refused or can't be reached (what was written until then stays), 2 wrong use, 130 interrupted.
    """
    filters: dict[str, Any] = {"source": source, "tags": tags or None, "team_uuid": team}
    connection = connection.ready()
    with RecordWriter(output, as_csv=as_csv, columns=COLUMNS) as writer:
        asyncio.run(_export(connection, filters, writer))
    info(pluralize(writer.count, "contact"))
    return DONE


async def _export(connection: Connection, filters: dict[str, Any], writer: RecordWriter) -> None:
    async with connection.open() as callbell:
        async for contact in callbell.contacts.list(**filters):
            writer.add(contact.raw if writer.is_json else cells_of(contact))


def cells_of(contact: Contact) -> dict[str, Any]:
    """A contact as a row of CSV: tags with commas between them, custom fields as JSON."""
    cells: dict[str, Any] = {name: getattr(contact, name) for name in COLUMNS}
    channel = contact.channel
    cells["channel"] = (channel.title or channel.uuid) if isinstance(channel, Channel) else channel
    cells["team"] = contact.team and contact.team.name
    cells["tags"] = ",".join(contact.tags)
    cells["custom_fields"] = json_text(dict(contact.custom_fields)) if contact.custom_fields else None
    return cells
