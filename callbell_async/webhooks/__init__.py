"""Webhooks: who sent a request, what it says, and what receives and follows it.

`add_webhook_route` is imported when it is first asked for: it brings in aiohttp's server, which who serves by ASGI has no use for.
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
from callbell_async.webhooks.parse import parse_event
from callbell_async.webhooks.receiver import WebhookReceiver
from callbell_async.webhooks.responses import ReceiverResponse
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


def __getattr__(name: str) -> Any:
    if name != "add_webhook_route":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("callbell_async.webhooks.aiohttp_route").add_webhook_route
