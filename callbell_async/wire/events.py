"""Webhook events and the parts of their messages: from JSON to models. Only a document without a string `event` is refused."""

from __future__ import annotations

import hashlib
import math
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
from callbell_async.models.message_parts import (
    Attachment,
    ContactCard,
    ContactCardPhone,
    InteractiveList,
    ListItem,
    ListSection,
    Location,
    MessageContext,
    ReplyButton,
    ReplyOption,
)
from callbell_async.models.receipts import MessageStatus
from callbell_async.wire.converter import reader
from callbell_async.wire.json_text import WireError, dump_json, load_json
from callbell_async.wire.lenient import (
    FieldsReader,
    fields_reader,
    model_reader,
    payload_reader,
    read_date,
    read_metadata,
    read_object,
    read_text,
    response_model_reader,
    tuple_reader,
)

__all__ = [
    "bare_payload",
    "load_event",
    "read_attachment",
    "read_contact_cards",
    "read_context",
    "read_forwarded",
    "read_interactive_list",
    "read_location",
    "read_reply_button",
    "read_report",
]


def _degrees(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        degrees = float(value)
    except ValueError:
        return None
    return degrees if math.isfinite(degrees) else None


def read_report(value: Any) -> Any:
    """Return an integration's report on a message: the object, read from its JSON string where it comes so, or the value as it is."""
    report = read_object(value)
    return value if report is None else report


def _bytes(value: Any) -> int | None:
    size = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19 else value
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None


# Callbell does not document attachments as objects: the usual spellings are read.
_ATTACHMENT = fields_reader(
    url=(read_text, "url"),
    content_type=(read_text, "content_type", "contentType", "mime_type", "mimeType"),
    file_name=(read_text, "file_name", "fileName", "filename", "name"),
    size=(_bytes, "size", "file_size", "fileSize"),
)


def read_attachment(value: Any) -> Attachment | None:
    """Return an attachment that comes as its URL, or as an object with a `url`."""
    if isinstance(value, str):
        return Attachment(url=value) if value else None
    if not isinstance(value, dict):
        return None
    fields = _ATTACHMENT(value)
    return Attachment(**fields) if fields.get("url") else None


_LOCATION = model_reader(
    Location, latitude=(_degrees, "x"), longitude=(_degrees, "y"), map_url=(read_text, "googleMapsLocation")
)


def read_location(value: Any) -> Any:
    """Read `{coordinates: {x, y}, googleMapsLocation}`, where `x` is the latitude."""
    value = read_object(value) or {}
    return _LOCATION({**value, **(read_object(value.get("coordinates")) or {})})


_CARD = model_reader(
    ContactCard,
    name=(read_text, "name"),
    phones=(
        tuple_reader(
            model_reader(
                ContactCardPhone, phone=(read_text, "phone"), wa_id=(read_text, "wa_id"), type=(read_text, "type")
            )
        ),
        "phones",
    ),
)
_CARDS = tuple_reader(_CARD)


def read_contact_cards(value: Any) -> Any:
    """Read `{contactsInfo: [{name, phones: [{phone, wa_id, type}]}]}`."""
    return _CARDS((read_object(value) or {}).get("contactsInfo"))


_REPLY_BUTTON = model_reader(
    ReplyButton,
    type=(read_text, "type"),
    header=(read_text, "header"),
    text=(read_text, "text"),
    caption=(read_text, "caption"),
    url=(read_text, "url"),
    filename=(read_text, "filename"),
    content_type=(read_text, "contentType"),
    options=(
        tuple_reader(
            model_reader(
                ReplyOption,
                title=(read_text, "title"),
                type=(read_text, "type"),
                postback_text=(read_text, "postback_text"),
                postback_url=(read_text, "postback_url"),
            )
        ),
        "options",
    ),
)


def read_reply_button(value: Any) -> Any:
    """Read `{metadata: {type, content, options}}`."""
    metadata = read_object((read_object(value) or {}).get("metadata")) or {}
    return _REPLY_BUTTON({**(read_object(metadata.get("content")) or {}), **metadata})


def _title(value: Any) -> str | None:
    title: str | None = read_text(value.get("title") if isinstance(value, dict) else value)
    return title


_LIST = model_reader(
    InteractiveList,
    header=(read_text, "header"),
    body=(read_text, "body"),
    buttons=(tuple_reader(_title), "buttons"),
    sections=(
        tuple_reader(
            model_reader(
                ListSection,
                title=(read_text, "title"),
                subtitle=(read_text, "subtitle"),
                items=(
                    tuple_reader(
                        model_reader(ListItem, header=(read_text, "header"), description=(read_text, "description"))
                    ),
                    "items",
                ),
            )
        ),
        "sections",
    ),
)


def read_interactive_list(value: Any) -> Any:
    """Read `{metadata: …}`, where the metadata is a JSON string."""
    return _LIST((read_object(value) or {}).get("metadata"))


_CONTEXT = model_reader(
    MessageContext, text=(read_text, "text"), created_at=(read_date, "createdAt"), status=(read_text, "status")
)


def read_context(value: Any) -> Any:
    """Read `{target: {text, createdAt, status}}`, or the same object without `target` around it."""
    value = read_object(value) or {}
    return _CONTEXT({**value, **(read_object(value.get("target")) or {})})


def read_forwarded(value: Any) -> bool:
    """Read `{forwarded}`."""
    return (read_object(value) or {}).get("forwarded") is True


def load_event(body: bytes) -> Event:
    """Return the event in a body; raises `WireError` unless it is a JSON object with a string `event`."""
    document = load_json(body)
    if not isinstance(document, dict):
        raise WireError(f"an object was expected, not {type(document).__name__}")
    name = document.get("event")
    if not isinstance(name, str):
        raise WireError('the document has no string "event"' + _missing_envelope(document))
    payload = document.get("payload")
    shared = {
        "name": name,
        "key": _key(name, payload, document.get("createdAt")),
        "sent_at": read_date(document.get("createdAt")),
        "raw": document,
    }
    if name in _EVENTS and (fields := read_object(payload)) is not None:
        cls, read = _EVENTS[name]
        return cls(**shared, **read(fields))
    return UnknownEvent(**shared, payload=payload)


_PAYLOADS: list[tuple[str, set[str]]] = [
    ("message_status_updated", {"uuid", "status", "messageStatusPayload"}),
    ("message_created", {"from", "to", "status"}),
    ("message_created", {"text", "status"}),
    ("contact_deleted", {"uuid", "deleted"}),
    ("contact_created", {"uuid", "phoneNumber"}),
    ("conversation_closed", {"contact", "source", "closingReason"}),
    ("conversation_opened", {"contact", "source", "href"}),
    ("agent_status_updated", {"email", "available"}),
    ("agent_session_updated", {"action", "user"}),
    ("team_membership_updated", {"reason", "team"}),
    ("message_status_updated", {"uuid", "status"}),
]
"""Events, each with the keys by which its payload is recognised."""


def bare_payload(document: Any) -> str | None:
    """Return the event whose payload a document seems to be, without the envelope around it; `None` for any other document."""
    if not isinstance(document, dict) or "event" in document:
        return None
    return next((name for name, keys in _PAYLOADS if keys <= document.keys()), None)


def _missing_envelope(document: dict[str, Any]) -> str:
    if (name := bare_payload(document)) is None:
        return ""
    return (
        "; it seems to be only the payload, as Callbell's dashboard shows it: put it into its envelope, "
        f'for example {{"event": "{name}", "payload": …}}'
    )


_MESSAGE_EVENTS = ("message_created", "message_status_updated")


def _key(name: str, payload: Any, sent_at: Any) -> str:
    # An event about a message with a uuid happens once. Any other event may happen again with the same payload (the same text, a status
    # set twice), so its date is part of the key: to handle a duplicate does no harm, to drop a new event does.
    identity = [name, payload] if sent_at is None or _is_about_one_message(name, payload) else [name, payload, sent_at]
    return hashlib.blake2b(dump_json(identity, field="payload", canonical=True), digest_size=16).hexdigest()


def _is_about_one_message(name: str, payload: Any) -> bool:
    return name in _MESSAGE_EVENTS and bool(read_text((read_object(payload) or {}).get("uuid")))


_contact = response_model_reader(Contact)
_user = response_model_reader(TeamMember)

_EVENTS: dict[str, tuple[Callable[..., Event], FieldsReader]] = {
    "message_created": (
        MessageCreated,
        fields_reader(
            uuid=(read_text, "uuid"),
            text=(read_text, "text"),
            status=(read_text, "status"),
            channel=(read_text, "channel"),
            sender=(read_text, "from"),
            recipient=(read_text, "to"),
            created_at=(read_date, "createdAt"),
            attachments=(tuple_reader(read_attachment), "attachments"),
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
        fields_reader(
            uuid=(read_text, "uuid"),
            status=(reader(MessageStatus | str), "status"),
            metadata=(read_metadata, "metadata"),
            status_payload=(read_report, "messageStatusPayload"),
            contact=(_contact, "contact"),
        ),
    ),
    "contact_created": (ContactCreated, payload_reader("contact", Contact)),
    "contact_updated": (ContactUpdated, payload_reader("contact", Contact)),
    "contact_deleted": (ContactDeleted, fields_reader(uuid=(read_text, "uuid"), deleted_at=(read_date, "deleted"))),
    "conversation_opened": (ConversationOpened, payload_reader("conversation", Conversation)),
    "conversation_closed": (ConversationClosed, payload_reader("conversation", Conversation)),
    "agent_status_updated": (AgentStatusUpdated, payload_reader("user", TeamMember)),
    "agent_session_updated": (
        AgentSessionUpdated,
        fields_reader(action=(reader(SessionAction | str), "action"), user=(_user, "user")),
    ),
    "team_membership_updated": (
        TeamMembershipUpdated,
        fields_reader(
            reason=(reader(MembershipReason | str), "reason"),
            team=(response_model_reader(Team), "team"),
            user=(_user, "user"),
            updated_at=(read_date, "lastUpdateAt", "lastUpdatedAt"),
        ),
    ),
}
