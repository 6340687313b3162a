"""A run of `send_many` under the ways in which asyncio and anyio cancel: all leave the requests in flight their time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

import anyio
import pytest

from callbell_async import CallbellClient, Outcome, SendResult, SendRun
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.sandbox import Sandbox, faults
from tests.support.clock import current_loop
from tests.support.fake_callbell import FakeCallbell, new_run, texts

IN_FLIGHT = 10


class HeldCallbell(FakeCallbell):
    """Holds all requests but the first `prompt` ones until `respond` is set; `received` is set when ten are held."""

    def __init__(self, prompt: int) -> None:
        super().__init__()
        self.prompt = prompt
        self.respond = asyncio.Event()
        self.received = asyncio.Event()
        self.requests = 0

    async def exchange(self, call: CallState) -> Response:
        """Hold the request."""
        call.written = True
        self.requests += 1
        if self.requests == IN_FLIGHT + self.prompt:
            self.received.set()
        if self.requests > self.prompt:
            await self.respond.wait()
        return await super().exchange(call)


async def awaited(run: SendRun) -> None:
    """Await the run."""
    await run


async def iterated(run: SendRun) -> None:
    """Iterate the run."""
    async for _ in run:
        pass


async def closing(run: SendRun) -> None:
    """Iterate the run with a consumer that is cancelled between two results."""
    async with aclosing(run):
        async for _ in run:
            await asyncio.Event().wait()


USES: dict[str, Callable[[SendRun], Awaitable[None]]] = {"awaited": awaited, "iterated": iterated}


async def in_scope_of_anyio(use: Awaitable[None]) -> None:
    """End it after a minute, by a cancel scope."""
    with anyio.move_on_after(60):
        await use


async def in_timeout_of_asyncio(use: Awaitable[None]) -> None:
    """End it after a minute, by a timeout of asyncio."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await use


async def in_task_group_of_anyio(use: Awaitable[None]) -> None:
    """End it after a minute, because its neighbour raises."""

    async def consumer() -> None:
        await use

    async def neighbour() -> None:
        await asyncio.sleep(60)
        raise LookupError

    with suppress(ExceptionGroup):
        async with anyio.create_task_group() as group:
            group.start_soon(consumer)
            group.start_soon(neighbour)


async def in_task_group_of_asyncio(use: Awaitable[None]) -> None:
    """End it after a minute, because its neighbour raises."""

    async def consumer() -> None:
        await use

    async def neighbour() -> None:
        await asyncio.sleep(60)
        raise LookupError

    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(consumer())
            group.create_task(neighbour())


async def in_task_under_a_scope(use: Awaitable[None]) -> None:
    """End it after a minute, by a cancel scope around the wait for its task."""

    async def consumer() -> None:
        await use

    with anyio.move_on_after(60):
        await asyncio.create_task(consumer())


WAYS = (
    in_scope_of_anyio,
    in_timeout_of_asyncio,
    in_task_group_of_anyio,
    in_task_group_of_asyncio,
    in_task_under_a_scope,
)

Way = Callable[[Awaitable[None]], Awaitable[None]]


async def rounds(count: int = 50) -> None:
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


class RunScenario:
    """A run of 100 messages that ends after a minute, with ten requests in flight."""

    def __init__(self, way: Way, use: Callable[[SendRun], Awaitable[None]] = awaited, *, prompt: int = 0) -> None:
        self.fake = HeldCallbell(prompt)
        self.received: list[SendResult] = []
        self.run = new_run(
            self.fake,
            texts(100),
            concurrency=IN_FLIGHT,
            shutdown_timeout=10.0,
            on_result=self.received.append,
        )
        self._way, self._use = way, use
        self.user: asyncio.Task[None] | None = None
        self.task = asyncio.create_task(self._main())

    async def _main(self) -> None:
        await self._way(self._use_run())

    async def _use_run(self) -> None:
        self.user = asyncio.current_task()
        await self._use(self.run)

    async def end_its_time(self) -> None:
        """Wait until the requests are in flight, and let the minute pass."""
        await self.fake.received.wait()
        current_loop().advance(60)
        await rounds()
        assert not self.task.done()

    def outcomes(self) -> dict[str, int]:
        """The number of results by outcome; `on_result` received them all."""
        assert len(self.received) == self.run.report.total == 100
        return {
            outcome.value: count
            for outcome in Outcome
            if (count := sum(result.outcome is outcome for result in self.received))
        }


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("way", WAYS)
async def test_requests_in_flight_have_their_time(way: Way, use: Callable[[SendRun], Awaitable[None]]) -> None:
    """However a run is cancelled, requests in flight have the shutdown time to end, and none becomes `UNKNOWN`."""
    scenario = RunScenario(way, use)
    await scenario.end_its_time()
    scenario.fake.respond.set()
    await scenario.task
    assert scenario.outcomes() == {"accepted": 10, "skipped": 90}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("way", WAYS)
async def test_that_time_ends(way: Way) -> None:
    """However a run is cancelled, what is in flight after the shutdown time is cut off."""
    scenario = RunScenario(way)
    await scenario.end_its_time()
    current_loop().advance(10)
    await scenario.task
    assert scenario.outcomes() == {"unknown": 10, "skipped": 90}


@pytest.mark.parametrize("way", WAYS)
async def test_a_second_cancellation_cuts_the_time_short(way: Way) -> None:
    """However a run is cancelled, `Task.cancel()` afterwards cuts the shutdown time short."""
    scenario = RunScenario(way)
    await scenario.end_its_time()
    assert scenario.user is not None
    scenario.user.cancel()
    await asyncio.gather(scenario.task, return_exceptions=True)
    assert scenario.outcomes() == {"unknown": 10, "skipped": 90}


@pytest.mark.parametrize("way", WAYS)
async def test_a_consumer_that_is_cancelled_between_two_results(way: Way) -> None:
    """A run that its cancelled consumer closes has its shutdown time, too, also inside the cancelled scope."""
    scenario = RunScenario(way, closing, prompt=1)
    await scenario.end_its_time()
    scenario.fake.respond.set()
    await scenario.task
    assert scenario.outcomes() == {"accepted": 11, "skipped": 89}


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_is_left_in_a_cancelled_scope(way: Way) -> None:
    """Leaving the client's block because of a cancellation waits for the requests in flight, and closes every connection."""
    runs: list[SendRun] = []

    async def scenario(url: str) -> None:
        async with CallbellClient("token", base_url=url, timeout=None) as callbell:
            runs.append(callbell.send_many(texts(100), concurrency=IN_FLIGHT, shutdown_timeout=3600.0))
            async for _ in runs[0]:
                await asyncio.Event().wait()

    respond = asyncio.Event()
    async with Sandbox(token="token") as sandbox:
        sandbox.inject(faults.no_fault(), times=1)
        sandbox.inject(faults.no_response(until=respond))
        task = asyncio.ensure_future(way(scenario(sandbox.url)))
        while len(sandbox.requests) < IN_FLIGHT + 1:  # noqa: ASYNC110 - sockets of this machine
            await asyncio.sleep(0)
        current_loop().advance(60)
        await rounds()
        assert not task.done()
        respond.set()
        await task
        await sandbox.wait_disconnected()
    report = runs[0].report
    assert (report.accepted, report.unknown, report.skipped) == (11, 0, 89)
