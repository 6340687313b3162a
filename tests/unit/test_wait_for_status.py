"""The status of an accepted message: waiting for it, and the reason of a failure."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from callbell_async import (
    ConfigurationError,
    MessageFailure,
    MessageReceipt,
    MessageStatus,
    Outcome,
    RetryPolicy,
    StatusTimeoutError,
)
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.http.options import TransportOptions
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.http.transport import Transport
from callbell_async.models.receipts import has_reached
from callbell_async.webhooks import MessageTracker, TrackedMessage, WebhookReceiver

GUPSHUP_24_HOURS = {
    "id": "gBGGM2MSRxl_Aglqmg5KQXU7ABC",
    "gsId": "2b34bfb7-2631-4763-89fb-1b3c65a4babc",
    "type": "failed",
    "payload": {"code": 470, "reason": "more than 24 hours have passed"},
    "destination": "1122334455",
}
GUPSHUP_REASON = {**GUPSHUP_24_HOURS, "payload": {"reason": "Number Does Not Exist On WhatsApp"}}


def meta(**error: Any) -> dict[str, Any]:
    """A report of Meta's Cloud API."""
    return {"messaging": {"value": {"statuses": [{"errors": [error]}]}}}


def failed(payload: Any) -> MessageReceipt:
    """The receipt of a message that failed."""
    return MessageReceipt(uuid="u", status=MessageStatus.FAILED, status_payload=payload)


@pytest.mark.parametrize(
    ("payload", "failure", "outside"),
    [
        (GUPSHUP_24_HOURS, MessageFailure(code="470", reason="more than 24 hours have passed"), True),
        (GUPSHUP_REASON, MessageFailure(reason="Number Does Not Exist On WhatsApp"), False),
        (
            meta(
                code=131047, title="Re-engagement message", message="m", error_data={"details": "24 hours have passed"}
            ),
            MessageFailure(code="131047", reason="Re-engagement message", details="24 hours have passed"),
            True,
        ),
        (
            meta(code="131026", message="Undeliverable"),
            MessageFailure(code="131026", reason="Undeliverable", details="Undeliverable"),
            False,
        ),
        (meta(), MessageFailure(), False),
        (None, MessageFailure(), False),
        ("failed", MessageFailure(), False),
        ({"messaging": {"value": {"statuses": [None, {"errors": "none"}, {"errors": [7]}]}}}, MessageFailure(), False),
        ({"payload": {"reason": {"deep": 1}, "code": True}}, MessageFailure(), False),
    ],
)
def test_a_failure_is_read_from_either_report(payload: Any, failure: MessageFailure, outside: bool) -> None:
    """The reports of both integrations have code and reason, and the code alone shows the 24-hour rule."""
    assert failed(payload).failure == failure
    assert failure.outside_reply_window is outside


@pytest.mark.parametrize(
    "status", [*(status for status in MessageStatus if status is not MessageStatus.FAILED), "new", None]
)
def test_only_a_failed_message_has_a_failure(status: Any) -> None:
    """A message with another status has no failure, whatever its old report."""
    assert MessageReceipt(uuid="u", status=status, status_payload=GUPSHUP_24_HOURS).failure is None


@pytest.mark.parametrize(
    ("status", "until", "reached"),
    [
        ("enqueued", "sent", False),
        ("sent", "sent", True),
        ("read", "sent", True),
        ("delivered", "read", False),
        ("failed", "read", True),
        ("deleted", "read", True),
        ("mismatch", "read", False),
        ("mismatch", "mismatch", True),
        ("read", "mismatch", False),
        ("new", "sent", False),
        (None, "sent", False),
    ],
)
def test_a_status_is_reached_or_passed(status: str | None, until: str, reached: bool) -> None:
    """A later status and a final status count as reached."""
    assert has_reached(status, MessageStatus(until)) is reached


class Statuses(Transport):
    """Returns one status after the other, the last one always, and records the moments of the requests."""

    def __init__(self, *statuses: str) -> None:
        super().__init__(
            TransportOptions(
                base_url="https://callbell.invalid",
                headers=CIMultiDict(),
                timeout=None,
                connect_timeout=None,
                max_connections=1,
            )
        )
        self._statuses = list(statuses)
        self.asked_at: list[float] = []

    async def exchange(self, call: CallState) -> Response:
        """The next status."""
        self.asked_at.append(asyncio.get_running_loop().time())
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return Response(200, CIMultiDict(), orjson.dumps({"message": {"uuid": "u", "status": status}}))


def messages_over(transport: Transport) -> MessagesEndpoint:
    """The endpoint group over a transport."""
    caller = RequestPipeline(transport, retry=RetryPolicy(attempts=1), rate_limit=None)
    return MessagesEndpoint(lambda: caller)


@pytest.mark.virtual_time
async def test_waits_until_delivered_with_growing_delays() -> None:
    """The status is requested after delays that grow by half, and never again once it is reached."""
    transport = Statuses("enqueued", "sent", "sent", "delivered")
    receipt = await messages_over(transport).wait("u")
    assert receipt.status is MessageStatus.DELIVERED
    start = transport.asked_at[0]
    assert [round(moment - start, 3) for moment in transport.asked_at] == [0, 1, 2.5, 4.75]


