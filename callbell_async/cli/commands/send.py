"""`callbell-async send`: one message."""

from __future__ import annotations

import asyncio

import click

from callbell_async.cli.connection import Connection, connection_options
from callbell_async.cli.exits import DONE, INTERRUPTED, NOT_ALL_DONE, ShutdownSignals
from callbell_async.cli.message_form import MessageForm, message_to
from callbell_async.cli.options import GroupedCommand, json_option, message_options, option
from callbell_async.cli.output import OUTPUT_FAILED, fail, info, result, result_json
from callbell_async.errors import APIError, Outcome
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt
from callbell_async.models.results import SendResult

__all__ = ["send"]


@click.command(cls=GroupedCommand, short_help="Send one message.")
@click.argument("to")
@message_options
@option(
    "--metadata",
    multiple=True,
    metavar="NAME=VALUE",
    group="Message",
    help="Metadata that webhook events about the message repeat; repeatable.",
)
@json_option
@connection_options()
def send(to: str, form: MessageForm, as_json: bool, connection: Connection) -> int:
    """Send one message to TO, a telephone number with its country code or a platform identifier.

    The text is sent as it is, braces included. The message's uuid and status are written to standard output.

    Exit status: 0 accepted, 1 not accepted (the error names the outcome) or output failed, 2 wrong use, 129, 130 or 143 ended by a signal.
    """
    message = message_to(to, form)
    connection = connection.ready()
    with ShutdownSignals() as signals:
        sent = asyncio.run(_send(message, connection, signals))
    if sent.receipt is not None:
        return _write_receipt(sent.receipt, as_json=as_json)
    # Only a signal leaves no error.
    if sent.error is None or (signals.count and not isinstance(sent.error, APIError)):
        outcome = "may have been accepted" if sent.outcome is Outcome.UNKNOWN else "was not sent"
        return fail(signals.status or INTERRUPTED, f"interrupted: the message {outcome}")
    raise sent.error


def _write_receipt(receipt: MessageReceipt, *, as_json: bool) -> int:
    try:
        if as_json:
            result_json({"uuid": receipt.uuid, "status": receipt.status})
        else:
            result(f"{receipt.uuid} {receipt.status}")
    except OSError as error:
        # Otherwise the user would take this for a failure, and send the message twice.
        info(f"{OUTPUT_FAILED} ({error.strerror}), but the message was accepted: {receipt.uuid} {receipt.status}")
        return NOT_ALL_DONE
    return DONE


async def _send(message: Message, connection: Connection, signals: ShutdownSignals) -> SendResult:
    """The result of the message, also after a signal: a run of one message reports it."""
    async with connection.open() as callbell:
        # A person waits for this message: the retries suffice, and an outage is not waited out in silence.
        run = callbell.send_many([message], concurrency=1, shutdown_timeout=0, outage_timeout=0)
        results: list[SendResult] = []
        with signals.cancelling():
            results.extend((await run).results)
    return (results or run.report.results)[0]
