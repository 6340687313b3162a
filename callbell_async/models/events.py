"""Webhook events.

A field that is missing in an event is `None` or empty. Telephone numbers, texts and people's names are never in a repr. Source: Callbell's
pages on webhook events.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict

import attrs

from callbell_async.errors import InvalidMessageError
from callbell_async.models.account import Channel, Team, TeamMember
from callbell_async.models.contacts import Contact, Conversation
from callbell_async.models.message_parts import (
    Attachment,
    ContactCard,
    InteractiveList,
    Location,
    MessageContext,
    ReplyButton,
    item_count,
)
from callbell_async.models.messages import WHATSAPP
from callbell_async.models.receipts import MessageFailure, MessageReceipt, MessageStatus, read_integration_status
from callbell_async.models.validation import is_number

__all__ = [
    "AgentSessionUpdated",
    "AgentStatusUpdated",
    "ContactCreated",
    "ContactDeleted",
    "ContactUpdated",
    "ConversationClosed",
    "ConversationOpened",
    "Event",
    "MembershipReason",
    "MessageCreated",
    "MessageStatusUpdated",
    "ReplyFields",
    "SessionAction",
    "TeamMembershipUpdated",
    "UnknownEvent",
]


class SessionAction(StrEnum):
    """The action of a user's session. An action that Callbell adds later is a plain string.

    Attributes:
        USER_LOGGED_IN: The user logged in.
        USER_LOGGED_OUT: The user logged out.
        SYSTEM_LOGGED_OUT: Callbell logged the user out.
    """

    USER_LOGGED_IN = "user_logged_in"
    USER_LOGGED_OUT = "user_logged_out"
    SYSTEM_LOGGED_OUT = "system_logged_out"


class MembershipReason(StrEnum):
    """The reason of a change in a team's members. A reason that Callbell adds later is a plain string.

    Attributes:
        AGENT_ADDED: The user joined the team.
        AGENT_REMOVED: The user left the team.
    """

    AGENT_ADDED = "agent_added"
    AGENT_REMOVED = "agent_removed"


def _uuid_only(model: Any) -> str:
    # Enough to find the record, without any personal data.
    return repr(model) if model is None else f"{type(model).__name__}(uuid={getattr(model, 'uuid', None)!r})"


def _class_only(model: Any) -> str:
    return repr(model) if model is None else f"<{type(model).__name__}>"


@attrs.frozen(kw_only=True)
class _BaseEvent:
    name: str = attrs.field(repr=False)
    key: str
    sent_at: datetime | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


class ReplyFields(TypedDict):
    """The arguments with which any class of message becomes a reply: `ImageMessage(**event.reply_fields(), url=…)`.

    Attributes:
        to: the customer's number or identifier; `None` for a customer of whom only the `bsuid` is known.
        bsuid: WhatsApp Business Suite User ID of that customer; `None` if `to` is known.
        channel: type of the channel on which the customer wrote.
        channel_uuid: the channel on which the customer wrote; `None` if the event does not name it.
    """

    to: str | None
    bsuid: str | None
    channel: str
    channel_uuid: str | None


@attrs.frozen(kw_only=True)
class MessageCreated(_BaseEvent):
    """A message was received or sent, also by a user of the account or by a bot.

    Attributes:
        uuid: the message's identifier; on incoming WhatsApp messages it begins with `wamid.`.
        text: the text; empty for a voice note, which is one audio attachment.
        status: `received` or `sent`.
        channel: the channel's type, such as `whatsapp`.
        sender: the sender's number or identifier (`from` in the JSON).
        recipient: the recipient's number or identifier (`to` in the JSON).
        created_at: when the message was created.
        attachments: the files; their URLs expire after 10 minutes.
        metadata: the metadata with which the message was sent.
        contact: the contact.
        location: a place that was sent.
        contact_cards: contact cards that were sent.
        reply_button: the content of a message with reply buttons.
        interactive_list: the content of an interactive list.
        context: the message to which this one replies.
        is_forwarded: whether the message was forwarded.
        name: `message_created`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="message_created", repr=False)
    uuid: str | None = None
    text: str | None = attrs.field(default=None, repr=False)
    status: str | None = None
    channel: str | None = None
    sender: str | None = attrs.field(default=None, repr=False)
    recipient: str | None = attrs.field(default=None, repr=False)
    created_at: datetime | None = None
    attachments: tuple[Attachment, ...] = attrs.field(default=(), repr=item_count)
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False, repr=item_count)
    contact: Contact | None = attrs.field(default=None, repr=_uuid_only)
    location: Location | None = None
    contact_cards: tuple[ContactCard, ...] = attrs.field(default=(), repr=item_count)
    reply_button: ReplyButton | None = None
    interactive_list: InteractiveList | None = None
    context: MessageContext | None = None
    is_forwarded: bool = False

    @property
    def is_incoming(self) -> bool:
        """Whether the customer sent the message."""
        return self.status == "received"

    def reply_fields(self) -> ReplyFields:
        """Return the arguments of a message that replies to this one, to its sender and on its channel.

        Returns:
            The recipient, the channel's type and the channel: `ImageMessage(**event.reply_fields(), url="https://…")`.

        Raises:
            InvalidMessageError: the customer did not send the message, or the event does not name the recipient or the channel.
        """
        if not self.is_incoming:
            raise InvalidMessageError(
                "event.status",
                f"is {self.status!r}: the customer did not send this message; reply only to an event whose is_incoming is True",
            )
        contact = self.contact or Contact()
        channel = self.channel or contact.source
        if not channel:
            raise InvalidMessageError("event.channel", "is missing; build the message with channel=")
        to, bsuid = self.sender, None
        if channel == WHATSAPP:
            to = next((number for number in (self.sender, contact.phone_number) if is_number(number)), None)
            bsuid = contact.bsuid if to is None else None
        if not to and not bsuid:
            raise InvalidMessageError(
                "event.sender",
                "does not name a recipient, and event.contact has none; find the customer in Callbell, and build the message with to=",
            )
        uuid = contact.channel.uuid if isinstance(contact.channel, Channel) else None
        return ReplyFields(to=to, bsuid=bsuid, channel=channel, channel_uuid=uuid)


