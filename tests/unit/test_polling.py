"""The poll loop: when it polls, and when it ends."""

from __future__ import annotations

import asyncio

import pytest

from callbell_async.polling import poll_until

pytestmark = pytest.mark.virtual_time


class Polls:
    """Notes the moments of its polls, in seconds since it was made, and is done at the poll of a number."""

    def __init__(self, *, done_at: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._done_at = done_at
        self.done = False
        self.moments: list[float] = []

    def is_done(self) -> bool:
        """Whether that poll came, or an event."""
        return self.done

    async def poll(self) -> None:
        """One poll."""
        self.moments.append(round(self._loop.time() - self._start, 3))
        self.done = len(self.moments) == self._done_at

    def deadline(self, seconds: float) -> float:
        """The moment so long after the start."""
        return self._start + seconds


async def test_polls_come_at_growing_delays() -> None:
    """The first poll comes at once, the next after 1 second, then after delays that grow by half."""
    polls = Polls(done_at=5)
    assert await poll_until(polls.is_done, polls.poll, deadline=polls.deadline(60))
    assert polls.moments == [0, 1, 2.5, 4.75, 8.125]


async def test_nothing_is_polled_that_is_done() -> None:
    """Where there is nothing to wait for, no poll is made."""
    polls = Polls()
    polls.done = True
    assert await poll_until(polls.is_done, polls.poll, deadline=polls.deadline(60))
    assert polls.moments == []


async def test_the_deadline_ends_the_loop() -> None:
    """The loop returns `False` at the deadline, after a last poll shortly before it."""
    polls = Polls()
    assert not await poll_until(polls.is_done, polls.poll, deadline=polls.deadline(10))
    assert polls.moments == [0, 1, 2.5, 4.75, 8.125, 9.812]
    assert asyncio.get_running_loop().time() == pytest.approx(polls.deadline(10))


async def test_an_event_ends_the_loop_without_a_further_poll() -> None:
    """A `sleep` that returns early ends the loop when there is nothing left to wait for."""
    polls = Polls()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 2)
        polls.done = True

    assert await poll_until(polls.is_done, polls.poll, deadline=polls.deadline(60), sleep=sleep)
    assert polls.moments == [0]
    assert asyncio.get_running_loop().time() == pytest.approx(polls.deadline(0.5))


async def test_the_error_of_a_poll_ends_the_loop() -> None:
    """Whatever a poll raises is raised, its own `TimeoutError` included."""

    async def poll() -> None:
        raise TimeoutError("of the poll")

    with pytest.raises(TimeoutError, match="of the poll"):
        await poll_until(lambda: False, poll, deadline=asyncio.get_running_loop().time() + 60)
