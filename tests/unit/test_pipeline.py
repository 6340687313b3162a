"""RequestPipeline: when it retries, when it pauses, and which error it raises at the end."""

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
from callbell_async.http.retry import MAX_PAUSE
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

# --- retries ----------------------------------------------------------------------------------------------------------


async def test_the_value_read_from_the_response_is_returned() -> None:
    """A call returns the value that its reader makes of the response, after one request."""
    pipeline = pipeline_for(responding(body=b'{"a": 1}'))
    assert await send(pipeline) == {"a": 1}
    assert len(began(pipeline)) == 1


async def test_a_request_that_never_left_is_retried() -> None:
    """A request that provably never left is retried, and a success at the end is a success."""
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
        ([responding(521)], ServerError, Outcome.REJECTED, 5),
        ([responding(504)], ServerError, Outcome.UNKNOWN, 1),
        ([responding(503), responding(502)], ServerError, Outcome.UNKNOWN, 2),
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
async def test_the_last_failure_is_raised_with_the_worst_outcome(
    steps: list[Step], raises: type[CallbellError], outcome: Outcome, attempts: int
) -> None:
    """The last failure is raised, with the worst outcome of all attempts and their number."""
    pipeline = pipeline_for(*steps)
    with pytest.raises(raises) as caught:
        await send(pipeline)
    assert type(caught.value) is raises
    assert (caught.value.outcome, caught.value.attempts) == (outcome, attempts)
    assert len(began(pipeline)) == attempts


async def test_resend_unknown_retries_and_the_outcome_stays_unknown() -> None:
    """With `resend_unknown` an attempt that is `UNKNOWN` is retried, and the call stays `UNKNOWN` after a later refusal."""
    pipeline = pipeline_for(LOST, REFUSED, responding(400), retry=RetryPolicy(resend_unknown=True))
    with pytest.raises(BadRequestError) as caught:
        await send(pipeline)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 3)


async def test_an_idempotent_call_is_retried_after_unknown() -> None:
    """A GET that is `UNKNOWN` is retried by default."""
    pipeline = pipeline_for(LOST, LOST, OK)
    await send(pipeline, GET)
    assert len(began(pipeline)) == 3


async def test_a_gateway_status_is_retried_if_named_and_stays_unknown() -> None:
    """A policy that names 504 retries it, also over a 429, and the outcome of a call that gives up stays `UNKNOWN`."""
    named = RetryPolicy(attempts=3, statuses={429, 504})
    pipeline = pipeline_for(responding(504), responding(429), responding(504), retry=named)
    with pytest.raises(ServerError) as caught:
        await send(pipeline)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 3)
    pipeline = pipeline_for(responding(504), responding(400), retry=named)
    with pytest.raises(BadRequestError) as refused:
        await send(pipeline)
    assert (refused.value.outcome, refused.value.attempts) == (Outcome.UNKNOWN, 2)


@pytest.mark.parametrize("status", [502, 504, 520, 522, 524])
async def test_an_idempotent_call_is_retried_after_a_gateway_status(status: int) -> None:
    """A GET that a gateway lost is retried by default."""
    pipeline = pipeline_for(responding(status), responding(status), OK)
    await send(pipeline, GET)
    assert len(began(pipeline)) == 3


async def test_waits_grow_and_are_bounded() -> None:
    """The wait between attempts is random in a range that doubles up to its maximum; no wait of many calls exceeds it."""
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


async def test_no_attempt_begins_after_the_policys_timeout() -> None:
    """If the next wait would exceed the policy's timeout, the failure is raised at once."""
    policy = RetryPolicy(attempts=1000, wait_initial=10.0, wait_max=10.0, timeout=60.0)
    pipeline = pipeline_for(REFUSED, retry=policy)
    started = now()
    with pytest.raises(ConnectError) as caught:
        await send(pipeline)
    assert now() - started <= 60.2
    assert began(pipeline)[-1] - started <= 60.0
    assert caught.value.attempts == len(began(pipeline)) > 3


