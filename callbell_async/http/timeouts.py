"""One time limit for many requests, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

__all__ = ["SharedTimeout"]


class SharedTimeout:
    """Starts timeouts that all last `seconds` (`None`: no limit).

    They expire in the order in which they started, so one timer, set for the oldest, serves them all. A timer for
    each request, as aiohttp and `asyncio.timeout` set it, costs about a twelfth of the whole request.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        # A dict keeps the order, and a timeout that ends early is removed from any position.
        self._running: dict[_Timeout, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> _Timeout:
        """Return a timeout for the current task, to be used as a context at once; it raises `TimeoutError`."""
        loop = asyncio.get_running_loop()
        at = math.inf if self._seconds is None else loop.time() + self._seconds
        timeout = _Timeout(asyncio.current_task(loop), at, self._running)
        self._running[timeout] = None
        if self._timer is None and self._seconds is not None:
            self._timer = loop.call_at(at, self._expire)
        return timeout

    def close(self) -> None:
        """Let all running timeouts expire now, also those without a limit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._running:
            self._running.popitem()[0].expire()

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for timeout in tuple(self._running):
            if timeout.at > loop.time():
                self._timer = loop.call_at(timeout.at, self._expire)
                break
            del self._running[timeout]
            timeout.expire()


class _Timeout:
    """The timeout of one request; follows the rules of `asyncio.timeout`."""

    __slots__ = ("_cancellations", "_expired", "_running", "_task", "at")

    def __init__(self, task: asyncio.Task[object] | None, at: float, running: dict[_Timeout, None]) -> None:
        self._task = task
        self.at = at
        self._running = running
        self._expired = False
        self._cancellations = 0 if task is None else task.cancelling()

    def expire(self) -> None:
        """Interrupt the task."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._expired:
            self._running.pop(self, None)
        # Somebody else's cancellation at the same moment has priority.
        elif self._task and self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise TimeoutError from error
