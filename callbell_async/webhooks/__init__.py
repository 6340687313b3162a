"""Webhooks: verify, parse and receive Callbell's requests, and follow messages by their events.

`add_webhook_route` is imported when it is first used: it imports aiohttp's server, which an ASGI application does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from callbell_async.errors import EventDecodeError, EventNotHandledError, SignatureError
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
    AttachmentKind,
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
from callbell_async.webhooks.asgi import WebhookApp
from callbell_async.webhooks.receiver import ReceiverStats, WebhookReceiver
from callbell_async.webhooks.request import ReceiverResponse, parse_event
from callbell_async.webhooks.signature import SIGNATURE_HEADER, sign, verify_signature
from callbell_async.webhooks.tracker import MessageTracker, TrackedMessage

if TYPE_CHECKING:
    from callbell_async.webhooks.aiohttp_route import add_webhook_route

__all__ = [
    "SIGNATURE_HEADER",
    "AgentSessionUpdated",
    "AgentStatusUpdated",
    "Attachment",
    "AttachmentKind",
    "ContactCard",
    "ContactCardPhone",
    "ContactCreated",
    "ContactDeleted",
    "ContactUpdated",
    "ConversationClosed",
    "ConversationOpened",
    "Event",
    "EventDecodeError",
    "EventNotHandledError",
    "InteractiveList",
    "ListItem",
    "ListSection",
    "Location",
    "MembershipReason",
    "MessageContext",
    "MessageCreated",
    "MessageStatusUpdated",
    "MessageTracker",
    "ReceiverResponse",
    "ReceiverStats",
    "ReplyButton",
    "ReplyOption",
    "SessionAction",
    "SignatureError",
    "TeamMembershipUpdated",
    "TrackedMessage",
    "UnknownEvent",
    "WebhookApp",
    "WebhookReceiver",
    "add_webhook_route",
    "parse_event",
    "sign",
    "verify_signature",
]


# Hidden from type checkers, which would accept every name otherwise.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name != "add_webhook_route":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module("callbell_async.webhooks.aiohttp_route").add_webhook_route
