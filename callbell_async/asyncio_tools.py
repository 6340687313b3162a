"""Work that must end although the task that waits for it is cancelled, or although the interpreter ends."""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

__all__ = ["CancellationShield", "SerialThread", "run_shielded", "run_uncancelled", "wait_uncancelled"]

P = ParamSpec("P")
T = TypeVar("T")

_CANCEL_SCOPE = re.compile(r"Cancelled (?:via|by) cancel scope ([0-9a-f]+)")


class CancellationShield:
    """Waits for work although the current task is cancelled, and counts each cancellation once.

    asyncio delivers a cancellation once. A cancel scope of anyio delivers it again at every `await` until its
    block ends (level cancellation), with a message that names the scope. A `CancelledError` repeats an earlier one if

    - its message names a scope that has cancelled this task before, and
    - `Task.cancelling()` has grown by one at most since the last one. If it has grown by more, `Task.cancel()`
      was also called from elsewhere, and asyncio has merged both.

    Every other `CancelledError` is a new cancellation.

    Args:
        cause: The `CancelledError` for which the current task now cleans up, if it has one at hand. Without one, a
            task that is being cancelled already may get the first message from the scope that did it.

    Attributes:
        error: The last new cancellation, or the last repeated one if there was none; `None` without either.
    """

    def __init__(self, cause: BaseException | None = None) -> None:
        self._task = asyncio.current_task()
        self._cancelling = self._count()
        cancelled = isinstance(cause, asyncio.CancelledError)
        self._scopes = {_scope(cause)} if cancelled and cause is not None else set()
        self._expects_scope = not cancelled and self._cancelling > 0
        self._has_new = False
        self.error: asyncio.CancelledError | None = None

    async def wait(self, work: asyncio.Future[Any], on_cancelled: Callable[[], object] | None = None) -> None:
        """Return when the work is done, whatever its result; `on_cancelled` is called for each new cancellation."""
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError as error:
                is_new = self._is_new(error)
                if is_new or not self._has_new:
                    self.error = error
                self._has_new = self._has_new or is_new
                if is_new and on_cancelled is not None:
                    on_cancelled()

    def _is_new(self, error: asyncio.CancelledError) -> bool:
        scope, cancelling = _scope(error), self._count()
        merged = cancelling - self._cancelling > 1
        repeated = scope is not None and (scope in self._scopes or self._expects_scope)
        self._cancelling = cancelling
        if scope is not None:
            self._scopes.add(scope)
            self._expects_scope = False
        return merged or not repeated

    def _count(self) -> int:
        return 0 if self._task is None else self._task.cancelling()


async def wait_uncancelled(work: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until the work is done, and return the last cancellation meanwhile: the caller raises it when it has cleaned up."""
    shield = CancellationShield()
    await shield.wait(work)
    return shield.error


async def run_shielded(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` in a task of its own, and return its result.

    That task gets each new cancellation of the current task once, so that a cancel scope of anyio does not
    interrupt its every `await`. The cancellation is raised here when the task has ended.
    """
    loop = asyncio.get_running_loop()
    shield = CancellationShield()
    task = loop.create_task(work())
    # Not before the task has begun: it would never begin.
    await shield.wait(task, lambda: loop.call_soon(task.cancel))
    if shield.error is None:
        return task.result()
    if not task.cancelled():
        task.result()
    # This one has the message by which anyio knows its own cancellation.
    raise shield.error


async def run_uncancelled(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` to its end in a task of its own, ignoring cancellations of the current task, and return its result.

    If the new task itself is cancelled, as happens when an event loop ends, `work` is called again.
    """
    while True:
        task = asyncio.ensure_future(work())
        await wait_uncancelled(task)
        if not task.cancelled():
            return task.result()


class SerialThread(Executor):
    """Runs calls one after the other in a thread of its own.

    It also works in functions of `atexit`: `ThreadPoolExecutor` refuses calls before these begin.

    Args:
        name: The name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_shut_down = False
        # The thread keeps the queue alive, and not this object.
        self._thread = threading.Thread(target=_run_calls, args=(self._calls,), name=name, daemon=True)
        self._thread.start()
        weakref.finalize(self, self._calls.put, None).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call after those before it, and return its future."""
        if self._is_shut_down:
            raise RuntimeError("the thread was shut down")
        future: Future[T] = Future()
        self._calls.put(partial(_run_call, future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after the calls that were submitted."""
        self._is_shut_down = True
        self._calls.put(None)
        if wait:
            self._thread.join()


def _run_calls(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        # Before the wait for the next one, because the call holds its result.
        del call


def _run_call(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _scope(error: BaseException) -> str | None:
    """Return the id of the cancel scope that an error's message names."""
    message = error.args[0] if error.args else None
    found = _CANCEL_SCOPE.match(message) if isinstance(message, str) else None
    return None if found is None else found[1]
