"""`send` with a journal: a message's key is an idempotency key, for concurrent calls, later calls, and after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    BadRequestError,
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    ConnectionLostError,
    DuplicateMessageError,
    Journal,
    JournalError,
    MessageReceipt,
    Outcome,
    RetryPolicy,
    TextMessage,
)
from callbell_async.bulk import SingleSends
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.journal import BATCH_SIZE, MOST_AHEAD, ClaimRequest, writer_of
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.limits.base import RateLimiter
from callbell_async.sandbox import Sandbox, faults
from tests.support.fake_callbell import Behaviour, FakeCallbell, texts
from tests.support.virtual_disk import DiskLoop, on_disk

MESSAGE = TextMessage(to="+31612345678", text="Hello!", key="order-1")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit. Its calendar is a little ahead, so that no message is older than its attempt."""
    async with Sandbox(limit=None, start=datetime.now(UTC) + timedelta(seconds=0.5)) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of it that tries once."""
    async with client_of(sandbox) as client:
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist yet."""
    return tmp_path / "orders.db"


def client_of(sandbox: Sandbox) -> CallbellClient:
    """Return a client that tries once and has no rate limit."""
    return CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1), rate_limit=None)


def fake_sends(fake: FakeCallbell, *, rate_limit: RateLimiter | None = None) -> SingleSends:
    """Return the `send` of a client over this transport."""
    pipeline = RequestPipeline(fake, retry=RetryPolicy(attempts=1), rate_limit=rate_limit)
    return SingleSends(lambda: pipeline)


async def outcomes(path: Path) -> dict[str, Outcome]:
    """Return the outcome of each key."""
    async with Journal(path, read_only=True) as journal:
        return {entry.key: entry.outcome async for entry in journal.entries()}


