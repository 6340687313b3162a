"""`callbell-async send`: one message."""

from __future__ import annotations

import asyncio

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exit_codes import DONE, INTERRUPTED, NOT_ALL_DONE
from callbell_async.cli.message_form import MessageForm, message_to
from callbell_async.cli.options import json_option, message_options
from callbell_async.cli.output import OUTPUT_FAILED, escape_control, info, result, result_json
from callbell_async.cli.signals import ShutdownSignals
from callbell_async.errors import APIError, Outcome
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt
from callbell_async.models.results import SendResult

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

    Exit status: 0 accepted, 1 not accepted (the error says whether it may have been) or not to be written down, 2 wrong use, 130 interrupted.
    """
    message = message_to(to, form)
    connection = connection.ready()
    with ShutdownSignals() as signals:
        result = asyncio.run(_send(message, connection, signals))
    if result.receipt is not None:
        return _told(result.receipt, as_json=as_json)
    # Nothing but a signal leaves no error.
    if result.error is None or (signals.count and not isinstance(result.error, APIError)):
        fate = "may have been accepted" if result.outcome is Outcome.UNKNOWN else "was not sent"
        info(f"callbell-async: interrupted: the message {fate}")
        return signals.status or INTERRUPTED
    raise result.error


def _told(receipt: MessageReceipt, *, as_json: bool) -> int:
    try:
        if as_json:
            result_json({"uuid": receipt.uuid, "status": receipt.status})
        else:
            result(f"{receipt.uuid} {receipt.status}")
    except OSError as error:
        # Who takes this for a failure would send it twice.
        info(
            escape_control(f"{OUTPUT_FAILED} ({error.strerror}), but the message was accepted: {receipt.uuid} {receipt.status}")
        )
        return NOT_ALL_DONE
    return DONE


async def _send(message: Message, connection: Connection, signals: ShutdownSignals) -> SendResult:
    """What became of it, also when a signal cut it off: a run of one message knows that."""
    async with connection.open() as callbell:
        run = callbell.send_many([message], concurrency=1, shutdown_timeout=0)
        signals.watch(lambda: None)
        try:
            (result,) = (await run).results
        except asyncio.CancelledError:
            if not signals.count:
                raise
            (result,) = run.report.results
        finally:
            signals.release()
    return result
