"""`callbell-async contacts`: the account's contacts."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exits import DONE
from callbell_async.cli.options import GroupedCommand, option
from callbell_async.cli.output import info, json_text, pluralize
from callbell_async.cli.output_files import ExportOptions, RecordWriter, export_options
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
    """Export the account's contacts."""


@contacts.command(cls=GroupedCommand, short_help="Write all contacts as CSV or JSONL.")
@option("--source", metavar="KIND", group="Filter", help="Only contacts of this kind of channel.")
@option("--tag", "tags", multiple=True, metavar="TAG", group="Filter", help="Only contacts with this tag; repeatable.")
@option("--team", metavar="UUID", group="Filter", help="Only contacts of this team.")
@export_options
@connection_options()
def export(
    source: str | None,
    tags: tuple[str, ...],
    team: str | None,
    export: ExportOptions,
    connection: Connection,
) -> int:
    """Write all contacts as CSV, or as JSONL with each contact as Callbell returns it.

    Exit status: 0 success, 1 Callbell refused a request or can't be reached (the contacts written before stay), 2 wrong use.
    """
    filters: dict[str, Any] = {"source": source, "tags": tags or None, "team_uuid": team}
    connection = connection.ready()
    with RecordWriter(export, columns=COLUMNS) as writer:
        asyncio.run(_export(connection, filters, writer))
    info(pluralize(writer.count, "contact"))
    return DONE


async def _export(connection: Connection, filters: dict[str, Any], writer: RecordWriter) -> None:
    async with connection.open() as callbell:
        async for contact in callbell.contacts.list(**filters):
            writer.add(contact.raw if writer.is_json else cells_of(contact))


def cells_of(contact: Contact) -> dict[str, Any]:
    """A contact as a row of CSV: tags separated by commas, custom fields as JSON."""
    cells: dict[str, Any] = {name: getattr(contact, name) for name in COLUMNS}
    channel = contact.channel
    cells["channel"] = (channel.title or channel.uuid) if isinstance(channel, Channel) else channel
    cells["team"] = contact.team and contact.team.name
    cells["tags"] = ",".join(contact.tags)
    cells["custom_fields"] = json_text(dict(contact.custom_fields)) if contact.custom_fields else None
    return cells
