"""Fixtures for pytest over the sandbox. pytest loads them with the package; the sandbox is imported when a test uses one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

try:
    # pytest has imported it by now, if it is installed. In its strict mode an async fixture must be made with its decorator.
    from pytest_asyncio import fixture
except ModuleNotFoundError:
    # Other plugins that run async tests accept async fixtures of pytest.
    fixture = pytest.fixture  # type: ignore[assignment]

if TYPE_CHECKING:
    from callbell_async import CallbellClient
    from callbell_async.sandbox import Sandbox, SandboxThread


@fixture
async def callbell_sandbox() -> AsyncIterator[Sandbox]:
    """A mock Callbell server, new for each test; an accepted message is read at once."""
    from callbell_async.sandbox import Sandbox, StatusTimings

    async with Sandbox(status_timings=StatusTimings.instant()) as sandbox:
        yield sandbox


@pytest.fixture
def callbell_sandbox_thread() -> Iterator[SandboxThread]:
    """A mock Callbell server in its own thread, for synchronous tests and test clients; an accepted message is read at once."""
    from callbell_async.sandbox import Sandbox, SandboxThread, StatusTimings

    with SandboxThread(Sandbox(status_timings=StatusTimings.instant())) as sandbox:
        yield sandbox


@fixture
async def callbell_client(callbell_sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of `callbell_sandbox`, closed after the test."""
    from callbell_async.client import CallbellClient

    async with CallbellClient(callbell_sandbox.token, base_url=callbell_sandbox.url) as client:
        yield client
