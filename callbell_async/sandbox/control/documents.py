"""The JSON of the control API's responses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from callbell_async.sandbox.account import DAY, SandboxAccount
from callbell_async.sandbox.clock import utc_millis
from callbell_async.sandbox.control.interface import ControlledSandbox
from callbell_async.sandbox.control.records import to_json
from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault_rules import FaultRule
from callbell_async.sandbox.message_lifecycle import status_changes
from callbell_async.sandbox.records import HistoryItem, SandboxContact, SandboxMessage, SandboxWebhookDelivery

__all__ = ["chat_item", "conversation", "delivery", "fault_rule", "message", "next_change", "request", "state"]

SHOWN = 64 * 1024
"""The number of bytes of a body that are shown."""


def _date(date: datetime | None) -> str | None:
    return None if date is None else utc_millis(date)


def state(sandbox: ControlledSandbox) -> dict[str, Any]:
    """Return the counts, the time, the fault rules and the webhook of a sandbox."""
    account, deliveries = sandbox.account, sandbox.deliveries
    return {
        "url": sandbox.url,
        "time": utc_millis(account.calendar.now()),
        "contacts": len(account.contacts),
        "messages": len(account.messages),
        "requests": len(sandbox.requests),
        "faults": [fault_rule(rule) for rule in sandbox.fault_rules],
        "webhook": None if account.webhook is None else to_json(account.webhook),
        "deliveries": {
            "delivered": deliveries.delivered,
            "failed": deliveries.failed,
            "given_up": deliveries.given_up,
            "waiting": deliveries.waiting,
            "signed": deliveries.secret is not None,
        },
    }


def fault_rule(rule: FaultRule) -> dict[str, Any]:
    """Return a rule of `inject`."""
    return {
        "id": rule.id,
        "faults": rule.names,
        "times": rule.times,
        "probability": rule.probability,
        "met": rule.met,
    }


# --- conversations ------------------------------------------------------------------------------------------------------


def conversation(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    """Return a conversation of the list, with its last message."""
    last = contact.history[-1] if contact.history else None
    return {
        "contact": contact.uuid,
        "name": contact.name,
        "identifier": contact.identifier or contact.bsuid or "",
        "channel": contact.source,
        "open": contact.closed_at is None,
        "items": len(contact.history),
        "last": None if last is None else chat_item(account, last),
        "window": _window(account, contact),
    }


def _window(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    """Return the 24 hours for replies; `open` is null for a contact that never wrote."""
    if contact.last_reply is None:
        return {"open": None, "closes_at": None}
    closes = contact.last_reply + DAY
    return {
        "open": account.calendar.elapsed() < closes,
        "closes_at": utc_millis(account.calendar.after(closes)),
    }


def chat_item(account: SandboxAccount, item: HistoryItem) -> dict[str, Any]:
    """Return an item of a contact's history, as a chat shows it."""
    place = item.location
    document: dict[str, Any] = {
        "uuid": item.uuid,
        "kind": item.status,
        "text": item.text,
        "channel": item.channel,
        "from": item.sender,
        "to": item.recipient,
        "created_at": _date(item.created_at),
        "attachments": list(item.attachments),
        "location": None
        if place is None
        else {"latitude": place.latitude, "longitude": place.longitude, "map_url": place.map_url},
    }
    return document if item.message is None else {**document, **_sent(account, item.message)}


def _sent(account: SandboxAccount, message: SandboxMessage) -> dict[str, Any]:
    status, _ = account.status_of(message)
    failure = message.failure
    template = account.templates.find(message.body.get("template_uuid"))
    has_failed = failure is not None and status is failure.status
    return {
        "type": message.body["type"],
        "template": message.body.get("template_uuid") if template is None else template.title,
        "status": status.value,
        "failure": failure.reason if has_failed and failure is not None else None,
        "metadata": message.body.get("metadata"),
    }


def next_change(account: SandboxAccount, items: list[HistoryItem]) -> float | None:
    """Return the seconds until the next change of a status among the items; `None` if there is none."""
    now = account.calendar.elapsed()
    moments = [
        message.at + after - now
        for message in (item.message for item in items)
        if message is not None
        for after, _ in status_changes(account.status_timings, message.failure)
    ]
    return min((moment for moment in moments if moment > 0), default=None)


# --- messages, requests, deliveries -------------------------------------------------------------------------------------


def message(account: SandboxAccount, message: SandboxMessage) -> dict[str, Any]:
    """Return an accepted message, with its body as it was sent."""
    status, report = account.status_of(message)
    return {
        "uuid": message.uuid,
        "to": message.recipient,
        "contact": message.contact.uuid,
        "accepted_at": utc_millis(account.calendar.after(message.at)),
        "status": status.value,
        "report": report,
        "failure": None if message.failure is None else message.failure.reason,
        "body": dict(message.body),
    }


def request(request: SandboxRequest) -> dict[str, Any]:
    """Return a request and its response as they were sent. The token is hidden."""
    return {
        "method": request.method,
        "target": request.target,
        "headers": [[name, _visible(name, value)] for name, value in request.raw_headers],
        "body": _text(request.body),
        "status": request.status,
        "fault": request.fault,
        "response": None if request.response is None else _response(request.response),
    }


def _response(response: SandboxResponse) -> dict[str, Any]:
    headers = {**response.all_headers, **({"Content-Length": str(len(response.content))} if response.has_body else {})}
    return {"status": response.status, "headers": list(headers.items()), "body": _text(response.content)}


def _visible(name: str, value: str) -> str:
    hidden = f"{value.partition(' ')[0]} …" if name.lower() == "authorization" else value
    # A header that is not UTF-8 has surrogates, which JSON can't hold.
    return hidden.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(body: bytes) -> str:
    text = body[:SHOWN].decode("utf-8", "replace")
    return text if len(body) <= SHOWN else f"{text}…"


def delivery(delivery: SandboxWebhookDelivery) -> dict[str, Any]:
    """Return an attempt to deliver an event, with the webhook's response."""
    return {
        "uuid": delivery.uuid,
        "event": delivery.event,
        "payload": delivery.payload,
        "success": delivery.success,
        "created_at": _date(delivery.created_at),
        "response": None
        if delivery.code is None
        else {"status": delivery.code, "headers": list(delivery.headers.items()), "body": delivery.body},
    }