# --- waiting for a slot -----------------------------------------------------------------------------------------------


async def test_no_slot_in_time() -> None:
    """A call waits for its slot no longer than the policy's timeout, then sends nothing and holds no slot."""
    log = LimiterLog(wait=500.0)
    pipeline = pipeline_for(OK, rate_limit=log)
    started = now()
    with pytest.raises(RequestTimeoutError) as caught:
        await send(pipeline)
    assert now() - started == pytest.approx(120.0, abs=0.01)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.NEVER_SENT, 0)
    assert (began(pipeline), log.taken, log.ends) == ([], 0, [])


async def test_no_slot_for_a_retry_in_time() -> None:
    """The policy's timeout counts from the start of the call, over all its attempts and slots."""
    pipeline = pipeline_for(responding(503), rate_limit=LimiterLog(wait=50.0))
    started = now()
    with pytest.raises(CallbellError) as caught:
        await send(pipeline)
    assert now() - started <= 120.1
    assert caught.value.outcome is Outcome.REJECTED
    assert caught.value.attempts == 2


async def test_unlimited_queue_time_leaves_the_time_for_retries() -> None:
    """Without a queue limit a call waits for its slots as long as necessary, and keeps all its time for retries."""
    log = LimiterLog(wait=500.0)
    pipeline = pipeline_for(responding(503), responding(503), OK, rate_limit=log)
    started = now()
    await send(pipeline, limit_queue_time=False)
    assert now() - started > 1500
    assert (log.taken, log.ends) == (3, ["response"] * 3)


async def test_unlimited_queue_time_adds_no_time_for_retries() -> None:
    """Without a queue limit, attempts and the waits between them still count towards the policy's timeout."""
    policy = RetryPolicy(attempts=1000, wait_initial=10.0, wait_max=10.0, timeout=60.0)
    pipeline = pipeline_for(REFUSED, retry=policy, rate_limit=LimiterLog(wait=500.0))
    with pytest.raises(ConnectError) as caught:
        await send(pipeline, limit_queue_time=False)
    assert 3 < caught.value.attempts < 100


# --- 429 --------------------------------------------------------------------------------------------------------------


async def test_429_pauses_all_calls_for_as_long_as_requested() -> None:
    """After a 429 no call of the client, nor its own retry, begins before the requested time."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="50"), OK)
    started = now()
    first = asyncio.create_task(send(pipeline))
    await asyncio.sleep(1)
    await asyncio.gather(first, *(send(pipeline) for _ in range(10)))
    assert len(began(pipeline)) == 12
    assert min(began(pipeline)[1:]) - started >= 50.0


async def test_the_longest_pause_wins() -> None:
    """Of several pauses the one that ends last counts, and no success shortens it."""
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


async def test_429_without_retry_after_pauses_for_the_backoff() -> None:
    """If Callbell names no time, the client pauses for as long as the refused call waits."""
    policy = RetryPolicy(wait_initial=30.0, wait_max=30.0)
    pipeline = pipeline_for(responding(429, after=0.0), OK, retry=policy)
    first = asyncio.create_task(send(pipeline))
    await asyncio.sleep(0)
    await asyncio.gather(first, send(pipeline))
    _, second, third = began(pipeline)
    assert second == pytest.approx(third, abs=0.01)


async def test_429_pauses_the_client_if_it_is_not_retried() -> None:
    """A policy that does not retry 429 still pauses the other calls."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="50"), OK, retry=RetryPolicy(statuses=frozenset()))
    started = now()
    with pytest.raises(RateLimitError) as caught:
        await send(pipeline)
    assert caught.value.attempts == 1
    await send(pipeline)
    assert began(pipeline)[1] - started >= 50.0


