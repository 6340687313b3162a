"""Runs with a journal, over real HTTP: what is sent once, what is tried again, and what the results say of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from callbell_async import (
    AuthenticationError,
    BadRequestError,
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    DuplicateMessageError,
    InvalidMessageError,
    Journal,
    JournalEntry,
    JournalError,
    Outcome,
    PaymentRequiredError,
    RetryPolicy,
    SendReport,
    SendResult,
    TextMessage,
)
from callbell_async.bulk import SendRun
from callbell_async.sandbox import Sandbox, faults
from tests.support.calls import until
from tests.support.fake_callbell import slow_response

ONCE = RetryPolicy(attempts=1)


def texts(count: int, *, first: int = 0) -> list[TextMessage]:
    """So many messages, each to a number of its own."""
    return [TextMessage(to=f"+31612{number:06d}", text=f"Hello {number}") for number in range(first, first + count)]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit. Its calendar is a little ahead, so that no message is older than its attempt."""
    async with Sandbox(limit=None, start=datetime.now(UTC) + timedelta(seconds=0.5)) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of it that tries once."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=ONCE, rate_limit=None) as client:
        yield client


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal that isn't there yet."""
    return Journal(tmp_path / "spring.db")


async def entries(journal: Journal) -> list[JournalEntry]:
    """All that it knows."""
    async with journal:
        return [entry async for entry in journal.entries()]


def outcomes(report: SendReport) -> list[Outcome]:
    """The outcomes, in the order given."""
    return [result.outcome for result in report.results]


