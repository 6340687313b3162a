"""Rate limiting."""

import asyncio

import pytest

from callbell_async import WindowRateLimiter


@pytest.mark.virtual_time
async def test_smoke() -> None:
    """It paces."""
    limiter = WindowRateLimiter(10)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for _ in range(25):
        await limiter.acquire()
        limiter.release(answered=True)
    assert 2.0 < loop.time() - start < 2.6
