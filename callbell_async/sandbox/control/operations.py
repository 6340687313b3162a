"""The operations of the control API, and the attributes and methods of a sandbox that they use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from callbell_async.models.message_parts import Location
from callbell_async.models.validation import is_same_recipient
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api.pagination import page_of, positive_integer
from callbell_async.sandbox.api.router import Routes
from callbell_async.sandbox.api.validation import (
    CHANNELS,
    Fields,
    number,
    one_of,
    read_json,
    required_field,
    strings,
    text,
    whole_number,
)
from callbell_async.sandbox.clock import utc_millis
from callbell_async.sandbox.control import documents
from callbell_async.sandbox.control.documents import KINDS
from callbell_async.sandbox.control.fault_names import OFFERED, applies_to, read_fault
from callbell_async.sandbox.exchange import Refusal, SandboxRequest, SandboxResponse, refusal
from callbell_async.sandbox.fault_rules import FaultRule, FaultRules
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.webhook_sender import WebhookSender

__all__ = ["OPERATIONS", "ControlledSandbox", "control"]

SIZE, MOST = 50, 500
"""The default length of a page, and the greatest one."""

T = TypeVar("T")
ControlOperation = Callable[..., Awaitable[SandboxResponse]]
"""Called with the sandbox, the request, and the values of the `:names` in the path."""


class ControlledSandbox(Protocol):
    """A `Sandbox`, which has these attributes and methods."""

    account: SandboxAccount
    deliveries: WebhookSender
    requests: list[SandboxRequest]
    fault_rules: FaultRules

    @property
    def url(self) -> str:
        """The base URL for a client."""
        ...

    def inject(
        self,
        *faults: Fault,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        when: Callable[[SandboxRequest], bool] | None = None,
    ) -> FaultRule:
        """Apply faults to requests."""
        ...

    def remove_faults(self) -> None:
        """End all rules of `inject`."""

    def seed(self, document: Mapping[str, Any]) -> int:
        """Add records."""
        ...

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""

    async def reset(self) -> None:
        """Return to the state of a new sandbox."""


async def control(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Execute a request to the control API."""
    try:
        operation, names = _ROUTES.find(request.method, request.path.split("/"))
        return await operation(sandbox, request, *names)
    except Refusal as refused:
        return refused.response


def _page(items: Sequence[T], query: Mapping[str, str], name: str, show: Callable[[T], Any]) -> SandboxResponse:
    size = min(positive_integer(query, "size", SIZE), MOST)
    page, meta = page_of(items, query, size)
    return SandboxResponse(200, {name: [show(item) for item in page], "meta": {**meta, "total": len(items)}})


