"""`Journal`: opening and closing, reading, and notes."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callbell_async import ConfigurationError, Journal, JournalError, MessageReceipt, MessageStatus, Outcome, SendResult
from callbell_async.journal import writer_of
from callbell_async.journal.writer import FLUSH_AFTER
from tests.support.clock import current_loop
from tests.support.journal_writing import (
    MESSAGE,
    NOW,
    claim,
    entry_of,
    outcomes_of,
    record_report,
    record_result,
    result,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist."""
    return tmp_path / "spring.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    """An open journal with a fixed time."""
    async with Journal(path, clock=NOW.timestamp) as journal:
        yield journal


# --- open and close ---------------------------------------------------------------------------------------------------


async def test_only_the_owner_can_read_a_journal(path: Path, journal: Journal) -> None:
    """A journal contains recipients and texts: the file and its side files are readable by their owner only."""
    await claim(journal, "a")
    files = list(path.parent.iterdir())
    assert len(files) >= 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_journal_contains_no_token(path: Path) -> None:
    """A journal contains only the messages and the notes of the program."""
    async with Journal(path) as journal:
        await claim(journal, "a")
    assert b"token" not in path.read_bytes()


async def test_a_journal_must_be_open(path: Path) -> None:
    """A closed journal raises an error with the remedy; closing it again does no harm."""
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


async def test_each_open_needs_its_close(path: Path) -> None:
    """A journal that was opened twice is open until the second close."""
    journal = Journal(path)
    async with journal:
        async with journal:
            pass
        assert (await journal.counts())[Outcome.ACCEPTED] == 0
        with pytest.raises(JournalError, match="in use"):
            await Journal(path).open()
    await (await Journal(path).open()).close()


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_journal_needs_a_file(path: str) -> None:
    """A journal in memory is refused, because it would not outlive a crash."""
    with pytest.raises(ConfigurationError, match="path"):
        Journal(path)


async def test_a_string_is_a_path(path: Path) -> None:
    """The path may be a string or a `Path`."""
    async with Journal(str(path)) as journal:
        assert journal.path == path


async def test_a_relative_path_is_fixed_at_construction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path is resolved when the journal is constructed, so that it names the same file after a change of directory."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    journal = Journal("spring.db")
    async with journal:
        await claim(journal, "a")
    monkeypatch.chdir(tmp_path / "there")
    async with journal:
        assert await outcomes_of(journal) == {"a": Outcome.UNKNOWN}
    assert list((tmp_path / "there").iterdir()) == []


def test_a_journal_may_be_used_in_several_loops(path: Path) -> None:
    """One object works in several `asyncio.run` calls, also if two tasks open it at the same time."""
    journal = Journal(path)

    async def use() -> dict[Outcome, int]:
        await asyncio.gather(journal.open(), journal.open())
        await claim(journal, "a")
        counts = await journal.counts()
        await asyncio.gather(journal.close(), journal.close())
        return counts

    assert [asyncio.run(use())[Outcome.UNKNOWN] for _ in range(3)] == [1, 1, 1]


async def test_two_threads_may_not_use_a_journal_at_once(path: Path) -> None:
    """A journal that is open on one event loop is refused on that of another thread, where its calls would wait without end."""
    journal = Journal(path)

    async def use() -> None:
        async with journal:
            pass

    async with journal:
        with pytest.raises(ConfigurationError, match="in use on another event loop"):
            await asyncio.to_thread(asyncio.run, use())
        await claim(journal, "a")
    await asyncio.to_thread(asyncio.run, use())


async def test_an_open_journal_is_refused_in_another_thread(path: Path) -> None:
    """Another thread can neither read, write nor close a journal that is open on a running loop, and leaves nothing in it."""
    journal = Journal(path)

    async def report() -> None:
        record_report(journal, "a", "u")

    async with journal:
        await claim(journal, "a")
        for use in (journal.counts, journal.flush, journal.close, report):
            with pytest.raises(ConfigurationError, match="in use on another event loop"):
                await asyncio.to_thread(asyncio.run, use())
        assert await outcomes_of(journal) == {"a": Outcome.UNKNOWN}


def test_a_report_from_an_ended_loop_is_written(path: Path) -> None:
    """A report that was recorded in a loop that ended without a close is written after the next opening."""
    journal = Journal(path)

    async def record() -> None:
        await journal.open()
        await claim(journal, "a")
        record_report(journal, "a", "u")

    async def reopen() -> None:
        await journal.open()
        async with Journal(path, read_only=True) as reader:
            while (await entry_of(reader, "a")).outcome is Outcome.UNKNOWN:
                pass
        await journal.close()
        await journal.close()

    asyncio.run(record())
    asyncio.run(reopen())


async def test_a_journal_that_cannot_write_refuses_reports(path: Path) -> None:
    """A journal that is closed, or open for reading only, refuses reports, which would stay in memory."""
    journal = Journal(path)
    with pytest.raises(JournalError, match="not open"):
        record_report(journal, "a", "u")
    async with journal, Journal(path, read_only=True) as reader:
        with pytest.raises(JournalError, match="reading only"):
            record_report(reader, "a", "u")
        record_report(journal, "a", "u")
    with pytest.raises(JournalError, match="not open"):
        record_report(journal, "a", "u")


async def test_each_journal_has_an_id_of_its_own(tmp_path: Path) -> None:
    """The id is available while the journal is open, does not change, and differs from that of any other journal."""
    first, second = Journal(tmp_path / "a.db"), Journal(tmp_path / "b.db")
    with pytest.raises(JournalError, match="not open"):
        _ = first.id
    async with first, second:
        before = first.id
        assert len(bytes.fromhex(before)) == 8
        assert second.id != before
    async with Journal(tmp_path / "a.db", read_only=True) as again:
        assert again.id == before


async def test_a_cancelled_read_drops_no_result(journal: Journal) -> None:
    """A read that is cancelled while the disk is slow does not drop the results that are written before it."""
    claims = await claim(journal, "a")
    released = threading.Event()
    slow = asyncio.ensure_future(writer_of(journal).call(lambda _: released.wait()))
    await asyncio.sleep(0)
    record_result(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    asked = asyncio.ensure_future(journal.counts())
    await asyncio.sleep(0)
    asked.cancel()
    asyncio.get_running_loop().call_soon(released.set)
    with pytest.raises(asyncio.CancelledError):
        await asked
    await slow
    assert (await entry_of(journal, "a")).uuid == "u"


async def test_a_cancelled_close_still_closes(path: Path) -> None:
    """A close that is cancelled several times still writes everything and releases the lock."""
    journal = await Journal(path).open()
    claims = await claim(journal, "a")
    released = threading.Event()
    slow = asyncio.ensure_future(writer_of(journal).call(lambda _: released.wait()))
    await asyncio.sleep(0)
    record_result(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    closing = asyncio.ensure_future(journal.close())
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await slow
    async with Journal(path) as another:
        assert (await entry_of(another, "a")).uuid == "u"


# --- read -------------------------------------------------------------------------------------------------------------


async def test_a_message_in_flight_at_a_crash_is_unknown(path: Path) -> None:
    """A message that was in flight when the program ended is `UNKNOWN` at the next opening, with the reason."""
    async with Journal(path, clock=NOW.timestamp) as journal:
        claims = await claim(journal, "a", "b")
        assert (await entry_of(journal, "a")).in_flight
        record_result(journal, claims["b"], result(Outcome.ACCEPTED, uuid="u"))
        assert (await journal.counts())[Outcome.UNKNOWN] == 1
    async with Journal(path) as journal:
        entry = await entry_of(journal, "a")
        assert (entry.outcome, entry.in_flight, entry.finished_at) == (Outcome.UNKNOWN, False, None)
        assert entry.reason == "the program ended while the message was in flight"
        assert entry.tried_at == NOW
        assert entry.receipt is None
        assert (await entry_of(journal, "b")).receipt == MessageReceipt("u", MessageStatus.ENQUEUED)


async def test_counts_has_each_message_once(journal: Journal) -> None:
    """`counts` counts each message once, by its outcome."""
    claims = await claim(journal, *"abcdefg")
    for key, outcome in zip("abcde", Outcome, strict=True):
        record_result(journal, claims[key], result(outcome, uuid="u" if outcome is Outcome.ACCEPTED else None))
    assert await journal.counts() == {
        Outcome.ACCEPTED: 1,
        Outcome.REJECTED: 1,
        Outcome.NEVER_SENT: 1,
        Outcome.UNKNOWN: 3,
        Outcome.SKIPPED: 1,
    }


async def test_entries_are_selected_by_outcome(journal: Journal) -> None:
    """`entries` yields all entries, or those with some outcomes, in the order of their first attempts."""
    keys = [f"k{number:04}" for number in range(1203)]
    claims = await claim(journal, *keys)
    for key in keys[::2]:
        record_result(journal, claims[key], result(Outcome.REJECTED))
    assert [entry.key async for entry in journal.entries()] == keys
    assert [entry.key async for entry in journal.entries(Outcome.REJECTED)] == keys[::2]
    assert [entry.key async for entry in journal.entries(Outcome.UNKNOWN)] == keys[1::2]
    assert [entry async for entry in journal.entries(Outcome.NEVER_SENT, Outcome.ACCEPTED)] == []


async def test_an_unknown_key_is_none(journal: Journal) -> None:
    """`entry` returns `None` for a key that is not in the journal."""
    assert await journal.entry("nobody") is None


async def test_a_lone_surrogate_matches_nothing(path: Path) -> None:
    """A key with a lone surrogate matches no message, is not quoted, and does not break the journal."""
    async with Journal(path) as journal:
        await claim(journal, "a")
    half = "secret\ud800"
    async with Journal(path) as journal:
        assert await journal.entry(half) is None
        assert await writer_of(journal).has_uuid(half) is False
        record_report(journal, half, None)
        record_report(journal, "a", half)
        with pytest.raises(JournalError) as caught:
            await journal.allow_resend("a", half)
        assert "secret" not in str(caught.value)
        assert await outcomes_of(journal) == {"a": Outcome.UNKNOWN}
        await journal.allow_resend("a")


async def test_a_reason_may_be_any_text(journal: Journal) -> None:
    """A reason that is not UTF-8, such as the name of a file, is written with a replacement character."""
    claims = await claim(journal, "a")
    error = OSError("no such file: \udcff.pem")
    record_result(journal, claims["a"], SendResult(0, MESSAGE, Outcome.NEVER_SENT, error=error))
    assert (await entry_of(journal, "a")).reason == "no such file: ?.pem"


async def test_a_result_is_written_within_a_moment(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result is written soon, also if no further message is claimed."""
    assert FLUSH_AFTER <= 0.1
    # Real time goes by while the reader opens the journal.
    monkeypatch.setattr("callbell_async.journal.writer.FLUSH_AFTER", 3600.0)
    claims = await claim(journal, "a")
    record_result(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    async with Journal(path, read_only=True) as reader:
        assert (await entry_of(reader, "a")).in_flight
        current_loop().advance(3600.0)
        while (await entry_of(reader, "a")).in_flight:
            pass
        assert (await entry_of(reader, "a")).uuid == "u"


async def test_reading_only_changes_nothing(path: Path, journal: Journal) -> None:
    """A journal that is opened for reading only refuses to write, also beside the process that writes."""
    await claim(journal, "a")
    async with Journal(path, read_only=True) as reader:
        assert (await reader.counts())[Outcome.UNKNOWN] == 1
        for writing in (reader.write_notes({"a": "b"}), reader.allow_resend("a"), writer_of(reader).begin_run()):
            with pytest.raises(JournalError, match="reading only"):
                await writing


async def test_reading_only_creates_no_files_in_a_read_only_folder(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """A journal in a folder that can't be written can be read, and later writes of another process are visible."""
    async with Journal(path) as journal:
        await claim(journal, "a")
    before = set(path.parent.iterdir())
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    async with Journal(path, read_only=True) as reader:
        assert (await reader.counts())[Outcome.UNKNOWN] == 1
        assert set(path.parent.iterdir()) == before
    async with Journal(path) as journal:
        await claim(journal, "b")
        async with Journal(path, read_only=True) as reader:
            assert (await reader.counts())[Outcome.UNKNOWN] == 2


async def test_reading_only_needs_a_journal(path: Path) -> None:
    """Reading a missing journal is an error, and creates no file."""
    with pytest.raises(JournalError, match="does not exist"):
        await Journal(path, read_only=True).open()
    assert list(path.parent.iterdir()) == []


async def test_notes_are_kept(path: Path) -> None:
    """Notes are kept in the file; a note of the same name is replaced."""
    async with Journal(path) as journal:
        assert await journal.notes() == {}
        await journal.write_notes({"file": "a.csv", "text": "Hi {name}"})
        await journal.write_notes({"file": "b.csv"})
    async with Journal(path) as journal:
        assert await journal.notes() == {"file": "b.csv", "text": "Hi {name}"}


async def test_notes_must_be_text(journal: Journal) -> None:
    """A note that is not UTF-8, such as a file name, is refused, and the journal still works."""
    with pytest.raises(ConfigurationError, match="notes"):
        await journal.write_notes({"file": "\udcff.csv"})
    await journal.write_notes({"file": "a.csv"})


async def test_an_extra_close_does_not_close_for_a_run(path: Path) -> None:
    """A user who closes a journal once too often does not close it for a run."""
    journal = Journal(path)
    await journal.open()
    await writer_of(journal).open(for_run=True)
    claims = await claim(journal, "a")
    for _ in range(3):
        await journal.close()
    record_result(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
    await writer_of(journal).close(for_run=True)
    assert "closed" in repr(journal)
    async with Journal(path) as journal:
        assert await outcomes_of(journal) == {"a": Outcome.ACCEPTED}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_forked_process_is_refused(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process has no copy of the thread: its calls raise an error instead of waiting, and `close` does nothing."""
    await claim(journal, "a")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    for call in (journal.counts(), journal.open(), writer_of(journal).begin_run()):
        with pytest.raises(
            JournalError, match="was opened before this process was forked; create another Journal in it"
        ):
            await call
    await journal.close()
    monkeypatch.undo()
    assert await outcomes_of(journal) == {"a": Outcome.UNKNOWN}


@pytest.mark.parametrize("now", [-1.0, NOW.timestamp() * 1000, float("nan")])
async def test_a_clock_must_return_seconds(path: Path, now: float) -> None:
    """A clock that returns an invalid time, such as milliseconds, is refused when the journal is opened."""
    with pytest.raises(ConfigurationError, match="clock: must return seconds since 1970"):
        await Journal(path, clock=lambda: now).open()
    assert not path.exists()
