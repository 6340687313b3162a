"""Fixtures for all tests, and the event loops they run on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
from aiohttp import web

from callbell_async.sandbox import Sandbox
from tests.fixtures.sandbox import Clock
from tests.support.clock import AdvancingLoop, VirtualTimeLoop
from tests.support.http_paths import wrap_sessions
from tests.support.webhook_listener import Listen, WebhookListener, subscribed_to_all


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests marked `virtual_time` get a loop whose clock jumps; all others one whose clock they can push."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"advancing": AdvancingLoop}


@pytest.fixture(scope="session", autouse=True)
def _no_ignored_signals() -> Iterator[None]:
    """`nohup` and background jobs ignore signals, and child processes inherit that: the tests send signals to themselves and to children."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def _no_callbell_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own token and address must not reach a test."""
    for name in ("CALLBELL_TOKEN", "CALLBELL_BASE_URL", "CALLBELL_WEBHOOK_SECRET"):
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


@pytest.fixture
async def listen(sandbox: Sandbox) -> AsyncIterator[Listen]:
    """Starts a webhook listener with the given responses, which is subscribed to all events of the sandbox."""
    listeners = []

    async def begin(*responses: int | web.Response | None) -> WebhookListener:
        listener = await WebhookListener(*responses).__aenter__()
        listeners.append(listener)
        sandbox.account.seed(subscribed_to_all(listener.url))
        return listener

    yield begin
    for listener in listeners:
        await listener.__aexit__(None, None, None)
