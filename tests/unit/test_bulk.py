"""The results of `send_many`: in order or as they come, for every kind of input."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pytest

from callbell_async import (
    BulkSendError,
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    Message,
    Outcome,
    SendResult,
    TextMessage,
)
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, consume, new_run, texts

pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """No test here leaves a task behind."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Catalogue(Sequence[Message]):
    """A sequence other than a list."""

    def __init__(self, messages: list[TextMessage]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, index: Any) -> Any:
        return self._messages[index]


class MessageSource:
    """An async iterable that has a length."""

    def __init__(self, messages: list[TextMessage]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __aiter__(self) -> AsyncIterator[TextMessage]:
        return async_input(self._messages)


INPUTS: dict[str, Callable[[list[TextMessage]], Iterable[Any] | AsyncIterable[Any]]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda messages: (message for message in messages),
    "iterator": iter,
    "mapping's values": lambda messages: dict(enumerate(messages)).values(),
    "sequence": Catalogue,
    "async generator": async_input,
    "slow async generator": lambda messages: async_input(messages, every=0.2),
    "async iterable": MessageSource,
}


def later_is_faster(number: int, attempt: int) -> Behaviour:
    """Responses come in the opposite order."""
    return Behaviour(response_time=max(0.0, 1.0 - number / 10))


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
async def test_await_keeps_the_order(make: Callable[[list[TextMessage]], Any]) -> None:
    """An awaited run returns the results in the order of the input, each with its own message and receipt."""
    messages = texts(12)
    fake = FakeCallbell(later_is_faster)
    report = await new_run(fake, make(messages), concurrency=4)
    assert [result.index for result in report.results] == list(range(12))
    assert [result.message for result in report.results] == messages
    assert [result.receipt and result.receipt.uuid for result in report.results] == [f"uuid-{n}" for n in range(12)]
    assert {result.outcome for result in report.results} == {Outcome.ACCEPTED}
    assert {result.attempts for result in report.results} == {1}
    assert fake.accepted == Counter(range(12))


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
async def test_async_for_gives_each_once(make: Callable[[list[TextMessage]], Any]) -> None:
    """An iterated run yields each result once, with its index in the input, and the report counts them all."""
    fake = FakeCallbell(later_is_faster)
    run = new_run(fake, make(texts(12)), concurrency=4)
    results = [result async for result in run]
    assert sorted(result.index for result in results) == list(range(12))
    assert all(result.receipt and result.receipt.uuid == f"uuid-{result.index}" for result in results)
    assert fake.accepted == Counter(range(12))
    assert (run.report.accepted, run.report.total, run.report.results) == (12, 12, ())


async def test_async_for_gives_results_as_they_complete() -> None:
    """An iterated run yields a result when its response is there, before those of slower messages."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    run = new_run(FakeCallbell(later_is_faster), texts(4), concurrency=4)
    came = [(result.index, round(loop.time() - began, 3)) async for result in run]
    assert came == [(3, 0.7), (2, 0.8), (1, 0.9), (0, 1.0)]


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
async def test_empty_input(make: Callable[[list[TextMessage]], Any]) -> None:
    """An empty input is a complete run: no request, no result, no failure."""
    fake = FakeCallbell()
    report = await new_run(fake, make([]))
    assert (report.total, report.results, report.rate) == (0, (), 0.0)
    report.raise_for_failures()
    assert [result async for result in new_run(fake, make([]))] == []
    assert fake.arrivals == []


# --- how many at once, and how far ahead ------------------------------------------------------------------------------


@pytest.mark.parametrize(("concurrency", "count", "most"), [(1, 20, 1), (7, 40, 7), (50, 8, 8)])
async def test_concurrency_is_the_number_of_requests_in_flight(concurrency: int, count: int, most: int) -> None:
    """As many requests are in flight as `concurrency` allows, never more, and never more than there are messages."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1))
    report = await new_run(fake, texts(count), concurrency=concurrency)
    assert report.accepted == count
    assert fake.most_in_flight == most


async def test_few_messages_need_few_tasks() -> None:
    """A run has no more tasks than messages, if it can know their number."""
    task = asyncio.ensure_future(
        new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(3), concurrency=500)
    )
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 5
    assert (await task).accepted == 3


async def test_one_at_a_time_sends_in_order() -> None:
    """With `concurrency=1` messages reach Callbell in the order given, whatever each takes."""
    fake = FakeCallbell(later_is_faster)
    await new_run(fake, texts(12), concurrency=1)
    assert fake.arrivals == list(range(12))


