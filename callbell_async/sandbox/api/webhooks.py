"""The webhook of the account: its subscription, the payloads of its events, and the attempts to deliver them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callbell_async.models.message_parts import Location
from callbell_async.models.receipts import MessageStatus
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import PAGE_SIZE, page_of, positive_integer
from callbell_async.sandbox.api.validation import EVENTS, Fields, check_webhook, is_loopback, query_choice, read_json
from callbell_async.sandbox.clock import local_millis, utc, utc_millis
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse, refusal
from callbell_async.sandbox.records import HistoryItem, SandboxContact, SandboxMessage, SandboxUser, SandboxWebhook

__all__ = ["OPERATIONS", "render", "render_status", "subscriber"]

CLOSING_REASON = "issue_resolved"


def subscribe(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Subscribe to events. This replaces the webhook before, and enables it again if it was disabled."""
    fields = Fields(read_json(request.body))
    url, subscriptions = fields.required("url", check_webhook), fields.required("subscriptions", _subscriptions)
    fields.check()
    webhook = account.seed(SandboxWebhook(url=url, subscriptions=subscriptions))
    return SandboxResponse(200, {"webhook": responses.webhook(webhook)})


def _subscriptions(value: object) -> str | None:
    if validation.strings(value) is not None or not value:
        return validation.ABSENT
    known = isinstance(value, list) and all(name in EVENTS for name in value)
    return None if known else f"must be some of: {', '.join(EVENTS)}"


def unsubscribe(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Remove the webhook."""
    if account.webhook is None:
        raise refusal(404, "not found")
    account.webhook = None
    return SandboxResponse(200, {"status": "webhook was destroyed"})


def get_events(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List the attempts, the newest first, filtered by success and by event."""
    status = query_choice(request.query, "status", ("failed", "success"))
    names = request.query.get("subscriptions")
    wanted = None if names is None else {name.strip() for name in names.split(",")}
    fitting = [
        event
        for event in account.webhook_events
        if (status is None or event.success == (status == "success")) and (wanted is None or event.event in wanted)
    ]
    page, meta = page_of(fitting, request.query, positive_integer(request.query, "items", PAGE_SIZE))
    return SandboxResponse(200, {"webhook_events": [responses.webhook_event(event) for event in page], "meta": meta})


OPERATIONS: dict[str, Operation] = {
    "POST /webhooks/subscribe": subscribe,
    "DELETE /webhooks/unsubscribe": unsubscribe,
    "GET /webhooks/events": get_events,
}


# --- events -----------------------------------------------------------------------------------------------------------


def subscriber(webhook: SandboxWebhook | None, event: str) -> SandboxWebhook | None:
    """Return the webhook if it is enabled, on this machine, and subscribed to the event.

    Nobody can subscribe to an event that Callbell does not document; such an event goes to every webhook.
    """
    if webhook is None or not webhook.enabled or (event in EVENTS and event not in webhook.subscriptions):
        return None
    return webhook if is_loopback(webhook.url) else None


def render(account: SandboxAccount, event: str, record: SandboxContact | SandboxUser | HistoryItem) -> dict[str, Any]:
    """Return the payload of an event about a record of the account."""
    return _PAYLOADS[event](account, record)


def render_status(
    account: SandboxAccount, message: SandboxMessage, status: MessageStatus, after: float
) -> dict[str, Any]:
    """Return the payload of `message_status_updated` for a status reached `after` seconds after the acceptance."""
    return {
        "uuid": message.uuid,
        "status": status.value,
        **responses.metadata(message),
        "messageStatusPayload": account.report(message, status, after),
        "contact": responses.contact(account, message.contact),
    }


def _contact(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    return responses.contact(account, contact)


def _deleted_contact(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    return {"uuid": contact.uuid, "deleted": utc_millis(account.calendar.now())}


def _conversation(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    return {**responses.conversation(contact), "contact": responses.contact(account, contact, chat=False)}


def _closed_conversation(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    closed_at = contact.closed_at or account.calendar.now()
    return {**_conversation(account, contact), "closingReason": CLOSING_REASON, "closedAt": utc(closed_at)}


def _message(account: SandboxAccount, item: HistoryItem) -> dict[str, Any]:
    return {
        "uuid": item.uuid,
        "to": responses.digits(item.recipient),
        "from": responses.digits(item.sender),
        "text": item.text,
        "attachments": list(item.attachments),
        "status": item.status,
        "channel": item.channel,
        "contact": responses.contact(account, item.contact),
        **({} if item.message is None else responses.metadata(item.message)),
        **({} if item.location is None else {"messageLocation": _location(item.location)}),
        "createdAt": local_millis(item.created_at),
    }


def _location(location: Location) -> dict[str, Any]:
    # `x` is the latitude, as in Callbell's example.
    coordinates = {"x": location.latitude, "y": location.longitude}
    return {"coordinates": coordinates, "googleMapsLocation": location.map_url}


_PAYLOADS: dict[str, Callable[[SandboxAccount, Any], dict[str, Any]]] = {
    "message_created": _message,
    "contact_created": _contact,
    "contact_updated": _contact,
    "contact_deleted": _deleted_contact,
    "conversation_opened": _conversation,
    "conversation_closed": _closed_conversation,
    "agent_status_updated": responses.member,
}
