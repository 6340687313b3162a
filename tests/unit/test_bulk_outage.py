"""A run of `send_many` during an outage of Callbell: it pauses, probes, resumes, and stops when that takes too long."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from callbell_async import (
    APIError,
    ConnectError,
    OutageError,
    Outcome,
    RetryPolicy,
    SendResult,
    SendRun,
    ServerError,
    TextMessage,
    WindowRateLimiter,
)
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.http.retry import MAX_PAUSE
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, consume, new_run, texts

pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """No test here leaves a task behind."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


REFUSED = Behaviour(connects=False)
BUSY = Behaviour(response_time=0.02, status=503)
FAILING = Behaviour(response_time=0.02, status=500)
GOOD = Behaviour(response_time=0.05)


class OutageOfCallbell(FakeCallbell):
    """Fails so from second `begin` to second `end` of a test; `attempts` has the seconds at which attempts began."""

    def __init__(self, failure: Behaviour, *, begin: float = 0.0, end: float = math.inf) -> None:
        super().__init__(self._now)
        self.failure = failure
        self.begin, self.end = begin, end
        self.started_at = asyncio.get_running_loop().time()
        self.attempts: list[float] = []

    @property
    def time(self) -> float:
        """The seconds since the test began."""
        return asyncio.get_running_loop().time() - self.started_at

    def _now(self, number: int, attempt: int) -> Behaviour:
        return self.failure if self.begin <= self.time < self.end else GOOD

    async def exchange(self, call: CallState) -> Response:
        """Note the attempt."""
        self.attempts.append(self.time)
        return await super().exchange(call)

    def attempts_between(self, begin: float, end: float) -> list[float]:
        """The attempts that began in these seconds."""
        return [moment for moment in self.attempts if begin <= moment < end]


def big_run(fake: FakeCallbell, *, outage_timeout: float = 600.0) -> SendRun:
    """A run of 6,000 messages with the default policy, concurrency and rate."""
    return new_run(
        fake,
        texts(6_000),
        concurrency=50,
        retry=RetryPolicy(),
        rate_limit=WindowRateLimiter(300),
        outage_timeout=outage_timeout,
    )


@pytest.mark.parametrize("failure", [REFUSED, BUSY, FAILING], ids=["refused", "503", "500"])
async def test_an_outage_of_half_a_minute_costs_no_message(failure: Behaviour) -> None:
    """In a run of 6,000 messages, 30 seconds without Callbell cost none, and few requests are made in that time."""
    fake = OutageOfCallbell(failure, begin=5.0, end=35.0)
    report = await big_run(fake)
    assert (report.accepted, report.total) == (6_000, 6_000)
    assert set(fake.accepted.values()) == {1}
    # Requests in flight, and probes after 1, 3, 7 and 15 seconds.
    assert len(fake.attempts_between(5.0, 35.0)) <= 50 + 5
    # The next one is after 31 seconds.
    assert report.elapsed == pytest.approx(6_000 / 286 + 31, abs=2)


async def test_without_a_pause_it_costs_messages() -> None:
    """With `outage_timeout=0` each message keeps to the retry policy, which a long outage uses up."""
    fake = OutageOfCallbell(REFUSED, begin=5.0, end=35.0)
    report = await big_run(fake, outage_timeout=0.0)
    assert report.never_sent > 20
    assert report.total == 6_000


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_one_probe_at_a_time_with_growing_waits(concurrency: int) -> None:
    """While it pauses, a run makes one attempt at a time, after waits of 1, 2, 4, 8, 16, 30 and 30 seconds."""
    fake = OutageOfCallbell(REFUSED, end=120.0)
    report = await new_run(fake, texts(100), concurrency=concurrency, retry=RetryPolicy(), outage_timeout=600.0)
    assert report.accepted == 100
    # The last 100 attempts are good, the first of them is a probe.
    probes = fake.attempts[-100 - 7 : -99]
    paused_at = probes[0] - 1.0
    assert [round(moment - paused_at, 3) for moment in probes] == [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0]
    # Concurrent messages all fail before the run pauses; one message has waits between its attempts.
    assert paused_at == pytest.approx(0.0, abs=2.0 if concurrency < 3 else 0.0)


async def test_held_messages_keep_their_attempts() -> None:
    """Attempts in an outage don't count towards the policy: a message that failed often is sent afterwards."""
    fake = OutageOfCallbell(REFUSED, end=400.0)
    policy = RetryPolicy(attempts=2, timeout=5.0)
    report = await new_run(fake, texts(2), concurrency=2, retry=policy, outage_timeout=600.0)
    assert report.accepted == 2
    assert sum(result.attempts for result in report.results) == len(fake.attempts) > 10


