"""`callbell-async me`, `templates`, `channels` and `contacts`: the data of the account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exits import DONE
from callbell_async.cli.options import GroupedCommand, json_option, option
from callbell_async.cli.output import info, json_text, pluralize, result, result_json, result_table
from callbell_async.cli.output_files import ExportOptions, RecordWriter, export_options
from callbell_async.models.account import Channel
from callbell_async.models.contacts import Contact

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient
    from callbell_async.http.pagination import Paginator

__all__ = ["channels", "contacts", "me", "templates"]


@click.command(cls=GroupedCommand)
@json_option
@connection_options()
def me(as_json: bool, connection: Connection) -> int:
    """Show whose API key this is.

    Exit status: 0 success, 1 Callbell refused the request or can't be reached, 2 wrong use.
    """
    account = asyncio.run(_me(connection.ready()))
    if as_json:
        result_json(account)
    else:
        for name, value in account.items():
            result(f"{name:<8}{value}")
    return DONE


async def _me(connection: Connection) -> Mapping[str, Any]:
    async with connection.open() as callbell:
        account = await callbell.auth.me()
    # Callbell's response also holds the key, which must not be shown.
    return {"user": account.user_name, "email": account.user_email, "status": account.status}


@click.command(cls=GroupedCommand)
@json_option
@connection_options()
def templates(as_json: bool, connection: Connection) -> int:
    """List the WhatsApp templates.

    Exit status: 0 success, 1 Callbell refused the request or can't be reached, 2 wrong use.
    """
    columns = ("uuid", "title", "status", "template_type", "category", "text")
    return _list(lambda callbell: callbell.templates.list(), columns, connection, as_json=as_json)


@click.command(cls=GroupedCommand)
@json_option
@connection_options()
def channels(as_json: bool, connection: Connection) -> int:
    """List the channels that messages are sent from.

    Exit status: 0 success, 1 Callbell refused the request or can't be reached, 2 wrong use.
    """
    columns = ("uuid", "title", "type", "main", "discarded")
    return _list(lambda callbell: callbell.channels.list(), columns, connection, as_json=as_json)


def _list(
    paginator: Callable[[CallbellClient], Paginator[Any]],
    columns: tuple[str, ...],
    connection: Connection,
    *,
    as_json: bool,
) -> int:
    items = asyncio.run(_fetch(paginator, connection.ready()))
    if as_json:
        for item in items:
            result_json(item.raw)
    else:
        result_table(columns, ([getattr(item, column) for column in columns] for item in items))
    return DONE


async def _fetch(paginator: Callable[[CallbellClient], Paginator[Any]], connection: Connection) -> list[Any]:
    async with connection.open() as callbell:
        return [item async for item in paginator(callbell)]


# --- contacts ---------------------------------------------------------------------------------------------------------

CONTACT_COLUMNS = (
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
    with RecordWriter(export, columns=CONTACT_COLUMNS) as writer:
        asyncio.run(_export_contacts(connection, filters, writer))
    info(pluralize(writer.count, "contact"))
    return DONE


async def _export_contacts(connection: Connection, filters: dict[str, Any], writer: RecordWriter) -> None:
    async with connection.open() as callbell:
        async for contact in callbell.contacts.list(**filters):
            writer.add(contact.raw if writer.is_json else cells_of(contact))


def cells_of(contact: Contact) -> dict[str, Any]:
    """A contact as a row of CSV: tags separated by commas, custom fields as JSON."""
    cells: dict[str, Any] = {name: getattr(contact, name) for name in CONTACT_COLUMNS}
    channel = contact.channel
    cells["channel"] = (channel.title or channel.uuid) if isinstance(channel, Channel) else channel
    cells["team"] = contact.team and contact.team.name
    cells["tags"] = ",".join(contact.tags)
    cells["custom_fields"] = json_text(dict(contact.custom_fields)) if contact.custom_fields else None
    return cells
