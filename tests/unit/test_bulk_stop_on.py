"""Errors that stop a run of `send_many`, and errors that concern one message only."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import pytest

from callbell_async import (
    APIError,
    AuthenticationError,
    CallbellError,
    InvalidMessageError,
    Message,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    SendResult,
    TextMessage,
    TransportError,
)
from callbell_async.limits.base import RateLimiter
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, consume, new_run, texts

pytestmark = pytest.mark.virtual_time

INPUTS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "generator": lambda messages: (message for message in messages),
    "async generator": async_input,
}


@attrs.frozen(kw_only=True)
class Postcard(Message):
    """A kind of message of the caller's own, which Callbell doesn't know."""

    def _check(self) -> None:
        pass


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """No test here leaves a task behind."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def refused_from(first: int, status: int) -> FakeCallbell:
    """A fake Callbell that responds with this status from this message on."""
    return FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1, status=status if number >= first else 200))


# --- stop_on ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (402, PaymentRequiredError)])
async def test_refused_token_or_empty_wallet_stops_the_run(
    make: Callable[[list[Any]], Any], status: int, kind: type[APIError]
) -> None:
    """After a 401 or 402 nothing more is sent: requests in flight end, and the rest is `SKIPPED` with that error."""
    fake = refused_from(20, status)
    report = await new_run(fake, make(texts(500)), concurrency=5)
    assert (report.accepted, report.skipped, report.total) == (20, 475, 500)
    assert [result.index for result in report.results] == list(range(500))
    first_refusal = report.results[20].error
    assert isinstance(first_refusal, kind)
    assert all(result.outcome is Outcome.SKIPPED for result in report.results[25:])
    assert all(result.error is first_refusal and result.attempts == 0 for result in report.results[25:])
    assert fake.arrivals == list(range(25))
    assert report.elapsed == pytest.approx(0.5)


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
async def test_stopped_run_gives_each_message_under_async_for(make: Callable[[list[Any]], Any]) -> None:
    """A stopped run that is iterated yields every result, and `on_result` receives every result, the `SKIPPED` ones too."""
    received: list[int] = []
    run = new_run(refused_from(0, 401), make(texts(300)), on_result=lambda result: received.append(result.index))
    outcomes = Counter([result.outcome async for result in run])
    assert outcomes == {Outcome.REJECTED: 3, Outcome.SKIPPED: 297}
    assert sorted(received) == list(range(300))


async def test_requests_in_flight_end_when_the_run_stops() -> None:
    """Requests that were in flight when the token was refused get their responses."""
    behaviours = {
        0: Behaviour(response_time=0.1, status=401),
        1: Behaviour(response_time=5.0),
        2: Behaviour(response_time=9.0),
    }
    report = await new_run(FakeCallbell(lambda number, attempt: behaviours[number]), texts(50), shutdown_timeout=1.0)
    assert [result.outcome for result in report.results[:3]] == [Outcome.REJECTED, Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert report.skipped == 47
    assert report.elapsed == pytest.approx(9.0)


@pytest.mark.parametrize("shutdown_timeout", [0.0, 5.0])
async def test_stopped_run_does_not_wait_for_a_silent_input(shutdown_timeout: float) -> None:
    """A stopped run skips what its input still gives, and ends when the input yields nothing for the shutdown time."""
    closed = asyncio.Event()

    async def queue() -> AsyncIterator[TextMessage]:
        try:
            for message in texts(10):
                yield message
            await asyncio.Event().wait()
        finally:
            closed.set()

    report = await new_run(refused_from(4, 401), queue(), concurrency=2, shutdown_timeout=shutdown_timeout)
    assert [result.index for result in report.results] == list(range(10))
    assert (report.accepted, report.rejected, report.skipped) == (4, 2, 4)
    assert report.elapsed == pytest.approx(0.3 + shutdown_timeout)
    assert closed.is_set()


async def test_stopped_run_goes_on_with_a_slow_input() -> None:
    """A stopped run reads an input to its end if each message takes less than the shutdown time."""
    run = new_run(refused_from(0, 401), async_input(texts(20), every=4.0), concurrency=2, shutdown_timeout=5.0)
    seen = []
    async for result in run:
        await asyncio.sleep(30.0)
        seen.append(result.index)
    assert sorted(seen) == list(range(20))
    assert (run.report.rejected, run.report.skipped) == (1, 19)


@pytest.mark.parametrize(
    ("stop_on", "status", "stops"),
    [
        ((), 401, False),
        ((NotFoundError,), 404, True),
        ((NotFoundError,), 401, False),
        ((CallbellError,), 400, True),
        ((LookupError, PaymentRequiredError), 402, True),
    ],
)
async def test_stop_on_is_the_callers_choice(
    stop_on: tuple[type[BaseException], ...], status: int, stops: bool
) -> None:
    """Only an error of a class in `stop_on` stops a run."""
    fake = refused_from(1, status)
    report = await new_run(fake, texts(30), concurrency=1, stop_on=stop_on)
    assert (report.accepted, report.rejected, report.skipped) == ((1, 1, 28) if stops else (1, 29, 0))


async def test_stop_on_holds_for_invalid_messages_too() -> None:
    """With `InvalidMessageError` in `stop_on` the first message that can't be sent stops the run."""
    messages = [*texts(2), InvalidMessageError("to", "no recipient"), *texts(5)]
    fake = FakeCallbell()
    report = await new_run(fake, messages, concurrency=1, stop_on=(InvalidMessageError,))
    assert (report.accepted, report.never_sent, report.skipped) == (2, 1, 5)
    assert fake.arrivals == [0, 1]


# --- inputs that raise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("error", [LookupError("row 20"), TimeoutError("disk"), asyncio.CancelledError("gone")])
async def test_input_that_raises_ends_the_run(is_async: bool, iterated: bool, error: BaseException) -> None:
    """The run raises the exception of the input after the requests in flight have ended, and no result is lost.

    This holds for a `CancelledError` of the input's own, which must not look like the end of the input.
    """

    def broken() -> Iterator[TextMessage]:
        yield from texts(20)
        raise error

    async def broken_later() -> AsyncIterator[TextMessage]:
        for message in texts(20):
            await asyncio.sleep(0.01)
            yield message
        raise error

    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.5))
    run = new_run(fake, broken_later() if is_async else broken(), concurrency=4)
    results: list[SendResult] = []
    with pytest.raises(type(error), match=str(error)):
        await consume(run, results, iterated=iterated)
    assert sorted(result.index for result in results) == list(range(20))
    assert (run.report.accepted, run.report.total) == (20, 20)


