"""Webhook events as lines of text."""

from __future__ import annotations

from datetime import datetime

from callbell_async.cli.output import escape_control, json_text
from callbell_async.models.contacts import Contact
from callbell_async.models.events import (
    AgentSessionUpdated,
    AgentStatusUpdated,
    ContactCreated,
    ContactDeleted,
    ContactUpdated,
    ConversationClosed,
    ConversationOpened,
    Event,
    MessageCreated,
    MessageStatusUpdated,
    TeamMembershipUpdated,
    UnknownEvent,
)

__all__ = ["colour_of", "details", "event_line"]

_LONGEST = 300

_FAMILIES = {"message": "green", "contact": "cyan", "conversation": "blue", "agent": "magenta", "team": "magenta"}


def event_line(event: Event, *, now: datetime) -> str:
    """Return the event as one line with its time of arrival: control characters are escaped, and a long line is cut."""
    line = escape_control(f"{event.name} {details(event)}".rstrip())
    return f"{now:%H:%M:%S} {line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}"


def colour_of(event: Event) -> str:
    """Return the colour of an event: one for each family, one for failures, one for unknown events."""
    if isinstance(event, UnknownEvent):
        return "yellow"
    if isinstance(event, MessageStatusUpdated) and event.failure is not None:
        return "red"
    return _FAMILIES.get(event.name.partition("_")[0], "yellow")


def details(event: Event) -> str:
    """Return the most important values of an event, without its name."""
    match event:
        case MessageCreated(is_incoming=True):
            return f"{event.channel} from {event.sender}: {_content(event)}"
        case MessageCreated():
            return f"{event.channel} to {event.recipient}: {_content(event)}"
        case MessageStatusUpdated():
            failure = event.failure
            why = "" if failure is None else f" ({_joined(failure.code, failure.reason) or 'no reason given'})"
            return f"{event.uuid} {event.status}{why}"
        case ContactCreated() | ContactUpdated():
            return _person(event.contact)
        case ContactDeleted():
            return str(event.uuid)
        case ConversationOpened():
            return f"with {_person(event.contact)}"
        case ConversationClosed():
            return _joined(f"with {_person(event.contact)}", event.conversation.closing_reason)
        case AgentStatusUpdated():
            available = {True: "available", False: "away"}.get(event.user.available)  # type: ignore[arg-type]
            custom = event.user.user_custom_status
            return _joined(event.user.email, available, custom and custom.name)
        case AgentSessionUpdated():
            return _joined(event.user and event.user.email, event.action)
        case TeamMembershipUpdated():
            return _joined(event.team and event.team.name, event.reason, event.user and event.user.email)
        case UnknownEvent():
            return json_text(event.payload)


def _content(message: MessageCreated) -> str:
    others = {
        f"{len(message.attachments)} attachments": message.attachments,
        "a location": message.location,
        f"{len(message.contact_cards)} contact cards": message.contact_cards,
    }
    return _joined(message.text, *(f"[{name}]" for name, there in others.items() if there))


def _person(contact: Contact | None) -> str:
    return "nobody" if contact is None else _joined(contact.name, contact.phone_number, contact.uuid)


def _joined(*parts: object) -> str:
    return " ".join(str(part) for part in parts if part not in (None, ""))