async def test_each_probe_is_another_message() -> None:
    """Probes take turns, so that one message alone can't keep a run from resuming."""
    fake = FakeCallbell(lambda number, attempt: BUSY if number == 0 or attempt == 1 else GOOD)
    report = await new_run(fake, texts(3), concurrency=3, retry=RetryPolicy(), outage_timeout=600.0)
    assert (report.accepted, report.rejected) == (2, 1)
    assert isinstance(report.results[0].error, ServerError)
    assert report.elapsed < 60


async def test_a_message_that_always_gets_a_503_does_not_pause_the_run() -> None:
    """The failures of one message use up its attempts, and no other message waits for it."""
    fake = FakeCallbell(lambda number, attempt: BUSY if number == 19 else GOOD)
    report = await new_run(fake, texts(20), concurrency=1, retry=RetryPolicy(), outage_timeout=600.0)
    assert (report.accepted, report.rejected) == (19, 1)
    assert report.results[19].attempts == 5
    assert report.elapsed < 20


async def test_responses_in_between_show_that_there_is_no_outage() -> None:
    """A run in which every third attempt gets a 503 never pauses."""
    counter = itertools.count()
    fake = FakeCallbell(lambda number, attempt: BUSY if next(counter) % 3 else GOOD)
    run = new_run(fake, texts(200), concurrency=1, retry=RetryPolicy(attempts=50, wait_max=0.0), outage_timeout=600.0)
    async for _ in run:
        assert run.paused_for is None
    assert run.report.accepted == 200
    assert run.report.elapsed < 30


@pytest.mark.parametrize("failure", [Behaviour(responds=False), Behaviour(status=504), Behaviour(status=502)], ids=str)
async def test_unknown_outcomes_do_not_pause_a_run(failure: Behaviour) -> None:
    """A run does not pause for lost responses, or for a gateway that does not know the outcome."""
    report = await new_run(
        FakeCallbell(lambda number, attempt: failure), texts(40), retry=RetryPolicy(), outage_timeout=600.0
    )
    assert (report.unknown, report.elapsed) == (40, 0.0)


@pytest.mark.parametrize("failure", [Behaviour(responds=False), Behaviour(status=504)], ids=["lost", "504"])
async def test_a_probe_with_an_unknown_outcome_does_not_resume_the_run(failure: Behaviour) -> None:
    """A probe whose response is lost is `UNKNOWN`, and the run keeps pausing: it costs no more than that message."""
    fake = OutageOfCallbell(REFUSED, end=0.5)
    probes = 0

    def behaviour(number: int, attempt: int) -> Behaviour:
        nonlocal probes
        if fake.time < 0.5:
            return REFUSED
        probes += 1
        return failure if probes <= 2 else GOOD

    fake._describe = behaviour
    report = await new_run(fake, texts(60), concurrency=10, retry=RetryPolicy(), outage_timeout=600.0)
    assert (report.unknown, report.accepted) == (2, 58)
    assert report.elapsed == pytest.approx(7.0 + 6 * 0.05, abs=0.2)


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_a_refusal_resumes_the_run(status: int) -> None:
    """Any response of Callbell's to a probe ends the pause, a refusal of that message too."""
    fake = OutageOfCallbell(REFUSED, end=0.5)
    probed = False

    def behaviour(number: int, attempt: int) -> Behaviour:
        nonlocal probed
        if fake.time < 0.5:
            return REFUSED
        first, probed = not probed, True
        return Behaviour(status=status) if first else GOOD

    fake._describe = behaviour
    report = await new_run(fake, texts(30), concurrency=10, retry=RetryPolicy(), outage_timeout=600.0)
    assert (report.accepted, report.rejected) == ((30, 0) if status == 429 else (29, 1))
    assert report.elapsed < 3


async def test_a_policy_without_retries_is_kept() -> None:
    """With `RetryPolicy(attempts=1)` no message is attempted twice; the run pauses, and each probe is a new message."""
    fake = OutageOfCallbell(REFUSED, end=30.0)
    report = await new_run(fake, texts(100), concurrency=3, retry=RetryPolicy(attempts=1), outage_timeout=600.0)
    assert {result.attempts for result in report.results} == {1}
    # Three before the pause, and four probes.
    assert (report.never_sent, report.accepted) == (7, 93)


