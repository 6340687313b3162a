"""Sending one message: with a journal its key is an idempotency key; outside the 24-hour window a template goes instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

from callbell_async.endpoints.contacts import ContactsEndpoint, find_contacts
from callbell_async.endpoints.messages import MessagesEndpoint, read_receipt, send_request
from callbell_async.errors import (
    APIError,
    CallbellError,
    DuplicateMessageError,
    InvalidMessageError,
    JournalError,
    Outcome,
)
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState
from callbell_async.journal import (
    IN_FLIGHT,
    ClaimRequest,
    Journal,
    Row,
    State,
    body_of,
    claim_queue_of,
    duplicate_error,
    writer_of,
)
from callbell_async.models.messages import WHATSAPP, Message, TemplateMessage
from callbell_async.models.receipts import OUTSIDE_REPLY_WINDOW, MessageReceipt, WindowReceipt
from callbell_async.models.results import SendResult
from callbell_async.models.validation import is_same_recipient
from callbell_async.redaction import HiddenFrames
from callbell_async.wire import dump_keyed_message

__all__ = ["MARGIN", "SingleSends", "check_pair", "send_in_window"]

CLOSE_TIMEOUT = 10.0
"""The most seconds for which a client that closes waits for its calls to record their results; without one they are `UNKNOWN`."""


class SingleSends:
    """The calls of `send` with a journal, of one client, and the journals that they have opened.

    A journal is opened by the first call, and stays open until the client is closed.
    """

    def __init__(self, pipeline: Callable[[], RequestPipeline]) -> None:
        self._pipeline = pipeline
        self._journals: set[Journal] = set()
        self._opening = asyncio.Lock()
        self._active = 0
        self._idle: asyncio.Future[None] | None = None

    async def send(
        self, message: Message, journal: Journal, provider: Callable[[], RequestPipeline] | None = None
    ) -> tuple[MessageReceipt, bytes]:
        """Send a message unless the journal has it; return its receipt, and the body that was sent for its key, now or before.

        `provider` is that of the client whose method was called, which `with_options` may have made.
        """
        pipeline = await self._open(journal, provider or self._pipeline)
        self._active += 1
        try:
            with HiddenFrames():
                return await _send_once(pipeline, message, journal)
        finally:
            self._active -= 1
            if not self._active and self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    async def find(self, key: str, journal: Journal) -> Row | None:
        """Return the row of a message, or `None`; waits for a result that is not written yet."""
        await self._open(journal, self._pipeline)
        writer = writer_of(journal)
        (row,) = await writer.find([key])
        if row is not None and row.state in IN_FLIGHT:
            (row,) = await writer.ask_flushed(lambda store: store.find([key]))
        return row

    async def _open(self, journal: Journal, provider: Callable[[], RequestPipeline]) -> RequestPipeline:
        """Open a journal if it is not open, and return the pipeline of a client that is still open."""
        pipeline = provider()
        if journal not in self._journals:
            async with self._opening:
                # The client may have been closed meanwhile.
                pipeline = provider()
                if journal not in self._journals:
                    await journal.open()
                    self._journals.add(journal)
        return pipeline

    async def close(self) -> None:
        """Wait for the calls, whose requests have ended, and close the journals; raises `JournalError`."""
        if self._active:
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._idle}, timeout=CLOSE_TIMEOUT)
        async with self._opening:
            journals, self._journals = self._journals, set()
        ended = await asyncio.gather(*(journal.close() for journal in journals), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error


async def _send_once(pipeline: RequestPipeline, message: Message, journal: Journal) -> tuple[MessageReceipt, bytes]:
    key, body = dump_keyed_message(message, journal=journal.id if journal.key_in_metadata else None)
    sending = claim_queue_of(journal).sending
    while (first := sending.get(key)) is not None:
        before = await asyncio.shield(first)
        if isinstance(before, tuple):
            return before
        if before is not None:
            raise await _duplicate(journal, key) from before
    ended = sending[key] = asyncio.get_running_loop().create_future()
    end: tuple[MessageReceipt, bytes] | CallbellError | None = None
    try:
        end = sent = await _send(pipeline, message, journal, ClaimRequest(key, body, 0))
    except DuplicateMessageError:
        # The others look it up themselves: each gets an error of its own.
        raise
    except CallbellError as error:
        end = error
        raise
    finally:
        sending.pop(key, None)
        ended.set_result(None if isinstance(end, JournalError) else end)
    return sent


async def _send(
    pipeline: RequestPipeline, message: Message, journal: Journal, request: ClaimRequest
) -> tuple[MessageReceipt, bytes]:
    queue, writer = claim_queue_of(journal), writer_of(journal)
    claim, cancelled = await queue.claim(request)
    if not claim.granted:
        if cancelled is not None:
            raise cancelled
        error = duplicate_error(claim.row, this_run=False)
        receipt: MessageReceipt | None = error.entry.receipt
        if error.entry.outcome is Outcome.ACCEPTED and receipt is not None:
            return receipt, claim.row.body
        raise error
    call = CallState(send_request(claim.row.body))
    call.countdowns = (queue.ahead,)
    try:
        if cancelled is not None:
            raise cancelled
        receipt = await pipeline.run(call, read_receipt)
    except BaseException as error:
        if not call.attempts:
            call.countdowns[0].step()
        outcome = Outcome.SKIPPED if cancelled is not None else call.outcome
        reason = error if isinstance(error, Exception) else JournalError("the call was cancelled")
        result = writer.record_result(claim, SendResult(0, message, outcome, error=reason, attempts=call.attempts))
        if isinstance(error, CallbellError):
            # After `allow_resend` the first attempt is still in doubt.
            error.outcome = result.outcome
        raise
    writer.record_result(claim, SendResult(0, message, Outcome.ACCEPTED, receipt, attempts=call.attempts))
    return receipt, claim.row.body


async def _duplicate(journal: Journal, key: str) -> DuplicateMessageError:
    """Return the error of a call that has waited in vain for another call with the same key."""
    (row,) = await writer_of(journal).ask_flushed(lambda store: store.find([key]))
    if row is None:
        raise JournalError(f"{journal.label}: has lost the message that it was sending; restore a good copy")
    return duplicate_error(row, this_run=False)


MARGIN = timedelta(seconds=60)
"""A window that closes within this time counts as closed: it may close before WhatsApp has the message."""


def check_pair(message: object, fallback: object) -> None:
    """Refuse a message and a fallback that do not belong together; raises `InvalidMessageError`."""
    if not isinstance(message, Message) or isinstance(message, TemplateMessage):
        found = type(message).__name__
        raise InvalidMessageError("message", f"is a {found}; give a message that needs the window, such as TextMessage")
    if not isinstance(fallback, TemplateMessage):
        raise InvalidMessageError("fallback", f"must be a TemplateMessage, not {type(fallback).__name__}")
    if message.channel != WHATSAPP:
        raise InvalidMessageError("message.channel", f"is {message.channel!r}; only WhatsApp has templates: use send()")
    if not _is_same_recipient(message, fallback):
        raise InvalidMessageError(
            "fallback.to", "is not the recipient of the message; give both the same to= or bsuid="
        )
    for field in ("channel", "channel_uuid"):
        if getattr(message, field) != getattr(fallback, field):
            raise InvalidMessageError(f"fallback.{field}", f"is not that of the message; give both the same {field}=")
    if None not in (message.key, fallback.key) and message.key != fallback.key:
        raise InvalidMessageError(
            "fallback.key", "is not that of the message: both are one message in a journal; leave it out"
        )


def _is_same_recipient(message: Message, fallback: Message) -> bool:
    if message.to is None or fallback.to is None:
        return message.to is fallback.to and message.bsuid == fallback.bsuid
    return is_same_recipient(message.to, fallback.to)


async def send_in_window(
    message: Message,
    fallback: TemplateMessage,
    *,
    contact_uuid: str | None,
    contacts: ContactsEndpoint,
    messages: MessagesEndpoint,
    sends: SingleSends,
    provider: Callable[[], RequestPipeline],
    journal: Journal | None,
) -> WindowReceipt:
    """Send the message or its fallback; see `CallbellClient.send_in_window`."""
    # One key for both: whatever was sent for it, a journal refuses the other.
    key = message.key or fallback.key or dump_keyed_message(message, journal=None)[0]
    message, fallback = attrs.evolve(message, key=key), attrs.evolve(fallback, key=key)

    async def send(chosen: Message) -> WindowReceipt:
        if journal is None:
            return WindowReceipt.of(await messages.send(chosen), is_fallback=chosen is fallback)
        # The receipt may be that of an earlier or a concurrent call, which has sent the other one.
        receipt, body = await sends.send(chosen, journal, provider)
        return WindowReceipt.of(receipt, is_fallback="template_uuid" in body_of(key, body))

    if journal is not None and (row := await sends.find(key, journal)) is not None and row.state is State.ACCEPTED:
        # A message that was accepted needs no window.
        return await send(message)
    if await _is_window_open(contacts, message, contact_uuid):
        try:
            return await send(message)
        except APIError as error:
            # After any other refusal, and if an earlier attempt may have been accepted, the fallback could be a second message.
            if error.outcome is not Outcome.REJECTED or error.code not in OUTSIDE_REPLY_WINDOW:
                raise
    return await send(fallback)


async def _is_window_open(contacts: ContactsEndpoint, message: Message, contact_uuid: str | None) -> bool:
    if contact_uuid is not None:
        return await _is_open_for(contacts, contact_uuid)
    found = find_contacts(contacts, to=message.to, bsuid=message.bsuid, channel_uuid=message.channel_uuid)
    async for uuid in found:
        if await _is_open_for(contacts, uuid):
            return True
    return False


async def _is_open_for(contacts: ContactsEndpoint, uuid: str) -> bool:
    window = await contacts.reply_window(uuid)
    return window.until is not None and window.until - MARGIN > datetime.now(UTC)