async def test_a_slow_message_delays_no_other() -> None:
    """While one message takes a minute, the other workers send all the rest."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0 if number == 0 else 0.1))
    seen = [result.index async for result in new_run(fake, texts(30), concurrency=2)]
    assert seen == [*range(1, 30), 0]


@pytest.mark.parametrize("concurrency", [1, 3, 10])
@pytest.mark.parametrize("is_async", [False, True])
async def test_slow_consumer_holds_the_workers(concurrency: int, is_async: bool) -> None:
    """The input is pulled at most two messages a place ahead of a consumer that takes its time, and still to the end."""
    pulled = consumed = furthest = 0

    def counted() -> Iterator[TextMessage]:
        nonlocal pulled, furthest
        for message in texts(100):
            pulled += 1
            furthest = max(furthest, pulled - consumed)
            yield message

    run = new_run(FakeCallbell(), async_input(counted()) if is_async else counted(), concurrency=concurrency)
    async for _ in run:
        await asyncio.sleep(1.0)
        consumed += 1
    assert (pulled, run.report.accepted) == (100, 100)
    assert concurrency < furthest <= 2 * concurrency + 1


async def test_endless_input() -> None:
    """An input without an end can be iterated: the consumer stops when it has enough."""

    def endless() -> Iterator[TextMessage]:
        while True:
            yield from texts(10)

    results = new_run(FakeCallbell(), endless()).__aiter__()
    taken = [await anext(results) for _ in range(200)]
    await results.aclose()  # type: ignore[attr-defined]
    assert sorted(result.index for result in taken[:150]) == list(range(150))


# --- what each message meets ------------------------------------------------------------------------------------------


async def test_one_bad_message_in_ten_thousand() -> None:
    """One refused message is one `REJECTED` result at its own place; the other 9 999 are accepted, once each."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(status=400 if number == 6_321 else 200))
    report = await new_run(fake, (message for message in texts(10_000)), concurrency=50)
    assert (report.accepted, report.rejected, report.total) == (9_999, 1, 10_000)
    assert [result.index for result in report.results if result.outcome is not Outcome.ACCEPTED] == [6_321]
    assert fake.arrivals.count(6_321) == 1
    assert fake.accepted == Counter(set(range(10_000)) - {6_321}) + Counter()


async def test_each_outcome_has_its_count() -> None:
    """Each outcome has its own count, and `raise_for_failures` raises the worst."""
    behaviours = [Behaviour(), Behaviour(status=422), Behaviour(connects=False), Behaviour(responds=False)]
    report = await new_run(FakeCallbell(lambda number, attempt: behaviours[number % 4]), texts(12))
    assert (report.accepted, report.rejected, report.never_sent, report.unknown, report.skipped) == (3, 3, 3, 3, 0)
    expected = [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.NEVER_SENT, Outcome.UNKNOWN] * 3
    assert [result.outcome for result in report.results] == expected
    assert [result.error is None for result in report.results] == [True, False, False, False] * 3
    with pytest.raises(BulkSendError, match="9 of 12 messages were not accepted") as caught:
        report.raise_for_failures()
    assert caught.value.outcome is Outcome.UNKNOWN
    assert caught.value.report is report
    assert caught.value.__cause__ is report.results[3].error


async def test_a_report_has_the_rate_of_the_run() -> None:
    """`elapsed` is the run's seconds and `rate` the messages tried in one of them; both are kept when the run is over."""
    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=0.5)), texts(20), concurrency=5)
    report = await run
    await asyncio.sleep(100.0)
    assert report.elapsed == pytest.approx(2.0)
    assert report.rate == pytest.approx(10.0)
    assert run.report == report


async def test_report_can_be_read_during_the_run() -> None:
    """During a run its report has the results so far, and its `repr` has their number."""
    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(4), concurrency=2)
    assert (run.report.total, run.report.elapsed) == (0, 0.0)
    assert "not awaited yet" in repr(run)
    async for _ in run:
        break
    assert run.report.elapsed == pytest.approx(1.0)
    assert 1 <= run.report.total <= 2
    assert "running" in repr(run)
    await run.aclose()
    assert "ended, 4 results" in repr(run)


async def test_report_of_many_is_printed_short() -> None:
    """A report's `repr` counts its results instead of listing them: it ends in logs."""
    report = await new_run(FakeCallbell(), texts(500), concurrency=50)
    assert "<500 results>" in repr(report)
    assert len(repr(report)) < 200


