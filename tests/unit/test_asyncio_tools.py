"""Waiting for work although the current task is cancelled, and telling new cancellations from repeated ones."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable

import anyio
import pytest

from callbell_async.asyncio_tools import (
    CancellationShield,
    SerialThread,
    run_shielded,
    run_uncancelled,
    wait_uncancelled,
)


async def rounds(count: int = 10) -> None:
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Waiting:
    """A task that waits for `work` in a shield; `new` is the number of new cancellations that it noticed."""

    def __init__(self, *, surround: Callable[[], anyio.CancelScope] | None = None, with_cause: bool = True) -> None:
        self.work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.new = 0
        self.error: asyncio.CancelledError | None = None
        self.scope: anyio.CancelScope | None = None
        self.surround = surround
        self.with_cause = with_cause
        self.task = asyncio.create_task(self._main())

    async def _main(self) -> None:
        if self.surround is None:
            await self._wait()
        else:
            with self.surround() as self.scope:
                await self._wait()

    async def _wait(self) -> None:
        cause = None
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            cause = error
        shield = CancellationShield(cause if self.with_cause else None)
        await shield.wait(self.work, self._note)
        self.error = shield.error
        if cause is not None:
            raise cause

    def _note(self) -> None:
        self.new += 1


@pytest.mark.parametrize("with_cause", [True, False])
async def test_a_cancel_scope_counts_once(with_cause: bool) -> None:
    """The cancellation that a cancel scope delivers at every `await` counts once, whether its first delivery is known or not."""
    waiting = Waiting(surround=anyio.CancelScope, with_cause=with_cause)
    await rounds()
    assert waiting.scope is not None
    waiting.scope.cancel()
    await rounds(50)
    assert not waiting.task.done()
    assert waiting.task.cancelling() > 20
    assert waiting.new == 0
    waiting.work.set_result("done")
    await waiting.task


async def test_a_further_cancellation_inside_a_cancelled_scope_is_new() -> None:
    """`Task.cancel()` is noticed between the deliveries of a cancel scope, though asyncio may merge it with one of them."""
    waiting = Waiting(surround=anyio.CancelScope)
    await rounds()
    assert waiting.scope is not None
    waiting.scope.cancel()
    for count in range(1, 20):
        await rounds(3)
        waiting.task.cancel()
        await rounds(3)
        assert waiting.new == count
    waiting.work.set_result("done")
    with pytest.raises(asyncio.CancelledError):
        await waiting.task


async def test_each_cancellation_of_asyncio_is_new() -> None:
    """Cancelled without a scope, each `Task.cancel()` counts, also if both have the same message."""
    waiting = Waiting()
    await rounds()
    waiting.task.cancel("stop")
    for count in range(1, 5):
        await rounds()
        waiting.task.cancel("stop")
        await rounds()
        assert waiting.new == count
    waiting.work.set_result("done")
    with pytest.raises(asyncio.CancelledError, match="stop"):
        await waiting.task
    assert waiting.error is not None


@pytest.mark.parametrize("first", ["cancel", "scope"])
async def test_a_second_scope_is_new(first: str) -> None:
    """A cancel scope that ends a task which something else has cancelled before is a new cancellation."""
    waiting = Waiting(surround=anyio.CancelScope)
    await rounds()
    assert waiting.scope is not None
    if first == "cancel":
        waiting.task.cancel()
    else:
        waiting.task.cancel("Cancelled via cancel scope 1234abcd")
    await rounds()
    waiting.scope.cancel()
    await rounds()
    assert waiting.new == 1
    waiting.work.set_result("done")
    await asyncio.gather(waiting.task, return_exceptions=True)


async def test_a_scope_that_begins_during_the_wait_is_new() -> None:
    """A task that was not cancelled before its wait has no first delivery to repeat."""
    new = 0

    def note() -> None:
        nonlocal new
        new += 1

    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def main() -> None:
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await CancellationShield().wait(work, note)

    task = asyncio.create_task(main())
    await rounds(30)
    assert new == 1
    work.set_result(None)
    await task


async def test_waiting_uncancelled_returns_the_cancellation() -> None:
    """`wait_uncancelled` outlasts every cancellation, and returns the last one for the caller to raise."""
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(wait_uncancelled(work))
    await rounds()
    task.cancel("first")
    await rounds()
    task.cancel("second")
    await rounds()
    assert not task.done()
    work.set_result(None)
    assert str(await task) == "second"
    assert await wait_uncancelled(work) is None


async def test_uncancelled_work_begins_again_when_it_is_cancelled_itself() -> None:
    """`run_uncancelled` calls its work again if the work's task is cancelled, as at the end of an event loop."""
    began = 0

    async def work() -> str:
        nonlocal began
        began += 1
        if began == 1:
            for task in asyncio.all_tasks() - {outer}:
                task.cancel()
        await rounds()
        return "done"

    outer = asyncio.current_task()
    assert await run_uncancelled(work) == "done"
    assert began == 2


