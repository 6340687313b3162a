"""What happens while a journal opens, writes or closes: nothing is lost in between, and nothing stays locked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from callbell_async import Journal, JournalError, MessageCreated, Outcome, TextMessage
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA
from tests.support.fake_callbell import FakeCallbell, Fate, new_run
from tests.support.virtual_disk import DiskLoop, on_disk

SLOW = 0.4
"""Seconds that the disk takes, where it is slow."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal's file."""
    return tmp_path / "journal"


def slow_disk() -> DiskLoop:
    """From now on each job takes so long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, DiskLoop)
    loop.seconds = lambda number: SLOW
    return loop


async def doubtful(path: Path, *keys: str) -> None:
    """A journal of messages whose outcome is unknown."""
    messages = [TextMessage(to="+31612345678", text="1", key=key) for key in keys]
    fake = FakeCallbell(lambda number, attempt: Fate(answers=False))
    assert (await new_run(fake, messages, journal=Journal(path, risk_power_loss=True))).unknown == len(keys)


def created(key: str, journal: Journal) -> MessageCreated:
    """An event that proves that Callbell has it."""
    metadata = {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: journal.id}
    return MessageCreated(key=key, uuid=f"uuid-{key}", status="sent", metadata=metadata)


async def accepted(path: Path) -> int:
    """How many are accepted according to the file."""
    async with Journal(path, read_only=True) as journal:
        return (await journal.counts())[Outcome.ACCEPTED]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_cancelled_opening_leaves_it_free(rounds: int, path: Path) -> None:
    """Who is cancelled while the journal opens leaves it to the next, at once."""

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
async def test_what_comes_during_a_write_is_written(path: Path) -> None:
    """What is heard while what was heard before is being written is written within a moment as well."""
    await doubtful(path, "a", "b")
    slow_disk()
    async with Journal(path) as journal:
        journal.handle_event(created("a", journal))
        await asyncio.sleep(0.05 + SLOW / 2)
        journal.handle_event(created("b", journal))
        await asyncio.sleep(0.05 + 2 * SLOW)
        assert await accepted(path) == 2


@on_disk
async def test_closing_tells_of_a_write_that_failed_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that could not write what it was told says so when it is closed, even if the write had begun before."""
    await doubtful(path, "a")
    slow_disk()
    journal = await Journal(path).open()

    def full(*args: object, **kwargs: object) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr("callbell_async.journal.sqlite.SQLiteStore.record", full)
    journal.handle_event(created("a", journal))
    await asyncio.sleep(0.05 + SLOW / 2)
    with pytest.raises(JournalError, match="the disk is full"):
        await journal.close()


@on_disk
async def test_it_may_be_opened_while_it_closes(path: Path) -> None:
    """Who opens a journal while the last one who used it is closing it can use it."""
    await doubtful(path, "a")
    slow_disk()
    journal = await Journal(path).open()
    journal.handle_event(created("a", journal))
    closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(SLOW / 2)
    async with journal:
        await closing
        assert (await journal.counts())[Outcome.ACCEPTED] == 1
