"""The rate limiter by itself: slots, their return, waiting, event loops, and arguments."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any

import pytest

from callbell_async import CallbellClient, ConfigurationError, WindowRateLimiter
from tests.support.cancellation import drive, every_await
from tests.support.clock import VirtualTimeLoop, _JumpingSelector, current_loop
from tests.support.slots import taken

# --- slots -----------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("limit", [1, 2, 7, 300])
async def test_as_many_slots_as_the_limit(limit: int) -> None:
    """A new limiter has as many slots as its limit, and no others while all of them are in use, however long that is."""
    limiter = WindowRateLimiter(limit)
    assert await taken(limiter) == limit
    for _ in range(limit):
        await limiter.acquire()
    await asyncio.sleep(1_000.0)
    assert await taken(limiter) == 0
    assert not limiter.try_acquire()


@pytest.mark.virtual_time
async def test_a_slot_comes_back_a_period_after_the_response() -> None:
    """A slot is free one period after the response, not after the request was sent, and within 5 ms of that time."""
    limiter = WindowRateLimiter(1, period=2.0)
    loop = asyncio.get_running_loop()
    await limiter.acquire()
    await asyncio.sleep(5.0)
    limiter.release(has_response=True)
    answered_at = loop.time()
    await limiter.acquire()
    assert 2.0 < loop.time() - answered_at <= 2.005


@pytest.mark.virtual_time
async def test_a_slot_without_a_response_comes_back_later() -> None:
    """Without a response a request may still arrive: its slot is held for `no_response_hold` seconds more."""
    limiter = WindowRateLimiter(1, no_response_hold=7.0)
    loop = asyncio.get_running_loop()
    await limiter.acquire()
    limiter.release(has_response=False)
    given_up_at = loop.time()
    await limiter.acquire()
    assert 8.0 < loop.time() - given_up_at <= 8.005


@pytest.mark.virtual_time
async def test_slots_come_back_in_any_order() -> None:
    """A slot that is held for a lost response does not delay the others."""
    limiter = WindowRateLimiter(3, no_response_hold=100.0)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        await limiter.acquire()
    limiter.release(has_response=False)
    limiter.release(has_response=True)
    limiter.release(has_response=True)
    released_at = loop.time()
    await limiter.acquire()
    assert loop.time() - released_at <= 1.005
    limiter.refund()
    assert await taken(limiter) == 2
    await asyncio.sleep(100.0)
    assert await taken(limiter) == 3


@pytest.mark.virtual_time
async def test_refunded_slot_is_free_at_once() -> None:
    """The slot of a request that was never sent is used by the next one at once."""
    limiter = WindowRateLimiter(1)
    loop = asyncio.get_running_loop()
    await limiter.acquire()
    waiter = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(30.0)
    assert not waiter.done()
    refunded_at = loop.time()
    limiter.refund()
    await waiter
    assert loop.time() == refunded_at
    limiter.refund()


@pytest.mark.virtual_time
async def test_a_full_set_is_a_ramp() -> None:
    """The slots of an idle limiter are used evenly over a sixteenth of the period, not in one burst."""
    limiter = WindowRateLimiter(160, period=2.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(80):
        await limiter.acquire()
    half = loop.time() - began
    for _ in range(80):
        await limiter.acquire()
    assert half == pytest.approx(0.125 / 2, abs=0.003)
    assert loop.time() - began == pytest.approx(0.125, abs=0.003)


class _LateSelector(_JumpingSelector):
    """Wakes up at the next whole millisecond, as epoll does: each timer is late."""

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(timeout)
        self.now = math.ceil(self.now * 1_000) / 1_000
        return ready


class _LateLoop(VirtualTimeLoop):
    def __init__(self) -> None:
        self._virtual_clock = _LateSelector()
        asyncio.SelectorEventLoop.__init__(self, self._virtual_clock)


def test_late_timers_slow_nothing_down() -> None:
    """Pacing follows the clock: late timers do not slow down a full set of slots."""

    async def full_set() -> float:
        limiter = WindowRateLimiter(300)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(300):
            await limiter.acquire()
        return loop.time() - began

    with asyncio.Runner(loop_factory=_LateLoop) as runner:
        late = runner.run(full_set())
    assert late <= 0.0625 + 0.002


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_first_come_first_served() -> None:
    """Requests get slots in their order, also when some of them are cancelled; none overtakes."""
    limiter = WindowRateLimiter(2)
    order: list[int] = []

    async def wait(number: int) -> None:
        await limiter.acquire()
        order.append(number)
        await asyncio.sleep(0.1)
        limiter.release(has_response=True)

    tasks = []
    for number in range(12):
        tasks.append(asyncio.create_task(wait(number)))
        await asyncio.sleep(0)
    gone = (3, 4, 9, 11)
    for number in gone:
        tasks[number].cancel()
    await asyncio.sleep(1.0)
    assert not limiter.try_acquire()
    await asyncio.wait(tasks)
    assert order == [number for number in range(12) if number not in gone]


async def test_no_request_overtakes_one_whose_slot_is_free() -> None:
    """A slot that is free belongs to the request that waits for it, even before that request continues."""
    limiter = WindowRateLimiter(1)
    await limiter.acquire()
    limiter.release(has_response=True)
    waiter = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    current_loop().advance(5.0)
    assert not limiter.try_acquire()
    await waiter
    limiter.refund()
    current_loop().advance(5.0)
    assert limiter.try_acquire()


def test_cancelled_waiter_takes_nothing() -> None:
    """A waiting request can be cancelled at any time, also when its slot has come: no slot is lost or used twice."""

    async def queue(limiter: WindowRateLimiter) -> None:
        held = 0
        try:
            for _ in range(9):
                await limiter.acquire()
                held += 1
                if held == 2:
                    held = 0
                    limiter.release(has_response=True)
                    limiter.release(has_response=True)
        finally:
            for _ in range(held):
                limiter.release(has_response=True)

    async def taken_later(limiter: WindowRateLimiter) -> int:
        await asyncio.sleep(10.0)
        return await taken(limiter)

    points = list(every_await(lambda: queue(WindowRateLimiter(2))))
    assert len(points) > 8
    for point in points:
        limiter = WindowRateLimiter(2)
        drive(partial(queue, limiter), cancel_at={point}.__contains__)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            assert runner.run(taken_later(limiter)) == 2


@pytest.mark.virtual_time
async def test_a_slot_that_is_not_wanted_goes_to_the_next() -> None:
    """A request that is cancelled between getting its slot and continuing leaves the slot to the next; no slot is lost."""
    limiter = WindowRateLimiter(300)
    for _ in range(300):
        await limiter.acquire()
    order: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def wait(number: int) -> None:
        await limiter.acquire()
        order.append(number)
        if number == 0:
            # Both have their slots by now.
            assert "free=298" in repr(limiter)
            tasks[1].cancel()

    tasks += [asyncio.create_task(wait(number)) for number in range(2)]
    for _ in range(300):
        limiter.release(has_response=True)
    await asyncio.wait(tasks)
    assert tasks[1].cancelled()
    assert order == [0]
    assert await taken(limiter) == 299


# --- loops ------------------------------------------------------------------------------------------------------------


def test_the_next_loop_continues_where_the_last_one_ended() -> None:
    """A limiter may be used on one event loop after another; slots in use on the first are in use on the second."""
    limiter = WindowRateLimiter(5)

    async def take_two() -> None:
        for _ in range(2):
            await limiter.acquire()
            limiter.release(has_response=True)

    async def look() -> list[int]:
        at_once = await taken(limiter)
        await asyncio.sleep(1.0)
        return [at_once, await taken(limiter)]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(take_two())
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(look()) == [3, 5]


def test_two_loops_at_once_are_refused() -> None:
    """While a request waits on one event loop, using the limiter on another one is an error that names the remedy."""
    limiter = WindowRateLimiter(1)
    waiting: list[asyncio.Task[None]] = []

    async def wait() -> None:
        await limiter.acquire()
        waiting.append(asyncio.create_task(limiter.acquire()))
        await asyncio.sleep(0.1)

    async def give_up() -> None:
        waiting[0].cancel()
        await asyncio.wait(waiting)

    async def use() -> None:
        limiter.refund()
        await limiter.acquire()

    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as one,
        asyncio.Runner(loop_factory=VirtualTimeLoop) as other,
    ):
        one.run(wait())
        with pytest.raises(ConfigurationError, match="in use on another event loop"):
            other.run(limiter.acquire())
        one.run(give_up())
        other.run(use())
        one.run(asyncio.sleep(5.0))


def test_waiters_of_a_closed_loop_are_forgotten() -> None:
    """A request that waited on an event loop which was closed does not block the next event loop."""
    limiter = WindowRateLimiter(1)
    waiting: list[asyncio.Task[None]] = []

    async def wait() -> None:
        await limiter.acquire()
        limiter.release(has_response=True)
        waiting.append(asyncio.create_task(limiter.acquire()))
        await asyncio.sleep(0.1)

    async def use() -> int:
        await asyncio.sleep(2.0)
        return await taken(limiter)

    loop = VirtualTimeLoop()
    loop.run_until_complete(wait())
    loop.close()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(use()) == 1
    assert not waiting[0].done()


# --- arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "300", None, math.inf])
async def test_wrong_limits_are_refused(limit: Any) -> None:
    """A limit that is not a whole number from 1 raises `ConfigurationError` when the limiter is built."""
    with pytest.raises(ConfigurationError, match=r"^limit=.*: must be a whole number of requests, 1 or more"):
        WindowRateLimiter(limit)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        *(("period", seconds) for seconds in (0, -1.0, math.nan, math.inf, True, "1", None)),
        *(("no_response_hold", seconds) for seconds in (-0.1, math.nan, math.inf, True, "1", None)),
    ],
)
async def test_wrong_seconds_are_refused(name: str, seconds: Any) -> None:
    """A period that is not positive, a negative `no_response_hold` and anything but a finite number raise `ConfigurationError`."""
    with pytest.raises(ConfigurationError, match=f"^{name}=.*: must be a number of seconds"):
        WindowRateLimiter(10, **{name: seconds})


@pytest.mark.parametrize("rate_limit", [0, -300, True, 2.5, "300", object()])
async def test_clients_refuse_wrong_limits(rate_limit: Any) -> None:
    """A client's `rate_limit` that is neither a whole number from 1 on, nor a limiter, nor `None` raises `ConfigurationError`."""
    with pytest.raises(ConfigurationError, match=r"rate.limit"):
        CallbellClient("token", rate_limit=rate_limit)
