"""The number of workers of a run without `concurrency`: enough for the rate limit, and no more than that needs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from callbell_async import CallbellClient, Journal, RateLimiter, RetryPolicy, TextMessage, WindowRateLimiter
from callbell_async.bulk import FIRST_WORKERS, MAX_WORKERS, SendRun
from callbell_async.bulk.pool_size import worker_range, workers_to_add
from callbell_async.journal import MOST_AHEAD
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, begin, cancel, consume, new_run, texts
from tests.support.virtual_disk import on_disk

virtual = pytest.mark.virtual_time

UNLIMITED = 10_000
"""More workers than a run ever needs."""


def responding(seconds: float, *, max_connections: int = UNLIMITED) -> FakeCallbell:
    """A Callbell that responds to each message after this time."""
    return FakeCallbell(lambda number, attempt: Behaviour(response_time=seconds), max_connections=max_connections)


def workers_of(run: SendRun) -> int:
    """The number of workers that the run has started."""
    return len(run._pool.tasks)


async def accepted_in(seconds: float, run: SendRun) -> int:
    """The number of messages that are accepted in the first seconds of a run."""
    sending = await begin(run, after=seconds)
    accepted = run.report.accepted
    await cancel(sending)
    return accepted


# --- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@virtual
@pytest.mark.parametrize("response_time", [0.02, 0.1, 0.3, 1.0])
async def test_the_rate_limit_is_used(response_time: float) -> None:
    """Without `concurrency`, a run has at least 95 % of the accepted messages that unlimited workers have after 20 seconds."""
    unlimited, default = [
        await accepted_in(
            20.0,
            new_run(
                responding(response_time),
                iter(texts(7_000)),
                concurrency=concurrency,
                rate_limit=WindowRateLimiter(300),
                shutdown_timeout=0.0,
            ),
        )
        for concurrency in (UNLIMITED, None)
    ]
    assert default >= 0.95 * unlimited


@pytest.mark.slow
@virtual
async def test_the_rate_limit_is_used_after_responses_become_slow() -> None:
    """When responses take one second instead of 20 milliseconds, the run adds workers, and reaches 95 % of the limit again."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.02 if number < 600 else 1.0))
    run = new_run(fake, iter(texts(7_000)), concurrency=None, rate_limit=WindowRateLimiter(300), shutdown_timeout=0.0)
    sending = await begin(run, after=5.0)
    before = run.report.accepted
    await asyncio.sleep(20.0)
    assert run.report.accepted - before >= 0.95 * 150 * 20
    await cancel(sending)


@virtual
@pytest.mark.parametrize("response_time", [0.02, 0.1])
async def test_fast_responses_need_no_further_worker(response_time: float) -> None:
    """A run whose first workers reach the rate limit adds none."""
    run = new_run(responding(response_time), iter(texts(2_000)), concurrency=None, rate_limit=WindowRateLimiter(300))
    assert (await run).accepted == 2_000
    assert workers_of(run) == FIRST_WORKERS


@virtual
async def test_workers_are_added_gradually() -> None:
    """Added workers start at most 300 requests a second: with responses of ten seconds, 80 are in flight after 0.2 seconds, and 300 after one."""
    fake = responding(10.0)
    run = new_run(fake, iter(texts(1_000)), concurrency=None, rate_limit=WindowRateLimiter(1_000), shutdown_timeout=0.0)
    sending = await begin(run, after=0.2)
    assert fake.most_in_flight == 80
    await asyncio.sleep(0.8)
    assert fake.most_in_flight == MAX_WORKERS
    await asyncio.sleep(5.0)
    assert (fake.most_in_flight, workers_of(run)) == (MAX_WORKERS, MAX_WORKERS)
    await cancel(sending)


@virtual
@pytest.mark.parametrize("concurrency", [1, 20, 200])
async def test_concurrency_is_an_upper_bound(concurrency: int) -> None:
    """With `concurrency` there are never more requests in flight than that."""
    fake = responding(1.0)
    run = new_run(fake, iter(texts(5_000)), concurrency=concurrency, rate_limit=WindowRateLimiter(300))
    await cancel(await begin(run, after=20.0))
    assert (fake.most_in_flight, workers_of(run)) == (concurrency, concurrency)


@virtual
@pytest.mark.parametrize(("max_connections", "most"), [(1, 1), (30, 30), (70, 70), (1_000, MAX_WORKERS)])
async def test_the_pool_of_connections_is_an_upper_bound(max_connections: int, most: int) -> None:
    """A run has no more workers than the client has connections: they would hold slots of the rate limiter while they wait."""
    fake = responding(1.0, max_connections=max_connections)
    run = new_run(fake, iter(texts(5_000)), concurrency=None, rate_limit=WindowRateLimiter(1_000))
    await cancel(await begin(run, after=5.0))
    assert (fake.most_in_flight, workers_of(run)) == (most, most)