@pytest.mark.parametrize("make", [list, iter, slow_response], ids=["list", "iterator", "async generator"])
async def test_each_message_is_sent_once(
    make: Callable[[list[TextMessage]], Any], callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """However it is fed, each message reaches Callbell once, with its own receipt, and the journal knows it by the result's key."""
    report = await callbell.send_many(make(texts(120)), concurrency=7, journal=journal)
    assert outcomes(report) == [Outcome.ACCEPTED] * 120
    known = {entry.key: entry for entry in await entries(journal)}
    accepted = {message.uuid: message for message in sandbox.messages}
    assert len(accepted) == len(known) == 120
    for result in report.results:
        assert result.receipt is not None
        assert result.key is not None
        entry = known[result.key]
        assert entry.outcome is Outcome.ACCEPTED
        assert (entry.index, entry.uuid, entry.attempts) == (result.index, result.receipt.uuid, 1)
        assert entry.receipt == attrs.evolve(result.receipt, metadata={})
        assert orjson.loads(entry.message_body) == accepted[result.receipt.uuid].body


async def test_a_second_run_sends_nothing_twice(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """What was accepted is `SKIPPED` the next time, with its receipt and the journal's word for it; what is new is sent."""
    first = await callbell.send_many(texts(30), journal=journal)
    second = await callbell.send_many(texts(40), journal=journal)
    assert (second.accepted, second.skipped, second.duplicates) == (10, 30, 30)
    assert [result.is_duplicate for result in second.results] == [True] * 30 + [False] * 10
    second.raise_for_failures()
    assert len(sandbox.messages) == 40
    for before, after in zip(first.results, second.results, strict=False):
        assert isinstance(after.error, DuplicateMessageError)
        assert after.error.first_index is None
        assert after.error.entry.outcome is Outcome.ACCEPTED
        assert before.receipt is not None
        assert after.receipt == attrs.evolve(before.receipt, metadata={})
        assert after.key == before.key
        assert "already accepted" in str(after.error)


async def test_a_message_given_twice_is_sent_once(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """The second is `SKIPPED` and says which one it repeats, whether they are near each other or far apart."""
    report = await callbell.send_many([*texts(1), *texts(30), *texts(2)], concurrency=5, journal=journal)
    assert len(sandbox.messages) == 30
    twice = [result for result in report.results if result.outcome is Outcome.SKIPPED]
    assert [result.index for result in twice] == [1, 31, 32]
    assert [error.first_index for result in twice if isinstance(error := result.error, DuplicateMessageError)] == [
        0,
        0,
        2,
    ]
    assert "message 2 of this run" in str(report.results[32].error)
    assert report.duplicates == 3
    report.raise_for_failures()


async def test_a_key_of_ones_own_decides(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Two texts under one key are one message; one text under two keys is two."""
    same = TextMessage(to="+31612345678", text="Hello!", key="a")
    other = TextMessage(to="+31612345678", text="Hello again!", key="a")
    report = await callbell.send_many([same, other, TextMessage(to=same.to, text=same.text, key="b")], journal=journal)
    assert outcomes(report) == [Outcome.ACCEPTED, Outcome.SKIPPED, Outcome.ACCEPTED]
    assert [message.body["content"] for message in sandbox.messages] == [{"text": "Hello!"}, {"text": "Hello!"}]
    assert [result.key for result in report.results] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("fault", "first", "second"),
    [
        (faults.respond(400, {"error": "no"}), Outcome.REJECTED, Outcome.ACCEPTED),
        (faults.respond(500), Outcome.REJECTED, Outcome.ACCEPTED),
        (faults.accept_then_close(), Outcome.UNKNOWN, Outcome.SKIPPED),
        (faults.close_after_reading(), Outcome.UNKNOWN, Outcome.SKIPPED),
    ],
    ids=["400", "500", "accepted and closed", "closed"],
)
async def test_only_what_cannot_be_there_is_tried_again(
    fault: Any,
    first: Outcome,
    second: Outcome,
    callbell: CallbellClient,
    sandbox: Sandbox,
    journal: Journal,
) -> None:
    """The next run tries what was refused, and never what may have been accepted."""
    sandbox.inject(fault, times=1)
    report = await callbell.send_many(texts(1), journal=journal)
    assert outcomes(report) == [first]
    (entry,) = await entries(journal)
    assert (entry.outcome, entry.attempts, entry.uuid) == (first, 1, None)
    assert entry.reason == str(report.results[0].error)
    report = await callbell.send_many(texts(1), journal=journal)
    assert outcomes(report) == [second]
    if second is Outcome.SKIPPED:
        assert "may have been accepted" in str(report.results[0].error)
        assert report.results[0].receipt is None
    assert len(sandbox.messages) <= 1


async def test_what_never_left_is_tried_again(sandbox: Sandbox, journal: Journal) -> None:
    """A run against a server that isn't there leaves every message to the next one."""
    async with CallbellClient("token", base_url="http://127.0.0.1:1/v1", retry=ONCE) as callbell:
        report = await callbell.send_many(texts(12), journal=journal)
    assert report.never_sent == 12
    assert {entry.outcome for entry in await entries(journal)} == {Outcome.NEVER_SENT}
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        report = await callbell.send_many(texts(12), journal=journal)
    assert report.accepted == len(sandbox.messages) == 12


async def test_a_refused_one_is_not_tried_twice_in_a_run(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Within one run a key is tried once, whatever came of it."""
    sandbox.inject(faults.respond(400, {"error": "no"}))
    report = await callbell.send_many([*texts(1), *texts(1)], concurrency=1, journal=journal)
    assert outcomes(report) == [Outcome.REJECTED, Outcome.SKIPPED]
    assert len(sandbox.requests) == 1


async def test_a_stopped_run_goes_on(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """After an empty wallet stopped a run, the next one sends what was not tried, and what the wallet refused."""
    rule = sandbox.inject(faults.no_fault(), faults.no_fault(), faults.respond(402, {"error": "no credit"}))
    report = await callbell.send_many(texts(50), concurrency=1, journal=journal)
    assert (report.accepted, report.rejected, report.skipped) == (2, 1, 47)
    assert isinstance(report.results[-1].error, PaymentRequiredError)
    async with journal:
        counts = await journal.counts()
    assert (counts[Outcome.ACCEPTED], counts[Outcome.REJECTED], counts[Outcome.UNKNOWN]) == (2, 1, 0)
    rule.remove()
    report = await callbell.send_many(texts(50), journal=journal)
    assert (report.accepted, report.skipped) == (48, 2)
    assert len(sandbox.messages) == 50


async def test_wrong_items_are_not_written_down(callbell: CallbellClient, journal: Journal) -> None:
    """What is no message has its result, and no place in the journal."""
    bad = InvalidMessageError("text", "must not be blank")
    items: list[Any] = [*texts(1), bad, "no message", *texts(1, first=5)]
    report = await callbell.send_many(items, journal=journal)
    assert outcomes(report) == [Outcome.ACCEPTED, Outcome.NEVER_SENT, Outcome.NEVER_SENT, Outcome.ACCEPTED]
    assert report.results[1].error is bad
    assert [entry.index for entry in await entries(journal)] == [0, 3]


async def test_results_come_as_they_are(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """`async for` gives the same results, and `on_result` sees each."""
    seen: list[int] = []
    run = callbell.send_many(
        texts(30), concurrency=4, journal=journal, on_result=lambda result: seen.append(result.index)
    )
    results = [result async for result in run]
    assert sorted(result.index for result in results) == sorted(seen) == list(range(30))
    assert {entry.key for entry in await entries(journal)} == {result.key for result in results}


async def test_a_cancelled_run_leaves_nothing_in_doubt(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """What was under way ends, what was written down and not tried is not `UNKNOWN`, and the next run sends the rest."""
    run = callbell.send_many(texts(200), concurrency=5, journal=journal, on_result=lambda _: task.cancel())
    task = asyncio.ensure_future(run)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.report.unknown == 0
    assert run.report.total == 200
    async with journal:
        counts = await journal.counts()
    assert counts[Outcome.UNKNOWN] == 0
    assert counts[Outcome.ACCEPTED] == run.report.accepted == len(sandbox.messages)
    report = await callbell.send_many(texts(200), journal=journal)
    assert report.accepted + run.report.accepted == len(sandbox.messages) == 200


async def test_a_journal_stays_open_for_who_opened_it(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A run closes a journal only if it opened it; two runs may share one, at the same time too."""
    async with journal:
        one, two = await asyncio.gather(
            callbell.send_many(texts(60), journal=journal), callbell.send_many(texts(60), journal=journal)
        )
        assert one.accepted + two.accepted == len(sandbox.messages) == 60
        assert one.skipped + two.skipped == 60
        assert (await journal.counts())[Outcome.ACCEPTED] == 60
    assert "closed" in repr(journal)


async def test_a_journal_in_use_sends_nothing(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A run on a journal that another holds ends with `JournalError`, and nothing has left."""
    assert journal.path is not None
    async with Journal(journal.path):
        run = callbell.send_many(texts(5), journal=journal)
        with pytest.raises(JournalError, match="in use"):
            await run
    assert sandbox.requests == []
    assert run.report.skipped == 5


async def test_what_is_no_journal_is_refused(callbell: CallbellClient) -> None:
    """A path in place of a journal is a clear error, before anything is sent."""
    with pytest.raises(ConfigurationError, match="must be a Journal"):
        callbell.send_many([], journal="spring.db")  # type: ignore[arg-type]


async def test_the_key_may_stay_at_home(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """With `key_in_metadata=False` Callbell gets the message as it would without a journal."""
    await callbell.send_many(texts(1), journal=Journal(tmp_path / "a.db", key_in_metadata=False))
    await callbell.send_many(texts(1), journal=Journal(tmp_path / "b.db"))
    plain, keyed = sandbox.messages
    assert "metadata" not in plain.body
    assert set(keyed.body["metadata"]) == {"callbell_async_key", "callbell_async_journal"}


# --- what is in doubt stays in doubt ----------------------------------------------------------------------------------


async def in_doubt(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> str:
    """A message that was accepted without an answer, and is to be sent again; its key."""
    sandbox.inject(faults.accept_then_close(), times=1)
    (result,) = (await callbell.send_many(texts(1), journal=journal)).results
    assert result.key is not None
    async with journal:
        await journal.allow_resend(result.key)
    return result.key


async def test_a_refusal_says_nothing_of_the_attempt_before(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Sent again and refused, a message may still have been accepted the first time: it is `UNKNOWN`, and can be looked for."""
    key = await in_doubt(callbell, sandbox, journal)
    sandbox.inject(faults.respond(400), times=1)
    told: list[SendResult] = []
    report = await callbell.send_many(texts(1), journal=journal, on_result=told.append)
    assert (report.unknown, report.rejected, outcomes(report)) == (1, 0, [Outcome.UNKNOWN])
    assert told == list(report.results)
    assert isinstance(report.results[0].error, BadRequestError)
    (entry,) = await entries(journal)
    assert entry.outcome is Outcome.UNKNOWN
    assert str(entry.reason).startswith("an earlier attempt may have been accepted; this one: ")
    async with journal:
        found = await callbell.reconcile(journal)
    assert (found.accepted, found.unresolved) == (1, ())
    assert (await entries(journal))[0].key == key


async def test_what_may_have_arrived_again_is_not_sent_a_third_time(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Each request to send again is for one more copy: where nobody knows whether it arrived, it takes another request."""
    key = await in_doubt(callbell, sandbox, journal)
    sandbox.inject(faults.close_after_reading(), times=1)
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.UNKNOWN]
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.SKIPPED]
    async with journal:
        await journal.allow_resend(key)
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.ACCEPTED]


async def test_what_was_asked_for_in_vain_is_still_asked_for(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Sent again in vain, because the server was away, refused it, or the run was stopped before, it is `UNKNOWN`; the next run tries it, without being asked again."""
    await in_doubt(callbell, sandbox, journal)
    async with CallbellClient("token", base_url="http://127.0.0.1:1/v1", retry=ONCE) as away:
        assert outcomes(await away.send_many(texts(1), journal=journal)) == [Outcome.UNKNOWN]
    rule = sandbox.inject(faults.respond(402, {"error": "no credit"}))
    stopped = await callbell.send_many([*texts(1, first=1), *texts(1)], journal=journal, concurrency=1)
    assert outcomes(stopped) == [Outcome.REJECTED, Outcome.UNKNOWN]
    assert isinstance(stopped.results[1].error, PaymentRequiredError)
    rule.remove()
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.ACCEPTED]
    assert len(sandbox.messages) == 2


async def test_what_was_asked_for_and_not_handed_out_is_told(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A run that ends before the message's turn tells of it as `UNKNOWN`, with a reason; the next one tries it."""
    await in_doubt(callbell, sandbox, journal)

    def stop(_: SendResult) -> None:
        raise RuntimeError("stop")

    run = callbell.send_many([*texts(1, first=1), *texts(1)], journal=journal, concurrency=1, on_result=stop)
    with pytest.raises(RuntimeError):
        await run
    assert outcomes(run.report) == [Outcome.ACCEPTED, Outcome.UNKNOWN]
    assert "an earlier attempt may have been accepted" in str(run.report.results[1].error)
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.ACCEPTED]


async def test_what_a_stopped_run_does_not_try_is_known_all_the_same(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """After a refused token, what was accepted before is told as that, and what may have been as that: who sends all the others sends nothing twice."""
    await callbell.send_many(texts(30), journal=journal)
    sandbox.inject(faults.accept_then_close(), times=2)
    unknown = await callbell.send_many(texts(2, first=30), journal=journal)
    async with journal:
        await journal.allow_resend(str(unknown.results[1].key))
    sandbox.inject(faults.token_revoked())
    report = await callbell.send_many(slow_response([*texts(1, first=40), *texts(34)]), journal=journal, concurrency=1)
    assert (report.rejected, report.duplicates, report.unknown, report.skipped) == (1, 30, 1, 33)
    assert all(isinstance(result.error, DuplicateMessageError) for result in report.results[1:32])
    assert report.results[1].receipt is not None
    assert "an earlier attempt may have been accepted" in str(report.results[32].error)
    assert [type(result.error) for result in report.results[33:]] == [AuthenticationError] * 2


# --- ends that come together ------------------------------------------------------------------------------------------


async def _awaited(run: SendRun) -> SendReport:
    return await run


async def test_whoever_ends_a_run_waits_for_its_end(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """`aclose` beside the task that awaits the run returns when all is accounted for and the journal is closed."""
    run = callbell.send_many(texts(300), journal=journal, concurrency=5)
    running = asyncio.ensure_future(_awaited(run))
    await until(lambda: sandbox.messages)
    await asyncio.gather(run.aclose(), run.aclose())
    assert run.report.total == 300
    assert "closed" in repr(journal)
    with pytest.raises(ClientClosedError):
        await running
