"""Contacts, conversations, history and bots. A field that is missing in a response is `None` or empty."""

from __future__ import annotations

import re
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

_CHAT = re.compile(r"/chat/([^/?#]+)")

REPLY_WINDOW = timedelta(hours=24)
"""WhatsApp's rule: messages other than templates may be sent for this long after a customer's last message."""


def _conversation_uuid(href: str | None) -> str | None:
    found = _CHAT.search(href or "")
    return found.group(1) if found else None


@attrs.frozen(kw_only=True)
class CustomField:
    """The value of a custom field, with its type.

    Source: `customFieldsMetadata` of Callbell's object type `Contact`.

    Attributes:
        value: a string; for a checkbox, a list of strings.
        type: `text`, `email`, `number`, `date`, `dropdown` or `checkbox`.
        options: the choices of a dropdown or checkbox.
        raw: the untouched JSON.
    """

    value: Any = attrs.field(default=None, repr=False)
    type: str | None = None
    options: tuple[str, ...] = ()
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Contact:
    """A contact.

    Source: Callbell's object type `Contact`.

    Attributes:
        uuid: the contact's identifier.
        name: the name.
        phone_number: the telephone number as Callbell writes it, for example with blanks.
        email: the e-mail; only in the short form of a receipt.
        avatar_url: URL of the picture.
        blocked_at: when the contact was blocked.
        created_at: when the contact was created.
        source: type of the channel, such as `whatsapp`.
        funnel_id: identifier of the funnel.
        closed_at: when the conversation was closed.
        href: URL of the contact in Callbell's dashboard.
        conversation_href: URL of the conversation in Callbell's dashboard.
        tags: the tags.
        assigned_user: e-mail of the assigned user.
        custom_fields: values of custom fields by name, as Callbell writes them: a checkbox is a JSON string of a list.
        custom_fields_metadata: custom fields by name, with their types; only with `include_field_types=True`.
        team: the assigned team.
        channel: the channel: an object in some responses, its type in others.
        bsuid: WhatsApp Business Suite User ID.
        note: the note.
        raw: the untouched JSON.
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

    @property
    def conversation_uuid(self) -> str | None:
        """The conversation's identifier, which Callbell gives in `conversation_href` only; `None` if it is not there."""
        return _conversation_uuid(self.conversation_href)


@attrs.frozen(kw_only=True)
class Conversation:
    """A conversation with a contact.

    Source: Callbell's object type `Conversation`.

    Attributes:
        source: type of the channel, such as `whatsapp`.
        href: URL of the conversation in Callbell's dashboard.
        contact: the contact.
        created_at: when the conversation was created.
        closed_at: when it was closed; `None` while it is open.
        closing_reason: the reason for closing, such as `issue_resolved`.
        raw: the untouched JSON.
    """

    source: str | None = None
    href: str | None = None
    contact: Contact | None = None
    created_at: datetime | None = None
    closed_at: datetime | None = None
    closing_reason: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def uuid(self) -> str | None:
        """The conversation's identifier, which Callbell gives in `href` only; `None` if it is not there."""
        return _conversation_uuid(self.href)


@attrs.frozen(kw_only=True)
class HistoryMessage:
    """A message in a contact's history.

    Source: Callbell's object type `Message`.

    Attributes:
        uuid: the message's identifier; only a system note has none.
        text: the text.
        status: `sent`, `received` or `note`. A note is not sent to the customer: a colleague's note has a `uuid`, and its `sender` differs from
            its `recipient`.
        channel: type of the channel, such as `whatsapp`.
        sender: the sender's number or identifier (`from` in the JSON).
        recipient: the recipient's number or identifier (`to` in the JSON).
        created_at: when the message was created.
        raw: the untouched JSON.
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
    """The bot in a contact's conversation.

    Source: Callbell's object type `Bot`.

    Attributes:
        uuid: the bot's identifier.
        name: the name.
        status: `in_progress`, `started` or `ended`.
        conversation_started_at: when the bot's conversation began.
        version: the version of the bot that runs.
        latest_bot_version: whether that is the latest version.
        raw: the untouched JSON.
    """

    uuid: str | None = None
    name: str | None = None
    status: str | None = None
    conversation_started_at: datetime | None = None
    version: int | None = None
    latest_bot_version: bool | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class SuccessResponse:
    """Callbell's confirmation of a request that returns nothing else.

    Attributes:
        success: whether it was done.
        raw: the untouched JSON.
    """

    success: bool | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class ReplyWindow:
    """Whether messages other than templates may be sent to a contact: the 24 hours after the contact's last message.

    Attributes:
        is_open: whether the window is open.
        until: when the window closes or closed; `None` if no message was received, or none recent enough to matter.
        message: the contact's last message; `None` in the same cases.
    """

    is_open: bool
    until: datetime | None = None
    message: HistoryMessage | None = None


async def reply_window(history: AsyncIterable[HistoryMessage], *, now: datetime) -> ReplyWindow:
    """Return the window at `now` from a history, newest first, which is read only as far as it can matter."""
    async for message in history:
        if message.created_at is None:
            continue
        until = message.created_at + REPLY_WINDOW
        if message.status == "received":
            return ReplyWindow(is_open=now < until, until=until, message=message)
        if until <= now:
            break
    return ReplyWindow(is_open=False)
