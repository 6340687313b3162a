"""Callbell's receipt for a message, its delivery status, and the reason when it was not delivered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from callbell_async.models.contacts import Contact, Conversation
from callbell_async.models.message_parts import item_count

__all__ = [
    "OUTSIDE_REPLY_WINDOW",
    "MessageFailure",
    "MessageReceipt",
    "MessageStatus",
    "WindowReceipt",
    "has_reached",
    "read_integration_status",
    "supersedes",
]


class MessageStatus(StrEnum):
    """The delivery status of a message.

    A status that Callbell adds later is a plain string. Source: Callbell's object type `MessageSendRequest`.

    Attributes:
        ENQUEUED: Callbell accepted the message and has not sent it yet.
        SENT: it was sent to the customer's platform.
        DELIVERED: it arrived on the customer's device.
        READ: the customer opened it.
        FAILED: it was not delivered; `failure` has the reason.
        MISMATCH: WhatsApp corrected the number.
        DELETED: it was deleted (deprecated by Callbell).
    """

    ENQUEUED = "enqueued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    MISMATCH = "mismatch"
    DELETED = "deleted"


_PROGRESS = (MessageStatus.ENQUEUED, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ)
_FINAL = (MessageStatus.FAILED, MessageStatus.DELETED)


def has_reached(status: MessageStatus | str | None, target: MessageStatus) -> bool:
    """Return whether a message with this status has reached `target` or a later status, or never will (failed, deleted)."""
    if status == target or status in _FINAL:
        return True
    return status in _PROGRESS and target in _PROGRESS and _PROGRESS.index(status) > _PROGRESS.index(target)


_RANKS: dict[MessageStatus | str | None, int] = {
    None: 0,
    MessageStatus.ENQUEUED: 1,
    MessageStatus.SENT: 2,
    # 3 is for a corrected number and for statuses that Callbell adds: they don't contradict a delivery.
    MessageStatus.DELIVERED: 4,
    MessageStatus.READ: 5,
    MessageStatus.FAILED: 6,
    MessageStatus.DELETED: 6,
}
_OTHER_RANK = 3


def supersedes(status: MessageStatus | str | None, known: MessageStatus | str | None) -> bool:
    """Return whether a status replaces the known one. Statuses arrive in any order, and a final one stays."""
    rank, known_rank = _RANKS.get(status, _OTHER_RANK), _RANKS.get(known, _OTHER_RANK)
    return rank > known_rank or (rank == known_rank == _OTHER_RANK and status != known)


OUTSIDE_REPLY_WINDOW = frozenset({"131047", "470", "1004", "1005", "1006", "1007", "1008"})
"""The codes of the Cloud API, the on-premises API, and Gupshup (a user who is "inactive for session message")."""


@attrs.frozen(kw_only=True)
class MessageFailure:
    """The reason why a message was not delivered, as WhatsApp's integration (Meta's Cloud API or Gupshup) reported it.

    Codes of Meta's Cloud API: 131047 (outside the 24-hour window), 131042 (billing), 131026 (undeliverable). Source: `messageStatusPayload`
    on Callbell's page `GET /messages/status/:uuid`.

    Attributes:
        code: the integration's code, always a string; `None` if the report has none.
        reason: the integration's short text; `None` if the report has none.
        details: the integration's longer text; `None` if the report has none.
    """

    code: str | None = None
    reason: str | None = None
    details: str | None = None

    @property
    def outside_reply_window(self) -> bool:
        """Whether the customer's last message was more than 24 hours old: only a template can be sent."""
        return self.code in OUTSIDE_REPLY_WINDOW


