"""One time limit for many requests, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

__all__ = ["RequestTimeout", "SharedTimeout"]

ROUNDS = 3
"""The rounds of the event loop between the end of the time and its effect. If the loop was blocked, or the process suspended, a response
may be there already, and its task comes first: the loop reads it in the first or second round, and wakes the task in the next one."""


class SharedTimeout:
    """The time limit that many requests share: `seconds` for each, or `None` for no limit.

    Their timeouts expire in the order in which they started, so one timer, set for the oldest, serves them all. A timer
    for each request, as aiohttp and `asyncio.timeout` set it, costs about a twelfth of the whole request.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        # A dict keeps the order, and a timeout that ends early is removed from any position.
        self._running: dict[RequestTimeout, None] = {}
        self._timer: asyncio.Handle | None = None

    def close(self) -> None:
        """Let all running timeouts expire now, also those without a limit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._running:
            self._running.popitem()[0].expire()

    def _expire_after(self, rounds: int) -> None:
        if rounds:
            self._timer = asyncio.get_running_loop().call_soon(self._expire_after, rounds - 1)
        else:
            self._expire()

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for timeout in tuple(self._running):
            if timeout.at > loop.time():
                self._timer = loop.call_at(timeout.at, self._expire_after, ROUNDS)
                break
            del self._running[timeout]
            timeout.expire()


class RequestTimeout:
    """The timeout of one request, as a context that raises `TimeoutError`; follows the rules of `asyncio.timeout`."""

    __slots__ = ("_cancellations", "_expired", "_shared", "_task", "at")

    def __init__(self, shared: SharedTimeout) -> None:
        self._shared = shared
        self._expired = False

    def expire(self) -> None:
        """Interrupt the task."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        shared, loop = self._shared, asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._cancellations = 0 if self._task is None else self._task.cancelling()
        self.at = math.inf if shared._seconds is None else loop.time() + shared._seconds
        shared._running[self] = None
        if shared._timer is None and shared._seconds is not None:
            shared._timer = loop.call_at(self.at, shared._expire_after, ROUNDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._expired:
            self._shared._running.pop(self, None)
        # Somebody else's cancellation at the same moment has priority.
        elif self._task and self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise TimeoutError from error
