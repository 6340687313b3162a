"""The pipeline: when it tries again, when it stops, and what it says in the end."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from callbell_async import (
    BadRequestError,
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    RetryPolicy,
    ServerError,
)
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from tests.support.scripted_transport import (
    GET,
    LOST,
    OK,
    POST,
    REFUSED,
    LimiterLog,
    Step,
    began,
    failing,
    now,
    pipeline_for,
    responding,
    send,
)

pytestmark = pytest.mark.virtual_time

# --- trying again -----------------------------------------------------------------------------------------------------


async def test_an_answer_is_the_calls_value() -> None:
    """What the reader makes of the answer is what the pipeline gives, after one request."""
    pipeline = pipeline_for(responding(body=b'{"a": 1}'))
    assert await send(pipeline) == {"a": 1}
    assert len(began(pipeline)) == 1


async def test_what_never_left_is_tried_until_it_does() -> None:
    """A request that provably never left is repeated, and a success at last is a success."""
    pipeline = pipeline_for(REFUSED, REFUSED, OK)
    call = CallState(POST)
    await send(pipeline, call=call)
    assert (call.attempts, call.outcome, len(began(pipeline))) == (3, Outcome.ACCEPTED, 3)


@pytest.mark.parametrize(
    ("steps", "raises", "outcome", "attempts"),
    [
        ([REFUSED], ConnectError, Outcome.NEVER_SENT, 5),
        ([LOST], ConnectionLostError, Outcome.UNKNOWN, 1),
        ([responding(503)], ServerError, Outcome.REJECTED, 5),
        ([responding(400)], BadRequestError, Outcome.REJECTED, 1),
        ([responding(200, b"<html>")], ResponseDecodeError, Outcome.UNKNOWN, 1),
        ([REFUSED, LOST], ConnectionLostError, Outcome.UNKNOWN, 2),
        ([responding(503), REFUSED], ConnectError, Outcome.REJECTED, 5),
        ([responding(503), responding(503), LOST], ConnectionLostError, Outcome.UNKNOWN, 3),
        ([REFUSED, responding(400)], BadRequestError, Outcome.REJECTED, 2),
        ([failing(ConfigurationError, written=False)], ConfigurationError, Outcome.NEVER_SENT, 1),
        ([failing(ClientClosedError, written=False)], ClientClosedError, Outcome.NEVER_SENT, 1),
    ],
)
async def test_what_is_said_in_the_end(
    steps: list[Step], raises: type[CallbellError], outcome: Outcome, attempts: int
) -> None:
    """The last failure is raised, with the gravest outcome of all attempts and their number."""
    pipeline = pipeline_for(*steps)
    with pytest.raises(raises) as caught:
        await send(pipeline)
    assert type(caught.value) is raises
    assert (caught.value.outcome, caught.value.attempts) == (outcome, attempts)
    assert len(began(pipeline)) == attempts


async def test_unknown_is_repeated_if_asked_for_and_never_forgotten() -> None:
    """With `resend_unknown` an attempt in doubt is repeated, and no later refusal makes the call less than `UNKNOWN`."""
    pipeline = pipeline_for(LOST, REFUSED, responding(400), retry=RetryPolicy(resend_unknown=True))
    with pytest.raises(BadRequestError) as caught:
        await send(pipeline)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 3)


async def test_what_is_idempotent_is_repeated_anyway() -> None:
    """A GET in doubt is repeated without being asked to."""
    pipeline = pipeline_for(LOST, LOST, OK)
    await send(pipeline, GET)
    assert len(began(pipeline)) == 3


async def test_waits_grow_and_are_bounded() -> None:
    """Between attempts lies a wait drawn from a range that doubles, up to its maximum; over many calls no wait is beyond its range."""
    policy = RetryPolicy(attempts=6, wait_initial=1.0, wait_max=5.0, timeout=1000.0)
    longest = [0.0] * 5
    for _ in range(200):
        pipeline = pipeline_for(failing(ConnectError, written=False, after=0.0), retry=policy)
        with pytest.raises(ConnectError):
            await send(pipeline)
        times = began(pipeline)
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        longest = [max(pair) for pair in zip(longest, waits, strict=True)]
    for found, allowed in zip(longest, (1.0, 2.0, 4.0, 5.0, 5.0), strict=True):
        assert 0.5 * allowed < found <= allowed + 0.01


async def test_no_attempt_begins_after_the_policys_time() -> None:
    """Once the policy's time would be over, the failure is raised at once instead of waited for."""
    policy = RetryPolicy(attempts=1000, wait_initial=10.0, wait_max=10.0, timeout=60.0)
    pipeline = pipeline_for(REFUSED, retry=policy)
    started = now()
    with pytest.raises(ConnectError) as caught:
        await send(pipeline)
    assert now() - started <= 60.2
    assert began(pipeline)[-1] - started <= 60.0
    assert caught.value.attempts == len(began(pipeline)) > 3