async def test_a_second_call_returns_the_first_receipt(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """A further call with the key sends nothing and returns the same receipt, in this client and in the next one."""
    first = await callbell.send(MESSAGE, journal=(journal := Journal(path)))
    again = await callbell.send(TextMessage(to="+31612345678", text="Other", key="order-1"), journal=journal)
    assert (again.uuid, again.status) == (first.uuid, first.status)
    await callbell.close()
    async with client_of(sandbox) as later:
        again = await later.send(MESSAGE, journal=Journal(path))
        assert (again.uuid, again.status) == (first.uuid, first.status)
    assert len(sandbox.messages) == 1


async def test_without_a_key_the_content_is_the_key(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """Messages without a key are the same if everything that would be sent for them is the same."""
    journal = Journal(path)
    receipts = [await callbell.send(TextMessage(to="+31612345678", text=text), journal=journal) for text in "aab"]
    uuids = [receipt.uuid for receipt in receipts]
    assert uuids[0] == uuids[1] != uuids[2]
    assert len(sandbox.messages) == 2


async def test_concurrent_calls_with_a_key_send_once(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """Of concurrent calls with one key, one sends, and the others wait for it and return its receipt."""
    journal = Journal(path)
    receipts = await asyncio.gather(*(callbell.send(MESSAGE, journal=journal) for _ in range(20)))
    assert len(set(receipts)) == len(sandbox.messages) == 1


async def test_two_clients_share_a_journal(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """Concurrent calls of two clients over one journal object send once, and the journal stays open until both are closed."""
    journal = Journal(path)
    async with client_of(sandbox) as other:
        first, second = await asyncio.gather(
            callbell.send(MESSAGE, journal=journal), other.send(MESSAGE, journal=journal)
        )
    assert first == second
    assert (await journal.counts())[Outcome.ACCEPTED] == len(sandbox.messages) == 1
    await callbell.close()
    with pytest.raises(JournalError, match="not open"):
        await journal.counts()


async def test_a_failed_call_is_a_duplicate_for_those_that_waited(
    callbell: CallbellClient, sandbox: Sandbox, path: Path
) -> None:
    """When the call that sends is refused, the waiting ones raise DuplicateMessageError with the entry, and send nothing."""
    sandbox.inject(faults.respond(400), times=1)
    journal = Journal(path)
    ends = await asyncio.gather(*(callbell.send(MESSAGE, journal=journal) for _ in range(3)), return_exceptions=True)
    assert isinstance(ends[0], BadRequestError)
    for end in ends[1:]:
        assert isinstance(end, DuplicateMessageError)
        assert end.entry.outcome is Outcome.REJECTED
        assert end.__cause__ is ends[0]
    assert len(sandbox.requests) == 1


async def test_what_was_not_accepted_is_sent_by_a_later_call(
    callbell: CallbellClient, sandbox: Sandbox, path: Path
) -> None:
    """A REJECTED message is sent by the next call with its key, as the next run would: the cause may be gone."""
    sandbox.inject(faults.respond(402), times=1)
    journal = Journal(path)
    with pytest.raises(Exception, match="402"):
        await callbell.send(MESSAGE, journal=journal)
    await callbell.send(MESSAGE, journal=journal)
    assert len(sandbox.messages) == 1


async def test_what_may_have_been_accepted_is_not_sent_again(
    callbell: CallbellClient, sandbox: Sandbox, path: Path
) -> None:
    """After a lost response, a further call raises DuplicateMessageError with an UNKNOWN entry."""
    sandbox.inject(faults.accept_then_close(), times=1)
    journal = Journal(path)
    with pytest.raises(ConnectionLostError):
        await callbell.send(MESSAGE, journal=journal)
    with pytest.raises(DuplicateMessageError, match="reconcile") as raised:
        await callbell.send(MESSAGE, journal=journal)
    assert (raised.value.entry.outcome, raised.value.entry.in_flight) == (Outcome.UNKNOWN, False)
    assert len(sandbox.messages) == 1


async def test_after_allow_resend_a_refusal_leaves_it_in_doubt(
    callbell: CallbellClient, sandbox: Sandbox, path: Path
) -> None:
    """A message that was sent again and refused may still have been accepted at first: the error's outcome is UNKNOWN."""
    sandbox.inject(faults.accept_then_close(), times=1)
    journal = Journal(path)
    with pytest.raises(ConnectionLostError):
        await callbell.send(MESSAGE, journal=journal)
    await journal.allow_resend("order-1")
    sandbox.inject(faults.respond(400), times=1)
    with pytest.raises(BadRequestError) as raised:
        await callbell.send(MESSAGE, journal=journal)
    assert raised.value.outcome is Outcome.UNKNOWN


async def test_a_crash_leaves_it_in_doubt(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """A message that was claimed when its program ended is not sent by a later call."""
    async with Journal(path) as crashed:
        writer = writer_of(crashed)
        await writer.claim([ClaimRequest("order-1", b"{}", 0)], run=await writer.begin_run())
    with pytest.raises(DuplicateMessageError) as raised:
        await callbell.send(MESSAGE, journal=Journal(path))
    assert raised.value.entry.outcome is Outcome.UNKNOWN
    assert sandbox.messages == []


async def test_a_message_of_a_run_is_in_flight(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """A call for a message that a run is sending raises at once, with an entry that is in flight."""
    async with Journal(path) as journal:
        writer = writer_of(journal)
        await writer.claim([ClaimRequest("order-1", b"{}", 0)], run=await writer.begin_run())
        with pytest.raises(DuplicateMessageError, match="being sent by another") as raised:
            await callbell.send(MESSAGE, journal=journal)
    assert raised.value.entry.in_flight
    assert sandbox.messages == []


async def test_an_inferred_message_without_a_receipt_is_named(
    callbell: CallbellClient, sandbox: Sandbox, path: Path
) -> None:
    """A message that a history proved without a uuid has no receipt: the call raises with its ACCEPTED entry."""
    async with Journal(path) as journal:
        writer = writer_of(journal)
        await writer.claim([ClaimRequest("order-1", b"{}", 0)], run=await writer.begin_run())
        writer.record_report("order-1", None, confirmed_by="history")
        with pytest.raises(DuplicateMessageError) as raised:
            await callbell.send(MESSAGE, journal=journal)
    assert raised.value.entry.outcome is Outcome.ACCEPTED


async def test_it_must_be_a_journal(callbell: CallbellClient) -> None:
    """A path in place of a journal is refused before anything is sent."""
    journal: Any = "orders.db"
    with pytest.raises(ConfigurationError, match="journal"):
        await callbell.send(MESSAGE, journal=journal)


async def test_a_journal_for_reading_sends_nothing(callbell: CallbellClient, sandbox: Sandbox, path: Path) -> None:
    """A message that can't be recorded is not sent."""
    await (await Journal(path).open()).close()
    with pytest.raises(JournalError, match="reading only"):
        await callbell.send(MESSAGE, journal=Journal(path, read_only=True))
    assert sandbox.messages == []


async def test_a_closed_client_opens_no_journal(callbell: CallbellClient, path: Path) -> None:
    """A call of a closed client raises, and creates no file."""
    await callbell.close()
    with pytest.raises(ClientClosedError):
        await callbell.send(MESSAGE, journal=Journal(path))
    assert not path.exists()


@on_disk
async def test_claims_of_concurrent_calls_are_committed_together(path: Path) -> None:
    """A hundred concurrent calls claim in a handful of transactions, and at most 35 are claimed ahead of their start."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, DiskLoop)
    fake = FakeCallbell()
    sends, journal = fake_sends(fake), Journal(path, risk_power_loss=True)
    await sends.send(texts(1)[0], journal)
    before = loop.jobs
    await asyncio.gather(*(sends.send(message, journal) for message in texts(101)[1:]))
    assert 100 / BATCH_SIZE <= loop.jobs - before <= 100 / BATCH_SIZE + 2
    await sends.close()
    assert sorted(fake.accepted.values()) == [1] * 101


class _ClosedLimiter(RateLimiter):
    """A limiter that admits no request."""

    def try_acquire(self) -> bool:
        """Refuse."""
        return False

    async def acquire(self) -> None:
        """Wait without end."""
        await asyncio.get_running_loop().create_future()

    def release(self, *, has_response: bool) -> None:
        """Do nothing."""

    def refund(self) -> None:
        """Do nothing."""


@on_disk
async def test_few_messages_are_claimed_before_they_start(path: Path) -> None:
    """While no request may start, at most 35 calls have claimed their message: a crash leaves no more `UNKNOWN`."""
    sends, journal = fake_sends(FakeCallbell(), rate_limit=_ClosedLimiter()), Journal(path, risk_power_loss=True)
    calls = [asyncio.ensure_future(sends.send(message, journal)) for message in texts(200)]
    await asyncio.sleep(5.0)
    assert 0 < len(await outcomes(path)) <= MOST_AHEAD
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await sends.close()
    assert set((await outcomes(path)).values()) <= {Outcome.NEVER_SENT, Outcome.SKIPPED}


@on_disk
async def test_a_waiting_call_takes_over_from_a_cancelled_one(path: Path) -> None:
    """When the call that sends is cancelled before its request leaves, one of those that wait sends the message."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(connect_time=1.0))
    sends, journal = fake_sends(fake), Journal(path, risk_power_loss=True)
    (message,) = texts(1)
    calls = [asyncio.ensure_future(sends.send(message, journal)) for _ in range(3)]
    await asyncio.sleep(0.5)
    calls[0].cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ends[0], asyncio.CancelledError)
    assert isinstance(ends[1], tuple)
    assert ends[1] == ends[2]
    assert fake.accepted == {0: 1}
    await sends.close()


@on_disk
async def test_a_closing_client_waits_for_its_calls(path: Path) -> None:
    """A call in flight when the client closes records its result before the journal closes."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=3.0))
    sends, journal = fake_sends(fake), Journal(path, risk_power_loss=True)
    call = asyncio.ensure_future(sends.send(texts(1)[0], journal))
    await asyncio.sleep(1.0)
    await sends.close()
    assert call.done()
    assert list((await outcomes(path)).values()) == [Outcome.ACCEPTED]


@on_disk
async def test_a_journal_that_failed_is_opened_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed write the calls raise and send nothing; a later call opens the journal again, at most once a second."""
    fake = FakeCallbell()
    sends, journal = fake_sends(fake), Journal(path, risk_power_loss=True)
    first, second, third = texts(3)
    await sends.send(first, journal)
    opened = 0

    def fail(*_: object) -> None:
        raise JournalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "_save", fail)
        for _ in range(4):
            with pytest.raises(JournalError, match="the disk is full"):
                await sends.send(second, journal)
        connect = writer_of(journal)._connect

        def counted() -> Any:
            nonlocal opened
            opened += 1
            return connect()

        patch.setattr(writer_of(journal), "_connect", counted)
        for _ in range(5):
            with pytest.raises(JournalError, match="the disk is full"):
                await sends.send(third, journal)
        assert opened <= 1
    await asyncio.sleep(1.1)
    assert (await sends.send(first, journal))[0] == MessageReceipt("uuid-0", "enqueued")
    await sends.send(second, journal)
    assert fake.accepted == {0: 1, 1: 1}
    await sends.close()
    assert list((await outcomes(path)).values()) == [Outcome.ACCEPTED] * 2


def _cancelled_after(path: Path, rounds: int, *, waiting: bool) -> bool:
    """Cancel one of three calls with two keys after this number of rounds, and check everything; return whether it was still running."""
    loop = DiskLoop()
    met = 0

    async def main() -> bool:
        fake = FakeCallbell(
            lambda number, attempt: Behaviour(connect_time=0.001, write_time=0.002, response_time=0.001)
        )
        sends, journal = fake_sends(fake), Journal(path, risk_power_loss=True)
        one, other = texts(2)
        calls = [asyncio.ensure_future(sends.send(message, journal)) for message in (one, other, one)]
        victim = calls[2 if waiting else 0]

        def strike() -> bool:
            nonlocal met
            met += 1
            if met == rounds:
                loop.call_soon(victim.cancel)
                return True
            return False

        loop.at_round(strike)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        loop.at_round(lambda: False)
        await sends.close()
        by_index = {entry.message_body: entry.outcome for entry in await _entries(path)}
        for number, copies in fake.accepted.items():
            assert copies == 1, (rounds, number)
        for end in ends:
            assert isinstance(end, tuple | asyncio.CancelledError | DuplicateMessageError), (rounds, end)
        assert isinstance(ends[1], tuple)
        # The other call with the key sends the message, or finds it `UNKNOWN` because its request had left.
        survivor = ends[0 if waiting else 2]
        if isinstance(survivor, DuplicateMessageError):
            assert survivor.entry.outcome is Outcome.UNKNOWN
            assert Outcome.UNKNOWN in by_index.values()
        else:
            assert fake.accepted[0] == 1
            assert set(by_index.values()) == {Outcome.ACCEPTED}
        return victim.cancelled()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


async def _entries(path: Path) -> list[Any]:
    async with Journal(path, read_only=True) as journal:
        return [entry async for entry in journal.entries()]


@pytest.mark.parametrize("waiting", [False, True], ids=["sends", "waits"])
def test_a_call_cancelled_at_any_point_loses_nothing(tmp_path: Path, waiting: bool) -> None:
    """A call that is cancelled at any await leaves a journal that is true, and other calls with its key are not lost."""
    rounds, running = 0, True
    while running:
        rounds += 1
        running = _cancelled_after(tmp_path / f"journal {rounds}", rounds, waiting=waiting)
    assert rounds > 8
