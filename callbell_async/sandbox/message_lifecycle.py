"""How an accepted message goes on: its statuses by the time gone, and the integration's reports in their two shapes."""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs

from callbell_async.models.message_status import MessageStatus

__all__ = ["OUTSIDE_WINDOW", "DeliveryFailure", "StatusTimings", "changes", "report", "status_after"]


@attrs.frozen(kw_only=True)
class StatusTimings:
    """How many seconds after its acceptance a message is reported by the integration, sent, delivered, and read.

    One that fails does so in place of its delivery. What is `math.inf` never comes.
    """

    reported: float = 2.0
    sent: float = 3.0
    delivered: float = 5.0
    read: float = 10.0


@attrs.frozen(kw_only=True)
class DeliveryFailure:
    """Why a message is not delivered, and in which integration's `shape` that is told.

    `code`, `title` and `details` are only in Meta Cloud's shape. `status` is `failed`, or `mismatch`.
    """

    reason: str
    shape: Literal["gupshup", "meta"] = "gupshup"
    code: int = 131026
    title: str = "Message undeliverable"
    details: str = ""
    status: MessageStatus = MessageStatus.FAILED


OUTSIDE_WINDOW = DeliveryFailure(
    reason="Message failed to send because more than 24 hours have passed since the customer last replied to this number",
    shape="meta",
    code=131047,
    title="Re-engagement message",
    details="Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
)


def status_after(
    seconds: float, pace: StatusTimings, failure: DeliveryFailure | None
) -> tuple[MessageStatus, float | None]:
    """The status so many seconds after the acceptance, and when (in seconds after it) that was reported; `None`: not yet."""
    if failure is not None and seconds >= pace.delivered:
        return failure.status, pace.delivered
    steps = (
        (MessageStatus.READ, pace.read),
        (MessageStatus.DELIVERED, pace.delivered),
        (MessageStatus.SENT, pace.sent),
        (MessageStatus.ENQUEUED, pace.reported),
    )
    for status, at in steps:
        if seconds >= at:
            return status, at
    return MessageStatus.ENQUEUED, None


def changes(pace: StatusTimings, failure: DeliveryFailure | None) -> tuple[tuple[float, MessageStatus], ...]:
    """The statuses after `enqueued`, each with the seconds after the acceptance when it comes."""
    steps = [(pace.sent, MessageStatus.SENT)]
    if failure is not None:
        steps += [(pace.delivered, failure.status)]
    else:
        steps += [(pace.delivered, MessageStatus.DELIVERED), (pace.read, MessageStatus.READ)]
    return tuple(step for step in steps if step[0] < math.inf)


def report(
    status: MessageStatus, *, uuid: str, destination: str, ts: int, failure: DeliveryFailure | None
) -> dict[str, Any]:
    """The integration's raw report (`messageStatusPayload`)."""
    if failure is not None and status is failure.status:
        if failure.shape == "meta":
            return _meta(failure)
        return _gupshup(status, uuid, destination, {"reason": failure.reason})
    if status is MessageStatus.ENQUEUED:
        session = {"type": "session", "whatsappMessageId": f"wamid.{uuid}"}
        return {"id": uuid, "type": status.value, "payload": session, "destination": destination}
    return _gupshup(status, uuid, destination, {"ts": ts})


def _gupshup(status: MessageStatus, uuid: str, destination: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"wamid.{uuid}",
        "gsId": uuid,
        "type": status.value,
        "payload": payload,
        "destination": destination,
    }


def _meta(failure: DeliveryFailure) -> dict[str, Any]:
    error = {
        "code": failure.code,
        "title": failure.title,
        "message": failure.reason,
        "error_data": {"details": failure.details or failure.reason},
    }
    return {"messaging": {"value": {"statuses": [{"errors": [error]}]}}}