@attrs.frozen(kw_only=True)
class MessageStatusUpdated(_BaseEvent):
    """The status of an outgoing message changed.

    Attributes:
        uuid: the message's identifier, as in its receipt.
        status: the new status; a status that this library does not know is a plain string.
        metadata: the metadata with which the message was sent.
        status_payload: the raw report of the integration; if it came as a JSON string, the object in it.
        contact: the contact.
        name: `message_status_updated`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="message_status_updated", repr=False)
    uuid: str | None = None
    status: MessageStatus | str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False, repr=item_count)
    status_payload: Any = attrs.field(default=None, hash=False, repr=False)
    contact: Contact | None = attrs.field(default=None, repr=_uuid_only)

    @property
    def receipt(self) -> MessageReceipt | None:
        """The message's receipt with the new status, whose `raw` is the event's payload; `None` if the event has no uuid."""
        if self.uuid is None:
            return None
        payload = self.raw.get("payload")
        return MessageReceipt(
            self.uuid,
            self.status,
            self.status_payload,
            self.contact,
            metadata=self.metadata,
            raw=payload if isinstance(payload, Mapping) else {},
        )

    @property
    def failure(self) -> MessageFailure | None:
        """The reason when the status is `FAILED` (empty if the report has none); `None` for any other status."""
        return MessageReceipt(self.uuid or "", self.status, self.status_payload).failure

    @property
    def integration_status(self) -> str | None:
        """The status in the integration's own words (Meta's or Gupshup's), such as `delivered`; `None` if its report has none."""
        return read_integration_status(self.status_payload)


