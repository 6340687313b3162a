"""Libraries that limit a rate over Redis, behind `RateLimiter`: each as its documentation shows it.

They count the requests that are admitted. `RATE_ENGINE` is the URL of Redis, and `RATE_PROCESSES` the number of processes.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from aiolimiter import AsyncLimiter
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
from redis.asyncio import Redis
from throttled.asyncio import Throttled, rate_limiter, store

from callbell_async import RateLimiter

ENGINE = os.environ.get("RATE_ENGINE", "redis://127.0.0.1:6379/0")
PROCESSES = int(os.environ.get("RATE_PROCESSES", "1"))


class _Admission(RateLimiter):
    """A limiter that counts a request when it is admitted, and never again."""

    def release(self, *, has_response: bool) -> None:
        """No part of these libraries."""

    def refund(self) -> None:
        """No part of these libraries."""


class AioLimiterSplit(_Admission):
    """aiolimiter works in one process: each has an equal part of the limit."""

    def __init__(self, limit: int) -> None:
        self._limiter = AsyncLimiter(limit / PROCESSES, 1)

    async def acquire(self) -> None:
        """Wait for the leaky bucket."""
        await self._limiter.acquire()


class LimitsMovingWindow(_Admission):
    """limits: a log of admissions."""

    strategy: Any = MovingWindowRateLimiter

    def __init__(self, limit: int) -> None:
        self._strategy = self.strategy(RedisStorage(f"async+{ENGINE}", implementation="redispy"))
        self._item = RateLimitItemPerSecond(limit)

    async def acquire(self) -> None:
        """Ask, and sleep until the window has moved."""
        while not await self._strategy.hit(self._item, "callbell"):
            stats = await self._strategy.get_window_stats(self._item, "callbell")
            await asyncio.sleep(max(0.002, min(0.25, stats.reset_time - time.time())))


class LimitsSlidingCounter(LimitsMovingWindow):
    """limits: two counters, weighted."""

    strategy = SlidingWindowCounterRateLimiter


class PyrateLimiter(_Admission):
    """pyrate-limiter: a leaky bucket in a sorted set, with a waiting acquire."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter: Limiter | None = None
        self._lock = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait for the bucket."""
        async with self._lock:
            if self._limiter is None:
                # Its type is that of the synchronous bucket.
                bucket: Any = RedisBucket.init(
                    [Rate(self._limit, Duration.SECOND)], Redis.from_url(ENGINE), "callbell-pyrate"
                )
                self._limiter = Limiter(await bucket)
        while not await self._limiter.try_acquire_async("callbell"):  # noqa: ASYNC110 - it offers no event
            await asyncio.sleep(0.01)


class ThrottledGcra(_Admission):
    """throttled-py: the generic cell rate algorithm, with its default burst."""

    algorithm = "gcra"

    def __init__(self, limit: int) -> None:
        self._throttled = Throttled(
            key="callbell",
            using=self.algorithm,
            quota=rate_limiter.per_sec(limit),
            store=store.RedisStore(server=ENGINE),
            timeout=-1,
        )

    async def acquire(self) -> None:
        """Ask, and sleep for the time in the result."""
        while (result := await self._throttled.limit()).limited:  # noqa: ASYNC110 - it offers no event
            await asyncio.sleep(max(0.001, result.state.retry_after))


class ThrottledSlidingWindow(ThrottledGcra):
    """throttled-py: a sliding window."""

    algorithm = "sliding_window"
