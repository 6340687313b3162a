"""Runs with a journal over real HTTP: messages sent once, messages sent again, and their results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
    """Return `count` messages to different numbers."""
    return [TextMessage(to=f"+31612{number:06d}", text=f"Hello {number}") for number in range(first, first + count)]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit. Its clock is a little ahead, so that no message is older than its attempt."""
    async with Sandbox(limit=None, start=datetime.now(UTC) + timedelta(seconds=0.5)) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox with one attempt."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=ONCE, rate_limit=None) as client:
        yield client


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal that does not exist."""
    return Journal(tmp_path / "spring.db")


async def entries(journal: Journal) -> list[JournalEntry]:
    """Return all entries."""
    async with journal:
        return [entry async for entry in journal.entries()]


def outcomes(report: SendReport) -> list[Outcome]:
    """Return the outcomes, in the order of the input."""
    return [result.outcome for result in report.results]


@pytest.mark.parametrize("make", [list, iter, slow_response], ids=["list", "iterator", "async generator"])
async def test_each_message_is_sent_once(
    make: Callable[[list[TextMessage]], Any], callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """From any kind of input, each message is sent once, with its own receipt and an entry under the key of its result."""
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
        assert entry.receipt == result.receipt
        assert orjson.loads(entry.message_body) == accepted[result.receipt.uuid].body


async def test_a_second_run_sends_nothing_twice(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A second run skips accepted messages, with their receipts and entries, and sends the new ones."""
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
        assert after.receipt == before.receipt
        assert after.key == before.key
        assert "already accepted" in str(after.error)


