"""The paced rate limiter: slots that are free a fixed time after the write, and the strict rule after a 429. On a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict

from callbell_async import CallbellClient, ConfigurationError, RetryPolicy, WindowRateLimiter
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.limits.base import TrackedSlot
from tests.support.clock import VirtualTimeLoop, current_loop
from tests.support.fake_callbell import new_run, texts
from tests.support.scripted_transport import ScriptedTransport
from tests.support.strict_server import StrictServer, fullest_window

LIMIT = 300

# --- servers that count in different ways --------------------------------------------------------------------------------


Counting = Callable[[float], bool]
"""Counts a request that arrives at this time, and returns whether it is within the limit."""


def sliding_log() -> Counting:
    """No window of one second may hold more than the limit, refused requests included."""
    log: deque[float] = deque()

    def admits(now: float) -> bool:
        log.append(now)
        while now - log[0] > 1.0:
            log.popleft()
        return len(log) <= LIMIT

    return admits


def fixed_window() -> Counting:
    """Each second of the clock has the limit."""
    counts: dict[int, int] = {}

    def admits(now: float) -> bool:
        counts[int(now)] = counts.get(int(now), 0) + 1
        return counts[int(now)] <= LIMIT

    return admits


def token_bucket() -> Counting:
    """A bucket of as many tokens as the limit, which fills up in one second."""
    tokens, last = float(LIMIT), 0.0

    def admits(now: float) -> bool:
        nonlocal tokens, last
        tokens = min(float(LIMIT), tokens + (now - last) * LIMIT)
        last = now
        if tokens < 1.0:
            return False
        tokens -= 1.0
        return True

    return admits


class CountingServer(ScriptedTransport):
    """Refuses with 429 what `admits` does not admit when it arrives.

    The way to the server takes 10 to 25 ms, and with `stalls` nothing arrives in the first 400 ms of every third second. Responses take
    from `response_time[0]` to `response_time[1]` seconds.
    """

    def __init__(self, admits: Counting, *, stalls: bool, response_time: tuple[float, float], seed: int = 5) -> None:
        super().__init__(self._step)
        self._admits = admits
        self._stalls = stalls
        self._response_time = response_time
        self._random = random.Random(seed)
        self.arrived_at: list[float] = []
        self.refused_at: list[float] = []

    async def _step(self, call: CallState) -> Response:
        loop = asyncio.get_running_loop()
        call.mark_written()
        await asyncio.sleep(self._random.uniform(0.010, 0.025))
        if self._stalls and (into := loop.time() % 3.0) < 0.4:
            await asyncio.sleep(0.4 - into)
        admitted = self._admits(loop.time())
        self.arrived_at.append(loop.time())
        if not admitted:
            self.refused_at.append(loop.time())
        await asyncio.sleep(self._random.uniform(*self._response_time))
        if not admitted:
            return Response(429, CIMultiDict({"Retry-After": "1"}), b'{"error":"too many requests"}')
        return Response(200, CIMultiDict(), b'{"message":{"uuid":"u","status":"enqueued"}}')

    @property
    def refused(self) -> int:
        """The number of 429s."""
        return len(self.refused_at)

    @property
    def rate(self) -> float:
        """Requests a second after the first full set, which finds all slots free."""
        later = self.arrived_at[LIMIT:]
        return (len(later) - 1) / (later[-1] - later[0])


def simulate(
    counting: Callable[[], Counting],
    *,
    jitter: float | None,
    stalls: bool = False,
    response_time: tuple[float, float] = (0.0, 0.3),
    count: int = 3_000,
) -> CountingServer:
    """Send messages over a server of this kind; all of them are accepted."""
    random.seed(1)  # the retries' jitter
    server = CountingServer(counting(), stalls=stalls, response_time=response_time)

    async def main() -> None:
        limiter = WindowRateLimiter(LIMIT, jitter=jitter)
        report = await new_run(server, texts(count), concurrency=700, retry=RetryPolicy(), rate_limit=limiter)
        assert report.accepted == count

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    return server


SERVERS = [sliding_log, fixed_window, token_bucket]


@pytest.mark.parametrize("counting", SERVERS, ids=lambda counting: counting.__name__)
@pytest.mark.parametrize("response_time", [(0.0, 0.0), (0.0, 0.3), (1.0, 1.0)], ids=["at once", "0 to 300 ms", "1 s"])
def test_paced_reaches_the_limit(counting: Callable[[], Counting], response_time: tuple[float, float]) -> None:
    """With responses of any time the paced rule reaches 97 % of the limit, and no server refuses a request within the jitter."""
    server = simulate(counting, jitter=0.02, response_time=response_time)
    assert server.refused == 0
    assert fullest_window(server.arrived_at) <= LIMIT
    assert server.rate >= 0.97 * LIMIT


def test_strict_depends_on_the_response_time() -> None:
    """The strict rule, with responses of 1 s, reaches half of the limit."""
    server = simulate(sliding_log, jitter=None, response_time=(1.0, 1.0))
    assert server.refused == 0
    assert 0.45 * LIMIT <= server.rate <= 0.6 * LIMIT


@pytest.mark.parametrize("counting", SERVERS, ids=lambda counting: counting.__name__)
def test_strict_survives_stalls(counting: Callable[[], Counting]) -> None:
    """When nothing arrives for 400 ms and then everything at once, no server refuses a request under the strict rule."""
    server = simulate(counting, jitter=None, stalls=True)
    assert server.refused == 0
    assert fullest_window(server.arrived_at) <= LIMIT


def test_paced_is_refused_after_a_stall_and_then_strict() -> None:
    """A stall longer than the jitter leads to 429s; then the strict rule applies, and later stalls lead to none."""
    server = simulate(sliding_log, jitter=0.02, stalls=True, count=6_000)
    # At most what has left in the 400 ms. The 6 000 messages meet seven stalls, and only one of them leads to 429s.
    assert 0 < server.refused <= 0.4 * LIMIT
    assert server.refused_at[-1] - server.refused_at[0] < 1.0
    assert server.arrived_at[-1] - server.arrived_at[0] > 20.0


# --- the slots ------------------------------------------------------------------------------------------------------------


async def free_after(limiter: WindowRateLimiter, seconds: float) -> int:
    """Return the number of free slots after this time."""
    await asyncio.sleep(seconds)
    return limiter.free_slots


def acquire(limiter: WindowRateLimiter) -> TrackedSlot:
    """Acquire a slot at once."""
    assert limiter.try_acquire()
    return limiter.track_slot()


@pytest.mark.virtual_time
async def test_a_slot_is_free_after_the_write() -> None:
    """A slot is free `period + jitter` after the write, without a response."""
    limiter = WindowRateLimiter(1, jitter=0.1)
    slot = acquire(limiter)
    await asyncio.sleep(5.0)
    assert limiter.free_slots == 0
    slot.written()
    assert await free_after(limiter, 1.09) == 0
    assert await free_after(limiter, 0.02) == 1
    slot.release(has_response=True)
    assert await free_after(limiter, 5.0) == 1


@pytest.mark.virtual_time
async def test_a_quick_response_frees_the_slot_earlier() -> None:
    """A slot whose response comes within the jitter is free a period after the response."""
    limiter = WindowRateLimiter(1, jitter=0.5)
    slot = acquire(limiter)
    slot.written()
    await asyncio.sleep(0.1)
    slot.release(has_response=True)
    assert await free_after(limiter, 0.99) == 0
    assert await free_after(limiter, 0.02) == 1
    assert await free_after(limiter, 5.0) == 1


@pytest.mark.virtual_time
async def test_a_waiter_gets_a_slot_that_is_free_after_the_write() -> None:
    """A request that waits is woken when a slot is free by the write of an earlier one."""
    limiter = WindowRateLimiter(1, jitter=0.1)
    slot = acquire(limiter)
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0.5)
    slot.written()
    written_at = current_time()
    await waiting
    assert current_time() - written_at == pytest.approx(1.1, abs=0.01)


@pytest.mark.virtual_time
async def test_a_request_without_a_response_takes_its_slot_back() -> None:
    """A request that ends without a response may still arrive: one slot is held for `no_response_hold` seconds and a period more."""
    limiter = WindowRateLimiter(2, jitter=0.1, no_response_hold=4.0)
    slot = acquire(limiter)
    slot.written()
    assert await free_after(limiter, 3.0) == 2
    slot.release(has_response=False)
    assert limiter.free_slots == 1
    assert await free_after(limiter, 4.99) == 1
    assert await free_after(limiter, 0.02) == 2


@pytest.mark.virtual_time
async def test_a_slot_that_is_missing_is_counted() -> None:
    """If a slot is taken back while all are in use, `slots` counts it, no request gets it, and it is paid back later."""
    limiter = WindowRateLimiter(1, jitter=0.1, no_response_hold=4.0)
    first = acquire(limiter)
    first.written()
    await asyncio.sleep(2.0)
    second = acquire(limiter)
    first.release(has_response=False)
    assert (limiter.slots, limiter.free_slots) == (2, 0)
    second.written()
    second.release(has_response=True)
    assert await free_after(limiter, 3.0) == 0
    assert not limiter.try_acquire()
    assert await free_after(limiter, 2.1) == 1
    assert limiter.slots == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("written", [True, False])
async def test_a_refunded_slot_is_free(written: bool) -> None:
    """A request that was never sent gives its slot back once, also one that was thought to be written."""
    limiter = WindowRateLimiter(1, jitter=0.1)
    slot = acquire(limiter)
    if written:
        slot.written()
    slot.refund()
    assert limiter.free_slots == 1
    assert await free_after(limiter, 5.0) == 1


@pytest.mark.virtual_time
async def test_the_strict_rule_for_a_minute_after_a_429() -> None:
    """For a minute after the pause, a slot is held until a period after its response; then the paced rule applies again."""
    limiter = WindowRateLimiter(1, jitter=0.1)
    limiter.pause(2.0)
    for expected in (0, 0, 0, 1):
        await limiter.acquire()
        slot = limiter.track_slot()
        slot.written()
        assert await free_after(limiter, 25.0) == expected
        slot.release(has_response=True)


@pytest.mark.virtual_time
async def test_requests_in_flight_are_strict_after_a_429() -> None:
    """Requests in flight at the 429, also those whose slots were free already, hold slots until a period after their responses."""
    limiter = WindowRateLimiter(4, jitter=0.1)
    trusted, written, responded = acquire_apart(limiter), acquire_apart(limiter), acquire_apart(limiter)
    first = await trusted
    first.written()
    await asyncio.sleep(1.5)
    second = await written
    second.written()
    third = await responded
    third.written()
    await asyncio.sleep(0.5)
    third.release(has_response=True)
    assert limiter.free_slots == 2
    limiter.pause(0.0)
    assert limiter.free_slots == 1
    assert await free_after(limiter, 1.1) == 2
    for slot in (first, second):
        slot.release(has_response=True)
    assert await free_after(limiter, 0.9) == 2
    assert await free_after(limiter, 0.2) == 4


async def acquire_apart(limiter: WindowRateLimiter) -> TrackedSlot:
    """Acquire a slot."""
    await limiter.acquire()
    return limiter.track_slot()


@pytest.mark.virtual_time
async def test_a_strict_limiter_tracks_no_writes() -> None:
    """The default limiter does not ask the client for the time of the write."""
    limiter = WindowRateLimiter(1)
    assert not limiter.tracks_writes
    assert limiter.try_acquire()
    with pytest.raises(NotImplementedError, match="WindowRateLimiter has tracks_writes"):
        limiter.track_slot()


# --- over HTTP ------------------------------------------------------------------------------------------------------------


async def test_the_client_reports_the_write_to_the_limiter() -> None:
    """Over real HTTP a second set of requests is sent while no response to the first has come."""
    async with (
        StrictServer(limit=20, delay=(600.0, 600.0)) as server,
        CallbellClient(
            "token", base_url=server.base_url, timeout=None, rate_limit=WindowRateLimiter(20, jitter=0.02)
        ) as callbell,
    ):
        sending = asyncio.ensure_future(run_of(callbell))
        await server.seen(20)
        assert len(server.arrivals) == 20
        current_loop().advance(1.1)
        await server.seen(40)
        sending.cancel()
        await asyncio.wait([sending])


async def run_of(callbell: CallbellClient) -> None:
    """Send 40 messages, all at once as far as the limit allows."""
    await callbell.send_many(texts(40), concurrency=40, shutdown_timeout=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [(0.0, 0.0), (0.0, 0.3)], ids=["at once", "0 to 300 ms"])
async def test_no_request_is_refused_on_loopback(delay: tuple[float, float]) -> None:
    """700 messages to a server that refuses the 301st in any second: no 429 under the paced rule on a quick network."""
    async with (
        StrictServer(limit=300, delay=delay, seed=7) as server,
        # A busy machine may stop the test for a second between a request and its arrival.
        CallbellClient("token", base_url=server.base_url, rate_limit=WindowRateLimiter(300, jitter=10.0)) as callbell,
    ):
        report = await callbell.send_many(texts(700), concurrency=100)
        assert report.accepted == 700
    assert server.refused == 0
    assert fullest_window(server.arrivals) <= 300


# --- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jitter", [-0.1, float("nan"), float("inf"), True, "1"])
async def test_wrong_jitter_is_refused(jitter: Any) -> None:
    """A jitter that is not a number of seconds from 0 on raises `ConfigurationError`."""
    with pytest.raises(ConfigurationError, match=r"^jitter=.*: must be a number of seconds"):
        WindowRateLimiter(10, jitter=jitter)


def current_time() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()