# --- the end of its patience ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize(("failure", "outcome"), [(REFUSED, Outcome.NEVER_SENT), (BUSY, Outcome.REJECTED)])
async def test_a_run_stops_after_the_outage_timeout(failure: Behaviour, outcome: Outcome, iterated: bool) -> None:
    """After `outage_timeout` a run stops: the rest is `SKIPPED` with `OutageError`, which names the last failure."""
    fake = OutageOfCallbell(failure, begin=1.0)
    received: list[SendResult] = []
    run = new_run(
        fake,
        texts(500),
        concurrency=10,
        retry=RetryPolicy(),
        outage_timeout=120.0,
        on_result=received.append,
    )
    results: list[SendResult] = []
    await consume(run, results, iterated=iterated)
    counts = Counter(result.outcome for result in results)
    assert len(received) == len(results) == run.report.total == 500
    assert counts[outcome] == 10
    assert counts[Outcome.SKIPPED] == 500 - 10 - counts[Outcome.ACCEPTED] > 100
    assert run.report.elapsed == pytest.approx(1.0 + 120.0, abs=0.2)
    error = run.stop_error
    assert isinstance(error, OutageError)
    assert error.outcome is Outcome.SKIPPED
    assert "no response from Callbell for 120 s" in str(error)
    assert isinstance(error.__cause__, ConnectError if failure is REFUSED else ServerError)
    for result in results:
        if result.outcome is Outcome.SKIPPED:
            assert (result.error, result.attempts) == (error, 0)
        elif result.outcome is not Outcome.ACCEPTED:
            assert result.attempts >= 1
    assert run.paused_for is None


async def test_the_outage_timeout_ends_with_a_probe() -> None:
    """A run whose outage ends just before its timeout resumes: the last probe is at its end."""
    fake = OutageOfCallbell(REFUSED, end=119.9)
    report = await new_run(fake, texts(50), concurrency=5, retry=RetryPolicy(), outage_timeout=120.0)
    assert report.accepted == 50


async def test_the_time_since_a_run_paused() -> None:
    """`paused_for` is the time since the run paused, and `None` before and after."""
    fake = OutageOfCallbell(REFUSED, begin=2.0, end=20.0)
    run = new_run(
        fake, texts(2_000), concurrency=10, retry=RetryPolicy(), rate_limit=WindowRateLimiter(100), outage_timeout=600.0
    )
    assert run.paused_for is None
    task = asyncio.ensure_future(run)
    await asyncio.sleep(1.5)
    assert run.paused_for is None
    await asyncio.sleep(10.5)
    assert run.paused_for == pytest.approx(10.0, abs=0.3)
    await task
    assert run.paused_for is None


async def test_a_paused_run_that_is_cancelled_ends_at_once() -> None:
    """A paused run has no request in flight: cancelled, it ends at once, and what was never attempted is `SKIPPED`."""
    fake = OutageOfCallbell(REFUSED)
    run = new_run(fake, texts(100), concurrency=10, retry=RetryPolicy(), outage_timeout=600.0)
    task = asyncio.ensure_future(run)
    await asyncio.sleep(50.0)
    loop = asyncio.get_running_loop()
    cancelled_at = loop.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.time() == cancelled_at
    assert (run.report.never_sent, run.report.skipped) == (10, 90)
    assert all("before the next attempt" in str(result.error) for result in run.report.results[:10])


async def test_a_paused_run_waits_for_a_slow_input() -> None:
    """A run that pauses when no message waits probes with the next one that the input gives."""
    fake = OutageOfCallbell(REFUSED, end=80.0)
    policy = RetryPolicy(attempts=1)
    messages = async_input(texts(8), every=25.0)
    report = await new_run(fake, messages, concurrency=1, retry=policy, outage_timeout=600.0)
    assert [result.outcome.value for result in report.results] == ["never_sent"] * 4 + ["accepted"] * 4


# --- pauses that Callbell asks for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["86400", "1e300", "1790000000000"])
async def test_a_run_stops_when_it_should_pause_for_too_long(status: int, retry_after: str, iterated: bool) -> None:
    """A `Retry-After` longer than `MAX_PAUSE` ends a run at once: the rest is `SKIPPED` with an error that names it."""
    asks = Behaviour(response_time=0.1, status=status, headers={"Retry-After": retry_after})
    fake = FakeCallbell(lambda number, attempt: asks if number == 20 else GOOD)
    run = new_run(
        fake, texts(500), concurrency=5, retry=RetryPolicy(), rate_limit=WindowRateLimiter(30), outage_timeout=600.0
    )
    results: list[SendResult] = []
    await consume(run, results, iterated=iterated)
    assert run.report.elapsed < 3
    assert run.report.total == len(results) == 500
    assert run.report.rejected == 1
    assert run.report.skipped > 400
    assert isinstance(run.stop_error, APIError)
    assert "Callbell asks to wait" in str(run.stop_error)
    assert all(result.error is run.stop_error for result in results if result.outcome is Outcome.SKIPPED)


