"""For any behaviour of Callbell and any use of a run, every message has one result, and that result is true."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callbell_async import InvalidMessageError, Outcome, RetryPolicy, SendResult, WindowRateLimiter
from tests.support.cancellation import drive
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, consume, new_run, texts

moments = st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0, 7.0])

behaviours = st.builds(
    Behaviour,
    connect_time=moments,
    write_time=moments,
    response_time=moments,
    connects=st.sampled_from([True, True, True, False]),
    responds=st.sampled_from([True, True, True, False]),
    status=st.sampled_from([200, 200, 200, 400, 404, 429, 500, 503]),
    late=st.sampled_from([None, None, None, 0.0, 2.0]),
)


@attrs.frozen
class Plan:
    """A run: the behaviour of Callbell for each attempt of each message (`None`: not a message), and the use of the run."""

    messages: list[list[Behaviour] | None]
    concurrency: int
    make: Callable[[list[Any]], Any]
    iterated: bool
    attempts: int
    limit: int | None
    on_result: str
    shutdown_timeout: float
    outage_timeout: float

    def behaviour(self, number: int, attempt: int) -> Behaviour:
        """The behaviour for this attempt; the last one repeats."""
        met = self.messages[number]
        assert met is not None
        return met[min(attempt, len(met)) - 1]


plans = st.builds(
    Plan,
    messages=st.lists(st.lists(behaviours, min_size=1, max_size=3) | st.none(), max_size=25),
    concurrency=st.integers(1, 12),
    make=st.sampled_from([list, iter, async_input]),
    iterated=st.booleans(),
    attempts=st.integers(1, 4),
    limit=st.none() | st.integers(1, 20),
    on_result=st.sampled_from(["plainly", "slowly"]),
    shutdown_timeout=st.sampled_from([0.0, 0.2, 60.0]),
    outage_timeout=st.sampled_from([0.0, 2.0, 600.0]),
)


class Used:
    """A run made of a plan, and its results."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.fake = FakeCallbell(plan.behaviour)
        self.received: list[SendResult] = []
        self.results: list[SendResult] = []
        messages: list[Any] = list(texts(len(plan.messages)))
        for number, met in enumerate(plan.messages):
            if met is None:
                messages[number] = InvalidMessageError("to", "no recipient")
        self.run = new_run(
            self.fake,
            plan.make(messages),
            concurrency=plan.concurrency,
            retry=RetryPolicy(attempts=plan.attempts),
            rate_limit=None if plan.limit is None else WindowRateLimiter(plan.limit),
            on_result=self.received.append if plan.on_result == "plainly" else self._save_slowly,
            shutdown_timeout=plan.shutdown_timeout,
            outage_timeout=plan.outage_timeout,
        )

    async def _save_slowly(self, result: SendResult) -> None:
        self.received.append(result)
        await asyncio.sleep(0.1)

    async def main(self) -> None:
        """Use the run to its end, and wait for requests that arrive late."""
        try:
            await consume(self.run, self.results, iterated=self.plan.iterated)
        finally:
            await asyncio.sleep(5.0)

    def check(self, result: SendResult) -> None:
        """Check a result against the requests that the fake Callbell got for its message."""
        arrived, accepted = self.fake.arrivals.count(result.index), self.fake.accepted[result.index]
        assert accepted <= 1
        match result.outcome:
            case Outcome.ACCEPTED:
                assert accepted == 1
                assert result.receipt is not None
                assert result.receipt.uuid == f"uuid-{result.index}"
            case Outcome.REJECTED:
                assert arrived
                assert not accepted
            case Outcome.UNKNOWN:
                met = self.plan.messages[result.index] or []
                assert arrived or any(behaviour.late is not None for behaviour in met)
            case Outcome.NEVER_SENT | Outcome.SKIPPED:
                assert not arrived
        assert arrived <= result.attempts
        # Attempts in an outage don't count towards the policy.
        assert self.plan.outage_timeout or result.attempts <= self.plan.attempts
        if result.outcome is not Outcome.SKIPPED:
            assert (result.error is None) == (result.outcome is Outcome.ACCEPTED)


def expected(plan: Plan, number: int) -> Outcome:
    """The outcome that a message must have, computed without the code under test."""
    if plan.messages[number] is None:
        return Outcome.NEVER_SENT
    outcome = Outcome.NEVER_SENT
    for attempt in range(1, plan.attempts + 1):
        behaviour = plan.behaviour(number, attempt)
        if not behaviour.connects:
            continue
        if not behaviour.responds or behaviour.late is not None:
            return Outcome.UNKNOWN
        if behaviour.status == 200:
            return Outcome.ACCEPTED
        outcome = Outcome.REJECTED
        if behaviour.status < 429:
            break
    return outcome


@pytest.mark.slow
@given(plan=plans)
@settings(max_examples=200, deadline=None)
def test_every_message_has_its_one_true_result(plan: Plan) -> None:
    """Of every input, each place has exactly one result, with the outcome that follows from the behaviour of Callbell."""
    used = Used(plan)
    ended = drive(used.main, cancel_at=lambda _: False)
    assert ended.error is None
    assert ended.left == 0
    assert not ended.complaints
    everyone = range(len(plan.messages))
    assert sorted(result.index for result in used.results) == list(everyone)
    assert sorted(result.index for result in used.received) == list(everyone)
    outcomes = {result.index: result.outcome for result in used.results}
    if not plan.outage_timeout:
        assert outcomes == {number: expected(plan, number) for number in everyone}
    for result in used.results:
        used.check(result)
    counts = Counter(result.outcome for result in used.results)
    report = used.run.report
    assert (report.accepted, report.rejected) == (counts[Outcome.ACCEPTED], counts[Outcome.REJECTED])
    assert (report.never_sent, report.unknown) == (counts[Outcome.NEVER_SENT], counts[Outcome.UNKNOWN])
    assert used.fake.most_in_flight <= plan.concurrency


@pytest.mark.slow
@given(plan=plans, points=st.sets(st.integers(1, 200), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_every_message_has_its_one_true_result_when_cancelled(plan: Plan, points: set[int]) -> None:
    """The same holds for a run that is cancelled, once or several times: no message without a result was sent."""
    used = Used(plan)
    ended = drive(used.main, cancel_at=points.__contains__)
    assert ended.stayed == 0
    assert not ended.complaints
    known = used.results if not plan.iterated else used.received
    indexes = [result.index for result in known]
    assert len(set(indexes)) == len(indexes)
    assert set(used.fake.arrivals) <= set(indexes)
    for result in known:
        used.check(result)
    if plan.make is list:
        assert used.run.report.total == len(plan.messages)
