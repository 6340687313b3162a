"""The statuses of an accepted message over time, and the integration's reports in their two shapes."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs

from callbell_async.models.receipts import MessageStatus

__all__ = [
    "OUTSIDE_WINDOW",
    "DeliveryFailure",
    "ReportShape",
    "StatusTimings",
    "StatusTracker",
    "Timers",
    "render_report",
    "status_after",
    "status_changes",
]

ReportShape = Literal["gupshup", "meta"]
"""The integration whose form a `messageStatusPayload` has."""


@attrs.frozen(kw_only=True)
class StatusTimings:
    """When the status of a message changes, in seconds after its acceptance.

    A message that fails does so at the time of its delivery. `math.inf` means never.

    Attributes:
        reported: When the first `messageStatusPayload` is available (default 2.0).
        sent: When the status becomes `sent` (default 3.0).
        delivered: When it becomes `delivered` or `failed` (default 5.0).
        read: When it becomes `read` (default 10.0).
    """

    reported: float = 2.0
    sent: float = 3.0
    delivered: float = 5.0
    read: float = 10.0

    @classmethod
    def instant(cls) -> StatusTimings:
        """Return timings without any wait: an accepted message is read at once, and one that fails has failed at once."""
        return cls(reported=0.0, sent=0.0, delivered=0.0, read=0.0)


@attrs.frozen(kw_only=True)
class DeliveryFailure:
    """Why a message is not delivered.

    Attributes:
        reason: The reason, as a text.
        shape: The form of the report: `gupshup` or `meta` (Meta's Cloud API).
        code: The error's code; in the form of Meta only.
        title: The error's title; in the form of Meta only.
        details: The error's details; in the form of Meta only. Without it, the `reason`.
        status: The status of the message: `failed` or `mismatch`.
    """

    reason: str
    shape: ReportShape = "gupshup"
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


# --- statuses -----------------------------------------------------------------------------------------------------------


def status_after(
    seconds: float, timings: StatusTimings, failure: DeliveryFailure | None
) -> tuple[MessageStatus, float | None]:
    """Return the status some seconds after the acceptance, and when it was reached; `None` before the first report."""
    if failure is not None and seconds >= timings.delivered:
        return failure.status, timings.delivered
    steps = (
        (MessageStatus.READ, timings.read),
        (MessageStatus.DELIVERED, timings.delivered),
        (MessageStatus.SENT, timings.sent),
        (MessageStatus.ENQUEUED, timings.reported),
    )
    for status, at in steps:
        if seconds >= at:
            return status, at
    return MessageStatus.ENQUEUED, None


def status_changes(timings: StatusTimings, failure: DeliveryFailure | None) -> list[tuple[float, MessageStatus]]:
    """Return the statuses after `enqueued`, each with its time in seconds after the acceptance."""
    steps = [(timings.sent, MessageStatus.SENT)]
    if failure is not None:
        steps += [(timings.delivered, failure.status)]
    else:
        steps += [(timings.delivered, MessageStatus.DELIVERED), (timings.read, MessageStatus.READ)]
    return [step for step in steps if step[0] < math.inf]


# --- reports ------------------------------------------------------------------------------------------------------------


def render_report(
    status: MessageStatus,
    *,
    uuid: str,
    destination: str,
    ts: int,
    failure: DeliveryFailure | None,
    shape: ReportShape,
) -> dict[str, Any] | None:
    """Return the integration's report (`messageStatusPayload`) of a status; `None` if the integration has none for it.

    Args:
        status: The status that is reported.
        uuid: The message's uuid.
        destination: The recipient, without `+`.
        ts: The Unix time of the report.
        failure: Why the message is not delivered; it has a `shape` of its own.
        shape: The form of the reports of success.
    """
    if failure is not None and status is failure.status:
        if failure.shape == "meta":
            return _meta({"errors": [_meta_error(failure)]})
        return _gupshup(status, uuid, destination, {"reason": failure.reason})
    if shape == "meta":
        # Meta reports nothing before a message is sent.
        if status is MessageStatus.ENQUEUED:
            return None
        return _meta({"id": f"wamid.{uuid}", "status": status.value, "timestamp": str(ts), "recipient_id": destination})
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


def _meta(status: dict[str, Any]) -> dict[str, Any]:
    return {"messaging": {"value": {"statuses": [status]}}}


def _meta_error(failure: DeliveryFailure) -> dict[str, Any]:
    return {
        "code": failure.code,
        "title": failure.title,
        "message": failure.reason,
        "error_data": {"details": failure.details or failure.reason},
    }


# --- over time ----------------------------------------------------------------------------------------------------------


class Timers:
    """Functions to call later, by the running loop's clock, which can be moved forward."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.TimerHandle, tuple[float, Callable[[], None]]] = {}
        self._ahead = 0.0

    def time(self) -> float:
        """Return the time of the timers: the loop's, and how far it was moved."""
        return asyncio.get_running_loop().time() + self._ahead

    def at(self, moment: float, call: Callable[[], None]) -> None:
        """Call the function when `time` is `moment`."""

        def run() -> None:
            del self._calls[handle]
            call()

        handle = asyncio.get_running_loop().call_at(moment - self._ahead, run)
        self._calls[handle] = moment, call

    def advance(self, seconds: float) -> None:
        """Move the time forward; what becomes due is called soon, in the order of its time."""
        self._ahead += seconds
        for moment, call in self._take():
            self.at(moment, call)

    def cancel(self) -> None:
        """Cancel all calls."""
        self._take()

    def _take(self) -> list[tuple[float, Callable[[], None]]]:
        calls = dict(self._calls)
        self._calls.clear()
        for handle in calls:
            handle.cancel()
        return list(calls.values())


class _Message(Protocol):
    failure: DeliveryFailure | None
    deleted: bool


@attrs.define(kw_only=True, eq=False)
class _Tracked:
    message: _Message
    timings: StatusTimings
    on_change: Callable[[MessageStatus, float], None]
    begin: float
    reported: int = 0

    def next_change(self) -> tuple[float, MessageStatus] | None:
        # Read each time: a test may decide how the message fails after its acceptance.
        to_come = [] if self.message.deleted else status_changes(self.timings, self.message.failure)[self.reported :]
        return to_come[0] if to_come else None


class StatusTracker:
    """The messages whose status still changes, each with one timer at a time.

    Args:
        timers: Where the timers are kept; cancel them to end all tracking.
        on_end: Called after a message's last change.

    Attributes:
        messages: The number of messages whose status still changes.
    """

    def __init__(self, timers: Timers, on_end: Callable[[], None]) -> None:
        self.messages = 0
        self._timers = timers
        self._on_end = on_end

    def track(
        self, message: _Message, timings: StatusTimings, on_change: Callable[[MessageStatus, float], None]
    ) -> None:
        """Call `on_change` at each change of a message's status, with the seconds since its acceptance."""
        self.messages += 1
        begin = self._timers.time()
        self._schedule(_Tracked(message=message, timings=timings, on_change=on_change, begin=begin))

    def _schedule(self, tracked: _Tracked) -> None:
        change = tracked.next_change()
        if change is not None:
            self._timers.at(tracked.begin + change[0], functools.partial(self._report, tracked))
        else:
            self.messages -= 1
            self._on_end()

    def _report(self, tracked: _Tracked) -> None:
        if change := tracked.next_change():
            after, status = change
            tracked.reported += 1
            tracked.on_change(status, after)
        self._schedule(tracked)
