"""What the tests that call a server share: a client, a message, and waiting without a clock."""

from __future__ import annotations

import asyncio
import contextlib
import socket
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
    "session_telling",
    "ticks",
    "until",
]

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
NUMBER = "+31612345678"
TEXT = "Your parcel waits at the mill"
MESSAGE = TextMessage(to=NUMBER, text=TEXT)

AT_ONCE = RetryPolicy(wait_initial=0.0)
"""As many attempts as by default, one right after the other."""

ONCE = RetryPolicy(attempts=1)


def client_for(url: str, **options: Any) -> CallbellClient:
    """A client that neither paces nor waits between attempts, unless `options` say otherwise."""
    defaults: dict[str, Any] = {"base_url": url, "retry": AT_ONCE, "rate_limit": None}
    return CallbellClient(TOKEN, **{**defaults, **options})


def session_telling(**hooks: Callable[..., Awaitable[None]]) -> aiohttp.ClientSession:
    """A session of aiohttp's that calls `hooks`, named as in its `TraceConfig`."""
    trace = aiohttp.TraceConfig()
    for name, hook in hooks.items():
        getattr(trace, name).append(hook)
    return aiohttp.ClientSession(trace_configs=[trace])


def half_a_minute_passes() -> None:
    """The default timeout is over."""
    current_loop().advance(31)


@contextlib.contextmanager
def nobody_listening() -> Iterator[str]:
    """The base URL of a port that is taken, and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until `condition` holds; the test's time limit is the bound."""
    while not condition():  # noqa: ASYNC110 - it waits for what other tasks and the kernel do, whatever that is
        await asyncio.sleep(0)


async def ticks(count: int = 50) -> None:
    """Let whatever is ready happen."""
    for _ in range(count):
        await asyncio.sleep(0)
