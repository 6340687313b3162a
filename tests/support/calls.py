"""Helpers of tests that call a server: a client, a message, and waiting without a clock."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp

from callbell_async import CallbellClient, RetryPolicy, TextMessage
from tests.support.clock import current_loop

__all__ = [
    "AT_ONCE",
    "MESSAGE",
    "NUMBER",
    "ONCE",
    "TEXT",
    "TOKEN",
    "client_for",
    "half_a_minute_passes",
    "nobody_listening",
    "session_with_hooks",
    "ticks",
    "until",
]

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
NUMBER = "+31612345678"
TEXT = "Your parcel waits at the mill"
MESSAGE = TextMessage(to=NUMBER, text=TEXT)

AT_ONCE = RetryPolicy(wait_initial=0.0)
"""The default number of attempts, without waits."""

ONCE = RetryPolicy(attempts=1)

PATIENCE = 240.0
"""The number of seconds that `until` waits, less than the time limit of a test."""


def client_for(url: str, **options: Any) -> CallbellClient:
    """Return a client without a rate limit and without waits between attempts, unless `options` set them."""
    defaults: dict[str, Any] = {"base_url": url, "retry": AT_ONCE, "rate_limit": None}
    return CallbellClient(TOKEN, **{**defaults, **options})


def session_with_hooks(**hooks: Callable[..., Awaitable[None]]) -> aiohttp.ClientSession:
    """Return an aiohttp session that calls `hooks`, named as in its `TraceConfig`."""
    trace = aiohttp.TraceConfig()
    for name, hook in hooks.items():
        getattr(trace, name).append(hook)
    return aiohttp.ClientSession(trace_configs=[trace])


def half_a_minute_passes() -> None:
    """Advance the clock beyond the default timeout."""
    current_loop().advance(31)


@contextlib.contextmanager
def nobody_listening() -> Iterator[str]:
    """Yield the base URL of a port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


async def until(condition: Callable[[], object]) -> None:
    """Run the event loop until `condition` holds; fail after `PATIENCE` seconds."""
    # The time limit of pytest is an exception in any task, which may take it for an error of its own.
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition is still false"
        await asyncio.sleep(0)


async def ticks(count: int = 50) -> None:
    """Run the event loop for some rounds."""
    for _ in range(count):
        await asyncio.sleep(0)