async def test_a_run_waits_for_a_pause_that_is_not_too_long() -> None:
    """A pause of `MAX_PAUSE` is waited for, and costs no message."""
    asks = Behaviour(response_time=0.1, status=429, headers={"Retry-After": f"{MAX_PAUSE:.0f}"})
    fake = FakeCallbell(lambda number, attempt: asks if (number, attempt) == (20, 1) else GOOD)
    report = await new_run(fake, texts(100), concurrency=5, retry=RetryPolicy(), outage_timeout=600.0)
    assert report.accepted == 100
    assert MAX_PAUSE < report.elapsed < MAX_PAUSE + 10


@pytest.mark.parametrize("limited", [False, True])
async def test_a_cancelled_run_does_not_wait_for_slots(limited: bool) -> None:
    """Cancelled during a pause or under a low limit, a run ends with its last request in flight, not with the next slot."""
    asks = Behaviour(response_time=0.1, status=429, headers={"Retry-After": "300"})
    fake = FakeCallbell(lambda number, attempt: GOOD if limited else asks)
    run = new_run(
        fake,
        texts(100),
        concurrency=10,
        retry=RetryPolicy(),
        rate_limit=WindowRateLimiter(1, period=60.0) if limited else None,
        shutdown_timeout=30.0,
    )
    task = asyncio.ensure_future(run)
    await asyncio.sleep(5.0)
    loop = asyncio.get_running_loop()
    cancelled_at = loop.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.time() == cancelled_at
    outcomes = Counter(result.outcome for result in run.report.results)
    assert outcomes == (
        {Outcome.ACCEPTED: 1, Outcome.SKIPPED: 99} if limited else {Outcome.REJECTED: 10, Outcome.SKIPPED: 90}
    )
    for result in run.report.results:
        assert (result.attempts == 0) == (result.outcome is Outcome.SKIPPED)


async def test_a_stopped_run_does_not_wait_for_slots() -> None:
    """A refused token stops a run at once, though its other messages wait for a slot that comes much later."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1, status=401))
    report = await new_run(fake, texts(100), concurrency=10, rate_limit=WindowRateLimiter(1, period=60.0))
    assert (report.rejected, report.skipped) == (1, 99)
    assert report.elapsed == pytest.approx(0.1)
    assert {result.error for result in report.results} == {report.results[0].error}


async def test_a_run_that_fails_does_not_wait_for_slots() -> None:
    """An input that raises ends a run at once, though its other messages wait for a slot that comes much later."""

    def broken() -> Iterator[TextMessage]:
        yield from texts(9)
        raise LookupError("row 10")

    run = new_run(FakeCallbell(), broken(), concurrency=10, rate_limit=WindowRateLimiter(1, period=60.0))
    with pytest.raises(LookupError, match="row 10"):
        await run
    assert run.report.elapsed == pytest.approx(0.0)
    assert (run.report.accepted, run.report.skipped) == (1, 8)


# --- responses that are not Callbell's --------------------------------------------------------------------------------

HTML = Behaviour(response_time=0.1, status=403, headers={"Content-Type": "text/html"}, body=b"<html>Forbidden</html>")
REDIRECT = Behaviour(response_time=0.1, status=301, headers={"Location": "https://www.callbell.eu/"}, body=b"")


@pytest.mark.parametrize("foreign", [HTML, REDIRECT], ids=["html", "redirect"])
@pytest.mark.parametrize("make", [list, iter, async_input], ids=["list", "iterator", "async generator"])
async def test_a_run_that_reaches_something_else_stops_early(
    make: Callable[[object], object], foreign: Behaviour
) -> None:
    """If the first three responses are not Callbell's, a run stops: no more than what is in flight is posted."""
    fake = FakeCallbell(lambda number, attempt: foreign)
    run = new_run(fake, make(texts(600)), concurrency=5)  # type: ignore[arg-type]
    report = await run
    assert (report.rejected, report.skipped) == (5, 595)
    assert isinstance(run.stop_error, APIError)
    assert run.stop_error.from_callbell is False
    assert all(result.error is run.stop_error for result in report.results[5:])


async def test_a_run_that_reached_callbell_is_not_stopped_by_a_firewall() -> None:
    """A firewall that refuses some messages stops no run in which Callbell accepted one before."""
    fake = FakeCallbell(lambda number, attempt: HTML if number else GOOD)
    report = await new_run(fake, texts(60), concurrency=1)
    assert (report.accepted, report.rejected, report.skipped) == (1, 59, 0)