async def test_a_pause_beyond_the_policys_timeout_fails_at_once() -> None:
    """A call that can't outwait a pause fails at once; one without a limit waits for its end."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="800"), OK)
    started = now()
    with pytest.raises(RateLimitError):
        await send(pipeline)
    with pytest.raises(RequestTimeoutError, match="the client pauses for 800 s after a 429") as caught:
        await send(pipeline)
    assert (now() - started, caught.value.outcome, caught.value.attempts) == (0.0, Outcome.NEVER_SENT, 0)
    await send(pipeline, limit_queue_time=False)
    assert now() - started == pytest.approx(800, abs=0.2)


@pytest.mark.parametrize("retry_after", ["901", "86400", "1e300"])
@pytest.mark.parametrize("limit_queue_time", [True, False], ids=["single", "run"])
async def test_no_response_pauses_the_client_for_longer_than_the_maximum(
    retry_after: str, limit_queue_time: bool
) -> None:
    """Where Callbell asks for more than 15 minutes the call fails at once, and the client pauses for 15 minutes."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After=retry_after), OK)
    started = now()
    with pytest.raises(RateLimitError) as caught:
        await send(pipeline, limit_queue_time=limit_queue_time)
    assert (now() - started, caught.value.attempts) == (0.0, 1)
    assert caught.value.retry_after == float(retry_after) > MAX_PAUSE == 900
    await send(pipeline, limit_queue_time=False)
    assert now() - started == pytest.approx(MAX_PAUSE, abs=0.2)


async def test_a_call_of_a_run_outlasts_a_pause_that_a_single_call_does_not() -> None:
    """A pause of up to 15 minutes costs a call without a queue limit nothing but an attempt."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="900"), responding(503), OK)
    started = now()
    call = CallState(POST)
    await send(pipeline, call=call, limit_queue_time=False)
    assert (call.outcome, call.attempts) == (Outcome.ACCEPTED, 3)
    assert 900 <= now() - started < 902


async def test_a_call_of_a_run_that_is_always_refused_ends_with_its_attempts() -> None:
    """Without a queue limit the policy's attempts still end a call that gets 429 each time."""
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="900"), retry=RetryPolicy(attempts=3))
    started = now()
    with pytest.raises(RateLimitError) as caught:
        await send(pipeline, limit_queue_time=False)
    assert caught.value.attempts == 3
    assert now() - started == pytest.approx(1800, abs=0.2)


async def test_a_pause_that_begins_while_a_call_waits_for_its_slot() -> None:
    """A call that gets its slot during a pause returns it, and waits for the end of the pause and a new slot."""
    log = LimiterLog(wait=10.0)
    pipeline = pipeline_for(responding(429, after=0.0, Retry_After="50"), OK, rate_limit=log)
    started = now()
    first = asyncio.create_task(send(pipeline))
    await asyncio.sleep(5)
    await asyncio.gather(first, send(pipeline))
    # The first request was refused at 10 seconds; the second call got a slot at 15, and both got one at 70.
    assert [round(moment - started) for moment in began(pipeline)] == [10, 70, 70]
    assert log.taken == len(log.ends) == 4
    assert sorted(log.ends) == ["refunded", *["response"] * 3]


# --- the retry budget -------------------------------------------------------------------------------------------------


async def test_an_outage_does_not_multiply_the_load() -> None:
    """The retry budget limits the retries during an outage; they are delayed, not lost, and succeed afterwards."""
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


async def test_a_retry_that_the_budget_delays_too_long_is_dropped() -> None:
    """A retry that would begin after the policy's timeout is not made, and takes nothing from the budget."""
    pipeline = pipeline_for(REFUSED, retry=RetryPolicy(attempts=1000, wait_initial=0.01, timeout=5.0))
    started = now()
    ended = await asyncio.gather(*(send(pipeline) for _ in range(1000)), return_exceptions=True)
    assert {type(error) for error in ended} == {ConnectError}
    assert now() - started <= 5.2
    assert len(began(pipeline)) <= 1000 + 100 + 10 * 6


async def test_successes_fill_the_budget() -> None:
    """Ten successes pay for two immediate retries, though the reserve is spent."""
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
