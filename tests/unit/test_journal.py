"""A journal as a program uses it: opened, asked, closed; what it keeps, and for whom."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callbell_async import (
    ConfigurationError,
    Journal,
    JournalEntry,
    JournalError,
    MessageReceipt,
    MessageStatus,
    Outcome,
    SendResult,
    TextMessage,
)
from callbell_async.journal import Claim, ClaimRequest, State, writer_of
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.journal.writer import FLUSH_AFTER
from tests.support.clock import current_loop

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
MESSAGE = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "spring.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    """An open journal whose clock stands still."""
    async with Journal(path, clock=NOW.timestamp) as journal:
        yield journal


async def claim(journal: Journal, *keys: str) -> dict[str, Claim]:
    """Claim messages in a new run; return the claims that are granted."""
    writer = writer_of(journal)
    requests = [ClaimRequest(key, b'{"to":"+31612345678"}', index) for index, key in enumerate(keys)]
    claims = await writer.claim(requests, run=await writer.begin_run())
    return {key: claim for key, claim in zip(keys, claims, strict=True) if claim.granted}


def finish(journal: Journal, claim: Claim, result: SendResult) -> None:
    """Record the result of a claim."""
    writer_of(journal).record_result(claim, result)


def hear(journal: Journal, key: str | None, uuid: str | None) -> None:
    """Record that Callbell has a message."""
    writer_of(journal).record_report(key, uuid)


def result(outcome: Outcome, *, uuid: str | None = None, status: str = "enqueued", attempts: int = 1) -> SendResult:
    """What a run says of a message."""
    receipt = None if uuid is None else MessageReceipt(uuid, status)
    error = None if outcome is Outcome.ACCEPTED else JournalError("it broke")
    return SendResult(0, MESSAGE, outcome, receipt, error, attempts)


async def known(journal: Journal, key: str) -> JournalEntry:
    """What it knows of a message that it knows."""
    entry = await journal.entry(key)
    assert entry is not None
    return entry


async def states(journal: Journal) -> dict[str, Outcome]:
    """Outcomes by key."""
    return {entry.key: entry.outcome async for entry in journal.entries()}


# --- life -------------------------------------------------------------------------------------------------------------


async def test_only_its_owner_can_read_it(path: Path, journal: Journal) -> None:
    """It holds recipients and texts: the file, and all beside it, are for its owner only."""
    await claim(journal, "a")
    beside = list(path.parent.iterdir())
    assert len(beside) >= 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in beside} == {0o600}


async def test_it_holds_no_token(path: Path) -> None:
    """Nothing but the messages and the caller's notes gets into it."""
    async with Journal(path) as journal:
        await claim(journal, "a")
    assert b"token" not in path.read_bytes()


async def test_it_must_be_open(path: Path) -> None:
    """A closed journal says so, and how to open it; closing it again does no harm."""
    journal = Journal(path)
    with pytest.raises(JournalError, match="async with"):
        await journal.counts()
    await journal.close()
    async with journal:
        assert "open" in repr(journal)
    await journal.close()
    with pytest.raises(JournalError, match="not open"):
        await journal.entry("a")
    assert "closed" in repr(journal)


async def test_each_open_wants_its_close(path: Path) -> None:
    """Who opened it twice has it until the second close."""
    journal = Journal(path)
    async with journal:
        async with journal:
            pass
        assert (await journal.counts())[Outcome.ACCEPTED] == 0
        with pytest.raises(JournalError, match="in use"):
            await Journal(path).open()
    await (await Journal(path).open()).close()


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_it_needs_a_file(path: str) -> None:
    """A journal that would not outlive a crash is refused."""
    with pytest.raises(ConfigurationError, match="path"):
        Journal(path)


async def test_a_string_is_a_path(path: Path) -> None:
    """Both kinds of path are taken."""
    async with Journal(str(path)) as journal:
        assert journal.path == path