# --- waiting for a turn -----------------------------------------------------------------------------------------------


async def test_a_turn_that_does_not_come_in_time() -> None:
    """A call waits for its turn no longer than the policy's time, sends nothing, and holds no place."""
    log = LimiterLog(wait=500.0)
    pipeline = pipeline_for(OK, rate_limit=log)
    started = now()
    with pytest.raises(RequestTimeoutError) as caught:
        await send(pipeline)
    assert now() - started == pytest.approx(120.0, abs=0.01)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.NEVER_SENT, 0)
    assert (began(pipeline), log.taken, log.ends) == ([], 0, [])


async def test_a_turn_for_a_retry_that_does_not_come_in_time() -> None:
    """The policy's time counts from the start of the call, over all its attempts and turns."""
    pipeline = pipeline_for(responding(503), rate_limit=LimiterLog(wait=50.0))
    started = now()
    with pytest.raises(CallbellError) as caught:
        await send(pipeline)
    assert now() - started <= 120.1
    assert caught.value.outcome is Outcome.REJECTED
    assert caught.value.attempts == 2


async def test_a_patient_call_waits_and_still_has_its_retries() -> None:
    """A patient call waits for its turns as long as it takes, and that waiting is not taken from the time for its retries."""
    log = LimiterLog(wait=500.0)
    pipeline = pipeline_for(responding(503), responding(503), OK, rate_limit=log)
    started = now()
    await send(pipeline, limit_queue_time=False)
    assert now() - started > 1500
    assert (log.taken, log.ends) == (3, ["answered"] * 3)


async def test_a_patient_call_has_no_more_than_its_time_for_retries() -> None:
    """What a patient call spends on attempts and on waiting between them counts as for any other."""
    policy = RetryPolicy(attempts=1000, wait_initial=10.0, wait_max=10.0, timeout=60.0)
    pipeline = pipeline_for(REFUSED, retry=policy, rate_limit=LimiterLog(wait=500.0))
    with pytest.raises(ConnectError) as caught:
        await send(pipeline, limit_queue_time=False)
    assert 3 < caught.value.attempts < 100


# --- 429 --------------------------------------------------------------------------------------------------------------


async def test_429_stops_all_calls_for_as_long_as_asked() -> None:
    """After a 429 no call of the client begins before the time it asked for, the refused one included."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="50"), OK)
    started = now()
    first = asyncio.create_task(send(pipeline))
    await asyncio.sleep(1)
    await asyncio.gather(first, *(send(pipeline) for _ in range(10)))
    assert len(began(pipeline)) == 12
    assert min(began(pipeline)[1:]) - started >= 50.0


async def test_the_longest_stop_wins() -> None:
    """Of several stops the one that ends last counts, whichever was asked for last, and no success shortens it."""
    pipeline = pipeline_for(
        responding(429, after=1.0, Retry_After="50"),
        responding(429, after=2.0, Retry_After="5"),
        responding(200, after=3.0),
        responding(429, after=4.0, Retry_After_Ms="60000"),
        OK,
    )
    started = now()
    await asyncio.gather(*(send(pipeline) for _ in range(4)))
    assert min(began(pipeline)[4:]) - started >= 64.0


async def test_429_without_retry_after_stops_for_the_backoff() -> None:
    """Where Callbell names no time, the client stops for as long as the refused call waits."""
    policy = RetryPolicy(wait_initial=30.0, wait_max=30.0)
    pipeline = pipeline_for(responding(429, after=0.0), OK, retry=policy)
    first = asyncio.create_task(send(pipeline))
    await asyncio.sleep(0)
    await asyncio.gather(first, send(pipeline))
    _, second, third = began(pipeline)
    assert second == pytest.approx(third, abs=0.01)


async def test_429_stops_the_client_where_it_is_not_repeated() -> None:
    """A policy that does not repeat 429 still keeps the other calls from running into it."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="50"), OK, retry=RetryPolicy(statuses=frozenset()))
    started = now()
    with pytest.raises(RateLimitError) as caught:
        await send(pipeline)
    assert caught.value.attempts == 1
    await send(pipeline)
    assert began(pipeline)[1] - started >= 50.0