async def test_uncancelled_work_that_raises() -> None:
    """An exception of the work is raised in its caller."""

    async def work() -> None:
        raise LookupError("no such row")

    with pytest.raises(LookupError, match="no such row"):
        await run_uncancelled(work)


async def test_shielded_work_gets_each_cancellation_once() -> None:
    """The work of `run_shielded` is cancelled once by a cancel scope, and its clean-up can wait for something."""
    cleaned = asyncio.Event()
    cancellations = 0

    async def work() -> None:
        nonlocal cancellations
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancellations += 1
            await rounds(30)
            cleaned.set()
            raise

    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0, scope.cancel)
        await run_shielded(work)
    assert cleaned.is_set()
    assert cancellations == 1


async def test_shielded_work_always_begins() -> None:
    """A cancellation in the round in which the work begins does not keep it from beginning."""
    began = False

    async def work() -> None:
        nonlocal began
        began = True
        await rounds()

    task = asyncio.create_task(run_shielded(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert began


@pytest.mark.parametrize("cancelled", [False, True])
async def test_shielded_work_that_ends(cancelled: bool) -> None:
    """The result of shielded work is returned; after a cancellation that the work outlasted, that is raised instead."""

    async def work() -> str:
        try:
            await rounds()
        except asyncio.CancelledError:
            await rounds()
        return "done"

    task = asyncio.create_task(run_shielded(work))
    await rounds(3)
    if cancelled:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        assert await task == "done"


# --- a thread ---------------------------------------------------------------------------------------------------------


def test_a_thread_runs_its_calls_in_order() -> None:
    """The calls of a thread run one after the other in it, and their results and errors come back."""
    thread = SerialThread("calls")
    order: list[int] = []
    futures = [thread.submit(order.append, number) for number in range(100)]
    assert thread.submit(threading.current_thread).result().name == "calls"
    assert [future.result() for future in futures] == [None] * 100
    assert order == list(range(100))
    with pytest.raises(ZeroDivisionError):
        thread.submit(divmod, 1, 0).result()
    thread.shutdown()
    with pytest.raises(RuntimeError, match="was shut down"):
        thread.submit(order.append, 1)


def test_a_call_that_was_cancelled_does_not_run() -> None:
    """A call that is cancelled before its turn is left out; one that was submitted before `shutdown` still runs."""
    thread = SerialThread("calls")
    order: list[int] = []
    gate = threading.Event()
    thread.submit(gate.wait)
    cancelled, last = (thread.submit(order.append, number) for number in (1, 2))
    assert cancelled.cancel()
    thread.shutdown(wait=False)
    gate.set()
    last.result()
    assert order == [2]


def test_a_thread_ends_with_its_object() -> None:
    """A thread that nobody has shut down ends when its object is deleted."""
    thread = SerialThread("calls")
    running = thread.submit(threading.current_thread).result()
    del thread
    gc.collect()
    running.join(timeout=60)
    assert not running.is_alive()


def test_a_thread_works_while_the_interpreter_ends() -> None:
    """A function of `atexit` may still call it."""
    code = """
import atexit
from callbell_async.asyncio_tools import SerialThread
thread = SerialThread("calls")
atexit.register(lambda: print(thread.submit(sum, [1, 2]).result()))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "3\n"