# --- on_result --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("iterated", [False, True])
async def test_on_result_receives_each_result_once(is_async: bool, iterated: bool) -> None:
    """`on_result`, a function or a coroutine function, is called once with each result and awaited to its end."""
    received: list[SendResult] = []

    def note(result: SendResult) -> None:
        received.append(result)

    async def note_slowly(result: SendResult) -> None:
        await asyncio.sleep(0.5)
        received.append(result)

    messages = [*texts(9), TextMessage(to="+31612345678", text="9")]
    run = new_run(FakeCallbell(), messages, on_result=note_slowly if is_async else note)
    results = [result async for result in run] if iterated else list((await run).results)
    assert sorted(result.index for result in received) == list(range(10))
    assert {id(result) for result in received} == {id(result) for result in results}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("iterated", [False, True])
async def test_on_result_that_raises_ends_the_run(is_async: bool, iterated: bool) -> None:
    """The run raises the exception of `on_result` after the requests in flight have ended; no result is lost."""

    def fail(result: SendResult) -> None:
        if result.index == 4:
            raise LookupError("no such row")

    async def fail_slowly(result: SendResult) -> None:
        await asyncio.sleep(0.1)
        fail(result)

    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.2))
    run = new_run(fake, texts(100), on_result=fail_slowly if is_async else fail)
    results: list[SendResult] = []
    with pytest.raises(LookupError, match="no such row"):
        await consume(run, results, iterated=iterated)
    assert 4 in fake.accepted
    assert len(fake.arrivals) < 10
    assert run.report.accepted == len(fake.arrivals)
    assert run.report.skipped == 100 - len(fake.arrivals)
    assert sorted(result.index for result in results if result.receipt) == sorted(fake.arrivals)


# --- using it wrongly -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"concurrency": 0}, "concurrency=0: must be a whole number"),
        ({"concurrency": -3}, "concurrency=-3"),
        ({"concurrency": 2.5}, "concurrency=2.5"),
        ({"shutdown_timeout": -1.0}, "shutdown_timeout=-1.0: must be a number of seconds, 0 or more"),
        ({"shutdown_timeout": float("nan")}, "shutdown_timeout=nan"),
        ({"messages": None}, "messages: must be an iterable"),
        ({"messages": texts(1)[0]}, r"for one message use send\(\)"),
        ({"messages": async_input}, "messages: must be an iterable"),
        ({"messages": "Hello!"}, "messages: must be an iterable or an async iterable of messages, not str"),
        ({"messages": {"to": "+34600000001"}}, "messages: must be an iterable .* not dict"),
        ({"on_result": "print"}, "on_result='print': must be a function"),
        ({"stop_on": [ValueError]}, "must be a tuple of exception classes"),
        ({"stop_on": "AuthenticationError"}, "must be a tuple of exception classes"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(arguments: dict[str, Any], match: str) -> None:
    """Arguments that can't be used raise `ConfigurationError` when the run is made, with the remedy; nothing warns after that."""
    client = CallbellClient("token", base_url="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=match):
        client.send_many(**{"messages": [], **arguments})
    await client.close()


async def test_a_run_is_used_once() -> None:
    """A run that was awaited or iterated raises `ConfigurationError` if it is awaited or iterated again."""
    awaited = new_run(FakeCallbell(), texts(2))
    await awaited
    iterated = new_run(FakeCallbell(), texts(2))
    assert len([result async for result in iterated]) == 2
    for run in (awaited, iterated):
        with pytest.raises(ConfigurationError, match="once; call send_many again"):
            await run
        with pytest.raises(ConfigurationError, match="once; call send_many again"):
            await anext(aiter(run))
        assert run.report.accepted == 2


async def test_a_run_that_nobody_awaits_warns() -> None:
    """A run that is dropped unused gives one `RuntimeWarning`, because nothing was sent."""
    run = new_run(FakeCallbell(), texts(2))
    with pytest.warns(RuntimeWarning, match="neither awaited nor iterated: nothing was sent") as caught:
        del run
    assert len(caught) == 1


async def test_a_closed_client_sends_nothing() -> None:
    """A run of a client that is closed raises `ClientClosedError` when it is awaited, and leaves nothing to warn of."""
    client = CallbellClient("token", base_url="http://127.0.0.1:9")
    run, other = client.send_many(texts(2)), client.send_many(texts(2))
    await client.close()
    with pytest.raises(ClientClosedError):
        await run
    with pytest.raises(ClientClosedError):
        await anext(aiter(other))
    assert (run.report.total, run.report.elapsed) == (0, 0.0)


async def test_runs_go_side_by_side() -> None:
    """Runs can be gathered, and can have a time limit."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0))
    first, second = new_run(fake, texts(3)), new_run(fake, islice(texts(9), 6))
    reports = await asyncio.wait_for(asyncio.gather(first, second), timeout=10.0)
    assert [report.accepted for report in reports] == [3, 6]
