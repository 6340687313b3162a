"""The supported interface of the rate limiter for pauses and for subclasses: when it gives slots, and when they are free."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from callbell_async import RetryPolicy, WindowRateLimiter
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.limits.base import TrackedSlot
from tests.support.scripted_transport import OK, pipeline_for, responding, send


async def free_after(limiter: WindowRateLimiter, seconds: float) -> int:
    """Return the number of free slots after this time."""
    await asyncio.sleep(seconds)
    return limiter.free_slots


async def acquire_apart(limiter: WindowRateLimiter) -> TrackedSlot:
    """Acquire a slot."""
    await limiter.acquire()
    return limiter.track_slot()


@pytest.mark.virtual_time
async def test_a_pause_stops_all_clients_of_a_limiter() -> None:
    """A 429 with `Retry-After: 3` to one client stops another client of the same limiter for as long."""
    limiter = WindowRateLimiter(10)
    first = pipeline_for(responding(429, Retry_After="3"), OK, rate_limit=limiter, retry=RetryPolicy())
    second = pipeline_for(OK, rate_limit=limiter)
    started = current_time()
    await asyncio.gather(send(first), send_later(second))
    assert second._transport.began[0] - started == pytest.approx(3.1, abs=0.05)  # type: ignore[attr-defined]


async def send_later(pipeline: RequestPipeline) -> None:
    """Send half a second later."""
    await asyncio.sleep(0.5)
    await send(pipeline)


@pytest.mark.virtual_time
async def test_a_pause_is_never_shortened() -> None:
    """A shorter pause within a longer one changes nothing."""
    limiter = WindowRateLimiter(10)
    limiter.pause(5.0)
    limiter.pause(1.0)
    started = current_time()
    await limiter.acquire()
    assert current_time() - started == pytest.approx(5.0, abs=0.01)


@pytest.mark.virtual_time
async def test_no_slot_is_given_after_the_time_allowed() -> None:
    """`allow_until` ends the use of the slots at a time, also for requests that wait, and a later time continues it."""
    limiter = WindowRateLimiter(1)
    limiter.allow_until(current_time() + 1.5)
    await limiter.acquire()
    limiter.release(has_response=True)
    await limiter.acquire()
    limiter.release(has_response=True)
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(10.0)
    assert not waiting.done()
    assert limiter.free_slots == 1
    limiter.allow_until(current_time() + 1.0)
    await asyncio.wait_for(waiting, 0.1)


@pytest.mark.virtual_time
async def test_when_all_slots_are_free() -> None:
    """`all_free_at` is the time when the last used slot is free; it is not known while a request is in flight."""
    limiter = WindowRateLimiter(3)
    assert limiter.all_free_at == float("-inf")
    await limiter.acquire()
    assert limiter.all_free_at is None
    limiter.release(has_response=True)
    ends_at = current_time() + 1.0
    assert limiter.all_free_at == pytest.approx(ends_at, abs=0.01)
    paced = WindowRateLimiter(3, jitter=0.2)
    slot = await acquire_apart(paced)
    assert paced.all_free_at is None
    slot.written()
    await asyncio.sleep(0.5)
    slot.release(has_response=True)
    assert paced.all_free_at == pytest.approx(current_time() + 0.7, abs=0.01)


@pytest.mark.virtual_time
async def test_slots_that_leave_may_stay() -> None:
    """`keep_slots` cancels the removal of slots in use, and no more of them than there are."""
    limiter = WindowRateLimiter(3)
    for _ in range(3):
        await limiter.acquire()
    assert limiter.remove_slots(2) == 0
    assert limiter.surplus_slots == 2
    assert limiter.keep_slots(1) == 1
    assert limiter.keep_slots(5) == 1
    for _ in range(3):
        limiter.release(has_response=True)
    assert await free_after(limiter, 2.0) == 3


def current_time() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_limit_that_is_never_reached_costs_no_memory() -> None:
    """The memory of a limiter does not grow with the requests of a long run, also where the limit is far above their rate."""
    limiter = WindowRateLimiter(1_000_000)

    async def send(count: int) -> int:
        for _ in range(count):
            await limiter.acquire()
            limiter.release(has_response=True)
            await asyncio.sleep(0.01)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start(1)
    try:
        early = await send(1_000)
        assert await send(10_000) - early < 50_000
    finally:
        tracemalloc.stop()
