"""`send_many` over real HTTP: whole runs, and runs that end early, with the sockets and tasks they leave behind: none."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from callbell_async import CallbellClient, ClientClosedError, Outcome, SendRun, TextMessage
from tests.support.fake_callbell import async_input, texts
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.usefixtures("http_path")


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    """No test here leaves a task or an open socket: pytest fails for the warning about one."""
    yield
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def disconnected(server: StrictServer) -> None:
    """Wait until the server has no connection left."""
    while server.connections:  # noqa: ASYNC110 - sockets of this machine, closed in the next few rounds
        await asyncio.sleep(0)


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("make", [list, iter, async_input], ids=["list", "iterator", "async generator"])
async def test_every_message_is_accepted_once(make: Callable[[list[TextMessage]], Any], iterated: bool) -> None:
    """However a run is fed and consumed, each message reaches the server once, and each receipt its own message."""
    async with StrictServer() as server:
        async with CallbellClient("token", base_url=server.base_url) as callbell:
            run = callbell.send_many(make(texts(120)), concurrency=20)
            results = [result async for result in run] if iterated else list((await run).results)
        await disconnected(server)
    assert sorted(result.index for result in results) == list(range(120))
    assert all(result.receipt and result.receipt.uuid == f"uuid-{result.index}" for result in results)
    assert server.accepted == Counter(str(number) for number in range(120))


async def in_flight(server: StrictServer, run: SendRun, *, requests: int) -> asyncio.Task[Any]:
    """Return a task that awaits the run, when this number of requests have reached the server."""
    task = asyncio.ensure_future(run)
    await server.seen(requests)
    return task


async def test_client_closed_under_a_run() -> None:
    """A client that is closed ends a run that another task awaits with `ClientClosedError`; messages in flight are `UNKNOWN`."""
    async with StrictServer(delay=(600.0, 600.0)) as server:
        callbell = CallbellClient("token", base_url=server.base_url)
        run = callbell.send_many(texts(50), concurrency=8, shutdown_timeout=0.0)
        task = await in_flight(server, run, requests=8)
        await callbell.close()
        with pytest.raises(ClientClosedError, match="closed before it ended"):
            await task
        await disconnected(server)
        assert len(server.arrivals) == 8
    assert [result.outcome for result in run.report.results] == [Outcome.UNKNOWN] * 8 + [Outcome.SKIPPED] * 42


async def test_cancelled_in_the_client_block() -> None:
    """A task that is cancelled in the middle of a run leaves the client's block with every message accounted for."""
    runs: list[SendRun] = []

    async def campaign(base_url: str) -> None:
        async with CallbellClient("token", base_url=base_url, max_connections=5) as callbell:
            runs.append(callbell.send_many(texts(50), concurrency=8, shutdown_timeout=0.0))
            await runs[0]

    async with StrictServer(delay=(600.0, 600.0)) as server:
        task = asyncio.create_task(campaign(server.base_url))
        await server.seen(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await disconnected(server)
        assert len(server.arrivals) == 5
    outcomes = Counter(result.outcome for result in runs[0].report.results)
    # Three of the eight were still waiting for a connection.
    assert outcomes == {Outcome.UNKNOWN: 5, Outcome.NEVER_SENT: 3, Outcome.SKIPPED: 42}


async def test_break_in_the_client_block() -> None:
    """Leaving the client's block after `break` waits for requests in flight: every message that the server accepted has a result."""
    async with StrictServer() as server:
        async with CallbellClient("token", base_url=server.base_url) as callbell:
            run = callbell.send_many((message for message in texts(200)), concurrency=10)
            async for _ in run:
                break
        await disconnected(server)
    report = run.report
    assert report.accepted == report.total == len(server.accepted) < 200
    assert set(server.accepted.values()) == {1}


async def test_run_abandoned_by_its_task() -> None:
    """A run whose consumer was cancelled between two results ends with the client, though nobody closed it."""
    has_one = asyncio.Event()

    async def consumer(run: SendRun) -> None:
        async for _ in run:
            has_one.set()
            await asyncio.Event().wait()

    async with StrictServer() as server:
        async with CallbellClient("token", base_url=server.base_url) as callbell:
            run = callbell.send_many(texts(200), concurrency=10)
            task = asyncio.create_task(consumer(run))
            await has_one.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await disconnected(server)
    assert run.report.accepted == len(server.accepted)
    assert run.report.total == 200
