"""Outages over real HTTP: servers that are down, and servers that respond with 503."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from callbell_async import CallbellClient, Journal, OutageError, Outcome, SendReport, SendRun
from callbell_async.sandbox import Sandbox, faults
from tests.support.clock import current_loop
from tests.support.fake_callbell import texts


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    """No test here leaves a task or an unclosed socket behind."""
    yield
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what sockets of this machine bring about."""
    while not condition():  # noqa: ASYNC110 - no real time goes by
        await asyncio.sleep(0)


def client_without_timeouts(url: str) -> CallbellClient:
    """A client whose requests don't time out when a test lets time pass."""
    return CallbellClient("token", base_url=url, timeout=None, connect_timeout=None)


async def unused_port() -> int:
    """The port of a sandbox that has ended."""
    async with Sandbox() as sandbox:
        return int(sandbox.url.split(":")[2].split("/")[0])


async def paused(run: SendRun) -> asyncio.Task[SendReport]:
    """A task that awaits the run, when the run has paused."""
    task = asyncio.ensure_future(run)
    await until(lambda: run.paused_for is not None)
    return task


async def hastened(task: asyncio.Task[SendReport]) -> SendReport:
    """The task's result, without waiting for timers in real time."""
    while not task.done():
        current_loop().advance(1)
        for _ in range(20):
            await asyncio.sleep(0)
    return await task


async def test_a_server_that_is_down_at_first() -> None:
    """Messages to a server that refuses connections wait for it, and each is accepted once it listens."""
    port = await unused_port()
    async with client_without_timeouts(f"http://127.0.0.1:{port}/v1") as callbell:
        run = callbell.send_many(texts(120), concurrency=20)
        task = await paused(run)
        async with Sandbox(port=port, token="token") as sandbox:
            report = await hastened(task)
        assert (report.accepted, report.total) == (120, 120)
        assert len(sandbox.messages) == 120
        assert run.paused_for is None


@pytest.mark.slow
@pytest.mark.parametrize("with_journal", [False, True])
async def test_a_server_that_is_overloaded_for_a_while(tmp_path: Path, with_journal: bool) -> None:
    """Messages that meet 503 wait for better times, also with a journal, and each is accepted once."""
    overloaded = False
    accepted = 0

    def count(_: object) -> None:
        nonlocal accepted, overloaded
        accepted += 1
        overloaded = overloaded or accepted == 40

    async with Sandbox(token="token") as sandbox:
        sandbox.inject(faults.respond(503), when=lambda _: overloaded)
        async with (
            client_without_timeouts(sandbox.url) as callbell,
            Journal(tmp_path / "spring.db") as journal,
        ):
            run = callbell.send_many(
                texts(200), concurrency=20, on_result=count, journal=journal if with_journal else None
            )
            task = await paused(run)
            for _ in range(3):
                expected = len(sandbox.requests) + 1
                current_loop().advance(30)
                await until(lambda expected=expected: len(sandbox.requests) >= expected)  # type: ignore[misc]
            # Those in flight when it began, and probes.
            assert len(sandbox.requests) - accepted <= 20 + 5
            overloaded = False
            report = await hastened(task)
            assert (report.accepted, report.total) == (200, 200)
            assert (await journal.counts())[Outcome.ACCEPTED] == (200 if with_journal else 0)
        assert len(sandbox.messages) == 200


async def test_a_server_that_stays_down() -> None:
    """After `outage_timeout` the run stops by itself, with an error that names the reason."""
    port = await unused_port()
    async with client_without_timeouts(f"http://127.0.0.1:{port}/v1") as callbell:
        run = callbell.send_many(texts(50), concurrency=5, outage_timeout=60.0)
        task = await paused(run)
        current_loop().advance(61)
        report = await task
    assert (report.never_sent, report.skipped) == (5, 45)
    assert isinstance(run.stop_error, OutageError)
    assert "no connection" in str(run.stop_error)
