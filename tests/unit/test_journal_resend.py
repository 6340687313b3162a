"""`Journal`: messages that are sent again, and results that could not be written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from callbell_async import Journal, JournalError, Outcome
from callbell_async.journal import State
from callbell_async.journal.sqlite import SQLiteStore
from tests.support.journal_writing import (
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


# --- resending --------------------------------------------------------------------------------------------------------


async def test_an_unknown_message_may_be_sent_again_by_key(path: Path) -> None:
    """After `allow_resend` with its key, the next run sends an `UNKNOWN` message; the others stay as they are."""
    async with Journal(path) as journal:
        await claim(journal, "a", "b")
    async with Journal(path) as journal:
        await journal.allow_resend("a")
        # Allowed twice, it is sent again once.
        await journal.allow_resend("a")
        assert await outcomes_of(journal) == {"a": Outcome.UNKNOWN, "b": Outcome.UNKNOWN}
        claims = await claim(journal, "a", "b")
        assert list(claims) == ["a"]
        assert claims["a"].row.state is State.RESENDING
        with pytest.raises(JournalError):
            await journal.allow_resend("a")


async def test_a_resent_message_keeps_the_time_of_its_first_attempt(path: Path) -> None:
    """`tried_at` does not change when a message is sent again, because the first copy may be the one that arrived."""
    async with Journal(path, clock=NOW.timestamp) as journal:
        await claim(journal, "a")
    for hours in (1, 2):
        async with Journal(path, clock=(NOW + timedelta(hours=hours)).timestamp) as journal:
            await journal.allow_resend("a")
            await claim(journal, "a")
            assert (await entry_of(journal, "a")).tried_at == NOW


async def test_only_unknown_messages_can_be_sent_again(path: Path) -> None:
    """If one key is not `UNKNOWN`, or not in the journal, `allow_resend` raises an error and changes nothing."""
    async with Journal(path) as journal:
        claims = await claim(journal, "a", "b")
        record_result(journal, claims["b"], result(Outcome.ACCEPTED, uuid="u"))
    async with Journal(path) as journal:
        for wrong in ("b", "c"):
            with pytest.raises(JournalError, match="1 of 2 keys"):
                await journal.allow_resend("a", wrong)
        assert await outcomes_of(journal) == {"a": Outcome.UNKNOWN, "b": Outcome.ACCEPTED}


async def test_a_message_in_flight_cannot_be_sent_again(journal: Journal) -> None:
    """`allow_resend` refuses a message that a run is sending."""
    await claim(journal, "a")
    with pytest.raises(JournalError):
        await journal.allow_resend("a")


# --- after a failed write ---------------------------------------------------------------------------------------------


async def failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Return a closed journal after a full disk: it could not write one result and one report."""
    journal = await Journal(path).open()
    claims = await claim(journal, "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "_save", _raise_disk_full)
        record_result(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
        record_report(journal, "b", "v")
        with pytest.raises(JournalError, match="the disk is full"):
            await journal.close()
    return journal


def _raise_disk_full(*_: object) -> None:
    raise JournalError("the disk is full")


def _raise_memory_error(*_: object) -> None:
    raise MemoryError


async def test_an_unwritten_result_is_written_after_reopening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full disk the same object keeps its results, and writes them when it is opened again."""
    journal = await failed(path, monkeypatch)
    async with journal:
        await journal.flush()
        assert await outcomes_of(journal) == {"a": Outcome.ACCEPTED, "b": Outcome.ACCEPTED}
        assert (await entry_of(journal, "a")).uuid == "u"


async def test_a_result_survives_a_lack_of_memory(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails for want of memory, too, ends the writing; its results are written when the journal is opened again."""
    claims = await claim(journal, "a")
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "_save", _raise_memory_error)
        record_result(journal, claims["a"], result(Outcome.ACCEPTED, uuid="u"))
        with pytest.raises(MemoryError):
            await journal.flush()
        with pytest.raises(JournalError, match="can't be written after MemoryError"):
            await journal.close()
    async with journal:
        await journal.flush()
        assert await outcomes_of(journal) == {"a": Outcome.ACCEPTED}


async def test_an_unwritten_result_replaces_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result is written also if another process has opened the journal since, and marked the message as `UNKNOWN`."""
    journal = await failed(path, monkeypatch)
    async with Journal(path) as other:
        assert await outcomes_of(other) == {"a": Outcome.UNKNOWN, "b": Outcome.UNKNOWN}
    async with journal:
        entry = await entry_of(journal, "a")
        assert (entry.outcome, entry.uuid, entry.reason) == (Outcome.ACCEPTED, "u", None)


async def test_an_unwritten_result_is_not_written_to_another_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another journal has the same path, results of the first one are dropped."""
    journal = await failed(path, monkeypatch)
    for file in path.parent.glob("spring.db*"):
        file.unlink()
    async with Journal(path) as other:
        await claim(other, "b", "c")
    async with journal:
        await journal.flush()
        assert await outcomes_of(journal) == {"b": Outcome.UNKNOWN, "c": Outcome.UNKNOWN}


async def test_an_unwritten_result_does_not_change_a_later_attempt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result is dropped if another run has claimed the message since."""
    journal = await failed(path, monkeypatch)
    async with Journal(path) as other:
        await other.allow_resend("a")
        await claim(other, "a")
    async with journal:
        assert (await entry_of(journal, "a")).outcome is Outcome.UNKNOWN
