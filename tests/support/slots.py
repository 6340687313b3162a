"""The slots of a rate limiter, as a test counts them."""

from __future__ import annotations

import asyncio

from callbell_async import WindowRateLimiter

__all__ = ["taken"]


async def taken(limiter: WindowRateLimiter) -> int:
    """The number of slots that can be acquired within a tenth of a second; they are refunded at once."""
    deadline = asyncio.get_running_loop().time() + 0.1
    slots = 0
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await limiter.acquire()
        except TimeoutError:
            break
        slots += 1
    for _ in range(slots):
        limiter.refund()
    return slots
