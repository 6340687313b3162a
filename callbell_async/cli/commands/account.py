"""`callbell-async me`, `templates` and `channels`: the account's own data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exit_codes import DONE
from callbell_async.cli.options import GroupedCommand, json_option
from callbell_async.cli.output import result, result_json, result_table

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient
    from callbell_async.http.pagination import Paginator

__all__ = ["channels", "me", "templates"]


@click.command(cls=GroupedCommand)
@json_option
@connection_options()
def me(as_json: bool, connection: Connection) -> int:
    """Show the owner of the API token.

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
    # Callbell's response also holds the token, which must not be shown.
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
