"""The JSON of the control API: the records of an account, from JSON and to JSON, and the documents of the responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from callbell_async.sandbox.account import DAY, SandboxAccount
from callbell_async.sandbox.api.validation import CHANNELS, Rule, flag, one_of, strings, text
from callbell_async.sandbox.clock import is_writable, utc_millis
from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault_rules import FaultRule
from callbell_async.sandbox.message_lifecycle import status_changes
from callbell_async.sandbox.records import (
    ChannelType,
    HistoryItem,
    SandboxChannel,
    SandboxContact,
    SandboxCustomField,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxMessage,
    SandboxTeam,
    SandboxTemplate,
    SandboxUser,
    SandboxWebhook,
    SandboxWebhookDelivery,
)

__all__ = [
    "KINDS",
    "add_records",
    "chat_item",
    "conversation",
    "delivery",
    "fault_rule",
    "list_records",
    "message",
    "next_change",
    "record",
    "request",
]


# --- records ----------------------------------------------------------------------------------------------------------

KINDS: Mapping[str, tuple[type[Any], Callable[[SandboxAccount], Iterable[Any]]]] = {
    "channels": (SandboxChannel, lambda account: account.channels),
    "templates": (SandboxTemplate, lambda account: account.templates),
    "teams": (SandboxTeam, lambda account: account.teams),
    "users": (SandboxUser, lambda account: account.users),
    "custom_statuses": (SandboxCustomStatus, lambda account: account.custom_statuses),
    "funnels": (SandboxFunnel, lambda account: account.funnels),
    "contacts": (SandboxContact, lambda account: account.contacts),
    "webhooks": (SandboxWebhook, lambda account: [] if account.webhook is None else [account.webhook]),
}
"""The class of each kind of record, and the records of an account."""

CUSTOM_FIELDS = "custom_fields"
KEPT_BY_THE_ACCOUNT = ("bot", "history", "last_reply", "activity")


def _checked(rule: Rule) -> Callable[[Any, Any], Any]:
    """Return a hook that takes the values which the rule accepts, without conversion."""

    def structure(value: Any, _: Any) -> Any:
        if error := rule(value):
            raise TypeError(error)
        return value

    return structure


def _whole_number(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number"


def _field_value(value: Any) -> str | None:
    return None if text(value) is None or strings(value) is None else "must be a string or a list of strings"


def _date(value: Any, _: Any) -> datetime:
    try:
        date = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a date such as 2026-01-01T12:00:00Z") from None
    if not is_writable(date):
        raise ValueError("must be a date from the year 2 to the year 9998")
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _checked(text))
    converter.register_structure_hook(bool, _checked(flag))
    converter.register_structure_hook(int, _checked(_whole_number))
    converter.register_structure_hook(datetime, _date)
    converter.register_structure_hook_func(lambda type_: type_ == ChannelType, _checked(one_of(CHANNELS)))
    converter.register_structure_hook_func(lambda type_: type_ == str | list[str], _checked(_field_value))
    converter.register_structure_hook_func(lambda type_: type_ in (list[str], Sequence[str]), _checked(strings))
    converter.register_unstructure_hook(datetime, lambda date: date.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    omitted: dict[str, Any] = {name: override(omit=True) for name in KEPT_BY_THE_ACCOUNT}
    attrs.resolve_types(SandboxContact)
    converter.register_structure_hook(
        SandboxContact,
        make_dict_structure_fn(SandboxContact, converter, _cattrs_forbid_extra_keys=True, **omitted),
    )
    converter.register_unstructure_hook(SandboxContact, make_dict_unstructure_fn(SandboxContact, converter, **omitted))
    return converter


_converter = _make_converter()


def record(record: Any) -> dict[str, Any]:
    """Return a record as JSON."""
    document: dict[str, Any] = _converter.unstructure(record)
    return document


def list_records(account: SandboxAccount, kind: str) -> list[Any]:
    """Return the account's records of a kind."""
    return list(KINDS[kind][1](account))


def add_records(account: SandboxAccount, document: Any) -> int:
    """Add records of all kinds, or none of them if one is wrong.

    Args:
        account: The account.
        document: For each kind (`contacts`, `templates` …) a list of records. `custom_fields` has a type for each name.

    Returns:
        The number of records.

    Raises:
        ValueError: A kind, a field or a value is wrong; the text names the place.
    """
    if not isinstance(document, Mapping):
        raise ValueError('must be a JSON object with lists of records, such as {"contacts": [{…}]}')
    records: list[Any] = []
    for kind, given in document.items():
        if kind == CUSTOM_FIELDS:
            continue
        if kind not in KINDS:
            raise ValueError(f"{kind}: unknown; must be one of: {', '.join([*KINDS, CUSTOM_FIELDS])}")
        records += _read(list[KINDS[kind][0]], given, kind)  # type: ignore[misc]
    fields = _read(dict[str, SandboxCustomField], document.get(CUSTOM_FIELDS, {}), CUSTOM_FIELDS)
    for one in records:
        account.seed(one)
    account.custom_fields.update(fields)
    return len(records) + len(fields)


def _read(type_: Any, value: Any, place: str) -> Any:
    expected = "a list" if place != CUSTOM_FIELDS else "an object"
    if not isinstance(value, list if place != CUSTOM_FIELDS else dict):
        raise ValueError(f"{place}: must be {expected}")
    try:
        return _converter.structure(value, type_)
    except BaseValidationError as error:
        errors = transform_error(error, path=place, format_exception=_explain)
        # "text @ place" becomes "place: text", as everywhere else.
        raise ValueError("; ".join(": ".join(reversed(line.rsplit(" @ ", 1))) for line in errors)) from None


def _explain(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    if unknown := getattr(error, "extra_fields", None):
        return f"unknown field: {', '.join(sorted(unknown))}"
    if isinstance(error, TypeError | ValueError) and str(error).startswith("must be"):
        return str(error)
    return "must be a JSON object"


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
        "created_at": utc_millis(item.created_at),
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


# --- messages, requests, deliveries, faults ---------------------------------------------------------------------------

SHOWN = 64 * 1024
"""The number of bytes of a body that are shown."""


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
        "created_at": None if delivery.created_at is None else utc_millis(delivery.created_at),
        "response": None
        if delivery.code is None
        else {"status": delivery.code, "headers": list(delivery.headers.items()), "body": delivery.body},
    }


def fault_rule(rule: FaultRule) -> dict[str, Any]:
    """Return a rule of `inject`."""
    return {
        "id": rule.id,
        "faults": rule.names,
        "times": rule.times,
        "probability": rule.probability,
        "applied": rule.applied,
    }
