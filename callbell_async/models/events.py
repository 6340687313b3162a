"""What Callbell tells a webhook.

Anything may be missing in an event, and is `None` or empty then. Telephone numbers, texts and people's names are never in a repr. Source:
Callbell's pages on its webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from callbell_async.models.account import Team, TeamMember
from callbell_async.models.contacts import Contact, Conversation
from callbell_async.models.message_parts import (
    Attachment,
    ContactCard,
    InteractiveList,
    Location,
    MessageContext,
    ReplyButton,
    counted,
)
from callbell_async.models.message_status import MessageStatus
from callbell_async.models.receipts import MessageFailure, MessageReceipt

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
    "SessionAction",
    "TeamMembershipUpdated",
    "UnknownEvent",
]


class SessionAction(StrEnum):
    """What a user's session did. An action that Callbell adds later is given as a plain string."""

    USER_LOGGED_IN = "user_logged_in"
    USER_LOGGED_OUT = "user_logged_out"
    SYSTEM_LOGGED_OUT = "system_logged_out"


class MembershipReason(StrEnum):
    """How a team changed. A reason that Callbell adds later is given as a plain string."""

    AGENT_ADDED = "agent_added"
    AGENT_REMOVED = "agent_removed"


def _named(model: Any) -> str:
    # Enough to find it, and nothing of what it says about a person.
    return repr(model) if model is None else f"{type(model).__name__}(uuid={getattr(model, 'uuid', None)!r})"


def _hidden(model: Any) -> str:
    return repr(model) if model is None else f"<{type(model).__name__}>"


@attrs.frozen(kw_only=True)
class Event:
    """What all events share; `parse_event` gives one of its subclasses.

    - `name`: what Callbell calls the event.
    - `key`: the same for every delivery of one event, which Callbell may deliver more than once: a digest of its name and payload, and of the outer
      `createdAt`, but for events of a message whose payload has its `uuid`. Where neither is there, events that say the same share a key, such as a
      user's second login: keep keys for hours.
    - `sent_at`: the outer `createdAt`, which is not always there.
    - `raw`: the untouched JSON of the whole document.
    """

    name: str = attrs.field(repr=False)
    key: str
    sent_at: datetime | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class MessageCreated(Event):
    """A message came in or went out; the account's own and its bots' arrive too.

    `uuid` begins with `wamid.` on incoming WhatsApp messages. `status` is `received` or `sent`. `sender` and `recipient` are `from` and `to` on
    the wire. `metadata` is what the message was sent with. A voice note is one audio attachment without a text.
    """

    name: str = attrs.field(default="message_created", repr=False)
    uuid: str | None = None
    text: str | None = attrs.field(default=None, repr=False)
    status: str | None = None
    channel: str | None = None
    sender: str | None = attrs.field(default=None, repr=False)
    recipient: str | None = attrs.field(default=None, repr=False)
    created_at: datetime | None = None
    attachments: tuple[Attachment, ...] = attrs.field(default=(), repr=counted)
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False, repr=counted)
    contact: Contact | None = attrs.field(default=None, repr=_named)
    location: Location | None = None
    contact_cards: tuple[ContactCard, ...] = attrs.field(default=(), repr=counted)
    reply_button: ReplyButton | None = None
    interactive_list: InteractiveList | None = None
    context: MessageContext | None = None
    is_forwarded: bool = False

    @property
    def is_incoming(self) -> bool:
        """Whether the customer sent it."""
        return self.status == "received"


@attrs.frozen(kw_only=True)
class MessageStatusUpdated(Event):
    """An outgoing message came further, or failed. `status_payload` is the report of the integration, read where it came as a JSON string."""

    name: str = attrs.field(default="message_status_updated", repr=False)
    uuid: str | None = None
    status: MessageStatus | str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False, repr=counted)
    status_payload: Any = attrs.field(default=None, hash=False, repr=False)
    contact: Contact | None = attrs.field(default=None, repr=_named)

    @property
    def receipt(self) -> MessageReceipt | None:
        """The message's receipt as it is now; `None` where the event names no message. Its `raw` is the event's payload."""
        if self.uuid is None:
            return None
        payload = self.raw.get("payload")
        return MessageReceipt(
            self.uuid,
            self.status,
            self.status_payload,
            self.contact,
            raw=payload if isinstance(payload, Mapping) else {},
        )

    @property
    def failure(self) -> MessageFailure | None:
        """Why it was not delivered, when its status is `FAILED`; the report may say no reason."""
        return MessageReceipt(self.uuid or "", self.status, self.status_payload).failure


@attrs.frozen(kw_only=True)
class ContactCreated(Event):
    """A contact was created."""

    name: str = attrs.field(default="contact_created", repr=False)
    contact: Contact = attrs.field(repr=_named)


@attrs.frozen(kw_only=True)
class ContactUpdated(Event):
    """A contact was changed; `contact` is what it is now."""

    name: str = attrs.field(default="contact_updated", repr=False)
    contact: Contact = attrs.field(repr=_named)


@attrs.frozen(kw_only=True)
class ContactDeleted(Event):
    """A contact was deleted."""

    name: str = attrs.field(default="contact_deleted", repr=False)
    uuid: str | None = None
    deleted_at: datetime | None = None


@attrs.frozen(kw_only=True)
class _ConversationEvent(Event):
    conversation: Conversation = attrs.field(repr=_hidden)

    @property
    def contact(self) -> Contact | None:
        """With whom."""
        return self.conversation.contact


@attrs.frozen(kw_only=True)
class ConversationOpened(_ConversationEvent):
    """A conversation was opened."""

    name: str = attrs.field(default="conversation_opened", repr=False)


@attrs.frozen(kw_only=True)
class ConversationClosed(_ConversationEvent):
    """A conversation was closed; its `closing_reason` may say why."""

    name: str = attrs.field(default="conversation_closed", repr=False)


@attrs.frozen(kw_only=True)
class AgentStatusUpdated(Event):
    """A user's status changed; `user` is what it is now."""

    name: str = attrs.field(default="agent_status_updated", repr=False)
    user: TeamMember = attrs.field(repr=_hidden)


@attrs.frozen(kw_only=True)
class AgentSessionUpdated(Event):
    """A user logged in or was logged out."""

    name: str = attrs.field(default="agent_session_updated", repr=False)
    action: SessionAction | str | None = None
    user: TeamMember | None = attrs.field(default=None, repr=_hidden)


@attrs.frozen(kw_only=True)
class TeamMembershipUpdated(Event):
    """A user joined or left a team."""

    name: str = attrs.field(default="team_membership_updated", repr=False)
    reason: MembershipReason | str | None = None
    team: Team | None = attrs.field(default=None, repr=_named)
    user: TeamMember | None = attrs.field(default=None, repr=_hidden)
    updated_at: datetime | None = None


@attrs.frozen(kw_only=True)
class UnknownEvent(Event):
    """An event this library does not know, or a known one whose payload is no object; `payload` is its JSON."""

    name: str
    payload: Any = attrs.field(default=None, hash=False, repr=False)
