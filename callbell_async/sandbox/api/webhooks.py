"""The webhook of the account, and the attempts to deliver events."""

from __future__ import annotations

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import PAGE_SIZE, page_of, positive_integer
from callbell_async.sandbox.api.validation import EVENTS, Fields, check_webhook, query_choice, read_json
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse, refusal
from callbell_async.sandbox.records import SandboxWebhook

__all__ = ["OPERATIONS"]


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
