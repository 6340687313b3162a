"""The state that all calls of a client share, and those of the clients that `with_options` derives from it."""

from __future__ import annotations

import asyncio

from callbell_async.errors import ClientClosedError
from callbell_async.http.retry import RetryBudget
from callbell_async.limits.base import RateLimiter

__all__ = ["ClientLife", "SharedState"]


class ClientLife:
    """Whether a client is open. It is the same for the clients that `with_options` derives.

    Attributes:
        loop: The event loop of the first call; `None` before it.
        closed: Whether the client was closed.
    """

    __slots__ = ("closed", "loop")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False


class SharedState:
    """The rate limiter, the retry budget, and the pause after a 429.

    Attributes:
        rate_limit: The rate limiter; `None` for no limit.
        limiter_started: Whether the rate limiter has started; always true without one.
        budget: The retry budget.
        paused_until: The loop's time until which the client pauses, or a past one.
    """

    def __init__(self, rate_limit: RateLimiter | None) -> None:
        self.rate_limit = rate_limit
        self.limiter_started = rate_limit is None
        self.budget = RetryBudget()
        self.paused_until = 0.0
        self._lock = asyncio.Lock()
        self._ended = False

    async def start_limiter(self) -> None:
        """Start the rate limiter before the first call; the calls that come in the meantime wait for it."""
        async with self._lock:
            if self._ended:
                raise ClientClosedError("the client was closed before the rate limiter had started")
            if self.rate_limit is not None and not self.limiter_started:
                await self.rate_limit.start()
                self.limiter_started = True

    def end(self) -> None:
        """From now on, a rate limiter that has not started does not start."""
        self._ended = True

    async def close_limiter(self) -> None:
        """Close the rate limiter if it was started."""
        async with self._lock:
            if self.rate_limit is not None and self.limiter_started:
                self.limiter_started = False
                await self.rate_limit.aclose()

    def pause_remaining(self) -> float:
        """Return the seconds for which the whole client is paused; 0 if it is not."""
        remaining = self.paused_until - asyncio.get_running_loop().time()
        if remaining <= 0:
            self.paused_until = 0.0
        return max(0.0, remaining)

    def pause(self, now: float, seconds: float) -> float:
        """Pause the whole client, and return by how many seconds its pause has become longer.

        Several responses may ask for a pause; the longest counts, and no later response shortens it.
        """
        before = max(self.paused_until, now)
        self.paused_until = max(before, now + seconds)
        if self.rate_limit is not None:
            self.rate_limit.pause(seconds)
        return self.paused_until - before