async def test_a_message_given_twice_is_sent_once(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """The second copy in the input is `SKIPPED` and names the first, at any distance."""
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


async def test_an_own_key_identifies_a_message(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Two texts with one key are one message; one text with two keys is two messages."""
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
async def test_only_messages_that_were_not_accepted_are_sent_again(
    fault: Any,
    first: Outcome,
    second: Outcome,
    callbell: CallbellClient,
    sandbox: Sandbox,
    journal: Journal,
) -> None:
    """The next run sends rejected messages again, and never those that may have been accepted."""
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


async def test_never_sent_messages_are_sent_by_the_next_run(sandbox: Sandbox, journal: Journal) -> None:
    """After a run without a server, the next run sends every message."""
    async with CallbellClient("token", base_url="http://127.0.0.1:1/v1", retry=ONCE) as callbell:
        report = await callbell.send_many(texts(12), journal=journal)
    assert report.never_sent == 12
    assert {entry.outcome for entry in await entries(journal)} == {Outcome.NEVER_SENT}
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        report = await callbell.send_many(texts(12), journal=journal)
    assert report.accepted == len(sandbox.messages) == 12


async def test_a_rejected_message_is_not_sent_twice_in_a_run(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """One run sends a key once, whatever the outcome is."""
    sandbox.inject(faults.respond(400, {"error": "no"}))
    report = await callbell.send_many([*texts(1), *texts(1)], concurrency=1, journal=journal)
    assert outcomes(report) == [Outcome.REJECTED, Outcome.SKIPPED]
    assert len(sandbox.requests) == 1


async def test_a_stopped_run_is_continued(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """After a run that stopped at a 402, the next run sends the rejected message and those that were not sent."""
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


async def test_invalid_items_are_not_recorded(callbell: CallbellClient, journal: Journal) -> None:
    """An item that is not a message has a result and no entry."""
    bad = InvalidMessageError("text", "must not be blank")
    items: list[Any] = [*texts(1), bad, "no message", *texts(1, first=5)]
    report = await callbell.send_many(items, journal=journal)
    assert outcomes(report) == [Outcome.ACCEPTED, Outcome.NEVER_SENT, Outcome.NEVER_SENT, Outcome.ACCEPTED]
    assert report.results[1].error is bad
    assert [entry.index for entry in await entries(journal)] == [0, 3]


async def test_iteration_yields_the_same_results(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """`async for` yields the same results, and `on_result` receives each."""
    seen: list[int] = []
    run = callbell.send_many(
        texts(30), concurrency=4, journal=journal, on_result=lambda result: seen.append(result.index)
    )
    results = [result async for result in run]
    assert sorted(result.index for result in results) == sorted(seen) == list(range(30))
    assert {entry.key for entry in await entries(journal)} == {result.key for result in results}


async def test_a_cancelled_run_leaves_nothing_unknown(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """After a cancellation, requests in flight end, claimed messages are not `UNKNOWN`, and the next run sends the rest."""
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


async def test_a_run_closes_only_a_journal_that_it_opened(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A run does not close a journal that the program opened; two runs may share it at the same time."""
    async with journal:
        one, two = await asyncio.gather(
            callbell.send_many(texts(60), journal=journal), callbell.send_many(texts(60), journal=journal)
        )
        assert one.accepted + two.accepted == len(sandbox.messages) == 60
        assert one.skipped + two.skipped == 60
        assert (await journal.counts())[Outcome.ACCEPTED] == 60
    assert "closed" in repr(journal)


async def test_a_journal_in_use_sends_nothing(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A run with a journal that is in use raises `JournalError` and sends nothing."""
    assert journal.path is not None
    async with Journal(journal.path):
        run = callbell.send_many(texts(5), journal=journal)
        with pytest.raises(JournalError, match="in use"):
            await run
    assert sandbox.requests == []
    assert run.report.skipped == 5


async def test_only_a_journal_is_accepted(callbell: CallbellClient) -> None:
    """A path in place of a journal is a clear error before anything is sent."""
    with pytest.raises(ConfigurationError, match="must be a Journal"):
        callbell.send_many([], journal="spring.db")  # type: ignore[arg-type]


async def test_the_key_may_be_left_out_of_the_metadata(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """With `key_in_metadata=False` the request is the same as without a journal."""
    await callbell.send_many(texts(1), journal=Journal(tmp_path / "a.db", key_in_metadata=False))
    await callbell.send_many(texts(1), journal=Journal(tmp_path / "b.db"))
    plain, keyed = sandbox.messages
    assert "metadata" not in plain.body
    assert set(keyed.body["metadata"]) == {"callbell_async_key", "callbell_async_journal"}


# --- resend ---------------------------------------------------------------------------------------------------------


async def allow_resend_of_unknown(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> str:
    """Send a message that is accepted without a response, allow its resend, and return its key."""
    sandbox.inject(faults.accept_then_close(), times=1)
    (result,) = (await callbell.send_many(texts(1), journal=journal)).results
    assert result.key is not None
    async with journal:
        await journal.allow_resend(result.key)
    return result.key


async def test_a_rejected_resend_leaves_the_message_unknown(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message whose resend is rejected is still `UNKNOWN`, because its first attempt may have been accepted; `reconcile` finds it."""
    key = await allow_resend_of_unknown(callbell, sandbox, journal)
    sandbox.inject(faults.respond(400), times=1)
    received: list[SendResult] = []
    report = await callbell.send_many(texts(1), journal=journal, on_result=received.append)
    assert (report.unknown, report.rejected, outcomes(report)) == (1, 0, [Outcome.UNKNOWN])
    assert received == list(report.results)
    assert isinstance(report.results[0].error, BadRequestError)
    (entry,) = await entries(journal)
    assert entry.outcome is Outcome.UNKNOWN
    assert str(entry.reason).startswith("an earlier attempt may have been accepted; this one: ")
    async with journal:
        found = await callbell.reconcile(journal)
    assert (found.accepted, found.unresolved) == (1, ())
    assert (await entries(journal))[0].key == key


async def test_an_unknown_resend_needs_a_new_permission(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """`allow_resend` allows one copy: after a resend with an unknown outcome, a third copy needs another call."""
    key = await allow_resend_of_unknown(callbell, sandbox, journal)
    sandbox.inject(faults.close_after_reading(), times=1)
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.UNKNOWN]
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.SKIPPED]
    async with journal:
        await journal.allow_resend(key)
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.ACCEPTED]


async def test_a_permission_lasts_until_a_request_may_have_arrived(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A resend that fails, is rejected or is not started leaves the message `UNKNOWN`; the next run sends it without a new permission."""
    await allow_resend_of_unknown(callbell, sandbox, journal)
    async with CallbellClient("token", base_url="http://127.0.0.1:1/v1", retry=ONCE) as away:
        assert outcomes(await away.send_many(texts(1), journal=journal)) == [Outcome.UNKNOWN]
    rule = sandbox.inject(faults.respond(402, {"error": "no credit"}))
    stopped = await callbell.send_many([*texts(1, first=1), *texts(1)], journal=journal, concurrency=1)
    assert outcomes(stopped) == [Outcome.REJECTED, Outcome.UNKNOWN]
    assert isinstance(stopped.results[1].error, PaymentRequiredError)
    rule.remove()
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.ACCEPTED]
    assert len(sandbox.messages) == 2


async def test_a_resend_that_did_not_start_is_unknown(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A run that ends before the resend reports `UNKNOWN` with the reason, and the next run sends the message."""
    await allow_resend_of_unknown(callbell, sandbox, journal)

    def stop(_: SendResult) -> None:
        raise RuntimeError("stop")

    run = callbell.send_many([*texts(1, first=1), *texts(1)], journal=journal, concurrency=1, on_result=stop)
    with pytest.raises(RuntimeError):
        await run
    assert outcomes(run.report) == [Outcome.ACCEPTED, Outcome.UNKNOWN]
    assert "an earlier attempt may have been accepted" in str(run.report.results[1].error)
    assert outcomes(await callbell.send_many(texts(1), journal=journal)) == [Outcome.ACCEPTED]


async def test_a_stopped_run_reports_known_messages(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """After a rejected token, the report still names the duplicates and the unknown messages, so that the others can be sent without a copy."""
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


# --- what a store can't hold ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uuid", "status", "stored"),
    [("a\0b", "enqueued", None), ("abc123" * 1500, "enqueued", None), ("a", "x\0y", "a"), ("a", "s" * 501, "a")],
    ids=["NUL in the uuid", "long uuid", "NUL in the status", "long status"],
)
async def test_an_odd_receipt_costs_no_other_result(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, uuid: str, status: str, stored: str | None
) -> None:
    """A uuid or a status that a database can't hold is left out: its message is `ACCEPTED`, and so are the others."""
    sandbox.inject(faults.respond(200, {"message": {"uuid": uuid, "status": status}}), times=1)
    report = await callbell.send_many(texts(3), journal=journal, concurrency=1)
    assert outcomes(report) == [Outcome.ACCEPTED] * 3
    found = await entries(journal)
    assert [entry.outcome for entry in found] == [Outcome.ACCEPTED] * 3
    assert found[0].uuid == stored


# --- concurrent ends -------------------------------------------------------------------------------------------------


async def _awaited(run: SendRun) -> SendReport:
    return await run


async def test_aclose_waits_for_the_end_of_a_run(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """`aclose` in another task returns when every message has a result and the journal is closed."""
    run = callbell.send_many(texts(300), journal=journal, concurrency=5)
    running = asyncio.ensure_future(_awaited(run))
    await until(lambda: sandbox.messages)
    await asyncio.gather(run.aclose(), run.aclose())
    assert run.report.total == 300
    assert "closed" in repr(journal)
    with pytest.raises(ClientClosedError):
        await running
