"""Coroutines that run in the current task until they have to wait."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

from callbell_async.webhooks.event_queue import Started

pytestmark = pytest.mark.virtual_time


async def result_after(seconds: float | None, log: list[str]) -> str:
    """Return after some seconds, or without waiting."""
    log.append("began")
    if seconds is not None:
        await asyncio.sleep(seconds)
    log.append("ended")
    return "result"


@pytest.mark.parametrize(("seconds", "before"), [(None, ["began", "ended"]), (5.0, ["began"])])
async def test_it_runs_until_it_has_to_wait(seconds: float | None, before: list[str]) -> None:
    """It has run when it is built, to its end or until it has to wait; awaiting it returns its result."""
    log: list[str] = []
    started = Started(result_after(seconds, log))
    assert (log, started.is_done) == (before, seconds is None)
    assert await started == "result"
    assert (log, started.is_done) == (["began", "ended"], True)


async def test_its_exceptions_are_raised_where_they_happen() -> None:
    """An exception before it has to wait is raised by the building, a later one by the awaiting."""

    async def fail(waits: bool) -> None:
        if waits:
            await asyncio.sleep(1)
        raise KeyError

    with pytest.raises(KeyError):
        Started(fail(waits=False))
    started = Started(fail(waits=True))
    with pytest.raises(KeyError):
        await started


async def test_a_cancellation_reaches_it() -> None:
    """A cancellation of the task that awaits it is raised in it, and it may wait again to clean up."""
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            log.append("cleaned up")

    async def run() -> None:
        await Started(work())

    task = asyncio.ensure_future(run())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cleaned up"]


async def test_each_step_runs_in_the_context_given() -> None:
    """With the `run` of a context, what it sets is visible in every step of it, and nowhere else."""
    variable = contextvars.ContextVar("variable", default="outer")

    async def work() -> str:
        variable.set("inner")
        await asyncio.sleep(1)
        return variable.get()

    coroutine: Coroutine[Any, Any, str] = work()
    assert await Started(coroutine, run=contextvars.copy_context().run) == "inner"
    assert variable.get() == "outer"
