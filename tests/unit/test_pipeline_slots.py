"""The pipeline and the rate limiter: each acquired slot is released exactly once, however a request ends."""

from __future__ import annotations

import asyncio

import pytest

from callbell_async import (
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RequestTimeoutError,
    RetryPolicy,
    WindowRateLimiter,
)
from callbell_async.http.requests import CallState
from tests.support.scripted_transport import (
    LOST,
    OK,
    POST,
    REFUSED,
    LimiterLog,
    Step,
    failing,
    pipeline_for,
    responding,
    send,
)

pytestmark = pytest.mark.virtual_time

ENDS: dict[str, tuple[Step, str]] = {
    "accepted": (OK, "response"),
    "refused": (responding(400), "response"),
    "unreadable": (responding(200, b"<html>"), "response"),
    "lost": (LOST, "no response"),
    "timed out": (failing(RequestTimeoutError, written=True), "no response"),
    "never sent": (REFUSED, "refunded"),
    "closed": (failing(ClientClosedError, written=False), "refunded"),
    "refused by aiohttp": (failing(ConfigurationError, written=False), "refunded"),
    "another error": (failing(LookupError, written=False), "refunded"),
    "another error, written": (failing(LookupError, written=True), "no response"),
}


@pytest.mark.parametrize("wait", [0.0, 1.0], ids=["at once", "queued"])
@pytest.mark.parametrize(("step", "end"), ENDS.values(), ids=ENDS)
async def test_each_slot_is_released_once(step: Step, end: str, wait: float) -> None:
    """However a request ends, its slot is released or refunded exactly once, and the right one of both."""
    log = LimiterLog(wait=wait)
    pipeline = pipeline_for(step, retry=RetryPolicy(attempts=1), rate_limit=log)
    await asyncio.gather(send(pipeline), return_exceptions=True)
    assert (log.taken, log.ends) == (1, [end])


@pytest.mark.parametrize(("written", "end"), [(True, "no response"), (False, "refunded")])
async def test_a_cancelled_request_releases_its_slot(written: bool, end: str) -> None:
    """A request cancelled after it was written is released as one without a response; one that was not written is refunded."""
    log = LimiterLog()
    pipeline = pipeline_for(failing(ConnectError, written=written, after=100.0), rate_limit=log)
    call = CallState(POST)
    task = asyncio.create_task(send(pipeline, call=call))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (log.taken, log.ends) == (1, [end])
    assert call.outcome is (Outcome.UNKNOWN if written else Outcome.NEVER_SENT)
    assert call.attempts == 1


async def test_no_slot_is_lost_wherever_a_call_is_cancelled() -> None:
    """A call with several attempts and pauses may be cancelled at any moment: every acquired slot is released once."""
    steps = (
        responding(503, after=1.0),
        failing(ConnectError, written=False, after=1.0),
        responding(429, after=1.0, Retry_After="3"),
        failing(ConnectionLostError, written=True, after=1.0),
        responding(200, after=1.0),
    )
    policy = RetryPolicy(wait_initial=0.0, resend_unknown=True)
    phases = set()
    # The whole call takes 13 seconds; some of these moments are those in which something happens.
    for tick in range(112):
        log = LimiterLog(wait=1.0)
        pipeline = pipeline_for(*steps, retry=policy, rate_limit=log)
        call = CallState(POST)
        task = asyncio.create_task(send(pipeline, call=call))
        await asyncio.sleep(0.125 * tick)
        in_flight = log.taken - len(log.ends)
        phases.add((call.attempts, in_flight))
        assert in_flight in (0, 1)
        task.cancel()
        await asyncio.wait([task])
        assert log.taken == len(log.ends)
    # The moments include each attempt, in flight and before it.
    assert phases >= {(attempt, in_flight) for attempt in range(1, 6) for in_flight in (0, 1)} | {(0, 0)}


@pytest.mark.parametrize("jitter", [None, 0.05, 5.0], ids=["strict", "paced", "paced, late"])
async def test_the_limiter_has_all_its_slots_at_the_end(jitter: float | None) -> None:
    """After calls of every kind, also cancelled ones, the limiter has as many slots as at first, and no more."""
    limiter = WindowRateLimiter(5, no_response_hold=1.0, jitter=jitter)
    pipeline = pipeline_for(
        *(step for step, _ in ENDS.values()), rate_limit=limiter, retry=RetryPolicy(resend_unknown=True)
    )
    tasks = [asyncio.create_task(send(pipeline, limit_queue_time=False)) for _ in range(60)]
    for task in tasks[::3]:
        await asyncio.sleep(0.17)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(100)
    given = 0
    for _ in range(20):
        given += limiter.try_acquire()
        await asyncio.sleep(0.06)
    assert given == 5
