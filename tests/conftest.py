"""Fixtures for all tests, and the event loops of the tests."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

import pytest
from aiohttp import web

from callbell_async.sandbox import Sandbox
from tests.fixtures.sandbox import Clock
from tests.support.clock import AdvancingLoop, VirtualTimeLoop
from tests.support.http_paths import wrap_sessions
from tests.support.services import REQUIRED
from tests.support.webhook_listener import Listen, WebhookListener, subscribed_to_all


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give tests marked `virtual_time` a loop with virtual time, and all others a loop whose time they can advance."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"advancing": AdvancingLoop}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start four workers more than there are cores: many tests wait for a process, a server or a file."""
    return 4 + (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Keep the garbage collector from the modules and the items of all tests: they live to the end, and each collection would visit them."""
    gc.disable()
    try:
        return (yield)
    finally:
        # Before the freeze: Hypothesis asks the collector for the owners of random generators that other packages register.
        importlib.import_module("hypothesis")
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the slow tests: none is left alone with them at the end, and one computes while others wait."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    left = len(items)
    items.clear()
    for worker in range(workers):
        own = slow[worker::workers]
        # pytest-xdist gives this worker the next tests, as many as it gives to each of the workers after it.
        share = left // (workers - worker)
        left -= share
        items += own + fast[: share - len(own)]
        del fast[: share - len(own)]
    items += fast if workers else slow + fast


@pytest.fixture(scope="session", autouse=True)
def _no_ignored_signals() -> Iterator[None]:
    """Restore signals that `nohup` or a background job ignores: child processes inherit that, and the tests send signals to them."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def _no_callbell_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own token, secrets and addresses from the environment: `listen` would use a secret, and serve without end."""
    for name in [name for name in os.environ if name.startswith("CALLBELL_") and name != REQUIRED]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["direct", "session"])
def http_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test twice: an own session's requests take the direct path, and go over the session."""
    path = str(request.param)
    if path == "session":
        wrap_sessions(monkeypatch)
    return path


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the sandbox."""
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[Sandbox]:
    """Run a sandbox without a rate limit, on a clock that the test moves."""
    async with Sandbox(clock=clock, limit=None) as running:
        yield running


@pytest.fixture
async def listen(sandbox: Sandbox) -> AsyncIterator[Listen]:
    """Return a function that starts a webhook listener with given responses, subscribed to all events of the sandbox."""
    listeners = []

    async def begin(*responses: int | web.Response | None) -> WebhookListener:
        listener = await WebhookListener(*responses).__aenter__()
        listeners.append(listener)
        sandbox.account.seed(subscribed_to_all(listener.url))
        return listener

    yield begin
    for listener in listeners:
        await listener.__aexit__(None, None, None)
