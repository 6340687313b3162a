"""Contacts, conversations, history and bots, as Callbell gives them. Anything may be missing, and is `None` or empty then."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from callbell_async.models.account import Channel, Team

__all__ = [
    "Bot",
    "Contact",
    "Conversation",
    "CustomField",
    "HistoryMessage",
    "ReplyWindow",
    "SuccessResponse",
    "reply_window",
]

REPLY_WINDOW = timedelta(hours=24)
"""WhatsApp's rule: this long after a customer's last message, other messages than templates may be sent."""


@attrs.frozen(kw_only=True)
class CustomField:
    """A custom field with its type (`text`, `email`, `number`, `date`, `dropdown`, `checkbox`); a checkbox's `value` is a list."""

    value: Any = attrs.field(default=None, repr=False)
    type: str | None = None
    options: tuple[str, ...] = ()
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Contact:
    """A contact.

    `phone_number` is as Callbell writes it, blanks and all. `email` comes only in the short form that a receipt carries. `assigned_user` is an
    e-mail. `custom_fields` holds Callbell's own forms, where a checkbox is a JSON string of a list; `custom_fields_metadata` has the list, where it was asked
    for. `channel` is an object in some answers and a name in others. `raw` is the untouched JSON.
    """

    uuid: str | None = None
    name: str | None = attrs.field(default=None, repr=False)
    phone_number: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)
    avatar_url: str | None = attrs.field(default=None, repr=False)
    blocked_at: datetime | None = None
    created_at: datetime | None = None
    source: str | None = None
    funnel_id: str | None = None
    closed_at: datetime | None = None
    href: str | None = None
    conversation_href: str | None = None
    tags: tuple[str, ...] = ()
    assigned_user: str | None = attrs.field(default=None, repr=False)
    custom_fields: Mapping[str, Any] = attrs.field(factory=dict, hash=False, repr=False)
    custom_fields_metadata: Mapping[str, CustomField] = attrs.field(factory=dict, hash=False, repr=False)
    team: Team | None = None
    channel: Channel | str | None = None
    bsuid: str | None = attrs.field(default=None, repr=False)
    note: str | None = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Conversation:
    """A conversation with a contact. `raw` is the untouched JSON."""

    source: str | None = None
    href: str | None = None
    contact: Contact | None = None
    created_at: datetime | None = None
    closed_at: datetime | None = None
    closing_reason: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class HistoryMessage:
    """A message in a contact's history (`Message` in Callbell's documentation).

    `status` is `sent`, `received` or `note`; a note has no `uuid`. `sender` and `recipient` are `from` and `to` on the wire.
    """

    uuid: str | None = None
    text: str | None = attrs.field(default=None, repr=False)
    status: str | None = None
    channel: str | None = None
    sender: str | None = attrs.field(default=None, repr=False)
    recipient: str | None = attrs.field(default=None, repr=False)
    created_at: datetime | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Bot:
    """The bot in a contact's conversation; `status` is `in_progress`, `started` or `ended`."""

    uuid: str | None = None
    name: str | None = None
    status: str | None = None
    conversation_started_at: datetime | None = None
    version: int | None = None
    latest_bot_version: bool | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class SuccessResponse:
    """Callbell's word that something was done."""

    success: bool | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class ReplyWindow:
    """Whether other messages than templates may be sent to a contact.

    `until` is when the window closes or closed, and `message` the contact's last one, from which that is known; both are `None` where
    nothing was received, or nothing recent enough to matter.
    """

    is_open: bool
    until: datetime | None = None
    message: HistoryMessage | None = None


async def reply_window(history: AsyncIterable[HistoryMessage], *, now: datetime) -> ReplyWindow:
    """The window as a history, newest first, shows it at `now`; reads no further back than it must."""
    async for message in history:
        if message.created_at is None:
            continue
        until = message.created_at + REPLY_WINDOW
        if message.status == "received":
            return ReplyWindow(is_open=now < until, until=until, message=message)
        if until <= now:
            break
    return ReplyWindow(is_open=False)