@attrs.frozen
class MessageReceipt:
    """Callbell's receipt: it enqueued the message. That does not mean that the message was delivered.

    Source: Callbell's object type `MessageSendRequest`.

    Attributes:
        uuid: the message's identifier, for `messages.status`, `messages.wait` and webhook events.
        status: the present status; a status that this library does not know is a plain string.
        status_payload: the raw report of the integration, in the shape of Meta's Cloud API or of Gupshup.
        contact: the contact; in the response to sending only when `fields` of the message asked for it. The response of `messages.status` may
            have it in any case.
        conversation: the conversation; in the same responses as `contact`.
        metadata: the metadata with which the message was sent, as pairs of strings; empty if Callbell left it out, and in the receipts of a
            journal. Receipts are equal whatever their metadata.
        raw: the untouched JSON of the message.
    """

    uuid: str
    status: MessageStatus | str | None = None
    status_payload: Any = attrs.field(default=None, hash=False, repr=False)
    contact: Contact | None = None
    conversation: Conversation | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=item_count)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def failure(self) -> MessageFailure | None:
        """The reason when the status is `FAILED` (empty if the report has none); `None` for any other status."""
        if self.status != MessageStatus.FAILED:
            return None
        return _read_failure(self.status_payload) or MessageFailure()

    @property
    def integration_status(self) -> str | None:
        """The status in the integration's own words (Meta's or Gupshup's), such as `delivered`; `None` if its report has none.

        It may be ahead of `status`, which is Callbell's.
        """
        return read_integration_status(self.status_payload)


@attrs.frozen
class WindowReceipt(MessageReceipt):
    """The receipt of `CallbellClient.send_in_window`, which shows whether the message or its fallback was sent.

    Attributes:
        is_fallback: whether the fallback was sent; after a call with a journal, by this call or by an earlier one.
        uuid: the message's identifier, for `messages.status`, `messages.wait` and webhook events.
        status: the present status; a status that this library does not know is a plain string.
        status_payload: the raw report of the integration, in the shape of Meta's Cloud API or of Gupshup.
        contact: the contact; only when `fields` of the message asked for it.
        conversation: the conversation; only when `fields` of the message asked for it.
        metadata: the metadata with which the message was sent; empty in the receipts of a journal.
        raw: the untouched JSON of the message.
    """

    is_fallback: bool = attrs.field(kw_only=True)

    @classmethod
    def of(cls, receipt: MessageReceipt, *, is_fallback: bool) -> WindowReceipt:
        """Return the receipt of the message or of its fallback.

        Args:
            receipt: The receipt of the one that was sent.
            is_fallback: Whether it is that of the fallback.

        Returns:
            The same receipt, which shows it.
        """
        values = {field.name: getattr(receipt, field.name) for field in attrs.fields(MessageReceipt)}
        return cls(**values, is_fallback=is_fallback)


def read_integration_status(payload: Any) -> str | None:
    """Return the last status in a `messageStatusPayload` in the shape of Meta's Cloud API, or the type of one in Gupshup's."""
    statuses = _value_at(payload, "messaging", "value", "statuses")
    reported = [_value_at(item, "status") for item in (statuses if isinstance(statuses, list) else ())]
    if known := [status for item in reported if (status := _text(item)) is not None]:
        return known[-1]
    return _text(_value_at(payload, "type"))


def _read_failure(payload: Any) -> MessageFailure | None:
    """Read a `messageStatusPayload` in the shape of Meta's Cloud API or of Gupshup; `None` if it holds no failure."""
    for error in _objects_under(_value_at(payload, "messaging", "value", "statuses"), "errors"):
        return MessageFailure(
            code=_text(error.get("code")),
            reason=_text(error.get("title")) or _text(error.get("message")),
            details=_text(_value_at(error, "error_data", "details")) or _text(error.get("message")),
        )
    report = _value_at(payload, "payload")
    if isinstance(report, dict) and ("reason" in report or _value_at(payload, "type") == "failed"):
        return MessageFailure(code=_text(report.get("code")), reason=_text(report.get("reason")))
    return None


def _value_at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _objects_under(values: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects in the lists under `key` of several objects."""
    found: list[dict[str, Any]] = []
    for value in values if isinstance(values, list) else ():
        inner = _value_at(value, key)
        found.extend(item for item in (inner if isinstance(inner, list) else ()) if isinstance(item, dict))
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
