"""Responses: from JSON to models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from callbell_async.models.account import (
    Account,
    Channel,
    CustomStatus,
    DeletionResponse,
    Funnel,
    Plan,
    Team,
    TeamMember,
    Template,
    UserStatus,
    Webhook,
    WebhookDelivery,
    WebhookResponse,
)
from callbell_async.models.contacts import Bot, Contact, Conversation, CustomField, HistoryMessage, SuccessResponse
from callbell_async.models.receipts import MessageReceipt, MessageStatus
from callbell_async.wire.converter import register_response, structure
from callbell_async.wire.json_text import WireError
from callbell_async.wire.lenient import read_metadata

__all__ = ["load_items", "load_one", "load_receipt", "load_user_status", "load_whole"]

T = TypeVar("T")

register_response(Channel)
register_response(Team)
register_response(CustomStatus)
register_response(CustomField)
# The contact in a receipt has `phone` instead of `phoneNumber`.
register_response(Contact, phoneNumber="phone")
register_response(Conversation)
register_response(HistoryMessage, keys={"sender": "from", "recipient": "to"})
register_response(Bot)
register_response(SuccessResponse)
register_response(Template)
# The event `team_membership_updated` has `lastUpdateAt` instead of `lastUpdatedAt`.
register_response(TeamMember, lastUpdatedAt="lastUpdateAt")
register_response(Funnel)
register_response(Plan)
register_response(Account, keys={"user_email": "user_email", "user_name": "user_name", "api_key": "api_key"})
register_response(DeletionResponse)
register_response(Webhook)
register_response(WebhookResponse)
register_response(UserStatus)
register_response(WebhookDelivery)
register_response(MessageReceipt, keys={"status_payload": "messageStatusPayload"})


def load_one(cls: type[T], *keys: str) -> Callable[[Any], T]:
    """Return a reader of `{key: object}` for the first of the keys that is present. Some responses hold a list of one object instead."""

    def load(document: Any) -> T:
        value = _value_under(document, keys)
        if isinstance(value, list):
            if len(value) != 1:
                raise WireError(f"one {keys[0]} was expected, not a list of {len(value)}")
            value = value[0]
        return structure(value, cls)

    return load


def load_whole(cls: type[T]) -> Callable[[Any], T]:
    """Return a reader of a response that is the object itself."""
    return lambda document: structure(document, cls)


def load_items(cls: type[T], key: str) -> Callable[[Any], tuple[T, ...]]:
    """Return a reader of the objects in `{key: [object]}`."""

    def load(document: Any) -> tuple[T, ...]:
        values = _value_under(document, (key,))
        if not isinstance(values, list):
            raise WireError(f"a list was expected under {key!r}, not {type(values).__name__}")
        return tuple(structure(value, cls) for value in values)

    return load


def load_user_status(document: Any) -> UserStatus:
    """Read `{user_status: {custom_status: {…} | null, appearance: {…}}}`, where the keys are snake_case."""
    value = _value_under(document, ("user_status",))
    if not isinstance(value, dict):
        raise WireError(f"an object was expected under 'user_status', not {type(value).__name__}")
    appearance = value.get("appearance")
    status = value.get("custom_status")
    fields: dict[str, Any] = {}
    if isinstance(appearance, dict):
        fields["available"] = appearance.get("available")
        fields["availableUpdatedAt"] = appearance.get("last_updated_at")
    if isinstance(status, dict) and status:
        fields["customStatus"] = {**status, "updatedAt": status.get("last_updated_at")}
    return attrs.evolve(structure(fields, UserStatus), raw=value)


_STATUSES = {status.value: status for status in MessageStatus}


def load_receipt(document: Any) -> MessageReceipt:
    """Read `{"message": MessageSendRequest}`; raises `WireError` without a uuid.

    A contact or a conversation that can't be read is left out; `raw` keeps it.
    """
    # Written by hand, because it runs for every message.
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        raise WireError('the response has no object "message"')
    uuid = message.get("uuid")
    if not uuid or not isinstance(uuid, str):
        raise WireError("the response's message has no uuid")
    status = message.get("status")
    contact, conversation, metadata = message.get("contact"), message.get("conversation"), message.get("metadata")
    return MessageReceipt(
        uuid,
        _STATUSES.get(status, status) if isinstance(status, str) else None,
        message.get("messageStatusPayload"),
        None if contact is None else _optional_model(Contact, contact),
        None if conversation is None else _optional_model(Conversation, conversation),
        {} if metadata is None else read_metadata(metadata),
        message,
    )


def _optional_model(cls: type[T], value: Any) -> T | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return structure(value, cls) if isinstance(value, dict) and value else None


def _value_under(document: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if isinstance(document, dict) and document.get(key) is not None:
            return document[key]
    raise WireError(f"the response has no {keys[0]!r}")
