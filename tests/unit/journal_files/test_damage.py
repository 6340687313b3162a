"""A damaged journal, or a full disk, ends the run with a clear error, and nothing unrecorded was sent."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from callbell_async import CallbellClient, Journal, JournalError, Outcome
from callbell_async.journal import ClaimRequest, writer_of
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.sandbox import Sandbox
from tests.support.campaign_child import ChildConfig, campaign_messages
from tests.support.campaign_process import CampaignLauncher, entries_of, journal_violations, text_of

MESSAGES = campaign_messages(1, 300)


async def unrecorded(sandbox: Sandbox, path: Path) -> list[str]:
    """Return the texts that the sandbox has and the journal does not have, or has as not sent."""
    entries = {text_of(entry): entry.outcome for entry in await entries_of(path)}
    maybe = (Outcome.ACCEPTED, Outcome.UNKNOWN)
    return [text for text in map(text_of, sandbox.messages) if entries.get(text) not in maybe]


# --- a full disk --------------------------------------------------------------------------------------------------------


def limit_pages(journal: Journal, count: int | None) -> None:
    """Let the journal's file grow by `count` pages; `None` for no limit."""
    store = writer_of(journal)._store
    assert isinstance(store, SQLiteStore)
    (pages,) = store._execute("PRAGMA page_count").fetchone()
    store._execute(f"PRAGMA max_page_count = {1 << 30 if count is None else pages + count}")


@pytest.mark.parametrize("room", [0, 1, 5, 20])
async def test_a_full_disk_ends_the_run(sandbox: Sandbox, callbell: CallbellClient, path: Path, room: int) -> None:
    """The error names the file and the remedy; each request is recorded; with room again, the rest is sent, and nothing twice."""
    journal = Journal(path)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(journal)
        limit_pages(journal, room)
        with pytest.raises(JournalError, match=r"spring\.db: the disk is full; make room and start again"):
            await callbell.send_many(MESSAGES, journal=journal, concurrency=20)
        assert await unrecorded(sandbox, path) == []
        assert len(sandbox.messages) < 300
        # Closing raises the error of the failed write.
        stack.pop_all()
        with pytest.raises(JournalError):
            await journal.close()
    before = len(sandbox.messages)
    report = await callbell.send_many(MESSAGES, journal=Journal(path))
    assert report.accepted == len(sandbox.messages) - before
    assert journal_violations(MESSAGES, sandbox.messages, await entries_of(path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 4096, 30_000, 40_000, 100_000, 300_000])
async def test_a_process_that_cannot_write_sends_nothing_unrecorded(
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path, limit: int
) -> None:
    """The same with a limit of the system on each file, which is met at the journal, its index or its log."""
    config = ChildConfig(sandbox.url, str(path), seed=1, size=600)
    output = (await launcher.run(config._replace(file_limit=limit))).output
    await sandbox.wait_disconnected()
    assert str(path) in output["error"]
    assert "start again" in output["error"]
    if path.exists():
        assert await unrecorded(sandbox, path) == []
    else:
        assert sandbox.requests == []
    await launcher.run(config)
    await sandbox.wait_disconnected()
    assert journal_violations(campaign_messages(1, 600), sandbox.messages, await entries_of(path)) == []


def test_after_a_failed_write_nothing_is_written(path: Path) -> None:
    """After any failed write the store writes nothing more, because its counters may be ahead of the file."""
    store = SQLiteStore(path, read_only=False, risk_power_loss=False)
    run = store.begin_run()
    good, bad = ClaimRequest("good", b"{}", 0), ClaimRequest("\ud800", b"{}", 1)
    with pytest.raises(UnicodeEncodeError):
        store.record((), (), [good, bad], run=run, now=0.0)
    with pytest.raises(JournalError, match="can't be written after UnicodeEncodeError; start again"):
        store.record((), (), [good], run=run, now=0.0)
    store.close()
    again = SQLiteStore(path, read_only=False, risk_power_loss=False)
    assert again.find(["good"]) == [None]
    again.close()


# --- a damaged file -----------------------------------------------------------------------------------------------------


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Overwrite some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def replace_by_another_program(path: Path) -> None:
    """Replace the journal by the database of another program."""
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY)")


def set_another_version(path: Path) -> None:
    """Give the journal the version of another library version."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "header": (lambda path: overwrite(path, 0, bytes(100)), "is damaged, or not a journal; restore a good copy"),
    "first page": (lambda path: overwrite(path, 100, bytes(3900)), "is damaged"),
    "middle page": (lambda path: overwrite(path, 3 * 4096, random.Random(1).randbytes(4096)), "is damaged"),
    "last page": (lambda path: overwrite(path, path.stat().st_size - 4096, b"x" * 4096), "is damaged"),
    "key": (lambda path: overwrite(path, path.read_bytes().rindex(b"order 1/"), b"Order"), "is damaged"),
    "tables": (lambda path: overwrite(path, path.read_bytes().index(b"CREATE TABLE"), b"CR\xf9ATE"), "is damaged"),
    "half a file": (lambda path: os.truncate(path, path.stat().st_size // 2), "is damaged"),
    "half a page": (lambda path: os.truncate(path, 2000), "is damaged"),
    "an empty file": (lambda path: os.truncate(path, 0), "is not a journal of this library"),
    "another format": (lambda path: path.write_text("to,text\n" * 1000), "is damaged, or not a journal"),
    "another program": (replace_by_another_program, "is not a journal of this library; give the path of another file"),
    "another version": (set_another_version, "was written by another version of this library"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_journal_sends_nothing(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, damage: str
) -> None:
    """For each kind of damage, the error names the file and the remedy, nothing is sent, and the file is not changed."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    apply_damage, text = DAMAGES[damage]
    apply_damage(path)
    found, requests = path.read_bytes(), len(sandbox.requests)
    with pytest.raises(JournalError) as caught:
        await callbell.send_many(campaign_messages(2, 50), journal=Journal(path))
    assert str(caught.value).startswith(f"{path}: {text}")
    assert len(sandbox.requests) == requests
    assert path.read_bytes() == found


async def test_damage_at_any_place_sends_nothing_twice(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path
) -> None:
    """A journal with some changed bytes is refused, or the change makes no second copy."""
    await callbell.send_many(MESSAGES[:60], journal=Journal(path))
    good, requests, refused = path.read_bytes(), len(sandbox.requests), 0
    chance = random.Random(1)
    for number in range(100):
        damaged = tmp_path / f"{number}.db"
        damaged.write_bytes(good)
        overwrite(damaged, chance.randrange(100, len(good)), chance.randbytes(chance.choice((1, 1, 20))))
        try:
            await callbell.send_many(MESSAGES[:60], journal=Journal(damaged))
        except JournalError:
            refused += 1
        assert len(sandbox.requests) == requests, f"journal {number}"
    assert 10 < refused < 100
