"""`callbell-async send`: one message."""

from __future__ import annotations

import asyncio

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.messages import MessageForm, message_to
from callbell_async.cli.options import json_option, message_options
from callbell_async.cli.output import tell, tell_json
from callbell_async.cli.statuses import DONE
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt

__all__ = ["send"]


@click.command(short_help="Send one message.")
@click.argument("to")
@message_options
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Sent along with it; may be repeated.")
@json_option
@connection_options()
def send(to: str, form: MessageForm, as_json: bool, connection: Connection) -> int:
    """Send one message to TO, a telephone number with its country code or a platform identifier.

    Braces stand for themselves. The message's uuid and status are written to standard output.

    Exit status: 0 accepted, 1 not accepted (the error says whether it may have been), 2 wrong use, 130 interrupted.
    """
    message = message_to(to, form)
    receipt = asyncio.run(_send(message, connection.ready()))
    if as_json:
        tell_json({"uuid": receipt.uuid, "status": receipt.status})
    else:
        tell(f"{receipt.uuid} {receipt.status}")
    return DONE


async def _send(message: Message, connection: Connection) -> MessageReceipt:
    async with connection.open() as callbell:
        return await callbell.send(message)
