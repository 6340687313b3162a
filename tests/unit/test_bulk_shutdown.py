"""The end of a run of `send_many` that is cancelled or closed: how long it takes, and what it reports."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import pytest

from callbell_async import ClientClosedError, Outcome, SendResult, TextMessage
from callbell_async.bulk import SendRun
from tests.support.fake_callbell import Behaviour, FakeCallbell, begin, cancel, consume, new_run, texts

pytestmark = pytest.mark.virtual_time


# --- how long it takes to end -----------------------------------------------------------------------------------------


async def test_requests_in_flight_have_the_shutdown_time() -> None:
    """When a run is cancelled, requests in flight have the shutdown time to end, and no more are made."""
    took = {0: 1.0, 1: 3.0, 2: 60.0}
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=took[number]))
    run = new_run(fake, texts(20), shutdown_timeout=5.0)
    task = await begin(run)
    loop = asyncio.get_running_loop()
    cancelled_at = loop.time()
    await cancel(task)
    assert loop.time() - cancelled_at == pytest.approx(5.0)
    report = run.report
    assert [result.outcome for result in report.results[:3]] == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.UNKNOWN]
    assert "the run ended before a response" in str(report.results[2].error)
    assert (report.skipped, report.total) == (17, 20)
    assert report.elapsed == pytest.approx(5.5)
    assert sorted(fake.arrivals) == [0, 1, 2]


async def test_cancelled_run_ends_as_soon_as_it_can() -> None:
    """The shutdown time is a limit: the run ends when the last response is there."""
    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(20), shutdown_timeout=60.0)
    task = await begin(run)
    loop = asyncio.get_running_loop()
    cancelled_at = loop.time()
    await cancel(task)
    assert loop.time() - cancelled_at == pytest.approx(0.5)
    assert (run.report.accepted, run.report.skipped) == (3, 17)


async def test_the_outcome_of_a_request_that_is_cut_off() -> None:
    """A request that is cut off is `NEVER_SENT` if its body was not yet written, and otherwise `UNKNOWN`."""
    behaviours = [Behaviour(connect_time=9.0), Behaviour(write_time=9.0), Behaviour(response_time=9.0)]
    received: list[int] = []
    run = new_run(
        FakeCallbell(lambda number, attempt: behaviours[number]),
        texts(3),
        shutdown_timeout=1.0,
        on_result=lambda result: received.append(result.index),
    )
    await cancel(await begin(run))
    assert [result.outcome for result in run.report.results] == [Outcome.NEVER_SENT, Outcome.UNKNOWN, Outcome.UNKNOWN]
    assert sorted(received) == [0, 1, 2]


async def test_a_second_cancellation_cuts_the_shutdown_time_short() -> None:
    """A second cancellation cuts off requests in flight at once; `on_result` still ends by itself."""
    received: list[Outcome] = []

    async def save(result: SendResult) -> None:
        await asyncio.sleep(0.25)
        received.append(result.outcome)

    run = new_run(
        FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0)),
        iter(texts(9)),
        shutdown_timeout=30.0,
        on_result=save,
    )
    task = await begin(run)
    loop = asyncio.get_running_loop()
    cancelled_at = loop.time()
    task.cancel()
    await asyncio.sleep(1.0)
    await cancel(task)
    assert loop.time() - cancelled_at == pytest.approx(1.25)
    assert received == [Outcome.UNKNOWN] * 3
    assert (run.report.unknown, run.report.total) == (3, 3)


async def test_a_third_cancellation_interrupts_on_result() -> None:
    """A third cancellation ends an `on_result` that does not return; the results are kept."""

    async def hang(_: SendResult) -> None:
        await asyncio.Event().wait()

    run = new_run(
        FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0)),
        texts(9),
        shutdown_timeout=30.0,
        on_result=hang,
    )
    task = await begin(run)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(1.0)
        assert not task.done()
    await cancel(task)
    assert (run.report.unknown, run.report.skipped) == (3, 6)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_on_result_of_what_was_cut_off_is_waited_for() -> None:
    """An `on_result` for a request that was cut off is not interrupted, because it may be saving the result."""
    saved: list[Outcome] = []

    async def save(result: SendResult) -> None:
        await asyncio.sleep(5.0)
        saved.append(result.outcome)

    run = new_run(
        FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0)),
        iter(texts(9)),
        shutdown_timeout=1.0,
        on_result=save,
    )
    await cancel(await begin(run))
    assert saved == [Outcome.UNKNOWN] * 3
    assert run.report.elapsed == pytest.approx(6.5)


async def test_closing_can_be_cancelled() -> None:
    """A task that waits in `aclose` can be cancelled: requests in flight are cut off, and no task is left."""
    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0)), texts(9), shutdown_timeout=30.0)
    task = await begin(run)
    closing = asyncio.create_task(run.aclose())
    await asyncio.sleep(1.0)
    await cancel(closing)
    with pytest.raises(ClientClosedError):
        await task
    assert (run.report.unknown, run.report.skipped) == (3, 6)
    assert run.report.elapsed == pytest.approx(1.5)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_time_limit_around_a_run() -> None:
    """`asyncio.timeout` ends a run as a cancellation does, and raises `TimeoutError`."""
    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(100), concurrency=10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3.5):
            await run
    assert (run.report.accepted, run.report.skipped) == (40, 60)


@pytest.mark.parametrize("iterated", [False, True])
async def test_cancelled_while_the_input_is_waited_for(iterated: bool) -> None:
    """An async input that never gives the next message is cancelled with the run, and is closed by that."""
    closed = asyncio.Event()

    async def stuck() -> AsyncIterator[TextMessage]:
        try:
            for message in texts(5):
                yield message
            await asyncio.Event().wait()
        finally:
            closed.set()

    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1))
    run = new_run(fake, stuck(), shutdown_timeout=30.0)
    results: list[SendResult] = []
    task = asyncio.create_task(consume(run, results, iterated=iterated))
    await asyncio.sleep(5.0)
    loop = asyncio.get_running_loop()
    cancelled_at = loop.time()
    await cancel(task)
    assert loop.time() == cancelled_at
    assert closed.is_set()
    assert sorted(result.index for result in results) == list(range(5))
    assert (run.report.accepted, run.report.total) == (5, 5)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_input_that_catches_its_cancellation() -> None:
    """A message that an async input yields when it is cancelled with the run is `SKIPPED`."""

    async def last_words() -> AsyncIterator[TextMessage]:
        with suppress(asyncio.CancelledError):
            yield texts(1)[0]
            await asyncio.Event().wait()
        yield texts(2)[1]

    fake = FakeCallbell()
    run = new_run(fake, last_words())
    await cancel(await begin(run))
    assert [result.outcome for result in run.report.results] == [Outcome.ACCEPTED, Outcome.SKIPPED]
    assert fake.arrivals == [0]


# --- ended by its consumer --------------------------------------------------------------------------------------------


def ten_seconds_each() -> FakeCallbell:
    """All responses but the first ones take ten seconds."""
    return FakeCallbell(lambda number, attempt: Behaviour(response_time=10.0 if number > 3 else 0.1))


@pytest.mark.parametrize("close", ["run", "aclosing", "generator"])
async def test_break_and_close(close: str) -> None:
    """After `break`, closing the run waits for requests in flight, and the report has their results."""
    fake = ten_seconds_each()
    run = new_run(fake, texts(50), shutdown_timeout=60.0)
    if close == "generator":
        results = aiter(run)
        await anext(results)
        await results.aclose()  # type: ignore[attr-defined]
    elif close == "aclosing":
        async with aclosing(run):
            async for _ in run:
                break
    else:
        async for _ in run:
            break
        await run.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert run.report.accepted == len(fake.arrivals) >= 3
    assert run.report.accepted + run.report.skipped == 50
    before = run.report
    await run.aclose()
    assert run.report == before


async def test_break_and_forget() -> None:
    """A run that was left by `break` and forgotten ends by itself within the shutdown time, and sends nothing new."""
    fake = ten_seconds_each()
    received: list[int] = []
    results = aiter(
        new_run(fake, texts(50), shutdown_timeout=2.0, on_result=lambda result: received.append(result.index))
    )
    async for _ in results:
        if len(received) > 3:
            break
    del results
    gc.collect()
    await asyncio.sleep(0.01)
    sent = len(fake.arrivals)
    await asyncio.sleep(2.5)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(fake.arrivals) == sent
    assert sorted(received) == list(range(50))


async def test_consumer_that_raises() -> None:
    """An exception in the body of `async for` is raised as it is; the run ends in the same way as after `break`."""
    run = new_run(ten_seconds_each(), texts(50), shutdown_timeout=2.0)

    async def consumer() -> None:
        async with aclosing(run):
            async for _ in run:
                raise LookupError("no such row")

    with pytest.raises(LookupError):
        await consumer()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert run.report.total == 50


async def test_closed_by_another_task() -> None:
    """A run that is closed by another task raises `ClientClosedError` where it is awaited, after the requests in flight."""
    fake = ten_seconds_each()
    run = new_run(fake, texts(50), shutdown_timeout=60.0)
    task = await begin(run, after=5.0)
    await run.aclose()
    with pytest.raises(ClientClosedError, match="closed before it ended"):
        await task
    assert (run.report.accepted, run.report.skipped) == (len(fake.arrivals), 50 - len(fake.arrivals))


async def test_closed_under_its_consumer() -> None:
    """A run that is closed while it is iterated yields the results of the requests in flight, and then raises `ClientClosedError`."""
    fake = ten_seconds_each()
    run = new_run(fake, texts(50), shutdown_timeout=60.0)
    results: list[SendResult] = []
    task = asyncio.create_task(consume(run, results, iterated=True))
    await asyncio.sleep(5.0)
    await run.aclose()
    with pytest.raises(ClientClosedError):
        await task
    assert sorted(result.index for result in results) == sorted(fake.arrivals)


async def test_closing_an_ended_run_changes_nothing() -> None:
    """Closing a run whose last result is there, but not read yet, takes nothing from its consumer."""
    run = new_run(FakeCallbell(), texts(3))
    seen = []
    async for result in run:
        await asyncio.sleep(1.0)
        await run.aclose()
        seen.append(result.index)
    assert sorted(seen) == [0, 1, 2]
    assert run.report.accepted == 3


@pytest.mark.parametrize("wait", [False, True])
async def test_on_result_that_closes_the_run(wait: bool) -> None:
    """`on_result` may close its own run, in its own task or in another: the run ends, instead of waiting for itself."""
    run: SendRun

    async def stop(result: SendResult) -> None:
        if result.index == 3:
            await (asyncio.create_task(run.aclose()) if wait else run.aclose())

    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0))
    run = new_run(fake, texts(50), on_result=stop, shutdown_timeout=5.0)
    with pytest.raises(ClientClosedError):
        await run
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # Another task that waits for this one is only ended by the shutdown time.
    assert run.report.elapsed == pytest.approx(7.0 if wait else 2.0)
    assert run.report.total == 50
    assert Counter(fake.arrivals) == Counter(range(run.report.accepted))