async def test_it_stays_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A path that begins nowhere is taken from where the program was when the journal was built, however often it is opened: elsewhere it would know nothing."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    journal = Journal("spring.db")
    async with journal:
        await claim(journal, "a")
    monkeypatch.chdir(tmp_path / "there")
    async with journal:
        assert await states(journal) == {"a": Outcome.UNKNOWN}
    assert list((tmp_path / "there").iterdir()) == []


def test_it_may_be_used_in_one_loop_after_the_other(path: Path) -> None:
    """One object serves several `asyncio.run`, though each time two wait for its opening."""
    journal = Journal(path)

    async def use() -> dict[Outcome, int]:
        await asyncio.gather(journal.open(), journal.open())
        await claim(journal, "a")
        counts = await journal.counts()
        await asyncio.gather(journal.close(), journal.close())
        return counts

    assert [asyncio.run(use())[Outcome.UNKNOWN] for _ in range(3)] == [1, 1, 1]


def test_what_was_noted_in_another_loop_is_written(path: Path) -> None:
    """What was heard before a loop ended, which nobody closed it in, is written by the next that opens it, without anything else to do."""
    journal = Journal(path)

    async def begin() -> None:
        await journal.open()
        await claim(journal, "a")
        hear(journal, "a", "u")

    async def go_on() -> None:
        await journal.open()
        async with Journal(path, read_only=True) as viewer:
            while (await known(viewer, "a")).outcome is Outcome.UNKNOWN:
                pass
        await journal.close()
        await journal.close()

    asyncio.run(begin())
    asyncio.run(go_on())


async def test_a_journal_that_cannot_write_hears_nothing(path: Path) -> None:
    """While it is closed, or open for reading only, it refuses what it would have to keep in memory for ever."""
    journal = Journal(path)
    with pytest.raises(JournalError, match="not open"):
        hear(journal, "a", "u")
    async with journal, Journal(path, read_only=True) as viewer:
        with pytest.raises(JournalError, match="reading only"):
            hear(viewer, "a", "u")
        hear(journal, "a", "u")
    with pytest.raises(JournalError, match="not open"):
        hear(journal, "a", "u")


async def test_each_journal_has_an_id_of_its_own(tmp_path: Path) -> None:
    """It is told while the journal is open, stays the same, and is no other's."""
    first, second = Journal(tmp_path / "a.db"), Journal(tmp_path / "b.db")
    with pytest.raises(JournalError, match="not open"):
        _ = first.id
    async with first, second:
        before = first.id
        assert len(bytes.fromhex(before)) == 8
        assert second.id != before
    async with Journal(tmp_path / "a.db", read_only=True) as again:
        assert again.id == before