@pytest.mark.parametrize(
    ("concurrency", "messages", "connections", "has_rate_limit", "expected"),
    [
        (None, None, math.inf, True, (50, 300)),
        (None, None, math.inf, False, (50, 50)),
        (None, 10, math.inf, True, (10, 10)),
        (None, 120, math.inf, True, (50, 120)),
        (None, 0, math.inf, True, (1, 1)),
        (None, None, 20, True, (20, 20)),
        (None, None, 100, False, (50, 50)),
        (7, None, math.inf, True, (7, 7)),
        (700, None, 100, True, (700, 700)),
        (700, 3, 100, True, (3, 3)),
    ],
)
def test_worker_range(
    concurrency: int | None, messages: int | None, connections: float, has_rate_limit: bool, expected: tuple[int, int]
) -> None:
    """A number that the caller sets counts; otherwise the messages, the connections and the rate limiter bound the default."""
    found = worker_range(concurrency, messages=messages, connections=connections, has_rate_limit=has_rate_limit)
    assert found == expected


@pytest.mark.parametrize(
    ("workers", "results", "expected"),
    [(50, 0, 30), (50, 12, 18), (50, 30, 0), (50, 500, 0), (290, 0, 10), (300, 0, 0)],
)
def test_workers_to_add(workers: int, results: int, expected: int) -> None:
    """A busy pool gets as many workers as it lacks results for 300 a second, within the bound."""
    assert workers_to_add(workers, 300, results) == expected


# --- when not ---------------------------------------------------------------------------------------------------------


@virtual
async def test_without_a_rate_limit_no_worker_is_added() -> None:
    """With `rate_limit=None` nothing shows how many requests the server can take, so the number of workers stays."""
    fake = responding(1.0)
    assert (await new_run(fake, iter(texts(200)), concurrency=None)).accepted == 200
    assert fake.most_in_flight == FIRST_WORKERS


@virtual
async def test_no_worker_is_added_while_one_waits_for_a_message() -> None:
    """An async input that is slower than the responses gets no further worker, and is read one message a worker at a time."""
    fake = responding(4.0)
    run = new_run(fake, async_input(texts(100), every=0.1), concurrency=None, rate_limit=WindowRateLimiter(300))
    assert (await run).accepted == 100
    assert workers_of(run) == FIRST_WORKERS
    assert fake.most_in_flight in (40, 41)


@virtual
async def test_an_async_input_is_not_read_further_ahead() -> None:
    """Of a fast async input, no more messages are read than the workers hold, also while workers are added."""
    fake = responding(1.0)
    read = most_ahead = 0
    run: SendRun | None = None

    async def watched() -> AsyncIterator[TextMessage]:
        nonlocal read, most_ahead
        for message in texts(1_200):
            assert run is not None
            assert read - run.report.accepted < workers_of(run)
            most_ahead = max(most_ahead, read - len(fake.arrivals))
            read += 1
            yield message

    run = new_run(fake, watched(), concurrency=None, rate_limit=WindowRateLimiter(300))
    # Until the first response, only the workers that a look has added have messages that wait.
    sending = await begin(run, after=0.95)
    assert workers_of(run) > 250
    assert most_ahead <= FIRST_WORKERS
    assert (await sending).accepted == 1_200


@virtual
async def test_no_worker_is_added_while_one_waits_for_on_result() -> None:
    """A slow `on_result` slows the sending; it is not called by more workers."""

    async def slow(result: Any) -> None:
        await asyncio.sleep(5.0)

    run = new_run(
        responding(0.05), iter(texts(300)), concurrency=None, on_result=slow, rate_limit=WindowRateLimiter(300)
    )
    assert (await run).accepted == 300
    assert workers_of(run) == FIRST_WORKERS


@virtual
async def test_no_worker_is_added_while_one_waits_for_the_consumer() -> None:
    """A slow consumer of `async for` slows the sending, and no worker is added."""
    run = new_run(responding(0.05), iter(texts(300)), concurrency=None, rate_limit=WindowRateLimiter(300))
    await consume(run, [], iterated=True, pause=0.1)
    assert run.report.accepted == 300
    assert workers_of(run) == FIRST_WORKERS


