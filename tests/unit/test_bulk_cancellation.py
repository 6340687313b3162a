"""A run of `send_many` that is cancelled at every point: no message is lost or sent twice, and no task is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from callbell_async import InvalidMessageError, Outcome, RetryPolicy, SendResult, WindowRateLimiter
from callbell_async.bulk import SendRun
from tests.support.cancellation import drive, every_await
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, consume, new_run, texts

COUNT = 9

BEHAVIOURS: dict[int, list[Behaviour]] = {
    0: [Behaviour()],
    1: [Behaviour(connect_time=0.2, write_time=0.1, response_time=0.3)],
    2: [Behaviour(response_time=0.1, status=400)],
    3: [Behaviour(connect_time=0.1, connects=False), Behaviour(write_time=0.1)],
    4: [Behaviour(write_time=0.2, response_time=0.1, responds=False)],
    5: [Behaviour(response_time=0.1, status=503), Behaviour(write_time=0.2, response_time=0.2)],
    6: [Behaviour(write_time=0.1, status=429, headers={"Retry-After": "0.3"}), Behaviour(response_time=0.2)],
    8: [Behaviour(connect_time=0.3, write_time=0.3, response_time=0.3)],
}


def behaviour(number: int, attempt: int) -> Behaviour:
    """One message for each behaviour; each has a definite outcome after two attempts."""
    return BEHAVIOURS[number][attempt - 1]


MAKES: tuple[tuple[Callable[[Iterator[Any]], Any], str], ...] = (
    (list, "list"),
    (iter, "iterator"),
    (lambda items: async_input(items, every=0.05), "async generator"),
)


class RunScenario:
    """One run over one fake Callbell, and the promises that hold however the run ended."""

    def __init__(
        self,
        *,
        make: Callable[[Iterator[Any]], Any],
        iterated: bool,
        pause: float | None,
        shutdown_timeout: float,
        save_slowly: bool,
        limit: int | None,
    ) -> None:
        random.seed(7)
        self.fake = FakeCallbell(behaviour)
        self.received: list[SendResult] = []
        self.pulled = 0
        self.iterated = iterated
        self.pause = pause
        self.save_slowly = save_slowly
        self.runs: set[SendRun] = set()
        self.run = new_run(
            self.fake,
            make(self._input()),
            retry=RetryPolicy(attempts=2, wait_initial=0.2),
            rate_limit=None if limit is None else WindowRateLimiter(limit),
            on_result=self._note,
            shutdown_timeout=shutdown_timeout,
            runs=self.runs,
        )

    def _input(self) -> Iterator[Any]:
        for number, message in enumerate(texts(COUNT)):
            self.pulled += 1
            yield InvalidMessageError("to", "no recipient") if number == 7 else message

    async def _note(self, result: SendResult) -> None:
        self.received.append(result)
        await asyncio.sleep(0.15 if self.save_slowly else 0.0)

    async def main(self) -> None:
        """Consume the run as a caller would who cleans up."""
        await consume(self.run, [], iterated=self.iterated, pause=self.pause)

    def check(self) -> None:
        """Check the promises to a caller."""
        report = self.run.report
        outcomes = {result.index: result.outcome for result in self.received}
        assert not self.runs
        # `on_result` received each message once, also those that were left in a list.
        assert len(outcomes) == len(self.received)
        assert outcomes.keys() == set(range(self.pulled))
        assert report.total == self.pulled
        assert report.skipped == sum(outcome is Outcome.SKIPPED for outcome in outcomes.values())
        if not self.iterated:
            assert [result.index for result in report.results] == list(range(self.pulled))
            assert {result.index: result.outcome for result in report.results} == outcomes
        # Messages that Callbell accepted are `ACCEPTED` or `UNKNOWN`, and it accepted none twice.
        for number, times in self.fake.accepted.items():
            assert times <= 1
            assert not times or outcomes[number] in (Outcome.ACCEPTED, Outcome.UNKNOWN)
        for result in self.received:
            if result.outcome is Outcome.ACCEPTED:
                assert self.fake.accepted[result.index] == 1
            if result.outcome in (Outcome.NEVER_SENT, Outcome.SKIPPED):
                assert result.index not in self.fake.arrivals
            assert not (result.attempts and result.outcome is Outcome.SKIPPED)
            assert (result.error is None) == (result.outcome in (Outcome.ACCEPTED, Outcome.SKIPPED))
        assert set(self.fake.arrivals) <= {
            index for index, outcome in outcomes.items() if outcome is not Outcome.SKIPPED
        }


def of_every_kind(**options: Any) -> list[Any]:
    """The ways to feed and consume a run, as parameters of a test."""
    return [
        pytest.param(partial(RunScenario, make=make, iterated=iterated, pause=pause, **options), id=f"{how}, {name}")
        for make, name in MAKES
        for iterated, pause, how in (
            (False, None, "awaited"),
            (True, None, "iterated"),
            (True, 0.07, "slowly iterated"),
        )
    ]


def check_cancelled(new: Callable[[], RunScenario], cancel_at: Callable[[int], bool]) -> RunScenario:
    """Drive a new scenario, cancel it in these rounds, and check all that does not depend on the shutdown time."""
    scenario = new()
    ended = drive(scenario.main, cancel_at=cancel_at)
    # In its last round a run may have ended before the cancellation comes.
    assert isinstance(ended.error, asyncio.CancelledError) if ended.cancelled else ended.error is None
    assert ended.cancelled or scenario.pulled == COUNT
    # Cancelled in its last rounds too, it can't wait for the task in which Python closes its generator.
    assert ended.stayed == 0
    assert ended.left == 0 or cancel_at(ended.rounds)
    assert not ended.complaints
    scenario.check()
    return scenario


@pytest.mark.parametrize("new", of_every_kind(shutdown_timeout=10.0, save_slowly=False, limit=None))
def test_cancelled_at_every_point(new: Callable[[], RunScenario]) -> None:
    """Cancelled in any round of the loop, a run waits for requests in flight, reports every message, and leaves no task."""
    for point in every_await(lambda: new().main()):
        scenario = check_cancelled(new, {point}.__contains__)
        # There was enough time: only the lost response is unknown.
        assert {result.index for result in scenario.received if result.outcome is Outcome.UNKNOWN} <= {4}


@pytest.mark.parametrize("new", of_every_kind(shutdown_timeout=0.12, save_slowly=True, limit=2))
def test_cancelled_at_every_point_with_little_time(new: Callable[[], RunScenario]) -> None:
    """The same with a rate limit to wait for, an `on_result` that takes its time, and a shutdown time that is too short for most requests."""
    for point in every_await(lambda: new().main()):
        check_cancelled(new, {point}.__contains__)


@pytest.mark.parametrize("new", of_every_kind(shutdown_timeout=0.0, save_slowly=False, limit=None))
def test_cancelled_at_every_point_without_time(new: Callable[[], RunScenario]) -> None:
    """The same without any shutdown time."""
    for point in every_await(lambda: new().main()):
        check_cancelled(new, {point}.__contains__)


@pytest.mark.parametrize("new", of_every_kind(shutdown_timeout=10.0, save_slowly=True, limit=None))
def test_cancelled_twice_at_every_point(new: Callable[[], RunScenario]) -> None:
    """Cancelled a second time, soon or late after the first, a run still reports every message, and leaves no task."""
    for point in every_await(lambda: new().main()):
        for gap in (1, 3, 11):
            check_cancelled(new, {point, point + gap}.__contains__)


@pytest.mark.parametrize("new", of_every_kind(shutdown_timeout=10.0, save_slowly=True, limit=2))
def test_cancelled_again_and_again(new: Callable[[], RunScenario]) -> None:
    """Cancelled in every round from some point on, a run ends at once, and all these promises hold."""
    for point in every_await(lambda: new().main()):
        check_cancelled(new, range(point, point + 10_000).__contains__)