@attrs.frozen(kw_only=True)
class ContactCreated(_BaseEvent):
    """A contact was created.

    Attributes:
        contact: the contact.
        name: `contact_created`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="contact_created", repr=False)
    contact: Contact = attrs.field(repr=_uuid_only)


@attrs.frozen(kw_only=True)
class ContactUpdated(_BaseEvent):
    """A contact was changed.

    Attributes:
        contact: the contact after the change.
        name: `contact_updated`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="contact_updated", repr=False)
    contact: Contact = attrs.field(repr=_uuid_only)


@attrs.frozen(kw_only=True)
class ContactDeleted(_BaseEvent):
    """A contact was deleted.

    Attributes:
        uuid: the contact's identifier.
        deleted_at: when it was deleted.
        name: `contact_deleted`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="contact_deleted", repr=False)
    uuid: str | None = None
    deleted_at: datetime | None = None


@attrs.frozen(kw_only=True)
class _ConversationEvent(_BaseEvent):
    conversation: Conversation = attrs.field(repr=_class_only)

    @property
    def contact(self) -> Contact | None:
        """The conversation's contact."""
        return self.conversation.contact


@attrs.frozen(kw_only=True)
class ConversationOpened(_ConversationEvent):
    """A conversation was opened.

    Attributes:
        conversation: the conversation, with its contact.
        name: `conversation_opened`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="conversation_opened", repr=False)


@attrs.frozen(kw_only=True)
class ConversationClosed(_ConversationEvent):
    """A conversation was closed.

    Attributes:
        conversation: the conversation, with its contact and its `closing_reason`.
        name: `conversation_closed`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="conversation_closed", repr=False)


@attrs.frozen(kw_only=True)
class AgentStatusUpdated(_BaseEvent):
    """A user's status changed.

    Attributes:
        user: the user after the change.
        name: `agent_status_updated`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="agent_status_updated", repr=False)
    user: TeamMember = attrs.field(repr=_class_only)


@attrs.frozen(kw_only=True)
class AgentSessionUpdated(_BaseEvent):
    """A user logged in or out, or was logged out.

    Attributes:
        action: the action; an action that this library does not know is a plain string.
        user: the user.
        name: `agent_session_updated`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="agent_session_updated", repr=False)
    action: SessionAction | str | None = None
    user: TeamMember | None = attrs.field(default=None, repr=_class_only)


@attrs.frozen(kw_only=True)
class TeamMembershipUpdated(_BaseEvent):
    """A user joined or left a team.

    Attributes:
        reason: the reason; a reason that this library does not know is a plain string.
        team: the team.
        user: the user.
        updated_at: when the team was changed.
        name: `team_membership_updated`.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str = attrs.field(default="team_membership_updated", repr=False)
    reason: MembershipReason | str | None = None
    team: Team | None = attrs.field(default=None, repr=_uuid_only)
    user: TeamMember | None = attrs.field(default=None, repr=_class_only)
    updated_at: datetime | None = None


@attrs.frozen(kw_only=True)
class UnknownEvent(_BaseEvent):
    """An event that this library does not know, or a known one whose payload is not an object.

    Attributes:
        payload: the untouched JSON of the payload.
        name: Callbell's name of the event.
        key: identifies the event: the same for every delivery of it.
        sent_at: when Callbell sent it; `None` if Callbell left it out.
        raw: the untouched JSON of the whole document.
    """

    name: str
    payload: Any = attrs.field(default=None, hash=False, repr=False)


Event = (
    MessageCreated
    | MessageStatusUpdated
    | ContactCreated
    | ContactUpdated
    | ContactDeleted
    | ConversationOpened
    | ConversationClosed
    | AgentStatusUpdated
    | AgentSessionUpdated
    | TeamMembershipUpdated
    | UnknownEvent
)
"""Any webhook event: a union, so that a type checker can verify that a `match` handles every kind.

All of them have `name`, `key`, `sent_at` and `raw`. `key` is the same for every delivery of one event, and Callbell may deliver an event more
than once. It is a digest of the name, the payload, and the outer `createdAt`; for an event about a message with a uuid, the date does not
count. Events without a date and with equal payloads share a key, for example a user's second login: keep keys for hours, not for ever.
"""
