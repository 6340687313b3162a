"""Slots that are added and removed, and a rate limiter of a user's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from callbell_async import ConfigurationError, RateLimiter, RetryPolicy, WindowRateLimiter
from tests.support.fake_callbell import Behaviour, FakeCallbell, new_run, texts
from tests.support.slots import taken

# --- more slots, and fewer --------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_added_slots_are_used_at_once() -> None:
    """A request that waits for a slot gets one of those that are added."""
    limiter = WindowRateLimiter(1)
    await limiter.acquire()
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await asyncio.sleep(5.0)
    assert (limiter.slots, limiter.free_slots, limiter.waiting) == (1, 0, 3)
    limiter.add_slots(2)
    await asyncio.sleep(0.5)
    assert [task.done() for task in waiting] == [True, True, False]
    assert (limiter.slots, limiter.free_slots, limiter.waiting) == (3, 0, 1)
    waiting[2].cancel()


@pytest.mark.virtual_time
async def test_free_slots_are_removed_at_once() -> None:
    """`remove_slots` takes free slots, and returns how many: another process may use them now."""
    limiter = WindowRateLimiter(5)
    await limiter.acquire()
    assert limiter.remove_slots(3) == 3
    assert (limiter.slots, limiter.free_slots) == (2, 1)
    assert await taken(limiter) == 1


@pytest.mark.virtual_time
async def test_used_slots_are_removed_when_they_are_free() -> None:
    """A slot in use is removed one period after its response, or when it is refunded, and no request gets it before."""
    limiter = WindowRateLimiter(3)
    for _ in range(3):
        await limiter.acquire()
    waiter = asyncio.create_task(limiter.acquire())
    assert limiter.remove_slots(2) == 0
    assert limiter.slots == 3
    limiter.refund()
    assert limiter.slots == 2
    limiter.release(has_response=True)
    await asyncio.sleep(0.5)
    assert limiter.slots == 2
    await asyncio.sleep(1.0)
    assert limiter.slots == 1
    assert not waiter.done()
    limiter.release(has_response=True)
    await waiter
    assert limiter.slots == 1


@pytest.mark.virtual_time
async def test_all_slots_may_go_and_come_back() -> None:
    """Without a slot every request waits; more than there are can't be removed, so that those added later stay."""
    limiter = WindowRateLimiter(2)
    assert limiter.remove_slots(300) == 2
    assert limiter.slots == 0
    assert await taken(limiter) == 0
    limiter.add_slots(4)
    assert await taken(limiter) == 4


@pytest.mark.virtual_time
async def test_an_added_slot_makes_up_for_one_to_be_removed() -> None:
    """Slots that are added while others wait for their removal keep the number right."""
    limiter = WindowRateLimiter(3)
    for _ in range(3):
        await limiter.acquire()
    assert limiter.remove_slots(2) == 0
    limiter.add_slots(1)
    for _ in range(3):
        limiter.release(has_response=True)
    await asyncio.sleep(2.0)
    assert limiter.slots == await taken(limiter) == 2


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "1"])
async def test_a_number_of_slots_is_a_count(count: Any) -> None:
    """A value that is not a whole number of slots is refused, and changes nothing."""
    limiter = WindowRateLimiter(2)
    for change in (limiter.add_slots, limiter.remove_slots):
        with pytest.raises(ConfigurationError, match=r"^count="):
            change(count)
    assert limiter.slots == limiter.free_slots == 2


# --- a subclass -------------------------------------------------------------------------------------------


class _OneAtATime(RateLimiter):
    """The least that a subclass must define."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(1)
        self.ends: list[str] = []

    async def acquire(self) -> None:
        await self.turn.acquire()

    def release(self, *, has_response: bool) -> None:
        self.ends.append("response" if has_response else "no response")
        self.turn.release()

    def refund(self) -> None:
        self.ends.append("never left")
        self.turn.release()


@pytest.mark.virtual_time
async def test_each_request_has_one_slot_and_one_end() -> None:
    """A limiter gives a slot for each request, retries included, and gets each back once, with how it ended."""
    behaviours = {
        0: [Behaviour()],
        1: [Behaviour(connects=False), Behaviour(status=503), Behaviour(status=429), Behaviour()],
        2: [Behaviour(responds=False)],
        3: [Behaviour(status=400)],
    }
    limiter = _OneAtATime()
    fake = FakeCallbell(lambda number, attempt: behaviours[number][attempt - 1])
    report = await new_run(fake, texts(4), retry=RetryPolicy(), rate_limit=limiter)
    assert [result.attempts for result in report.results] == [1, 4, 1, 1]
    assert Counter(limiter.ends) == {"response": 5, "no response": 1, "never left": 1}
    assert fake.most_in_flight == 1