async def test_who_stops_waiting_for_it_takes_nothing_away(journal: Journal) -> None:
    """A question that is cancelled while the disk is slow does not drop the results that would have been written with it."""
    claims = await claim(journal, "a")
    released = threading.Event()
    slow = asyncio.ensure_future(writer_of(journal).ask(lambda _: released.wait()))
    await asyncio.sleep(0)
    finish(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    asked = asyncio.ensure_future(journal.counts())
    await asyncio.sleep(0)
    asked.cancel()
    asyncio.get_running_loop().call_soon(released.set)
    with pytest.raises(asyncio.CancelledError):
        await asked
    await slow
    assert (await known(journal, "a")).uuid == "u"


async def test_who_stops_waiting_for_its_end_leaves_it_closed(path: Path) -> None:
    """A closing that is cancelled again and again closes it all the same, with all that was noted, and lets others have it."""
    journal = await Journal(path).open()
    claims = await claim(journal, "a")
    released = threading.Event()
    slow = asyncio.ensure_future(writer_of(journal).ask(lambda _: released.wait()))
    await asyncio.sleep(0)
    finish(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    closing = asyncio.ensure_future(journal.close())
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await slow
    async with Journal(path) as another:
        assert (await known(another, "a")).uuid == "u"


# --- what it knows ----------------------------------------------------------------------------------------------------


async def test_what_was_under_way_is_unknown(path: Path) -> None:
    """What had been written down when the last program ended may have arrived: the next one finds it `UNKNOWN`, with the reason."""
    async with Journal(path, clock=NOW.timestamp) as journal:
        claims = await claim(journal, "a", "b")
        assert (await known(journal, "a")).in_flight
        finish(journal, claims["b"], result(Outcome.ACCEPTED, uuid="u"))
        assert (await journal.counts())[Outcome.UNKNOWN] == 1
    async with Journal(path) as journal:
        entry = await known(journal, "a")
        assert (entry.outcome, entry.in_flight, entry.finished_at) == (Outcome.UNKNOWN, False, None)
        assert entry.reason == "the program ended while the message was in flight"
        assert entry.tried_at == NOW
        assert entry.receipt is None
        assert (await known(journal, "b")).receipt == MessageReceipt("u", MessageStatus.ENQUEUED)


async def test_it_counts(journal: Journal) -> None:
    """Every message counts once, by what is known of it."""
    claims = await claim(journal, *"abcdefg")
    for key, outcome in zip("abcde", Outcome, strict=True):
        finish(journal, claims[key], result(outcome, uuid="u" if outcome is Outcome.ACCEPTED else None))
    assert await journal.counts() == {
        Outcome.ACCEPTED: 1,
        Outcome.REJECTED: 1,
        Outcome.NEVER_SENT: 1,
        Outcome.UNKNOWN: 3,
        Outcome.SKIPPED: 1,
    }


async def test_it_gives_entries_by_outcome(journal: Journal) -> None:
    """All, or those of some outcomes, in the order they were first tried, however many."""
    keys = [f"k{number:04}" for number in range(1203)]
    claims = await claim(journal, *keys)
    for key in keys[::2]:
        finish(journal, claims[key], result(Outcome.REJECTED))
    assert [entry.key async for entry in journal.entries()] == keys
    assert [entry.key async for entry in journal.entries(Outcome.REJECTED)] == keys[::2]
    assert [entry.key async for entry in journal.entries(Outcome.UNKNOWN)] == keys[1::2]
    assert [entry async for entry in journal.entries(Outcome.NEVER_SENT, Outcome.ACCEPTED)] == []


async def test_an_unknown_key_is_none(journal: Journal) -> None:
    """It has no entry for a key it never saw."""
    assert await journal.entry("nobody") is None


async def test_what_is_no_text_names_nothing(path: Path) -> None:
    """Half a character names no message: nothing is found by it, nothing quotes it, and the journal goes on."""
    async with Journal(path) as journal:
        await claim(journal, "a")
    half = "secret\ud800"
    async with Journal(path) as journal:
        assert await journal.entry(half) is None
        assert await writer_of(journal).has_uuid(half) is False
        hear(journal, half, None)
        hear(journal, "a", half)
        with pytest.raises(JournalError) as caught:
            await journal.allow_resend("a", half)
        assert "secret" not in str(caught.value)
        assert await states(journal) == {"a": Outcome.UNKNOWN}
        await journal.allow_resend("a")


async def test_a_reason_may_be_any_text(journal: Journal) -> None:
    """What an exception says is written as far as it can be, such as the name of a file that is no UTF-8."""
    claims = await claim(journal, "a")
    error = OSError("no such file: \udcff.pem")
    finish(journal, claims["a"], SendResult(0, MESSAGE, Outcome.NEVER_SENT, error=error))
    assert (await known(journal, "a")).reason == "no such file: ?.pem"


async def test_a_result_is_written_within_a_moment(path: Path, journal: Journal) -> None:
    """A result does not wait for the next message: a viewer sees it soon, though nothing else happens."""
    claims = await claim(journal, "a")
    finish(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    async with Journal(path, read_only=True) as viewer:
        assert (await known(viewer, "a")).in_flight
        current_loop().advance(FLUSH_AFTER)
        while (await known(viewer, "a")).in_flight:
            pass
        assert (await known(viewer, "a")).uuid == "u"


async def test_viewing_changes_nothing(path: Path, journal: Journal) -> None:
    """A journal opened for reading only refuses to write, beside the one that writes."""
    await claim(journal, "a")
    async with Journal(path, read_only=True) as viewer:
        assert (await viewer.counts())[Outcome.UNKNOWN] == 1
        for writing in (viewer.write_notes({"a": "b"}), viewer.allow_resend("a"), writer_of(viewer).begin_run()):
            with pytest.raises(JournalError, match="reading only"):
                await writing


async def test_viewing_makes_no_files_where_it_may_not(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """A journal in a place that can't be written, such as an archive, can be looked at; and what another process writes is seen all the same."""
    async with Journal(path) as journal:
        await claim(journal, "a")
    before = set(path.parent.iterdir())
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    async with Journal(path, read_only=True) as viewer:
        assert (await viewer.counts())[Outcome.UNKNOWN] == 1
        assert set(path.parent.iterdir()) == before
    async with Journal(path) as journal:
        await claim(journal, "b")
        async with Journal(path, read_only=True) as viewer:
            assert (await viewer.counts())[Outcome.UNKNOWN] == 2


async def test_viewing_needs_a_journal(path: Path) -> None:
    """Nothing is made by looking."""
    with pytest.raises(JournalError, match="does not exist"):
        await Journal(path, read_only=True).open()
    assert list(path.parent.iterdir()) == []


async def test_notes_are_kept(path: Path) -> None:
    """What a program keeps beside the messages is there the next time; a note of the same name is replaced."""
    async with Journal(path) as journal:
        assert await journal.notes() == {}
        await journal.write_notes({"file": "a.csv", "text": "Hi {name}"})
        await journal.write_notes({"file": "b.csv"})
    async with Journal(path) as journal:
        assert await journal.notes() == {"file": "b.csv", "text": "Hi {name}"}


async def test_notes_must_be_text(journal: Journal) -> None:
    """A file name that is no UTF-8 is refused, and the journal goes on."""
    with pytest.raises(ConfigurationError, match="notes"):
        await journal.write_notes({"file": "\udcff.csv"})
    await journal.write_notes({"file": "a.csv"})


# --- resending --------------------------------------------------------------------------------------------------------


async def test_what_is_unknown_may_be_sent_again_by_name(path: Path) -> None:
    """Named by its key, it is tried by the next run; the others stay as they are."""
    async with Journal(path) as journal:
        await claim(journal, "a", "b")
    async with Journal(path) as journal:
        await journal.allow_resend("a")
        # Asked for twice, it is sent again once.
        await journal.allow_resend("a")
        assert await states(journal) == {"a": Outcome.UNKNOWN, "b": Outcome.UNKNOWN}
        claims = await claim(journal, "a", "b")
        assert list(claims) == ["a"]
        assert claims["a"].row.state is State.RESENDING
        with pytest.raises(JournalError):
            await journal.allow_resend("a")


async def test_a_message_in_doubt_is_looked_for_from_its_first_attempt(path: Path) -> None:
    """The copy that arrived may be the first one: `tried_at` stays, however often it is sent again."""
    async with Journal(path, clock=NOW.timestamp) as journal:
        await claim(journal, "a")
    for hours in (1, 2):
        async with Journal(path, clock=(NOW + timedelta(hours=hours)).timestamp) as journal:
            await journal.allow_resend("a")
            await claim(journal, "a")
            assert (await known(journal, "a")).tried_at == NOW


async def test_nothing_else_can_be_sent_again(path: Path) -> None:
    """A key that is not `UNKNOWN`, or not there, changes nothing, for the others named beside it neither."""
    async with Journal(path) as journal:
        claims = await claim(journal, "a", "b")
        finish(journal, claims["b"], result(Outcome.ACCEPTED, uuid="u"))
    async with Journal(path) as journal:
        for wrong in ("b", "c"):
            with pytest.raises(JournalError, match="1 of 2 keys"):
                await journal.allow_resend("a", wrong)
        assert await states(journal) == {"a": Outcome.UNKNOWN, "b": Outcome.ACCEPTED}


async def test_what_is_under_way_cannot_be_sent_again(journal: Journal) -> None:
    """A message that a run is trying right now is not given to another."""
    await claim(journal, "a")
    with pytest.raises(JournalError):
        await journal.allow_resend("a")


# --- the same object again --------------------------------------------------------------------------------------------


async def failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A journal, closed, after a run in which one message was accepted, what is known of that can't be written, and neither can anything else."""
    journal = await Journal(path).open()
    claims = await claim(journal, "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "_save", _full)
        finish(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
        hear(journal, "b", "v")
        with pytest.raises(JournalError, match="the disk is full"):
            await journal.close()
    return journal


def _full(*_: object) -> None:
    raise JournalError("the disk is full")


async def test_what_could_not_be_written_is_written_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full disk the same object still knows what became of its messages, and tells when it is opened again."""
    journal = await failed(path, monkeypatch)
    async with journal:
        await journal.flush()
        assert await states(journal) == {"a": Outcome.ACCEPTED, "b": Outcome.ACCEPTED}
        assert (await known(journal, "a")).uuid == "u"


async def test_what_could_not_be_written_is_known_better_than_by_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has opened the journal since, and could not know what became of the message: this one still tells."""
    journal = await failed(path, monkeypatch)
    async with Journal(path) as other:
        assert await states(other) == {"a": Outcome.UNKNOWN, "b": Outcome.UNKNOWN}
    async with journal:
        entry = await known(journal, "a")
        assert (entry.outcome, entry.uuid, entry.reason) == (Outcome.ACCEPTED, "u", None)


async def test_what_could_not_be_written_is_not_written_elsewhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another journal in the same place has other messages under these claims and keys: nothing is said of them."""
    journal = await failed(path, monkeypatch)
    for file in path.parent.glob("spring.db*"):
        file.unlink()
    async with Journal(path) as other:
        await claim(other, "b", "c")
    async with journal:
        await journal.flush()
        assert await states(journal) == {"b": Outcome.UNKNOWN, "c": Outcome.UNKNOWN}


async def test_what_could_not_be_written_says_nothing_of_a_later_attempt(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has tried the message since: what became of the attempt before is not what became of this one."""
    journal = await failed(path, monkeypatch)
    async with Journal(path) as other:
        await other.allow_resend("a")
        await claim(other, "a")
    async with journal:
        assert (await known(journal, "a")).outcome is Outcome.UNKNOWN


async def test_closing_once_too_often_closes_no_run(path: Path) -> None:
    """Who opened it may close it twice: a run has it open for itself."""
    journal = Journal(path)
    await journal.open()
    await writer_of(journal).open(for_run=True)
    number = (await claim(journal, "a"))["a"]
    for _ in range(3):
        await journal.close()
    finish(journal, number, result(Outcome.ACCEPTED, uuid="u"))
    await writer_of(journal).close(for_run=True)
    assert "closed" in repr(journal)
    async with Journal(path) as journal:
        assert await states(journal) == {"a": Outcome.ACCEPTED}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_fork_is_told_that_it_has_none(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process has no copy of the file's thread: it is refused instead of waiting for ever, and closing it there does nothing."""
    await claim(journal, "a")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    for asked in (journal.counts(), journal.open(), writer_of(journal).begin_run()):
        with pytest.raises(
            JournalError, match="was opened before this process was forked; create another Journal in it"
        ):
            await asked
    await journal.close()
    monkeypatch.undo()
    assert await states(journal) == {"a": Outcome.UNKNOWN}


@pytest.mark.parametrize("now", [-1.0, NOW.timestamp() * 1000, float("nan")])
async def test_a_clock_must_give_seconds(path: Path, now: float) -> None:
    """Milliseconds would be dates that no journal has: the clock is looked at before anything is sent."""
    with pytest.raises(ConfigurationError, match="clock: must return seconds since 1970"):
        await Journal(path, clock=lambda: now).open()
    assert not path.exists()
