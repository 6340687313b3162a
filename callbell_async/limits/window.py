"""A rate limiter for one process: never more than 300 requests in any second, as Callbell's server counts them."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from callbell_async.arguments import check_count, check_seconds
from callbell_async.errors import ConfigurationError
from callbell_async.limits.base import RateLimiter, TrackedSlot
from callbell_async.limits.paced import STRICT_SECONDS, AfterEnd, PacedSlots, WriteRecord

__all__ = ["WindowRateLimiter"]


class WindowRateLimiter(RateLimiter):
    """Never more than `limit` requests in any window of `period` seconds, as the server counts them, whatever the network does.

    A request reaches the server at some time between its start and its response. Therefore it holds one of `limit` slots from
    before its start until `period` seconds after its response: two requests that used the same slot are always at least `period`
    apart at the server. A request without a response may still arrive, so its slot is held for `no_response_hold` seconds more. The
    price is that the sustained rate is `limit / (period + mean response time)`.

    With `jitter` the limiter is paced: a slot is free `period + jitter` seconds after its request was written, or earlier by the
    rule above. Then the rate does not depend on the response time. But the limit holds only if the times from the write to
    the arrival at the server differ by `jitter` at most. After a 429 the strict rule applies for a minute.

    Free slots are used with a pause between them: a full set of them takes a sixteenth of the period, instead of one burst. For
    less than one request a second, use a longer period: `WindowRateLimiter(1, period=5.0)`. Serves any number of clients on one event
    loop.

    A subclass that shares the limit between processes moves slots with `add_slots` and `remove_slots`, and limits their use with
    `allow_until`.

    Args:
        limit: The number of slots: a whole number of requests, 1 or more. Callbell's limit is 300 a second for an account.
        period: The length of the window in seconds, more than 0.
        no_response_hold: The seconds for which the slot of a request without a response is held beyond `period`, 0 or more.
        jitter: The seconds by which the times from the write of a request to its arrival at the server may differ, 0 or more;
            0.02 suits a wired network. `None` for the strict rule, which does not depend on the network.

    Raises:
        ConfigurationError: An argument has another type or is out of range.
    """

    # For clocks that differ by 500 ppm, and servers that round to a millisecond: they must not count 301.
    _MARGIN = 0.002
    # A longer pause between slots would delay the last ones of a full set, and later all requests that use these slots.
    _RAMP = 1 / 16
    # The event loop's timers run up to a millisecond late, several at once; this much of the delay may be caught up.
    _SLACK = 0.002

    def __init__(
        self, limit: int, *, period: float = 1.0, no_response_hold: float = 10.0, jitter: float | None = None
    ) -> None:
        check_count("limit", limit, unit="requests")
        check_seconds("period", period, positive=True)
        check_seconds("no_response_hold", no_response_hold)
        check_seconds("jitter", jitter, optional=True)
        self._hold = period + self._MARGIN
        self._no_response_hold = no_response_hold
        self._spacing = period * self._RAMP / limit
        self._slots = limit
        self._free = limit
        # Slots to remove as soon as they are free.
        self._surplus = 0
        self._paced = None if jitter is None else PacedSlots(self._hold, jitter)
        self.tracks_writes = jitter is not None
        # When used slots are free again. Each queue is in order, because each entry is "now" plus a constant.
        self._returns: deque[float] = deque()
        self._late_returns: deque[float] = deque()
        self._next_at = 0.0
        self._allowed_until = math.inf
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
        # A paced limiter may have used a slot again whose request turned out to be without a response.
        return self._slots + max(0, -self._free)

    @property
    def free_slots(self) -> int:
        """The number of slots that no request holds."""
        self._update()
        return max(0, self._free)

    @property
    def surplus_slots(self) -> int:
        """The number of slots in use that will be removed as soon as they are free."""
        self._update()
        return self._surplus

    @property
    def all_free_at(self) -> float | None:
        """The time of the event loop at which all slots are free; `None` while a request is in flight."""
        self._update()
        times = [queue[-1] for queue in (self._returns, self._late_returns) if queue]
        known = len(self._returns) + len(self._late_returns)
        if self._paced is not None and (written := self._paced.times):
            times.append(written[-1])
            known += len(written)
        return None if self._slots - self._free > known else max(times, default=-math.inf)

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

    def keep_slots(self, count: int) -> int:
        """Do not remove slots in use that `remove_slots` would remove as soon as they are free.

        Args:
            count: The number of slots, 1 or more.

        Returns:
            The number of slots that stay: `count`, or `surplus_slots` if that is less.
        """
        kept = min(check_count("count", count), self.surplus_slots)
        self._surplus -= kept
        return kept

    def allow_until(self, when: float) -> None:
        """Give no slot from this time on, whatever is free; infinity, as at first, for no such time.

        Args:
            when: A time of the event loop in seconds.
        """
        self._allowed_until = when
        self._arm()

    def pause(self, seconds: float) -> None:
        """Callbell responded with 429: give no slot for this time; a paced limiter is strict for a minute more.

        Args:
            seconds: The length of the pause, 0 or more.
        """
        end = asyncio.get_running_loop().time() + seconds
        self._next_at = max(self._next_at, end)
        if self._paced is not None:
            taken_back, with_response = self._paced.be_strict(end + STRICT_SECONDS)
            self._free -= taken_back
            for _ in range(with_response):
                self.release(has_response=True)

    def _update(self) -> None:
        if self._loop is not None:
            self._collect(self._loop.time())

    def try_acquire(self) -> bool:
        """Return whether one more request may be sent at once.

        Returns:
            True if a slot was acquired.
        """
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

    def release(self, *, has_response: bool) -> None:
        """The request has ended: its slot is free one period from now, or later without a response.

        Args:
            has_response: Whether any response was received.
        """
        now = asyncio.get_running_loop().time()
        if has_response:
            self._returns.append(now + self._hold)
            if self._returns[0] <= now:
                # Where the limit is never reached, nothing else counts them, and the queue would grow up to the limit.
                self._collect(now)
        else:
            self._late_returns.append(now + self._hold + self._no_response_hold)
        if self._waiters:
            self._arm()

    def refund(self) -> None:
        """The request was never sent: its slot is free at once."""
        self._free += 1
        self._remove_surplus()
        self._arm()

    def track_slot(self) -> TrackedSlot:
        """Return the slot that was just acquired, if the limiter is paced.

        Returns:
            The slot, which ends with its own `release` or `refund`.
        """
        return super().track_slot() if self._paced is None else _PacedSlot(self, self._paced)

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
        if now < self._next_at or now >= self._allowed_until:
            return False
        if self._free <= 0:
            self._collect(now)
            if self._free <= 0:
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
        if self._paced is not None:
            self._free += self._paced.collect(now)
        self._remove_surplus()

    def _remove_surplus(self) -> int:
        """Remove the free slots that `remove_slots` could not remove earlier, and return their number."""
        removed = max(0, min(self._surplus, self._free))
        self._surplus -= removed
        self._free -= removed
        self._slots -= removed
        return removed

    def _next_chance(self) -> float | None:
        """Return when a slot may be used next, as far as is known; `None` while every slot is in use."""
        chance = self._next_at
        if self._free <= 0:
            returns = [queue[0] for queue in (self._returns, self._late_returns) if queue]
            if self._paced is not None and (written := self._paced.next_at) is not None:
                returns.append(written)
            if not returns:
                return None
            chance = max(chance, min(returns))
        if self._allowed_until == math.inf or self._loop is None:
            return chance
        return chance if max(chance, self._loop.time()) < self._allowed_until else None

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


class _PacedSlot(TrackedSlot):
    """One slot of a paced limiter."""

    __slots__ = ("_limiter", "_paced", "_record")

    def __init__(self, limiter: WindowRateLimiter, paced: PacedSlots) -> None:
        self._limiter = limiter
        self._paced = paced
        self._record = WriteRecord()

    def written(self) -> None:
        self._paced.write(self._record, asyncio.get_running_loop().time())
        self._limiter._arm()

    def release(self, *, has_response: bool) -> None:
        after = self._end(has_response=has_response)
        if after is not AfterEnd.NOTHING:
            self._limiter.release(has_response=has_response)

    def refund(self) -> None:
        self._end(has_response=False)
        self._limiter.refund()

    def _end(self, *, has_response: bool) -> AfterEnd:
        after = self._paced.end(self._record, asyncio.get_running_loop().time(), has_response=has_response)
        if after is AfterEnd.TAKE_BACK:
            self._limiter._free -= 1
        return after
