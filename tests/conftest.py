"""Fixtures for all tests, and the event loops they run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from callbell_async.sandbox import Sandbox
from tests.fixtures.sandbox import Clock
from tests.support.clock import AdvancingLoop, VirtualTimeLoop
from tests.support.http_paths import wrap_sessions


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests marked `virtual_time` get a loop whose clock jumps; all others one whose clock they can push."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"advancing": AdvancingLoop}


@pytest.fixture(autouse=True)
def _no_callbell_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own token and address must not reach a test."""
    for name in ("CALLBELL_TOKEN", "CALLBELL_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["direct", "session"])
def http_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test twice: an own session's requests take the direct path, and go over the session."""
    path = str(request.param)
    if path == "session":
        wrap_sessions(monkeypatch)
    return path


@pytest.fixture
def clock() -> Clock:
    """The sandbox's time."""
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[Sandbox]:
    """A sandbox as it comes, on a clock that moves when it is told to, without a limit."""
    async with Sandbox(clock=clock, limit=None) as running:
        yield running
