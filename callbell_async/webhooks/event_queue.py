"""The queue of received events, whose handlers run without tasks of their own as long as they do not wait."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from callbell_async.errors import EventNotHandledError
from callbell_async.models.events import Event

__all__ = ["EventQueue", "Handle", "Started", "set_result"]

T = TypeVar("T")
Handle = Callable[[Event], Coroutine[Any, Any, None]]
OnDone = Callable[[Event, Exception | None], None]

_CANCEL_TIMEOUT = 1.0
"""Seconds that a handler has to clean up after its cancellation; one that continues after that is left alone."""

_MAX_BUSY = 0.005
"""Seconds after which a worker lets other tasks of the event loop run."""


def set_result(future: asyncio.Future[T], result: T) -> None:
    """Set a future's result, unless it is done or its event loop is closed."""
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(result)


class EventQueue:
    """Holds events, and passes each to `handle`, or to a consumer if there is no `handle`.

    `on_done` is called once for every event: with `None` when it was handled, with an exception when it was not. The tasks end when there is
    no event left, so that a queue that is never closed leaves nothing behind.

    Args:
        handle: handles one event.
        size: the number of events that may wait.
        max_bytes: the bytes of the bodies of all events that are not handled yet.
        concurrency: the number of events that are handled at once.
        on_done: takes an event and its error.
    """

    def __init__(self, handle: Handle | None, *, size: int, max_bytes: int, concurrency: int, on_done: OnDone) -> None:
        self._handle = handle
        self._size = size
        self._max_bytes = max_bytes
        self._concurrency = concurrency
        self._on_done = on_done
        self._waiting: deque[Event] = deque()
        # By identity, because equal events are different ones here; with the size of each body, and the context of its request.
        self._pending: dict[int, tuple[Event, int, contextvars.Context]] = {}
        self._pending_bytes = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._slots: set[object] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._closing = False
        # A worker outlives the request that started it, and must not keep that request's context.
        self._context = contextvars.copy_context()

    @property
    def pending_bytes(self) -> int:
        """The bytes of the bodies of all events that are not handled yet."""
        return self._pending_bytes

    def __len__(self) -> int:
        """Return the number of events that are not handled yet, those in a handler included."""
        return len(self._pending)

    def has_room(self, size: int) -> bool:
        """Return whether an event with a body of `size` bytes can be added."""
        return not self._closing and len(self._waiting) < self._size and self._pending_bytes + size <= self._max_bytes

    def put(self, event: Event, size: int) -> None:
        """Add an event for which the queue `has_room`. Its handler runs in a copy of the present context."""
        self._waiting.append(event)
        self._pending[id(event)] = event, size, contextvars.copy_context()
        self._pending_bytes += size
        if self._handle is None:
            self._wake_waiters()
        elif len(self._slots) < self._concurrency:
            self._start_worker(self._handle)

    async def consume(self, *, break_is_failure: bool) -> AsyncGenerator[Event, None]:
        """Yield events until the queue is closed and empty. An event has been handled when the next one is requested.

        Args:
            break_is_failure: whether the event at which a consumer leaves its loop was not handled.
        """
        while (event := await self._next()) is not None:
            try:
                yield event
            except BaseException:
                self._finish(event, EventNotHandledError("its consumer left") if break_is_failure else None)
                raise
            self._finish(event, None)

    async def drain(self, timeout: float) -> None:
        """Accept no more events, and return when all are handled, or after `timeout` seconds: the rest ends with `EventNotHandledError`."""
        self._closing = True
        self._wake_waiters()
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            while self._pending and (left := deadline - asyncio.get_running_loop().time()) > 0:
                await self._wait(left)
        finally:
            # Also when the closing itself is cancelled.
            self._waiting.clear()
            for event, _, _ in list(self._pending.values()):
                self._finish(event, EventNotHandledError("the receiver was closed before it was handled"))
            workers = set(self._workers)
            for worker in workers:
                # A worker of a closed loop can't run any more.
                if not worker.get_loop().is_closed():
                    worker.cancel()
        if workers:
            await asyncio.wait(workers, timeout=_CANCEL_TIMEOUT)

    def _start_worker(self, handle: Handle, before: asyncio.Task[None] | None = None) -> None:
        # The slot is taken before the worker starts, because some loops start a task at once. It is free when no event is left.
        slot = object()
        self._slots.add(slot)
        work = self._work(handle, slot, before)
        worker = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(functools.partial(self._worker_done, handle, slot))

    async def _work(self, handle: Handle, slot: object, before: asyncio.Task[None] | None) -> None:
        """Handle events, from the end of the worker `before` on.

        Handlers that never wait run in this task, one after the other. The first one that waits, or that cancels this task, is its last: the
        task is then that handler's own, so that a cancellation affects no other event, and another worker takes over the slot.
        """
        loop, worker = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if before is not None:
                await asyncio.wait({before})
            busy_until = loop.time() + _MAX_BUSY
            while self._waiting and slot in self._slots:
                event = self._waiting.popleft()
                context = self._pending[id(event)][2]
                try:
                    handling = Started(handle(event), run=context.run)
                    if not handling.is_done:
                        self._hand_over(handle, slot, worker)
                        await handling
                except Exception as error:
                    self._finish(event, error)
                except BaseException as error:
                    failure = EventNotHandledError("its handler was cancelled")
                    failure.__cause__ = error
                    self._finish(event, failure)
                    if not isinstance(error, asyncio.CancelledError):
                        raise
                else:
                    self._finish(event, None)
                if worker and worker.cancelling():
                    self._hand_over(handle, slot, worker)
                elif loop.time() >= busy_until and slot in self._slots:
                    # Handlers that never wait must not delay the responses to requests.
                    await asyncio.sleep(0)
                    busy_until = loop.time() + _MAX_BUSY
        except GeneratorExit:
            # The loop was closed, and calls no callback any more.
            self._give_up()
            raise
        finally:
            self._slots.discard(slot)

    def _hand_over(self, handle: Handle, slot: object, worker: asyncio.Task[None] | None) -> None:
        """Replace a worker by a new one, which begins when it has ended; only the first time."""
        if slot in self._slots:
            self._slots.discard(slot)
            self._start_worker(handle, worker)

    def _worker_done(self, handle: Handle, slot: object, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        # Still taken if the worker was cancelled before it started.
        self._slots.discard(slot)
        if self._waiting and not self._slots:
            if worker.cancelling():
                self._give_up()
            else:
                # Its handler raised an exception that is not an `Exception`, and the loop continues.
                self._start_worker(handle)

    def _give_up(self) -> None:
        while self._waiting:
            error = EventNotHandledError(
                "the receiver's tasks ended before it was handled, as they do with the event loop"
            )
            self._finish(self._waiting.popleft(), error)

    async def _next(self) -> Event | None:
        while not self._waiting:
            if self._closing:
                return None
            await self._wait(None)
        return self._waiting.popleft()

    def _finish(self, event: Event, error: Exception | None) -> None:
        if (entry := self._pending.pop(id(event), None)) is not None:
            self._pending_bytes -= entry[1]
            self._on_done(event, error)
            if not self._pending:
                self._wake_waiters()

    async def _wait(self, seconds: float | None) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        finally:
            self._waiters.discard(waiter)

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            set_result(waiter, None)


# --- coroutines without a task ------------------------------------------------------------------------------------------


def _call(step: Callable[[Any], Any], value: Any) -> Any:
    return step(value)


class Started(Generic[T]):
    """A coroutine that has run in the current task until it first has to wait, or until its end. Await it for its result.

    What is needed only while something waits, such as a timeout, can then be left out where nothing does.

    Args:
        coroutine: the coroutine; an exception that it raises before it has to wait is raised here.
        run: calls each step of it, for example `Context.run`.

    Attributes:
        is_done: whether it has ended.
    """

    __slots__ = ("_coroutine", "_future", "_result", "_run", "is_done")

    def __init__(self, coroutine: Coroutine[Any, Any, T], *, run: Callable[..., Any] = _call) -> None:
        self._coroutine = coroutine
        self._run = run
        self._future: Any = None
        self._result: Any = None
        self.is_done = False
        self._step(coroutine.send, None)

    def __await__(self) -> Generator[Any, Any, T]:
        while not self.is_done:
            try:
                value = yield self._future
            except BaseException as error:
                self._step(self._coroutine.throw, error)
            else:
                self._step(self._coroutine.send, value)
        result: T = self._result
        return result

    def _step(self, step: Callable[[Any], Any], value: Any) -> None:
        try:
            self._future = self._run(step, value)
        except StopIteration as end:
            self.is_done, self._result = True, end.value
