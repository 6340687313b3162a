"""A shared rate limiter: many processes on one limit, its engine's faults, pauses and its life cycle, on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from callbell_async import (
    RateLimiter,
    RateLimiterError,
    RequestTimeoutError,
    RetryPolicy,
    SendRun,
    limits,
)
from callbell_async.limits.shared import SharedRateLimiter
from tests.support.clock import VirtualTimeLoop
from tests.support.fake_callbell import Behaviour, FakeCallbell, new_run, texts
from tests.support.memory_lender import EngineState, MemoryLender, MemoryRateLimiter
from tests.support.scripted_transport import OK, pipeline_for, responding, send
from tests.support.strict_server import fullest_window

# --- processes --------------------------------------------------------------------------------------------------------


class World:
    """Some processes on one engine, all on one virtual clock; `arrived_at` are the times at Callbell."""

    def __init__(self, state: EngineState, limit: int) -> None:
        self.state = state
        self.limit = limit
        self.fakes: list[FakeCallbell] = []
        self.limiters: list[SharedRateLimiter] = []

    def limiter(self, **options: float) -> SharedRateLimiter:
        """A further process's limiter."""
        limiter = MemoryRateLimiter(self.state, self.limit, **options)
        self.limiters.append(limiter)
        return limiter

    async def send(
        self, limiter: SharedRateLimiter, count: int, behaviour: Behaviour, *, concurrency: int = 100
    ) -> float:
        """Send messages in one process; returns the seconds that they took."""
        fake = FakeCallbell(lambda number, attempt: behaviour)
        self.fakes.append(fake)
        started = asyncio.get_running_loop().time()
        report = await new_run(fake, texts(count), concurrency=concurrency, rate_limit=limiter, retry=RetryPolicy())
        assert report.accepted == count
        return asyncio.get_running_loop().time() - started

    @property
    def arrived_at(self) -> list[float]:
        """The times at which requests arrived, in order."""
        return sorted(moment for fake in self.fakes for moment in fake.arrived_at)

    async def send_for(
        self, seconds: float, limiters: list[RateLimiter], behaviour: Behaviour, *, concurrency: int
    ) -> None:
        """Send in several processes for this time; then wait until all slots are free."""
        fakes = [FakeCallbell(lambda number, attempt: behaviour) for _ in limiters]
        self.fakes += fakes
        runs = [
            asyncio.ensure_future(
                self._until_cancelled(
                    new_run(fake, texts(3_000), concurrency=concurrency, rate_limit=limiter, shutdown_timeout=0.0)
                )
            )
            for fake, limiter in zip(fakes, limiters, strict=True)
        ]
        await asyncio.sleep(seconds)
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)

    async def _until_cancelled(self, run: SendRun) -> None:
        await run


@asynccontextmanager
async def world(limit: int = 300) -> AsyncIterator[World]:
    """An engine that has been used before, and so grants at once."""
    state = EngineState(known_run=1)
    made = World(state, limit)
    try:
        yield made
    finally:
        for limiter in made.limiters:
            await limiter.aclose()


SECONDS = 5.0


async def requests_alone(behaviour: Behaviour) -> int:
    """The number of requests that one process with a limiter of its own sends in this time."""
    async with world() as made:
        limiter = limits.WindowRateLimiter(made.limit)
        await made.send_for(SECONDS, [limiter], behaviour, concurrency=400)
        return len(made.arrived_at)