async def test_a_stop_beyond_the_policys_time_is_told_at_once() -> None:
    """A call that can't outwait a stop fails at once; a patient one waits for its end."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="1000"), OK)
    started = now()
    with pytest.raises(RateLimitError):
        await send(pipeline)
    with pytest.raises(RequestTimeoutError) as caught:
        await send(pipeline)
    assert (now() - started, caught.value.outcome, caught.value.attempts) == (0.0, Outcome.NEVER_SENT, 0)
    await send(pipeline, limit_queue_time=False)
    assert now() - started >= 1000


async def test_a_stop_that_comes_while_a_call_waits_for_its_turn() -> None:
    """A call whose turn comes while the client is stopped gives its place back, and waits for the end of the stop and a new turn."""
    log = LimiterLog(wait=10.0)
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="50"), OK, rate_limit=log)
    started = now()
    first = asyncio.create_task(send(pipeline))
    await asyncio.sleep(5)
    await asyncio.gather(first, send(pipeline))
    # The first met the stop at 10 seconds; the second had its turn at 15, and both had another at 70.
    assert [round(moment - started) for moment in began(pipeline)] == [10, 70, 70]
    assert log.taken == len(log.ends) == 4
    assert sorted(log.ends) == ["answered"] * 3 + ["refunded"]


# --- the retry budget -------------------------------------------------------------------------------------------------


async def test_an_outage_does_not_multiply_the_load() -> None:
    """While nothing gets through, retries come no faster than the budget allows; they are delayed, not lost, and all succeed after it."""
    outage_ends = now() + 60.0

    async def until_the_outage_ends(call: CallState) -> Response:
        return await (OK if now() >= outage_ends else REFUSED)(call)

    calls = 500
    policy = RetryPolicy(attempts=1000, wait_initial=0.1, wait_max=0.1, timeout=10_000.0)
    pipeline = pipeline_for(until_the_outage_ends, retry=policy)
    started = now()
    await asyncio.gather(*(send(pipeline) for _ in range(calls)))
    retries = sorted(began(pipeline))[calls:]
    # The budget: a reserve of 100, and 10 more a second.
    for second in range(1, 60):
        assert sum(moment - started <= second for moment in retries) <= 100 + 10 * second
    # Without it, each of 500 calls would have retried several times a second.
    assert 600 < len(retries) < 1500


async def test_a_retry_for_which_the_budget_has_no_time_is_given_up() -> None:
    """A retry that would have to wait past the policy's time is not waited for, and takes nothing from the budget."""
    pipeline = pipeline_for(REFUSED, retry=RetryPolicy(attempts=1000, wait_initial=0.01, timeout=5.0))
    started = now()
    ended = await asyncio.gather(*(send(pipeline) for _ in range(1000)), return_exceptions=True)
    assert {type(error) for error in ended} == {ConnectError}
    assert now() - started <= 5.2
    assert len(began(pipeline)) <= 1000 + 100 + 10 * 6


async def test_successes_fill_the_budget() -> None:
    """A client that got through may retry again: of ten successes two retries come at once, though the reserve was spent."""
    refused = failing(ConnectError, written=False, after=0.0)
    pipeline = pipeline_for(
        *[refused] * 200,
        *[responding(after=0.0)] * 10,
        *[refused] * 3,
        responding(after=0.0),
        retry=RetryPolicy(attempts=2, wait_initial=0.0),
    )
    started = now()
    await asyncio.gather(*(send(pipeline) for _ in range(100)), return_exceptions=True)
    await asyncio.gather(*(send(pipeline) for _ in range(10)))
    assert now() == started
    await asyncio.gather(*(send(pipeline) for _ in range(3)))
    retries = [moment - started for moment in began(pipeline)[-3:]]
    assert retries[:2] == [0.0, 0.0]
    assert 0.0 < retries[2] <= 0.1
