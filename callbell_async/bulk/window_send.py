"""Sending a message inside the 24-hour window, and a template outside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

from callbell_async.bulk.single_send import SingleSends
from callbell_async.endpoints.contact_search import find_contacts
from callbell_async.endpoints.contacts import ContactsEndpoint
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.errors import APIError, InvalidMessageError, Outcome
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.journal import Journal, State, body_of
from callbell_async.models.messages import WHATSAPP, Message, TemplateMessage
from callbell_async.models.receipts import OUTSIDE_REPLY_WINDOW, WindowReceipt
from callbell_async.models.validation import is_same_recipient
from callbell_async.wire import dump_keyed_message

__all__ = ["MARGIN", "check_pair", "send_in_window"]

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