@pytest.mark.virtual_time
async def test_waiting_ends_with_a_failure() -> None:
    """A failed message never becomes delivered: its receipt is returned at once."""
    transport = Statuses("sent", "failed")
    receipt = await messages_over(transport).wait("u", until=MessageStatus.READ)
    assert receipt.failure == MessageFailure()


@pytest.mark.virtual_time
async def test_waiting_ends_in_time() -> None:
    """At the timeout it raises with the last receipt. No request starts after the deadline, and no delay is over 30 seconds."""
    transport = Statuses("enqueued")
    with pytest.raises(StatusTimeoutError, match="is enqueued and did not become read in 300 s") as caught:
        await messages_over(transport).wait("u", until=MessageStatus.READ, timeout=300.0)
    assert caught.value.receipt.status is MessageStatus.ENQUEUED
    assert caught.value.outcome is Outcome.ACCEPTED
    assert isinstance(caught.value, TimeoutError)
    pauses = [later - sooner for sooner, later in zip(transport.asked_at, transport.asked_at[1:], strict=False)]
    assert max(pauses) == 30.0
    assert transport.asked_at[-1] - transport.asked_at[0] <= 300.0


@pytest.mark.virtual_time
@pytest.mark.parametrize("timeout", [0.9, 10.0, 60.0])
async def test_waiting_lasts_as_long_as_it_may(timeout: float) -> None:
    """It raises at the timeout and not before, and the last request is in the last tenth of the time."""
    transport = Statuses("enqueued")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StatusTimeoutError):
        await messages_over(transport).wait("u", timeout=timeout)
    assert asyncio.get_running_loop().time() - began == pytest.approx(timeout)
    assert 0.9 * timeout <= round(transport.asked_at[-1] - began, 6) < timeout


@pytest.mark.virtual_time
async def test_the_last_poll_may_find_the_status() -> None:
    """A status reached late, but in time, is returned; a deleted message is final, without a failure."""
    for found in ("delivered", "deleted"):
        receipt = await messages_over(Statuses("enqueued", "sent", found)).wait("u", timeout=2.0)
        assert (receipt.status, receipt.failure) == (found, None)


@pytest.mark.virtual_time
async def test_a_poll_without_a_response_ends_in_time() -> None:
    """The timeout also ends a request without a response; the error has no receipt then."""

    class Hanging(Statuses):
        async def exchange(self, call: CallState) -> Response:
            await asyncio.sleep(1_000_000.0)
            raise AssertionError

    began = asyncio.get_running_loop().time()
    with pytest.raises(StatusTimeoutError, match="is not known and did not become delivered in 5 s") as caught:
        await messages_over(Hanging()).wait("u", timeout=5.0)
    assert caught.value.receipt is None
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0, abs=0.1)


@pytest.mark.virtual_time
async def test_waiting_can_be_cancelled() -> None:
    """A cancelled wait leaves nothing behind."""
    waiting = asyncio.create_task(messages_over(Statuses("enqueued")).wait("u"))
    await asyncio.sleep(3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.virtual_time
async def test_a_status_may_be_given_as_text() -> None:
    """The text of a status can be given in place of its `MessageStatus`, for both ways to wait."""
    assert (await messages_over(Statuses("read")).wait("u", until="read")).status == "read"  # type: ignore[arg-type]
    for waiting in (
        messages_over(Statuses("sent")).wait("u", until="read", timeout=2.0),  # type: ignore[arg-type]
        tracked().wait_for("read", timeout=2.0),  # type: ignore[arg-type]
    ):
        with pytest.raises(StatusTimeoutError, match="is sent and did not become read in 2 s"):
            await waiting


@pytest.mark.parametrize(
    ("status", "timeout", "error"),
    [
        ("received", 60.0, r"(until|status)='received': must be a MessageStatus, which are: enqueued, .*, deleted"),
        (None, 60.0, "=None: must be a MessageStatus"),
        ("read", math.nan, "timeout=nan: must be a number of seconds, 0 or more"),
        ("read", None, "timeout=None: must be a number of seconds"),
        ("read", -1.0, "timeout=-1.0: must be a number of seconds, 0 or more"),
    ],
)
async def test_a_wait_that_can_never_end_is_refused(status: Any, timeout: Any, error: str) -> None:
    """A status that does not exist, and a timeout that is not a number of seconds, are refused by name, before any request."""
    transport = Statuses("sent")
    for waiting in (
        messages_over(transport).wait("u", until=status, timeout=timeout),
        tracked().wait_for(status, timeout=timeout),
    ):
        with pytest.raises(ConfigurationError, match=error):
            await waiting
    assert transport.asked_at == []


def tracked() -> TrackedMessage:
    """A sent message that is followed by events, of which none comes."""
    receiver = WebhookReceiver(lambda event: None, unsigned=True)
    return MessageTracker(receiver).track(MessageReceipt(uuid="u", status=MessageStatus.SENT))