@virtual
@pytest.mark.parametrize("outage_timeout", [0.0, 60.0])
async def test_no_worker_is_added_during_an_outage(outage_timeout: float) -> None:
    """While Callbell can't be reached, no worker is added, whether or not the run pauses."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(connect_time=0.01, connects=False))
    run = new_run(
        fake,
        iter(texts(2_000)),
        concurrency=None,
        rate_limit=WindowRateLimiter(300),
        retry=RetryPolicy(attempts=10, timeout=600.0),
        outage_timeout=outage_timeout,
        shutdown_timeout=0.0,
    )
    await cancel(await begin(run, after=30.0))
    assert workers_of(run) == FIRST_WORKERS


@virtual
async def test_workers_are_added_again_after_an_outage() -> None:
    """When Callbell is back, and responds slowly, the run adds workers."""
    loop = asyncio.get_running_loop()
    back_at = loop.time() + 20.0

    def behaviour(number: int, attempt: int) -> Behaviour:
        is_back = loop.time() >= back_at
        return Behaviour(response_time=1.0) if is_back else Behaviour(connect_time=0.01, connects=False)

    fake = FakeCallbell(behaviour)
    run = new_run(
        fake,
        iter(texts(2_000)),
        concurrency=None,
        rate_limit=WindowRateLimiter(300),
        retry=RetryPolicy(attempts=10, timeout=600.0),
        outage_timeout=60.0,
    )
    assert (await run).accepted == 2_000
    assert fake.most_in_flight > 200


@virtual
async def test_every_limiter_counts() -> None:
    """A limiter of one's own, which has to wait to find out whether a slot is free, gets further workers as well."""

    class Remote(RateLimiter):
        async def acquire(self) -> None:
            await asyncio.sleep(0.001)

        def release(self, *, has_response: bool) -> None:
            pass

        def refund(self) -> None:
            pass

    fake = responding(1.0)
    assert (await new_run(fake, iter(texts(1_500)), concurrency=None, rate_limit=Remote())).accepted == 1_500
    assert fake.most_in_flight == MAX_WORKERS


# --- the run as a whole -----------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("make", [list, iter, async_input], ids=["list", "iterator", "async generator"])
@pytest.mark.parametrize("iterated", [False, True])
async def test_each_message_has_one_result(make: Callable[[Any], Any], iterated: bool) -> None:
    """Also with added workers each message is sent once, and has one result, and no task outlives the run."""
    fake = responding(0.7)
    run = new_run(fake, make(texts(900)), concurrency=None, rate_limit=WindowRateLimiter(300))
    results: list[Any] = []
    await consume(run, results, iterated=iterated)
    assert sorted(result.index for result in results) == list(range(900))
    assert (run.report.accepted, run.report.total) == (900, 900)
    assert set(fake.accepted.values()) == {1}
    assert workers_of(run) > FIRST_WORKERS
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
@pytest.mark.parametrize("after", [0.05, 0.15, 0.5, 1.02, 1.5])
async def test_a_cancelled_run_counts_every_message(after: float) -> None:
    """A run that is cancelled while it adds workers ends them, and has a result for each message."""
    fake = responding(1.0)
    run = new_run(fake, texts(900), concurrency=None, rate_limit=WindowRateLimiter(300), shutdown_timeout=0.3)
    await cancel(await begin(run, after=after))
    assert run.report.total == 900
    assert run.report.accepted + run.report.unknown == len(fake.arrivals)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_disk
async def test_a_journalled_run_claims_no_more_messages_ahead(tmp_path: Path) -> None:
    """With a journal, the workers of slow responses are added as well, and as few messages as before are claimed and not started."""
    loop = asyncio.get_running_loop()
    journal = Journal(tmp_path / "journal", risk_power_loss=True, clock=loop.time)
    fake = responding(1.0)
    run = new_run(fake, iter(texts(1_000)), concurrency=None, journal=journal, rate_limit=WindowRateLimiter(300))
    report = await run
    assert report.accepted == 1_000
    assert report.rate > 0.95 * 1_000 / (3 * 2.0 + 100 / 150 + 1.0)
    async with journal:
        claimed = [(entry.tried_at.timestamp(), 1) async for entry in journal.entries()]
    ahead = most = 0
    # A claim follows what starts in the same moment; the journal rounds its times.
    for _, change in sorted([*claimed, *((at - 0.0005, -1) for at in fake.arrived_at)]):
        ahead += change
        most = max(most, ahead)
    assert most <= MOST_AHEAD
    assert fake.most_in_flight > 200


async def test_over_http() -> None:
    """Over real connections, a server that responds only when 110 requests are in flight gets them, with the client's defaults."""
    in_flight = 0
    enough = asyncio.Event()

    async def respond(request: web.Request) -> web.Response:
        nonlocal in_flight
        in_flight += 1
        if in_flight == 110:
            enough.set()
        await enough.wait()
        return web.json_response({"message": {"uuid": "uuid", "status": "enqueued"}})

    app = web.Application()
    app.router.add_post("/v1/messages/send", respond)
    async with (
        TestServer(app) as server,
        CallbellClient("token", base_url=str(server.make_url("/v1"))) as callbell,
    ):
        report = await callbell.send_many(texts(200))
    assert report.accepted == 200
    assert in_flight == 200
