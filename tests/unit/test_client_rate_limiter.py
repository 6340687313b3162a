"""The client and its rate limiter: started once, used for each request, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from callbell_async import (
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    RateLimiter,
    TextMessage,
)
from callbell_async.sandbox import Sandbox
from tests.support.calls import TOKEN, ticks

HELLO = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that accepts the tests' token."""
    async with Sandbox(token=TOKEN) as running:
        yield running


class _RecordingLimiter(RateLimiter):
    """A limiter that grants every request a slot, and records its calls."""

    def __init__(self, *failures: Exception) -> None:
        self.calls: list[str] = []
        self.failures = list(failures)
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def start(self) -> None:
        self.calls.append("start")
        await self.may_start.wait()
        if self.failures:
            raise self.failures.pop(0)

    async def aclose(self) -> None:
        self.calls.append("aclose")

    async def acquire(self) -> None:
        self.calls.append("acquire")

    def release(self, *, has_response: bool) -> None:
        self.calls.append(f"release {has_response}")

    def refund(self) -> None:
        self.calls.append("refund")


async def test_a_rate_limiter_of_ones_own_is_used(sandbox: Sandbox) -> None:
    """A `RateLimiter` that was passed to the client is started once, gives a slot to each request and gets it back, and is closed once."""
    limiter = _RecordingLimiter()
    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
        assert limiter.calls == []
        await callbell.send(HELLO)
        await callbell.send(HELLO)
    await callbell.close()
    assert limiter.calls == ["start", *(["acquire", "release True"] * 2), "aclose"]


async def test_a_rate_limiter_that_was_not_used_is_left_alone() -> None:
    """A client that made no call neither starts nor closes its rate limiter."""
    limiter = _RecordingLimiter()
    async with CallbellClient(TOKEN, rate_limit=limiter):
        pass
    assert limiter.calls == []


async def test_first_calls_wait_for_the_rate_limiter_together(sandbox: Sandbox) -> None:
    """Calls that begin while the rate limiter starts wait for the same start."""
    limiter = _RecordingLimiter()
    limiter.may_start.clear()
    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
        sending = [asyncio.create_task(callbell.send(HELLO)) for _ in range(3)]
        await ticks()
        assert limiter.calls == ["start"]
        limiter.may_start.set()
        await asyncio.gather(*sending)
    assert limiter.calls.count("start") == limiter.calls.count("aclose") == 1
    assert len(sandbox.messages) == 3


async def test_a_rate_limiter_that_did_not_start_is_started_again(sandbox: Sandbox) -> None:
    """If the start fails, the call fails with that error and sends nothing; the next call starts the limiter again."""
    limiter = _RecordingLimiter(ConfigurationError("no server for the shared limit"))
    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
        with pytest.raises(ConfigurationError, match="no server for the shared limit"):
            await callbell.send(HELLO)
        assert not sandbox.requests
        await callbell.send(HELLO)
    assert limiter.calls == ["start", "start", "acquire", "release True", "aclose"]


async def test_closing_waits_for_a_rate_limiter_that_starts(sandbox: Sandbox) -> None:
    """A client that is closed while its rate limiter starts closes it afterwards; the calls that wait for it send nothing."""
    limiter = _RecordingLimiter()
    limiter.may_start.clear()
    callbell = CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter)
    sending = [asyncio.create_task(callbell.send(HELLO)) for _ in range(2)]
    await ticks()
    closing = asyncio.create_task(callbell.close())
    await ticks()
    limiter.may_start.set()
    await closing
    for sent in await asyncio.gather(*sending, return_exceptions=True):
        assert isinstance(sent, ClientClosedError)
    assert limiter.calls.count("start") == limiter.calls.count("aclose") == 1
    assert not sandbox.requests


async def test_clients_that_share_a_rate_limiter_start_and_close_it_each(sandbox: Sandbox) -> None:
    """Each client that used a limiter awaits its `start` and its `aclose` once."""
    limiter = _RecordingLimiter()
    for _ in range(2):
        async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
            await callbell.send(HELLO)
    assert limiter.calls == ["start", "acquire", "release True", "aclose"] * 2
