"""The calls of `on_result` by a run of `send_many`, above all at the end of the run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from callbell_async import ClientClosedError, Outcome, SendResult, TextMessage
from callbell_async.bulk import SendRun
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from tests.support.fake_callbell import Behaviour, FakeCallbell, begin, cancel, new_run, texts

pytestmark = pytest.mark.virtual_time


class BrokenList(list[TextMessage]):
    """A list whose iterator raises once, after ten items."""

    def __iter__(self) -> Iterator[TextMessage]:
        return BrokenIterator(super().__iter__())


class BrokenIterator(Iterator[TextMessage]):
    """Raises once, after ten items."""

    def __init__(self, items: Iterator[TextMessage]) -> None:
        self.items = items
        self.given = 0

    def __next__(self) -> TextMessage:
        self.given += 1
        if self.given == 11:
            raise OSError("disk")
        return next(self.items)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "end", ["cancelled", "timeout", "closed", "stop_on", "input raises", "on_result raises", "break", "complete"]
)
async def test_on_result_receives_every_result_of_the_report(end: str, is_async: bool) -> None:
    """However a run of a list ends, `on_result` receives each result of the report once, the `SKIPPED` ones too."""
    received: list[SendResult] = []

    def check(result: SendResult) -> None:
        received.append(result)
        if end == "on_result raises" and result.index in (4, 60):
            raise LookupError("no such row")

    async def check_slowly(result: SendResult) -> None:
        await asyncio.sleep(0.01)
        check(result)

    fake = FakeCallbell(
        lambda number, attempt: Behaviour(response_time=1.0, status=401 if end == "stop_on" and number == 4 else 200)
    )
    messages = BrokenList(texts(100)) if end == "input raises" else texts(100)
    run = new_run(fake, messages, on_result=check_slowly if is_async else check, shutdown_timeout=0.5)
    if end in ("complete", "stop_on"):
        await run
    elif end == "break":
        async for _ in run:
            break
        await run.aclose()
    elif end == "timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.7):
                await run
    else:
        task = await begin(run, after=1.7)
        if end == "cancelled":
            task.cancel()
        elif end == "closed":
            await run.aclose()
        with pytest.raises((asyncio.CancelledError, ClientClosedError, OSError, LookupError)):
            await task
    outcomes = Counter(result.outcome.value for result in received)
    assert sorted(result.index for result in received) == list(range(100))
    report = run.report
    assert outcomes == Counter({outcome.value: getattr(report, outcome.value) for outcome in Outcome}) + Counter()
    assert report.skipped == 0 if end == "complete" else report.skipped > 80
    if report.results:
        assert {id(result) for result in report.results} == {id(result) for result in received}


@pytest.mark.parametrize("wait", [False, True])
async def test_on_result_of_a_skipped_message_that_closes_the_run(wait: bool) -> None:
    """An `on_result` that the end of the run calls may close that run: it does not wait for an end that waits for it."""
    run: SendRun

    async def stop(result: SendResult) -> None:
        if result.outcome is Outcome.SKIPPED:
            await (asyncio.create_task(run.aclose()) if wait else run.aclose())

    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(50), on_result=stop)
    await cancel(await begin(run))
    assert run.report.elapsed == pytest.approx(1.0)
    assert (run.report.accepted, run.report.skipped) == (3, 47)


async def test_on_result_of_skipped_messages_runs_as_often_at_once_as_workers_do() -> None:
    """At the end of a run, as many `on_result` are awaited at once as there were workers."""
    running = most = 0

    async def save(result: SendResult) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1.0)
        running -= 1

    run = new_run(
        FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0)),
        texts(1_000),
        concurrency=10,
        shutdown_timeout=0.0,
        on_result=save,
    )
    loop = asyncio.get_running_loop()
    task = await begin(run)
    cancelled_at = loop.time()
    await cancel(task)
    assert (most, running) == (10, 0)
    assert loop.time() - cancelled_at == pytest.approx(1.0 + 99.0)


async def test_a_further_cancellation_ends_the_wait_for_on_result() -> None:
    """After a further cancellation `on_result` still receives every result, but is cancelled where it waits."""
    received: list[int] = []
    saved: list[int] = []

    async def save(result: SendResult) -> None:
        received.append(result.index)
        await asyncio.sleep(1.0)
        saved.append(result.index)

    run = new_run(
        FakeCallbell(lambda number, attempt: Behaviour(response_time=60.0)),
        texts(1_000),
        concurrency=10,
        shutdown_timeout=0.0,
        on_result=save,
    )
    loop = asyncio.get_running_loop()
    task = await begin(run)
    cancelled_at = loop.time()
    task.cancel()
    await asyncio.sleep(5.5)
    await cancel(task)
    assert loop.time() - cancelled_at == pytest.approx(5.5)
    assert sorted(received) == list(range(1_000))
    assert len(saved) == 50
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_on_result_that_raises_again_and_again() -> None:
    """The first exception of `on_result` ends the run, and a note has the number of the others; every result is received."""
    received: list[int] = []

    def fail(result: SendResult) -> None:
        received.append(result.index)
        raise LookupError(f"row {result.index}")

    with pytest.raises(LookupError, match="row 0") as caught:
        await new_run(FakeCallbell(), texts(50), concurrency=1, on_result=fail)
    assert received == list(range(50))
    assert caught.value.__notes__ == ["49 further exceptions ended the run after this one"]


class Failed(BaseException):
    """Is no `Exception`, like that of `pytest.fail`."""


async def test_any_exception_of_on_result_ends_the_run() -> None:
    """An exception that is no `Exception` ends the run in the same way: it is raised, and every result is received."""
    received: list[int] = []

    def fail(result: SendResult) -> None:
        received.append(result.index)
        raise Failed

    with pytest.raises(Failed):
        await new_run(FakeCallbell(), texts(50), concurrency=5, on_result=fail)
    assert sorted(received) == list(range(50))


@pytest.mark.parametrize("error", [Failed, GeneratorExit])
async def test_any_exception_of_the_input_ends_the_run(error: type[BaseException]) -> None:
    """An input that raises what is no `Exception` is not taken for one that has ended."""

    def messages() -> Iterator[TextMessage]:
        yield from texts(10)
        raise error

    run = new_run(FakeCallbell(), messages(), concurrency=5)
    with pytest.raises(error):
        await run
    assert run.report.accepted == 10


@pytest.mark.parametrize("outcome", [Outcome.NEVER_SENT, Outcome.UNKNOWN])
async def test_any_exception_of_a_request_ends_the_run_after_its_result(outcome: Outcome) -> None:
    """A request that raises what is no `Exception` ends the run, and its message has a result as every other one."""

    class Failing(FakeCallbell):
        async def exchange(self, call: CallState) -> Response:
            response = await super().exchange(call)
            if self.arrivals[-1] == 3:
                call.written = outcome is Outcome.UNKNOWN
                raise Failed
            return response

    received: list[SendResult] = []
    run = new_run(Failing(), texts(10), concurrency=1, on_result=received.append)
    with pytest.raises(Failed):
        await run
    assert [result.outcome for result in received] == [Outcome.ACCEPTED] * 3 + [outcome] + [Outcome.SKIPPED] * 6
    assert isinstance(received[3].error, Failed)
    assert tuple(received) == run.report.results


async def test_a_failure_of_a_cancelled_run_is_the_cause() -> None:
    """An exception of `on_result` in a run that is cancelled is the cause of the `CancelledError`."""

    def fail(result: SendResult) -> None:
        if result.outcome is Outcome.SKIPPED:
            raise LookupError("no such row")

    run = new_run(FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(50), on_result=fail)
    task = await begin(run)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, LookupError)


async def test_the_end_of_a_large_run_lets_other_tasks_run() -> None:
    """Counting the rest of a long list does not block the event loop."""
    run = new_run(
        FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0)), texts(1) * 20_000, shutdown_timeout=0.0
    )
    task = await begin(run)
    rounds = 0

    async def neighbour() -> None:
        nonlocal rounds
        while not task.done():
            rounds += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(neighbour())
    await cancel(task)
    await other
    assert run.report.total == 20_000
    assert rounds > 100
