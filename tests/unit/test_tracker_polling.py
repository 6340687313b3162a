"""Following sent messages by polling, or by both polling and a webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from callbell_async import (
    CallbellError,
    MessageReceipt,
    MessageStatus,
    StatusTimeoutError,
)
from callbell_async.webhooks import MessageTracker, WebhookReceiver
from tests.support.webhooks import SECRET, SENT, handle

pytestmark = pytest.mark.virtual_time


class Poll:
    """A `callbell.messages.status` that returns these statuses, the last one repeatedly; an exception is raised."""

    def __init__(self, *statuses: str | Exception) -> None:
        self._statuses = list(statuses)
        self.times: list[float] = []

    async def __call__(self, uuid: str) -> MessageReceipt:
        """Return the next status."""
        self.times.append(asyncio.get_running_loop().time())
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if isinstance(status, Exception):
            raise status
        return MessageReceipt(uuid, MessageStatus(status))


def since(began: float, moments: Iterable[float]) -> list[float]:
    """These moments, in seconds since the start."""
    return [round(moment - began, 3) for moment in moments]


# --- by polling -------------------------------------------------------------------------------------------------------


async def test_without_a_webhook_it_polls() -> None:
    """It polls at once, after 1 second, and then at growing intervals."""
    poll = Poll("enqueued", "sent", "sent", "delivered")
    began = asyncio.get_running_loop().time()
    receipt = await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED)
    assert receipt.status is MessageStatus.DELIVERED
    assert since(began, poll.times) == [0, 1, 2.5, 4.75]


async def test_polling_ends_at_the_timeout() -> None:
    """It never polls after the timeout, and an interval is at most 30 seconds."""
    poll = Poll("sent")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StatusTimeoutError):
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=200)
    pauses = [after - before for before, after in zip(poll.times, poll.times[1:], strict=False)]
    assert max(pauses) == 30
    assert poll.times[-1] - began <= 200


@pytest.mark.parametrize("timeout", [0.9, 10, 60])
async def test_polling_lasts_until_the_timeout(timeout: float) -> None:
    """It gives up at the timeout and not before, and the last poll is in the last tenth of the time."""
    poll = Poll("sent")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StatusTimeoutError, match=f"in {timeout:g} s"):
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=timeout)
    assert loop.time() - began == pytest.approx(timeout)
    assert 0.9 * timeout <= round(poll.times[-1] - began, 6) < timeout


async def test_the_last_poll_may_find_the_status() -> None:
    """A status that is reached shortly before the timeout is returned."""
    poll = Poll("enqueued", "sent", "delivered")
    assert (await MessageTracker(poll=poll).track(SENT).wait_for(timeout=2)).status is MessageStatus.DELIVERED


async def test_an_event_may_arrive_after_the_last_poll() -> None:
    """An event between the last poll and the timeout ends the waiting."""
    tracker = MessageTracker(poll=Poll("sent"))
    waiting = asyncio.ensure_future(tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=60))
    await asyncio.sleep(59.9)
    handle(tracker, "delivered")
    assert (await waiting).status is MessageStatus.DELIVERED


async def test_a_timeout_of_0_is_one_poll() -> None:
    """With a timeout of 0 there is one poll."""
    poll = Poll("sent")
    with pytest.raises(StatusTimeoutError):
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=0)
    assert len(poll.times) == 1


async def test_a_slow_poll_is_cancelled_at_the_timeout() -> None:
    """A poll without a response is cancelled at the timeout; the error has the latest receipt."""

    async def poll(uuid: str) -> MessageReceipt:
        await asyncio.sleep(1000)
        return MessageReceipt(uuid, MessageStatus.READ)

    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StatusTimeoutError) as caught:
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=5)
    assert loop.time() - began == 5
    assert caught.value.receipt == SENT


async def test_a_timeout_of_a_poll_is_raised() -> None:
    """A `TimeoutError` of a poll is raised like any other error."""
    with pytest.raises(TimeoutError, match="slow"):
        await MessageTracker(poll=Poll(TimeoutError("slow"))).track(SENT).wait_for(MessageStatus.DELIVERED)


async def test_a_known_status_needs_no_poll() -> None:
    """A status that is known already is returned without a poll."""
    poll = Poll("enqueued")
    sent = MessageTracker(poll=poll).track(MessageReceipt("u1", MessageStatus.READ))
    assert (await sent.wait_for(MessageStatus.DELIVERED)).status is MessageStatus.READ
    assert poll.times == []


async def test_an_event_ends_the_pause_between_polls() -> None:
    """An event from elsewhere ends the waiting of a tracker that polls."""
    poll = Poll("sent")
    tracker = MessageTracker(poll=poll)
    waiting = asyncio.ensure_future(tracker.track(SENT).wait_for(MessageStatus.DELIVERED))
    await asyncio.sleep(0.5)
    handle(tracker, "delivered")
    assert (await waiting).status is MessageStatus.DELIVERED
    assert len(poll.times) == 1


async def test_an_error_of_a_poll_is_raised() -> None:
    """Without a webhook, an error of a poll is raised."""
    with pytest.raises(CallbellError, match="broken"):
        await MessageTracker(poll=Poll(CallbellError("broken"))).track(SENT).wait_for(MessageStatus.DELIVERED)


# --- by both ----------------------------------------------------------------------------------------------------------


async def test_one_poll_finds_a_status_that_the_webhook_missed() -> None:
    """A tracker with a webhook polls once, at the timeout."""
    poll = Poll("read")
    tracker = MessageTracker(WebhookReceiver(secret=SECRET), poll=poll)
    began = asyncio.get_running_loop().time()
    receipt = await tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=9)
    assert receipt.status is MessageStatus.READ
    assert since(began, poll.times) == [9]


async def test_an_event_makes_the_poll_unnecessary() -> None:
    """A tracker with a webhook does not poll for a status that an event reported."""
    poll = Poll("read")
    tracker = MessageTracker(WebhookReceiver(secret=SECRET), poll=poll)
    sent = tracker.track(SENT)
    handle(tracker, "delivered")
    await sent.wait_for(MessageStatus.DELIVERED)
    assert poll.times == []


async def test_the_poll_at_the_timeout_may_find_nothing() -> None:
    """Then `StatusTimeoutError` is raised, also if the poll fails; that error is its cause."""
    for poll, cause in ((Poll("sent"), type(None)), (Poll(CallbellError("broken")), CallbellError)):
        tracker = MessageTracker(WebhookReceiver(secret=SECRET), poll=poll)
        with pytest.raises(StatusTimeoutError) as caught:
            await tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=5)
        assert isinstance(caught.value.__cause__, cause)
