"""Events between their arrival and the end of their handling."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from callbell_async.errors import EventNotHandledError
from callbell_async.models.events import Event

__all__ = ["EventQueue", "Handle", "settle"]

T = TypeVar("T")
Handle = Callable[[Event], Coroutine[Any, Any, None]]
Ended = Callable[[Event, Exception | None], None]

_CANCEL_GRACE = 1.0
"""Seconds that a handler has to clean up after its cancellation; one that goes on all the same is left alone."""

_TURN = 0.005
"""Seconds after which a worker lets others have the event loop."""


def settle(future: asyncio.Future[T], result: T) -> None:
    """Give a future its result, unless it is done, or its event loop is closed: then nobody waits for it any more."""
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(result)


class EventQueue:
    """Takes events, at most `size` of them waiting, and hands each to `handle`, `concurrency` at once, or to whoever consumes it.

    `ended` is told of every event that was put in, once: with `None` when it was handled, with the exception when not. Its tasks last only
    as long as there is something to handle, so one that is forgotten leaves nothing behind.
    """

    def __init__(self, handle: Handle | None, *, size: int, concurrency: int, ended: Ended) -> None:
        self._handle = handle
        self._size = size
        self._concurrency = concurrency
        self._ended = ended
        self._waiting: deque[Event] = deque()
        # By identity: equal events are different ones here. A dict for its order.
        self._unended: dict[int, Event] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._seats: set[object] = set()
        self._sleepers: set[asyncio.Future[None]] = set()
        self._closing = False
        # A worker outlives the request it was started in, and must not carry that one's context on.
        self._context = contextvars.copy_context()

    @property
    def is_open(self) -> bool:
        """Whether it takes one more event."""
        return not self._closing and len(self._waiting) < self._size

    def __len__(self) -> int:
        """How many events are not handled yet, those under way among them."""
        return len(self._unended)

    def put(self, event: Event) -> None:
        """Take an event; only while it `is_open`."""
        self._waiting.append(event)
        self._unended[id(event)] = event
        if self._handle is None:
            self._wake()
        elif len(self._seats) < self._concurrency:
            self._begin(self._handle)

    async def consume(self, *, leaving_fails: bool) -> AsyncGenerator[Event, None]:
        """Give out events as they come, until this is closed and empty; one has been handled when the next is asked for.

        `leaving_fails` says whether the one that a consumer leaves with was not.
        """
        while (event := await self._next()) is not None:
            try:
                yield event
            except BaseException:
                self._end(event, EventNotHandledError("its consumer left") if leaving_fails else None)
                raise
            self._end(event, None)

    async def drain(self, timeout: float) -> None:
        """Take nothing more, and return when all is handled; what is not within `timeout` seconds ends with `EventNotHandledError`."""
        self._closing = True
        self._wake()
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            while self._unended and (left := deadline - asyncio.get_running_loop().time()) > 0:
                await self._sleep(left)
        finally:
            # When the closing itself is cancelled, too.
            self._waiting.clear()
            for event in list(self._unended.values()):
                self._end(event, EventNotHandledError("the receiver was closed before it was handled"))
            workers = set(self._workers)
            for worker in workers:
                # Those of a loop that was closed can't run any more.
                if not worker.get_loop().is_closed():
                    worker.cancel()
        if workers:
            await asyncio.wait(workers, timeout=_CANCEL_GRACE)

    def _begin(self, handle: Handle) -> None:
        # Taken before the worker begins, for some loops begin a task at once; free as soon as it finds nothing more to do.
        seat = object()
        self._seats.add(seat)
        work = self._work(handle, seat)
        worker = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(functools.partial(self._worker_done, handle, seat))

    async def _work(self, handle: Handle, seat: object) -> None:
        loop, worker = asyncio.get_running_loop(), asyncio.current_task()
        turn_ends = loop.time() + _TURN
        try:
            while self._waiting and not (worker and worker.cancelling()):
                event = self._waiting.popleft()
                try:
                    # In a task of its own: a handler that cancels its task, or swallows a cancellation, does so to nobody else.
                    await loop.create_task(handle(event))
                except Exception as error:
                    self._end(event, error)
                except BaseException as error:
                    failure = EventNotHandledError("its handler was cancelled")
                    failure.__cause__ = error
                    self._end(event, failure)
                    # A handler may be cancelled by itself, or by what it awaits; only the end cancels the worker.
                    if not isinstance(error, asyncio.CancelledError) or (worker and worker.cancelling()):
                        raise
                else:
                    self._end(event, None)
                # A handler that never waits must not keep requests from being answered until the queue is empty.
                if loop.time() >= turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = loop.time() + _TURN
        except GeneratorExit:
            # The loop was closed, and nobody is called back any more.
            self._give_up()
            raise
        finally:
            self._seats.discard(seat)

    def _worker_done(self, handle: Handle, seat: object, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        # Not free yet where the worker was cancelled before it began.
        self._seats.discard(seat)
        if self._waiting and not self._seats:
            if worker.cancelling():
                self._give_up()
            else:
                # What its handler raised is no `Exception`, and the loop goes on all the same.
                self._begin(handle)

    def _give_up(self) -> None:
        while self._waiting:
            error = EventNotHandledError(
                "the receiver's tasks ended before it was handled, as they do with the event loop"
            )
            self._end(self._waiting.popleft(), error)

    async def _next(self) -> Event | None:
        while not self._waiting:
            if self._closing:
                return None
            await self._sleep(None)
        return self._waiting.popleft()

    def _end(self, event: Event, error: Exception | None) -> None:
        if self._unended.pop(id(event), None) is not None:
            self._ended(event, error)
            if not self._unended:
                self._wake()

    async def _sleep(self, seconds: float | None) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            await asyncio.wait({sleeper}, timeout=seconds)
        finally:
            self._sleepers.discard(sleeper)

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            settle(sleeper, None)
