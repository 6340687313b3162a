"""A rate limiter for one process: never more than 300 requests in any second, as Callbell's server counts them."""

from __future__ import annotations

import asyncio
from collections import deque

from callbell_async.arguments import check_count, check_seconds
from callbell_async.errors import ConfigurationError
from callbell_async.limits.base import RateLimiter

__all__ = ["WindowRateLimiter"]


class WindowRateLimiter(RateLimiter):
    """Never more than `limit` requests in any window of `period` seconds, as the server counts them, whatever the network does.

    A request reaches the server at some time between its start and its response. Therefore it holds one of `limit` slots from
    before its start until `period` seconds after its response: two requests that used the same slot are always at least `period`
    apart at the server. A request without a response may still arrive, so its slot is held for `unanswered` seconds more. The
    price is that the sustained rate is `limit / (period + mean response time)`.

    Free slots are used with a pause between them: a full set of them takes a sixteenth of the period, instead of one burst. For
    less than one request a second, use a longer period: `WindowRateLimiter(1, period=5.0)`. Serves any number of clients on one event
    loop.

    A subclass that shares the limit between processes moves slots with `add_slots` and `remove_slots`.

    Args:
        limit: The number of slots: a whole number of requests, 1 or more. Callbell's limit is 300 a second for an account.
        period: The length of the window in seconds, more than 0.
        unanswered: The seconds for which the slot of a request without a response is held beyond `period`, 0 or more.

    Raises:
        ConfigurationError: An argument has another type or is out of range.
    """

    # For clocks that differ by 500 ppm, and servers that round to a millisecond: they must not count 301.
    _MARGIN = 0.002
    # A longer pause between slots would delay the last ones of a full set, and later all requests that use these slots.
    _RAMP = 1 / 16
    # The event loop's timers run up to a millisecond late, several at once; this much of the delay may be caught up.
    _SLACK = 0.002

    def __init__(self, limit: int, *, period: float = 1.0, unanswered: float = 10.0) -> None:
        check_count("limit", limit, unit="requests")
        check_seconds("period", period, positive=True)
        check_seconds("unanswered", unanswered)
        self._hold = period + self._MARGIN
        self._unanswered = unanswered
        self._spacing = period * self._RAMP / limit
        self._slots = limit
        self._free = limit
        # Slots to remove as soon as they are free.
        self._surplus = 0
        # When used slots are free again. Each queue is in order, because each entry is "now" plus a constant.
        self._returns: deque[float] = deque()
        self._late_returns: deque[float] = deque()
        self._next_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} free={self._free} waiting={self.waiting}>"

    @property
    def slots(self) -> int:
        """The number of slots, including those in use and those that will be removed as soon as they are free."""
        self._update()
        return self._slots

    @property
    def free_slots(self) -> int:
        """The number of slots that no request holds."""
        self._update()
        return self._free

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a slot."""
        return sum(not waiter.done() for waiter in self._waiters)

    def add_slots(self, count: int) -> None:
        """Add free slots. The caller ensures that no request used them within the last `period`.

        Args:
            count: The number of slots, 1 or more.
        """
        count = check_count("count", count)
        self._slots += count
        self._free += count
        self._remove_surplus()
        self._arm()

    def remove_slots(self, count: int) -> int:
        """Remove slots: free ones at once, those in use as soon as they are free. No request gets them any more.

        Args:
            count: The number of slots, 1 or more; all of them if there are fewer.

        Returns:
            The number that was removed at once. No request used these within the last `period`, so another process may use them.
        """
        self._update()
        self._surplus = min(self._surplus + check_count("count", count), self._slots)
        return self._remove_surplus()

    def _update(self) -> None:
        if self._loop is not None:
            self._collect(self._loop.time())

    def try_acquire(self) -> bool:
        """Return whether one more request may be sent at once."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        return not self._waiters and self._take(loop.time())

    async def acquire(self) -> None:
        """Wait until one more request may be sent, in the order of the calls."""
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
        """The request has ended: its slot is free one period from now, or later without a response."""
        now = asyncio.get_running_loop().time()
        if answered:
            self._returns.append(now + self._hold)
        else:
            self._late_returns.append(now + self._hold + self._unanswered)
        if self._waiters:
            self._arm()

    def refund(self) -> None:
        """The request was never sent: its slot is free at once."""
        self._free += 1
        self._remove_surplus()
        self._arm()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        # All event loops of a process read the same clock, so a held slot stays held; only timers and waiters belong to a loop.
        waiting = any(not waiter.done() for waiter in self._waiters)
        if waiting and self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError("this rate limiter is in use on another event loop; give each loop one of its own")
        self._loop = loop
        self._timer = None
        self._waiters.clear()

    def _take(self, now: float) -> bool:
        """Take a slot if one may be used now."""
        if now < self._next_at:
            return False
        if not self._free:
            self._collect(now)
            if not self._free:
                return False
        self._free -= 1
        self._next_at = max(self._next_at, now - self._SLACK) + self._spacing
        return True

    def _collect(self, now: float) -> None:
        """Count the slots that are free again by now."""
        for returns in (self._returns, self._late_returns):
            while returns and returns[0] <= now:
                returns.popleft()
                self._free += 1
        self._remove_surplus()

    def _remove_surplus(self) -> int:
        """Remove the free slots that `remove_slots` could not remove earlier, and return their number."""
        removed = min(self._surplus, self._free)
        self._surplus -= removed
        self._free -= removed
        self._slots -= removed
        return removed

    def _next_chance(self) -> float | None:
        """Return when a slot may be used next, as far as is known; `None` while every slot is in use."""
        if self._free:
            return self._next_at
        returns = [queue[0] for queue in (self._returns, self._late_returns) if queue]
        return max(self._next_at, min(returns)) if returns else None

    def _arm(self) -> None:
        """Set the timer to the time when the next slot may be used by a waiter."""
        if not self._waiters or self._loop is None or (when := self._next_chance()) is None:
            return
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        # Kept here as well, because uvloop's handle for a time that has passed does not know it.
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._dispatch)

    def _dispatch(self) -> None:
        """Give slots to waiters, in their order, as far as there are free ones."""
        self._timer = None
        while self._waiters and self._loop is not None:
            if self._waiters[0].done():
                self._waiters.popleft()
            elif self._take(self._loop.time()):
                self._waiters.popleft().set_result(None)
            else:
                break
        self._arm()