@pytest.mark.slow
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("processes", "delay"), [(1, 0.0), (2, 0.3), (4, 0.0), (4, 0.05), (8, 0.0), (8, 0.05), (8, 0.3), (30, 0.05)]
)
async def test_processes_share_the_limit(processes: int, delay: float) -> None:
    """Busy processes together never exceed the limit, and send at least 93 % of what one process alone sends."""
    behaviour = Behaviour(write_time=delay / 2, response_time=delay / 2)
    async with world() as made:
        limiters: list[RateLimiter] = [made.limiter() for _ in range(processes)]
        for limiter in limiters:
            await limiter.start()
        await made.send_for(SECONDS, limiters, behaviour, concurrency=max(20, 400 // processes))
        assert fullest_window(made.arrived_at) <= 300
        assert len(made.arrived_at) >= 0.93 * await requests_alone(behaviour)
        assert made.state.reports <= 20 * processes * (SECONDS + 1)


@pytest.mark.virtual_time
@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_one_busy_process_gets_nearly_all(delay: float) -> None:
    """One busy process among four gets at least 90 % of what it gets alone, as the others are idle."""
    behaviour = Behaviour(response_time=delay)
    async with world() as made:
        busy, *idle = [made.limiter() for _ in range(4)]
        for limiter in (busy, *idle):
            await limiter.start()
        await asyncio.sleep(1.0)
        await made.send_for(SECONDS, [busy], behaviour, concurrency=400)
        assert fullest_window(made.arrived_at) <= 300
        assert len(made.arrived_at) >= 0.9 * await requests_alone(behaviour)


@pytest.mark.virtual_time
async def test_an_idle_process_sends_at_once() -> None:
    """A process that was idle beside a busy one has its first two slots without a wait."""
    async with world() as made:
        busy, idle = made.limiter(), made.limiter()
        await busy.start()
        await idle.start()
        sending = asyncio.create_task(made.send(busy, 1_500, Behaviour()))
        await asyncio.sleep(3.0)
        assert idle.try_acquire()
        idle.release(has_response=True)
        await sending


@pytest.mark.virtual_time
async def test_no_request_causes_a_report() -> None:
    """The number of reports depends on the time and not on the number of messages."""
    reports = []
    for count in (600, 3_000):
        async with world(limit=count) as made:
            limiter = made.limiter()
            await limiter.start()
            await made.send(limiter, count, Behaviour(response_time=0.001), concurrency=500)
            await asyncio.sleep(10.0)
            reports.append(limiter.reports)
    assert max(reports) <= 60


# --- faults -----------------------------------------------------------------------------------------------------------

Fault = Callable[[World], Awaitable[None]]


async def engine_away(made: World) -> None:
    """Four seconds without the engine."""
    made.state.reachable = False
    await asyncio.sleep(4.0)
    made.state.reachable = True


async def engine_empty(made: World) -> None:
    """It loses its memory."""
    made.state.restart_empty()


async def engine_away_and_empty(made: World) -> None:
    """Both."""
    made.state.reachable = False
    await asyncio.sleep(4.0)
    made.state.restart_empty()
    made.state.reachable = True


async def engine_slow(made: World) -> None:
    """Each later response takes 200 ms."""
    made.state.latency = 0.2


async def engine_too_slow(made: World) -> None:
    """For three seconds each response comes too late, though each report is executed."""
    made.state.latency = 1.9
    await asyncio.sleep(3.0)
    made.state.latency = 0.0


async def clock_forward(made: World) -> None:
    """The engine's clock is set forward by an hour."""
    made.state.clock_offset = 3600.0


async def clock_back(made: World) -> None:
    """The engine's clock is set back by an hour."""
    made.state.clock_offset = -3600.0


@pytest.mark.slow
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "fault",
    [engine_away, engine_empty, engine_away_and_empty, engine_slow, engine_too_slow, clock_forward, clock_back],
    ids=lambda fault: fault.__name__,
)
async def test_the_limit_holds_whatever_the_engine_does(fault: Fault) -> None:
    """While processes come and send, the engine fails in one way: no second has more than the limit, and all is sent."""
    random.seed(3)
    behaviour = Behaviour(write_time=0.02, response_time=0.02)
    async with world() as made:
        early = [made.limiter() for _ in range(3)]
        for limiter in early:
            await limiter.start()
        sending = [asyncio.create_task(made.send(limiter, 800, behaviour)) for limiter in early]
        await asyncio.sleep(2.1)
        await fault(made)
        late = made.limiter()
        while True:
            try:
                await late.start()
            except RateLimiterError:
                continue
            break
        sending.append(asyncio.create_task(made.send(late, 300, behaviour)))
        await asyncio.gather(*sending)
        assert fullest_window(made.arrived_at) <= 300


@pytest.mark.virtual_time
async def test_without_the_engine_nothing_is_sent_after_the_lease() -> None:
    """A process that can't reach the engine sends until its lease ends and no longer, and continues when it can."""
    async with world() as made:
        limiter = made.limiter()
        await limiter.start()
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(made.send(limiter, 2_400, Behaviour()))
        await asyncio.sleep(2.1)
        made.state.reachable = False
        away_at = loop.time()
        await asyncio.sleep(4.0)
        last = made.arrived_at[-1]
        assert 1.0 <= last - away_at <= 1.5
        assert limiter.problem == "the rate limiter's memory: can't be reached"
        made.state.reachable = True
        back_at = loop.time()
        await sending
        first = min(moment for moment in made.arrived_at if moment > last)
        assert first - back_at <= 0.5
        assert limiter.problem is None
        assert fullest_window(made.arrived_at) <= 300


@pytest.mark.virtual_time
@pytest.mark.parametrize("request_timeout", [5.0, 30.0])
async def test_the_slots_of_a_dead_process_return(request_timeout: float) -> None:
    """The slots of a process that died are lent again when its last request must have ended, and not earlier."""
    async with world() as made:
        dead, living = made.limiter(request_timeout=request_timeout), made.limiter(request_timeout=request_timeout)
        await dead.start()
        assert dead.slots == 38
        assert dead._renewal is not None
        dead._renewal.cancel()
        died_at = asyncio.get_running_loop().time()
        await living.start()
        hungry = [asyncio.ensure_future(living.acquire()) for _ in range(400)]
        while living.slots <= 262:  # noqa: ASYNC110 - it is nobody's event
            await asyncio.sleep(0.05)
        # Lease, request_timeout, no_response_hold, period.
        assert asyncio.get_running_loop().time() - died_at == pytest.approx(1.5 + request_timeout + 11.0, abs=0.5)
        await asyncio.sleep(0.5)
        assert living.slots == 300
        for request in hungry:
            request.cancel()


@pytest.mark.virtual_time
async def test_closing_returns_the_slots() -> None:
    """A limiter that is closed in good order returns its slots as soon as they are free: a second after its last response."""
    async with world() as made:
        first, second = made.limiter(), made.limiter()
        await first.start()
        await made.send(first, 300, Behaviour(response_time=0.1), concurrency=300)
        await first.aclose()
        closed_at = asyncio.get_running_loop().time()
        await second.start()
        await made.send(second, 300, Behaviour(), concurrency=300)
        assert fullest_window(made.arrived_at) <= 300
        assert asyncio.get_running_loop().time() - closed_at < 2.0


@pytest.mark.virtual_time
@pytest.mark.parametrize("pause", [0.5, 10.0, 3600.0])
async def test_a_later_process_sends_at_once(pause: float) -> None:
    """A process that starts after all others were closed in good order has slots at once, after any time."""
    async with world() as made:
        first, second = made.limiter(), made.limiter()
        await first.start()
        await made.send(first, 100, Behaviour(response_time=0.1))
        await first.aclose()
        await asyncio.sleep(pause)
        await second.start()
        assert second.slots > 0


@pytest.mark.virtual_time
async def test_a_report_that_arrives_late_changes_nothing() -> None:
    """A report that the engine executes after a later one is ignored: it must not free slots that are in use."""
    async with world(limit=10) as made:
        state = made.state
        limiter = made.limiter()
        await limiter.start()
        stale = limiter._next_report(0.0, first=False)
        await limiter._report(first=True)
        (owner,) = state.processes
        known = state.processes[owner].held
        grant = await MemoryLender(state).report(stale, limit=10, terms=limiter._terms)
        assert grant.sequence > stale.sequence
        assert state.processes[owner].held == known


# --- pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_429_stops_all_processes() -> None:
    """After a 429 with `Retry-After: 3` in one process, all that share the limiter send nothing for 3 s, from a quarter of a second on."""
    async with world() as made:
        first, second = made.limiter(), made.limiter()
        await first.start()
        await second.start()
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(made.send(second, 1_500, Behaviour()))
        await asyncio.sleep(2.0)
        pipeline = pipeline_for(responding(429, Retry_After="3"), OK, rate_limit=first, retry=RetryPolicy())
        refused_at = loop.time()
        await send(pipeline)
        assert loop.time() - refused_at >= 3.0
        await sending
        during = [moment for moment in made.arrived_at if refused_at + 0.3 < moment < refused_at + 3.0]
        assert during == []
        assert any(moment > refused_at + 3.0 for moment in made.arrived_at)


@pytest.mark.virtual_time
async def test_a_pause_does_not_grow() -> None:
    """A pause that travels by way of a slow engine ends in time, and does not extend itself."""
    async with world() as made:
        made.state.latency = 0.2
        first, second = made.limiter(), made.limiter()
        await first.start()
        await second.start()
        await asyncio.sleep(1.0)
        loop = asyncio.get_running_loop()
        first.pause(3.0)
        paused_at = loop.time()
        await asyncio.sleep(1.0)
        for limiter in (first, second):
            await limiter.acquire()
            assert 3.0 <= loop.time() - paused_at <= 3.5
            limiter.release(has_response=True)


# --- life cycle -------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_several_clients_share_a_shared_limiter() -> None:
    """The limiter connects for the first client and closes for the last one; then it can be started again."""
    async with world() as made:
        limiter = made.limiter()
        lender = limiter._lender
        await limiter.start()
        await limiter.start()
        await limiter.aclose()
        assert lender.connected
        await limiter.aclose()
        assert not lender.connected
        assert limiter.slots == 0
        await limiter.start()
        assert limiter.slots > 0


@pytest.mark.virtual_time
async def test_an_engine_that_is_away_at_the_start() -> None:
    """The first call fails with a clear error and sends nothing; a later call connects."""
    async with world() as made:
        made.state.reachable = False
        limiter = made.limiter()
        pipeline = pipeline_for(OK, rate_limit=limiter)
        with pytest.raises(RateLimiterError, match="can't be reached"):
            await send(pipeline)
        made.state.reachable = True
        await send(pipeline)


@pytest.mark.virtual_time
async def test_a_run_stops_when_the_engine_can_t_be_used() -> None:
    """`send_many` does not try an engine again for each message: the run stops, and the rest is skipped."""
    async with world() as made:
        made.state.reachable = False
        report = await new_run(FakeCallbell(), texts(50), rate_limit=made.limiter())
        assert report.accepted == 0
        assert report.never_sent + report.skipped == 50
        assert report.never_sent <= 3


@pytest.mark.virtual_time
async def test_a_call_without_a_lease_names_the_engine() -> None:
    """A call that gets no slot in time, because the engine is away, fails with the cause."""
    async with world() as made:
        limiter = made.limiter()
        pipeline = pipeline_for(OK, OK, rate_limit=limiter, retry=RetryPolicy(timeout=5.0))
        await send(pipeline)
        made.state.reachable = False
        await asyncio.sleep(2.0)
        with pytest.raises(
            RequestTimeoutError, match=r"no slot .* in time: the rate limiter's memory: can't be reached"
        ):
            await send(pipeline)


def test_a_limiter_serves_one_event_loop_after_the_other() -> None:
    """A limiter that was left open when its event loop ended can be started on another one."""
    state = EngineState(known_run=1)
    limiter = MemoryRateLimiter(state)
    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(limiter.start())
            assert limiter.slots > 0
