"""Webhook events: from JSON to models.

Whatever Callbell puts into an event, it is read: only a document that is no object, or names no event, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from callbell_async.models.account import Team, TeamMember
from callbell_async.models.contacts import Contact, Conversation
from callbell_async.models.events import (
    AgentSessionUpdated,
    AgentStatusUpdated,
    ContactCreated,
    ContactDeleted,
    ContactUpdated,
    ConversationClosed,
    ConversationOpened,
    Event,
    MembershipReason,
    MessageCreated,
    MessageStatusUpdated,
    SessionAction,
    TeamMembershipUpdated,
    UnknownEvent,
)
from callbell_async.models.message_status import MessageStatus
from callbell_async.wire.converter import WireError, load_json, reader
from callbell_async.wire.lenient import (
    Fields,
    answer_of,
    canonical,
    fields_of,
    read_date,
    read_object,
    read_text,
    several_of,
    whole_as,
)
from callbell_async.wire.message_parts import (
    read_attachment,
    read_contact_cards,
    read_context,
    read_forwarded,
    read_interactive_list,
    read_location,
    read_metadata,
    read_reply_button,
    read_report,
)

__all__ = ["load_event"]


def load_event(body: bytes) -> Event:
    """The event in a body; raises `WireError` for one that is no JSON object with a string `event`."""
    document = load_json(body)
    if not isinstance(document, dict):
        raise WireError(f"an object was expected, not {type(document).__name__}")
    name = document.get("event")
    if not isinstance(name, str):
        raise WireError('the document has no string "event"')
    payload = document.get("payload")
    shared = {
        "name": name,
        "key": _key(name, payload, document.get("createdAt"), body),
        "sent_at": read_date(document.get("createdAt")),
        "raw": document,
    }
    if name in _EVENTS and (fields := read_object(payload)) is not None:
        cls, read = _EVENTS[name]
        return cls(**shared, **read(fields))
    return UnknownEvent(**shared, payload=payload)


_OF_ONE_MESSAGE = ("message_created", "message_status_updated")


def _key(name: str, payload: Any, sent: Any, body: bytes) -> str:
    # The events of a message that is named can't be told twice in earnest. Others say what is now the case, and may say it again after it
    # was otherwise, as a customer may say "Hello" again: to handle such an event twice does no harm, to take a new one for an old one does.
    said = [name, payload] if sent is None or _names_a_message(name, payload) else [name, payload, sent]
    # What is nested too deeply to be written (hundreds of levels) is told apart by its bytes: better handled twice than never.
    return hashlib.blake2b(canonical(said) or body, digest_size=16).hexdigest()


def _names_a_message(name: str, payload: Any) -> bool:
    return name in _OF_ONE_MESSAGE and bool(read_text((read_object(payload) or {}).get("uuid")))


_contact = answer_of(Contact)
_user = answer_of(TeamMember)

_EVENTS: dict[str, tuple[Callable[..., Event], Fields]] = {
    "message_created": (
        MessageCreated,
        fields_of(
            uuid=(read_text, "uuid"),
            text=(read_text, "text"),
            status=(read_text, "status"),
            channel=(read_text, "channel"),
            sender=(read_text, "from"),
            recipient=(read_text, "to"),
            created_at=(read_date, "createdAt"),
            attachments=(several_of(read_attachment), "attachments"),
            metadata=(read_metadata, "metadata"),
            contact=(_contact, "contact"),
            location=(read_location, "messageLocation"),
            contact_cards=(read_contact_cards, "messageContactCard"),
            reply_button=(read_reply_button, "messageReplyButton"),
            interactive_list=(read_interactive_list, "messageInteractiveList"),
            context=(read_context, "messageContext", "mesageContext"),
            is_forwarded=(read_forwarded, "messageForward"),
        ),
    ),
    "message_status_updated": (
        MessageStatusUpdated,
        fields_of(
            uuid=(read_text, "uuid"),
            status=(reader(MessageStatus | str), "status"),
            metadata=(read_metadata, "metadata"),
            status_payload=(read_report, "messageStatusPayload"),
            contact=(_contact, "contact"),
        ),
    ),
    "contact_created": (ContactCreated, whole_as("contact", Contact)),
    "contact_updated": (ContactUpdated, whole_as("contact", Contact)),
    "contact_deleted": (ContactDeleted, fields_of(uuid=(read_text, "uuid"), deleted_at=(read_date, "deleted"))),
    "conversation_opened": (ConversationOpened, whole_as("conversation", Conversation)),
    "conversation_closed": (ConversationClosed, whole_as("conversation", Conversation)),
    "agent_status_updated": (AgentStatusUpdated, whole_as("user", TeamMember)),
    "agent_session_updated": (
        AgentSessionUpdated,
        fields_of(action=(reader(SessionAction | str), "action"), user=(_user, "user")),
    ),
    "team_membership_updated": (
        TeamMembershipUpdated,
        fields_of(
            reason=(reader(MembershipReason | str), "reason"),
            team=(answer_of(Team), "team"),
            user=(_user, "user"),
            updated_at=(read_date, "lastUpdateAt", "lastUpdatedAt"),
        ),
    ),
}