async def test_input_with_a_length_that_raises() -> None:
    """Of an input with a length that raises, the report has the messages that could be read."""

    class Broken(list[TextMessage]):
        def __iter__(self) -> Iterator[TextMessage]:
            return BrokenIterator()

    class BrokenIterator(Iterator[TextMessage]):
        given = 0

        def __next__(self) -> TextMessage:
            self.given += 1
            if self.given > 6:
                raise OSError("disk")
            return texts(6)[self.given - 1]

    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=0.5)), Broken(texts(10)))
    with pytest.raises(OSError, match="disk"):
        await run
    assert (run.report.accepted, run.report.total) == (6, 6)
    other = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=0.5)), Broken(texts(10)))
    task = asyncio.ensure_future(other)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (other.report.accepted, other.report.skipped) == (3, 3)


async def test_on_result_that_is_cancelled_ends_the_run() -> None:
    """A `CancelledError` of `on_result`'s own ends the run with it, instead of quietly taking one worker out of it."""

    async def give_up(result: SendResult) -> None:
        if result.index == 3:
            raise asyncio.CancelledError

    run = new_run(FakeCallbell(), texts(40), concurrency=1, on_result=give_up)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (run.report.accepted, run.report.skipped) == (4, 36)


# --- one message's own trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
async def test_what_is_no_message_keeps_its_place(make: Callable[[list[Any]], Any]) -> None:
    """An item that is not a message, or that can't be written as JSON, is `NEVER_SENT` at its own index, with the reason."""
    refused = InvalidMessageError("to", "no recipient")
    messages = [*texts(2), refused, "hello", None, Postcard(to="+31612345678"), texts(7)[6]]
    fake = FakeCallbell()
    report = await new_run(fake, make(messages))
    assert [result.outcome.value for result in report.results] == ["accepted"] * 2 + ["never_sent"] * 4 + ["accepted"]
    assert [result.message for result in report.results] == messages
    assert report.results[2].error is refused
    assert "not str" in str(report.results[3].error)
    assert all(isinstance(result.error, InvalidMessageError) for result in report.results[2:6])
    assert {result.attempts for result in report.results[2:6]} == {0}
    assert sorted(fake.arrivals) == [0, 1, 6]


@pytest.mark.parametrize(
    "item",
    [InvalidMessageError("to", "no recipient"), "no message", Postcard(to="+31612345678")],
    ids=["invalid", "no message", "can't be written"],
)
async def test_hopeless_input_does_not_block_the_loop(item: Any) -> None:
    """Ten thousand items of which none can be sent let other tasks have their turns in between."""
    turns = most = since = 0

    def hopeless() -> Iterator[Any]:
        nonlocal since, most
        for _ in range(10_000):
            since += 1
            most = max(most, since)
            yield item

    async def neighbour() -> None:
        nonlocal turns, since
        while True:
            turns += 1
            since = 0
            await asyncio.sleep(0)

    task = asyncio.create_task(neighbour())
    report = await new_run(FakeCallbell(), hopeless(), concurrency=5)
    task.cancel()
    assert report.never_sent == 10_000
    assert turns > 1_000
    assert most <= 10
    with pytest.raises(asyncio.CancelledError):
        await task


class _BrokenLimiter(RateLimiter):
    """A limit kept somewhere that can't be reached now and then."""

    def __init__(self) -> None:
        self.asked = 0

    async def acquire(self) -> None:
        self.asked += 1
        if self.asked % 4 == 0:
            raise OSError("the limiter's server is away")

    def release(self, *, has_response: bool) -> None:
        pass

    def refund(self) -> None:
        pass


async def test_strange_exceptions_touch_only_their_message() -> None:
    """An exception from outside the library, such as a limiter's own, is the result of that message only."""
    fake = FakeCallbell()
    report = await new_run(fake, texts(12), rate_limit=_BrokenLimiter(), concurrency=1)
    assert (report.accepted, report.never_sent) == (9, 3)
    assert [result.index for result in report.results if isinstance(result.error, OSError)] == [3, 7, 11]
    assert fake.accepted == Counter({n for n in range(12) if n % 4 != 3})


async def test_strange_exception_after_leaving_is_unknown() -> None:
    """If something unforeseen is raised when a message has already left, it is `UNKNOWN`: it may have been accepted."""

    class Breaking(FakeCallbell):
        async def exchange(self, call: Any) -> Any:
            response = await super().exchange(call)
            if b'"3"' in call.request.body:
                raise RuntimeError("a tracing hook failed")
            return response

    fake = Breaking()
    report = await new_run(fake, texts(6))
    assert (report.accepted, report.unknown) == (5, 1)
    assert isinstance(report.results[3].error, RuntimeError)
    assert not isinstance(report.results[3].error, TransportError)
    assert fake.accepted == Counter(range(6))