async def get_state(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return the counts, the time, the fault rules and the webhook."""
    account, deliveries = sandbox.account, sandbox.deliveries
    document = {
        "url": sandbox.url,
        "time": utc_millis(account.calendar.now()),
        "contacts": len(account.contacts),
        "messages": len(account.messages),
        "requests": len(sandbox.requests),
        "faults": [documents.fault_rule(rule) for rule in sandbox.fault_rules],
        "webhook": None if account.webhook is None else documents.record(account.webhook),
        "deliveries": {
            "delivered": deliveries.delivered,
            "failed": deliveries.failed,
            "given_up": deliveries.given_up,
            "waiting": deliveries.waiting,
            "signed": deliveries.secret is not None,
        },
    }
    return SandboxResponse(200, document)


async def reset(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return to the state of a new sandbox."""
    await sandbox.reset()
    return SandboxResponse(204)


async def move_clock(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Move the clock forward."""
    seconds = required_field(request.body, "seconds", number(0, 10 * 366 * 86400))
    try:
        sandbox.advance(seconds)
    except ValueError as error:
        raise refusal(400, str(error)) from None
    return SandboxResponse(200, {"time": utc_millis(sandbox.account.calendar.now())})


# --- records ------------------------------------------------------------------------------------------------------------


async def seed(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Add records of all kinds, or none of them if one is wrong."""
    try:
        return SandboxResponse(200, {"added": sandbox.seed(read_json(request.body))})
    except ValueError as error:
        raise refusal(400, str(error)) from None


async def get_records(sandbox: ControlledSandbox, request: SandboxRequest, kind: str) -> SandboxResponse:
    """Return the records of a kind, by page."""
    if kind not in KINDS:
        raise refusal(404, f"unknown kind of record; must be one of: {', '.join(KINDS)}")
    return _page(documents.list_records(sandbox.account, kind), request.query, kind, documents.record)


# --- conversations ------------------------------------------------------------------------------------------------------


async def receive(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Receive a message from a customer."""
    fields = Fields(read_json(request.body))
    sender = fields.required("sender")
    channel = fields.optional("channel", one_of(CHANNELS)) or "whatsapp"
    written = fields.optional("text", text) or ""
    attachments = fields.optional("attachments", strings) or []
    place = fields.optional("location", _location)
    if not (written.strip() or attachments or place):
        fields.add_error("text", "must be present and not empty, unless there are attachments or a location")
    fields.check()
    location = None if place is None else _read_location(place)
    item = sandbox.account.receive_message(
        written, sender=sender, channel=channel, attachments=attachments, location=location
    )
    return SandboxResponse(200, {"message": documents.chat_item(sandbox.account, item)})


_LATITUDE, _LONGITUDE = number(-90, 90), number(-180, 180)


def _location(value: Any) -> str | None:
    if isinstance(value, dict) and not (_LATITUDE(value.get("latitude")) or _LONGITUDE(value.get("longitude"))):
        return None
    return "must have a latitude from -90 to 90 and a longitude from -180 to 180"


def _read_location(value: Mapping[str, Any]) -> Location:
    latitude, longitude = float(value["latitude"]), float(value["longitude"])
    url = f"https://www.google.com/maps/search/?api=1&query={latitude:g},{longitude:g}"
    return Location(latitude=latitude, longitude=longitude, map_url=url)


async def get_conversations(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return the conversations by page, the most recent first; `search` selects by name and number."""
    account, wanted = sandbox.account, request.query.get("search", "").casefold().strip()
    found = [
        contact
        for contact in account.contacts
        if wanted in contact.name.casefold() or wanted in contact.identifier.casefold()
    ]
    return _page(found, request.query, "conversations", lambda contact: documents.conversation(account, contact))


async def get_conversation(sandbox: ControlledSandbox, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return a conversation with the last items of its history, or with those before the item number `before`."""
    account = sandbox.account
    contact = account.contacts.get(uuid)
    size = min(positive_integer(request.query, "size", SIZE), MOST)
    count = len(contact.history)
    end = min(positive_integer(request.query, "before", count or 1), count)
    start = max(0, end - size)
    items = contact.history[start:end]
    document = {
        **documents.conversation(account, contact),
        "start": start,
        "history": [documents.chat_item(account, item) for item in items],
        "next_change": documents.next_change(account, items),
    }
    return SandboxResponse(200, document)


# --- messages, requests, deliveries -------------------------------------------------------------------------------------


async def get_messages(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return the accepted messages by page, in their order; `to` selects a recipient."""
    account, to = sandbox.account, request.query.get("to")
    found = [one for one in account.messages if to is None or is_same_recipient(one.recipient, to)]
    return _page(found, request.query, "messages", lambda message: documents.message(account, message))


async def get_message(sandbox: ControlledSandbox, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return an accepted message, with its request and response."""
    message = sandbox.account.find_message(uuid)
    if message is None:
        raise refusal(404, "not found")
    shown = documents.message(sandbox.account, message)
    return SandboxResponse(200, {"message": shown, "request": documents.request(message.request)})


async def get_requests(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return the requests by page, the newest first."""
    return _page(sandbox.requests[::-1], request.query, "requests", documents.request)


async def get_deliveries(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return the attempts to deliver an event by page, the newest first; `message` selects the events about a message."""
    uuid = request.query.get("message")
    found = [one for one in sandbox.account.webhook_events if uuid is None or _is_about(one.payload, uuid)]
    return _page(found, request.query, "deliveries", documents.delivery)


def _is_about(payload: Any, uuid: str) -> bool:
    return isinstance(payload, dict) and payload.get("uuid") == uuid


# --- faults -------------------------------------------------------------------------------------------------------------


async def get_faults(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Return the rules that still apply, and the faults that can be chosen."""
    offered = [
        {
            "name": name,
            "effect": fault.effect,
            "outcome": fault.outcome,
            "arguments": {argument.name: argument.default for argument in fault.arguments},
        }
        for name, fault in OFFERED.items()
    ]
    rules = [documents.fault_rule(rule) for rule in sandbox.fault_rules]
    return SandboxResponse(200, {"faults": rules, "offered": offered})


async def inject(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """Apply faults to requests."""
    fields = Fields(read_json(request.body))
    given = fields.required("faults", lambda value: None if isinstance(value, list) and value else "must be a list")
    times = fields.optional("times", whole_number(1))
    probability = fields.optional("probability", number(0, 1))
    seed = fields.optional("seed", number(0, 2**53))
    to, path = fields.optional("to", text), fields.optional("path", text)
    fields.check()
    faults = [read_fault(fault) for fault in given]
    if to is not None and any(fault.before_reading for fault in faults):
        raise refusal(400, {"to": ["is not known to a fault that applies before the body is read; leave it out"]})
    rule = sandbox.inject(
        *faults,
        times=times,
        probability=1.0 if probability is None else probability,
        seed=int(seed or 0),
        when=None if to is None and path is None else applies_to(to, path),
    )
    return SandboxResponse(200, {"fault": documents.fault_rule(rule)})


async def remove_fault(sandbox: ControlledSandbox, request: SandboxRequest, number: str) -> SandboxResponse:
    """End a rule."""
    rule = next((rule for rule in sandbox.fault_rules if str(rule.id) == number), None)
    if rule is None:
        raise refusal(404, "not found")
    rule.remove()
    return SandboxResponse(204)


async def remove_faults(sandbox: ControlledSandbox, request: SandboxRequest) -> SandboxResponse:
    """End all rules."""
    sandbox.remove_faults()
    return SandboxResponse(204)


OPERATIONS: dict[str, ControlOperation] = {
    "GET /_sandbox/state": get_state,
    "POST /_sandbox/reset": reset,
    "POST /_sandbox/clock": move_clock,
    "POST /_sandbox/records": seed,
    "GET /_sandbox/records/:kind": get_records,
    "POST /_sandbox/receive": receive,
    "GET /_sandbox/conversations": get_conversations,
    "GET /_sandbox/conversations/:uuid": get_conversation,
    "GET /_sandbox/messages": get_messages,
    "GET /_sandbox/messages/:uuid": get_message,
    "GET /_sandbox/requests": get_requests,
    "GET /_sandbox/deliveries": get_deliveries,
    "GET /_sandbox/faults": get_faults,
    "POST /_sandbox/faults": inject,
    "DELETE /_sandbox/faults": remove_faults,
    "DELETE /_sandbox/faults/:id": remove_fault,
}
"""By method and path."""

_ROUTES = Routes(OPERATIONS)
