"""Keeping under Callbell's limit: 300 requests in any one second for the whole account, beyond which it answers 429."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque

from callbell_async.arguments import check_count, check_seconds
from callbell_async.errors import ConfigurationError

__all__ = ["RateLimiter", "WindowRateLimiter"]


class RateLimiter(ABC):
    """What a client asks before each request, retries included. Subclass it to share a limit between processes.

    Each `acquire`, and each `try_acquire` that gave `True`, is followed by exactly one `release` or one `refund`.
    """

    def try_acquire(self) -> bool:
        """Whether one more request may leave at once, before nobody who waits; a limiter that can't tell without waiting says no."""
        return False

    @abstractmethod
    async def acquire(self) -> None:
        """Return when one more request may leave, in the order asked. May be cancelled while it waits; then nothing is taken."""

    @abstractmethod
    def release(self, *, answered: bool) -> None:
        """The request that was let through is over; `answered` is whether any answer came. Without one it may still arrive."""

    @abstractmethod
    def refund(self) -> None:
        """The request that was let through never left."""


class WindowRateLimiter(RateLimiter):
    """Never more than `limit` requests in any window of `period` seconds, as the server sees it, whatever the network does.

    A request reaches the server somewhere between leaving and being answered. So it holds one of `limit` places from before it leaves
    until `period` seconds after its answer: two requests that had the same place are always at least `period` apart at the
    server. A request without an answer may still arrive: its place stays taken for `unanswered` seconds more. The price is
    that the lasting rate is `limit / (period + mean answer time)`.

    Free places are given out with a pause between them, so that a full set of them is a ramp of a sixteenth of the period, not a
    blow. For less than one request a second lengthen the period: `WindowRateLimiter(1, period=5.0)`.

    `limit` is a whole number from 1; `period` and `unanswered` are seconds. Raises `ConfigurationError` for values out of range.
    Serves any number of clients on one event loop.
    """

    # Two clocks that tick 500 ppm apart, and servers that round to a millisecond at either end, must not find 301.
    _MARGIN = 0.002
    # A longer ramp keeps the last of the first set waiting, and with them all that follow in their places.
    _RAMP = 1 / 16
    # The loop's timers run up to a millisecond late and in clumps; what they delayed may be caught up with.
    _SLACK = 0.002

    def __init__(self, limit: int, *, period: float = 1.0, unanswered: float = 10.0) -> None:
        check_count("limit", limit, unit="requests")
        check_seconds("period", period, positive=True)
        check_seconds("unanswered", unanswered)
        self._hold = period + self._MARGIN
        self._unanswered = unanswered
        self._spacing = period * self._RAMP / limit
        self._free = limit
        # When places that are over come free again; each is in order, because each is appended to at "now" plus a constant.
        self._returns: deque[float] = deque()
        self._late_returns: deque[float] = deque()
        self._next_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} free={self._free} waiting={len(self._waiters)}>"

    def try_acquire(self) -> bool:
        """Whether one more request may leave at once."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        return not self._waiters and self._take(loop.time())

    async def acquire(self) -> None:
        """Return when one more request may leave, in the order asked."""
        if self.try_acquire():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.refund()
            raise

    def release(self, *, answered: bool) -> None:
        """The request that was let through is over: its place comes free one period from now, later if no answer came."""
        now = asyncio.get_running_loop().time()
        if answered:
            self._returns.append(now + self._hold)
        else:
            self._late_returns.append(now + self._hold + self._unanswered)
        if self._waiters:
            self._arm()

    def refund(self) -> None:
        """The request that was let through never left: its place is free at once."""
        self._free += 1
        self._arm()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        # All loops of a process read the same clock, so what is held stays held; only timers and waiters belong to a loop.
        waiting = any(not waiter.done() for waiter in self._waiters)
        if waiting and self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError("this rate limiter is in use on another event loop; give each loop one of its own")
        self._loop = loop
        self._timer = None
        self._waiters.clear()

    def _take(self, now: float) -> bool:
        """Take a place if the clock allows one now."""
        while self._returns and self._returns[0] <= now:
            self._returns.popleft()
            self._free += 1
        while self._late_returns and self._late_returns[0] <= now:
            self._late_returns.popleft()
            self._free += 1
        if not self._free or now < self._next_at:
            return False
        self._free -= 1
        self._next_at = max(self._next_at, now - self._SLACK) + self._spacing
        return True

    def _next_chance(self) -> float | None:
        """When a place may be given out next, as far as is known; `None` while every place is in flight."""
        if self._free:
            return self._next_at
        returns = [queue[0] for queue in (self._returns, self._late_returns) if queue]
        return max(self._next_at, min(returns)) if returns else None

    def _arm(self) -> None:
        """See to it that the waiters are looked at when the next place may be given out."""
        if not self._waiters or self._loop is None or (when := self._next_chance()) is None:
            return
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        # Kept here as well: what uvloop gives for a moment that is already over doesn't know it.
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._dispatch)

    def _dispatch(self) -> None:
        self._timer = None
        while self._waiters and self._loop is not None:
            if self._waiters[0].done():
                self._waiters.popleft()
            elif self._take(self._loop.time()):
                self._waiters.popleft().set_result(None)
            else:
                break
        self._arm()
