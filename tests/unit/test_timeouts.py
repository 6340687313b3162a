"""SharedTimeout: one timer for many, under the rules of `asyncio.timeout`."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callbell_async.http.transport import RequestTimeout, SharedTimeout

pytestmark = pytest.mark.virtual_time


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


def pending_timers() -> int:
    """Return the number of timers of the event loop that may still fire."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not timer.cancelled() for timer in scheduled)


async def limited(timeouts: SharedTimeout, waiting: Awaitable[Any]) -> None:
    """Wait within a timeout."""
    with RequestTimeout(timeouts):
        await waiting


# --- alone ------------------------------------------------------------------------------------------------------------


async def test_a_wait_that_takes_too_long_is_interrupted() -> None:
    """A wait longer than the limit ends with `TimeoutError` exactly at the limit."""
    started = now()
    with pytest.raises(TimeoutError) as caught:
        await limited(SharedTimeout(30.0), asyncio.sleep(100))
    assert now() - started == pytest.approx(30.0, abs=0.01)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_wait_that_ends_in_time_is_not_interrupted() -> None:
    """A task that leaves the timeout in time is never interrupted later."""
    await limited(SharedTimeout(30.0), asyncio.sleep(29))
    await asyncio.sleep(100)


async def test_an_exception_in_time_stays() -> None:
    """A wait that fails in time fails with its own exception."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError

    with pytest.raises(LookupError):
        await limited(SharedTimeout(30.0), fail())
    await asyncio.sleep(100)


async def test_no_limit_never_expires() -> None:
    """`None` means no limit, and needs no timer."""
    timeouts = SharedTimeout(None)
    started = now()
    with RequestTimeout(timeouts):
        before = pending_timers()
        await asyncio.sleep(1_000_000)
    assert now() - started == pytest.approx(1_000_000)
    assert before == 0


async def test_a_swallowed_interruption_is_not_repeated() -> None:
    """A task that catches the cancellation and continues is not interrupted twice, and its count of cancellations is unchanged."""

    async def swallow() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(100)

    started = now()
    await limited(SharedTimeout(30.0), swallow())
    assert now() - started == pytest.approx(130.0, abs=0.01)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_an_exception_raised_for_the_interruption_stays() -> None:
    """A task that turns the cancellation into another exception keeps that exception."""

    async def translate() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise LookupError from None

    with pytest.raises(LookupError):
        await limited(SharedTimeout(30.0), translate())
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


# --- many -------------------------------------------------------------------------------------------------------------


async def test_one_timer_serves_all() -> None:
    """However many timeouts run, the event loop holds one timer for them."""
    timeouts = SharedTimeout(30.0)
    tasks = [asyncio.create_task(limited(timeouts, asyncio.Event().wait())) for _ in range(100)]
    await asyncio.sleep(1)
    assert pending_timers() == 1
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_each_has_its_own_time() -> None:
    """Timeouts started one after the other expire one after the other, each at its own time."""
    timeouts = SharedTimeout(30.0)
    started = now()
    ends: dict[int, float] = {}

    async def work(number: int) -> None:
        await asyncio.sleep(number)
        try:
            await limited(timeouts, asyncio.sleep(5 if number % 3 == 0 else 100))
        except TimeoutError:
            ends[number] = now() - started

    await asyncio.gather(*map(work, range(60)))
    assert ends == {number: pytest.approx(number + 30, abs=0.01) for number in range(60) if number % 3}


async def test_all_of_the_same_moment_expire_together() -> None:
    """Timeouts started at once expire at once."""
    timeouts = SharedTimeout(30.0)
    ended = await asyncio.gather(*(limited(timeouts, asyncio.sleep(100)) for _ in range(50)), return_exceptions=True)
    assert [type(error) for error in ended] == [TimeoutError] * 50


async def test_a_timer_that_found_nothing_is_set_again() -> None:
    """After the timer has fired with nothing to expire, the next timeout sets it again."""
    timeouts = SharedTimeout(30.0)
    for _ in range(3):
        await limited(timeouts, asyncio.sleep(1))
        await asyncio.sleep(200)
        with pytest.raises(TimeoutError):
            await limited(timeouts, asyncio.sleep(100))
        await asyncio.sleep(200)


async def test_nothing_is_kept() -> None:
    """Timeouts that ended, expired or were cancelled are not kept, and no timer is left."""
    timeouts = SharedTimeout(30.0)
    tasks = [asyncio.create_task(limited(timeouts, asyncio.sleep(seconds))) for seconds in (1, 100, 1000)]
    await asyncio.sleep(2)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    remains = [weakref.ref(task) for task in tasks]
    tasks.clear()
    gc.collect()
    assert [remaining() for remaining in remains] == [None] * 3
    await asyncio.sleep(100)
    assert pending_timers() == 0


async def test_closing_ends_all() -> None:
    """Closing lets all running timeouts expire at once, also those without a limit; later ones work as before."""
    for seconds in (30.0, None):
        timeouts = SharedTimeout(seconds)
        tasks = [asyncio.create_task(limited(timeouts, asyncio.sleep(1000))) for _ in range(3)]
        await asyncio.sleep(1)
        started = now()
        timeouts.close()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in ended] == [TimeoutError] * 3
        assert now() == started
        assert pending_timers() == 0
        if seconds is not None:
            with pytest.raises(TimeoutError):
                await limited(timeouts, asyncio.sleep(100))


# --- beside other limits ----------------------------------------------------------------------------------------------


async def test_a_cancellation_from_outside_wins() -> None:
    """A task that is cancelled in time ends as cancelled, and nothing is interrupted later."""
    task = asyncio.create_task(limited(SharedTimeout(30.0), asyncio.sleep(100)))
    await asyncio.sleep(10)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.sleep(100)


@pytest.mark.parametrize("first", ["the deadline", "the cancellation"])
async def test_a_cancellation_at_the_same_moment_wins(first: str) -> None:
    """A task that is cancelled at the moment of its expiry, before or after it, ends as cancelled."""
    timeouts = SharedTimeout(30.0)
    task = asyncio.create_task(limited(timeouts, asyncio.sleep(100)))
    await asyncio.sleep(1)
    acts: list[Callable[[], object]] = [timeouts.close, task.cancel]
    for act in acts if first == "the deadline" else reversed(acts):
        act()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancellation_survived_before_does_not_count() -> None:
    """In a task that swallowed a cancellation earlier, an expiry is still a `TimeoutError`."""

    async def survive() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(100)
        with pytest.raises(TimeoutError):
            await limited(SharedTimeout(30.0), asyncio.sleep(100))
        assert asyncio.current_task().cancelling() == 1  # type: ignore[union-attr]

    task = asyncio.create_task(survive())
    await asyncio.sleep(1)
    task.cancel()
    await task


@pytest.mark.parametrize(("outer", "inner"), [(10.0, 30.0), (30.0, 10.0), (30.0, 30.0)])
async def test_within_asyncio_timeout_the_earlier_one_ends_it(outer: float, inner: float) -> None:
    """Inside `asyncio.timeout` the earlier limit ends the wait; if both expire together, the outer one counts."""
    timeouts = SharedTimeout(inner)
    started = now()
    ended_by = "neither"
    timeout = asyncio.timeout(outer)
    try:
        async with timeout:
            try:
                await limited(timeouts, asyncio.sleep(100))
            except TimeoutError:
                ended_by = "the inner"
                raise LookupError from None
    except TimeoutError:
        ended_by = "the outer"
    except LookupError:
        pass
    assert ended_by == ("the inner" if inner < outer else "the outer")
    assert timeout.expired() is (outer <= inner)
    assert now() - started == pytest.approx(min(outer, inner), abs=0.01)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_asyncio_timeout_within_keeps_its_own() -> None:
    """A shorter `asyncio.timeout` inside expires by itself, and the shared timeout stays in force."""

    async def wait_shortly() -> None:
        async with asyncio.timeout(10):
            await asyncio.sleep(100)

    async def wait_twice() -> None:
        with pytest.raises(TimeoutError):
            await wait_shortly()
        assert now() - started == pytest.approx(10, abs=0.01)
        await asyncio.sleep(100)

    started = now()
    with pytest.raises(TimeoutError):
        await limited(SharedTimeout(30.0), wait_twice())
    assert now() - started == pytest.approx(30, abs=0.01)


async def test_wait_for_around_it() -> None:
    """`asyncio.wait_for` works around a shared timeout."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(limited(SharedTimeout(30.0), asyncio.sleep(100)), 10)
    await asyncio.sleep(100)


async def test_a_task_group_is_not_disturbed() -> None:
    """In a task group an expiry fails its own task, and the group cancels the others as for any failure."""

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(limited(SharedTimeout(30.0), asyncio.sleep(100)))
            others.append(group.create_task(asyncio.sleep(1000)))

    others: list[asyncio.Task[None]] = []
    with pytest.raises(ExceptionGroup) as caught:
        await work()
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError]
    assert others[0].cancelled()
