"""Answers: from JSON to models."""

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
from callbell_async.models.message_status import MessageStatus
from callbell_async.models.receipts import MessageReceipt
from callbell_async.wire.converter import WireError, register_answer, structure

__all__ = ["load_items", "load_one", "load_receipt", "load_user_status", "load_whole"]

T = TypeVar("T")

# A model before those that hold it: its reader is looked up once.
register_answer(Channel)
register_answer(Team)
register_answer(CustomStatus)
register_answer(CustomField)
# In a receipt this contact has `phone` instead of `phoneNumber`.
register_answer(Contact, phoneNumber="phone")
register_answer(Conversation)
register_answer(HistoryMessage, keys={"sender": "from", "recipient": "to"})
register_answer(Bot)
register_answer(SuccessResponse)
register_answer(Template)
# A team's change spells the date of its user without its d.
register_answer(TeamMember, lastUpdatedAt="lastUpdateAt")
register_answer(Funnel)
register_answer(Plan)
register_answer(Account, keys={"user_email": "user_email", "user_name": "user_name", "api_key": "api_key"})
register_answer(DeletionResponse)
register_answer(Webhook)
register_answer(WebhookResponse)
register_answer(UserStatus)
register_answer(WebhookDelivery)
register_answer(MessageReceipt, keys={"status_payload": "messageStatusPayload"})


def load_one(cls: type[T], *keys: str) -> Callable[[Any], T]:
    """A reader of `{key: object}`, for the first of the keys that is there; some answers hold a list of one instead of the object."""

    def load(document: Any) -> T:
        value = _under(document, keys)
        if isinstance(value, list):
            if len(value) != 1:
                raise WireError(f"one {keys[0]} was expected, not a list of {len(value)}")
            value = value[0]
        return structure(value, cls)

    return load


def load_whole(cls: type[T]) -> Callable[[Any], T]:
    """A reader of an answer that is the object itself."""
    return lambda document: structure(document, cls)


def load_items(cls: type[T], key: str) -> Callable[[Any], tuple[T, ...]]:
    """Return a reader of the objects in `{key: [object]}`."""

    def load(document: Any) -> tuple[T, ...]:
        values = _under(document, (key,))
        if not isinstance(values, list):
            raise WireError(f"a list was expected under {key!r}, not {type(values).__name__}")
        return tuple(structure(value, cls) for value in values)

    return load


def load_user_status(document: Any) -> UserStatus:
    """Read `{user_status: {custom_status: {…} | null, appearance: {…}}}`, whose keys are snake_case."""
    value = _under(document, ("user_status",))
    if not isinstance(value, dict):
        raise WireError(f"an object was expected under 'user_status', not {type(value).__name__}")
    appearance = value.get("appearance")
    status = value.get("custom_status")
    known: dict[str, Any] = {}
    if isinstance(appearance, dict):
        known["available"] = appearance.get("available")
        known["availableUpdatedAt"] = appearance.get("last_updated_at")
    if isinstance(status, dict) and status:
        known["customStatus"] = {**status, "updatedAt": status.get("last_updated_at")}
    return attrs.evolve(structure(known, UserStatus), raw=value)


_STATUSES = {status.value: status for status in MessageStatus}


def load_receipt(document: Any) -> MessageReceipt:
    """Read `{"message": MessageSendRequest}`; raises `WireError` when there is no uuid.

    Only the uuid decides: a contact or a conversation that can't be read is left out, and stays reachable in `raw`.
    """
    # Written by hand: it is read for every message of a campaign.
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        raise WireError('the answer has no object "message"')
    uuid = message.get("uuid")
    if not uuid or not isinstance(uuid, str):
        raise WireError("the answer's message has no uuid")
    status = message.get("status")
    contact, conversation = message.get("contact"), message.get("conversation")
    return MessageReceipt(
        uuid,
        _STATUSES.get(status, status) if isinstance(status, str) else None,
        message.get("messageStatusPayload"),
        None if contact is None else _adornment(Contact, contact),
        None if conversation is None else _adornment(Conversation, conversation),
        message,
    )


def _adornment(cls: type[T], value: Any) -> T | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return structure(value, cls) if isinstance(value, dict) and value else None


def _under(document: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if isinstance(document, dict) and document.get(key) is not None:
            return document[key]
    raise WireError(f"the answer has no {keys[0]!r}")
