"""Calls while a journal opens, writes or closes: nothing is lost, and nothing stays locked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from callbell_async import Journal, JournalError, MessageCreated, Outcome, TextMessage
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA
from tests.support.fake_callbell import Behaviour, FakeCallbell, new_run
from tests.support.virtual_disk import DiskLoop, on_disk

SLOW = 0.4
"""The seconds that one job of a slow disk takes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist."""
    return tmp_path / "journal"


def slow_disk() -> DiskLoop:
    """Let each further job for the disk take `SLOW` seconds."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, DiskLoop)
    loop.seconds = lambda number: SLOW
    return loop


async def create_unknown(path: Path, *keys: str) -> None:
    """Create a journal with `UNKNOWN` messages."""
    messages = [TextMessage(to="+31612345678", text="1", key=key) for key in keys]
    fake = FakeCallbell(lambda number, attempt: Behaviour(responds=False))
    assert (await new_run(fake, messages, journal=Journal(path, risk_power_loss=True))).unknown == len(keys)


def created(key: str, journal: Journal) -> MessageCreated:
    """Return an event that confirms a message."""
    metadata = {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: journal.id}
    return MessageCreated(key=key, uuid=f"uuid-{key}", status="sent", metadata=metadata)


async def accepted(path: Path) -> int:
    """Return the number of accepted messages in the file."""
    async with Journal(path, read_only=True) as journal:
        return (await journal.counts())[Outcome.ACCEPTED]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_cancelled_open_releases_the_journal(rounds: int, path: Path) -> None:
    """After a cancelled `open` the journal can be opened at once."""

    @on_disk
    async def main() -> None:
        slow_disk()
        opening = asyncio.ensure_future(Journal(path).open())
        for _ in range(rounds):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with Journal(path) as journal:
            assert sum((await journal.counts()).values()) == 0

    main()


@on_disk
async def test_a_report_during_a_write_is_written(path: Path) -> None:
    """A report that comes during a write is written soon after it."""
    await create_unknown(path, "a", "b")
    slow_disk()
    async with Journal(path) as journal:
        journal.handle_event(created("a", journal))
        await asyncio.sleep(0.05 + SLOW / 2)
        journal.handle_event(created("b", journal))
        await asyncio.sleep(0.05 + 2 * SLOW)
        assert await accepted(path) == 2


@on_disk
async def test_close_raises_the_error_of_a_failed_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` raises the error of a failed write, also of one that had started before."""
    await create_unknown(path, "a")
    slow_disk()
    journal = await Journal(path).open()

    def raise_disk_full(*args: object, **kwargs: object) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr("callbell_async.journal.sqlite.SQLiteStore.record", raise_disk_full)
    journal.handle_event(created("a", journal))
    await asyncio.sleep(0.05 + SLOW / 2)
    with pytest.raises(JournalError, match="the disk is full"):
        await journal.close()


@on_disk
async def test_a_journal_may_be_opened_while_it_closes(path: Path) -> None:
    """A journal that is opened while its last user closes it can be used."""
    await create_unknown(path, "a")
    slow_disk()
    journal = await Journal(path).open()
    journal.handle_event(created("a", journal))
    closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(SLOW / 2)
    async with journal:
        await closing
        assert (await journal.counts())[Outcome.ACCEPTED] == 1
