"""A journal with crafted or damaged files, files of other users, and wrong clocks; and the lock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callbell_async import Journal, JournalError, Message, MessageReceipt, Outcome, SendResult, TextMessage
from callbell_async.journal import ClaimRequest, writer_of
from tests.support.campaign_child import ChildConfig
from tests.support.campaign_process import CampaignLauncher

MESSAGE: Message = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that exists, with some messages in different states; it is closed."""
    path = tmp_path / "spring.db"

    async def main() -> None:
        async with Journal(path) as journal:
            await fill(journal, 40)

    asyncio.run(main())
    return path


async def fill(journal: Journal, count: int, *, first: int = 0) -> None:
    """Claim messages, and record the results of most."""
    writer = writer_of(journal)
    requests = [
        ClaimRequest(f"order-{number}", b'{"from":"whatsapp"}', number) for number in range(first, first + count)
    ]
    for number, claim in enumerate(await writer.claim(requests, run=await writer.begin_run())):
        outcome = [*Outcome, None][number % 6]
        if outcome is not None:
            receipt = MessageReceipt(f"uuid-{number}", "enqueued") if outcome is Outcome.ACCEPTED else None
            error = None if receipt else JournalError("it broke")
            writer.record_result(claim, SendResult(number, MESSAGE, outcome, receipt, error))
    await journal.flush()


async def use(path: Path, *, read_only: bool) -> dict[str, Outcome]:
    """Call every method of a journal that reads."""
    async with Journal(path, read_only=read_only) as journal:
        await journal.counts()
        await journal.funnel()
        await journal.notes()
        await journal.entry("order-1")
        return {entry.key: entry.outcome async for entry in journal.entries()}


def execute(path: Path, *statements: str) -> None:
    """Change the file with SQL statements."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(";".join(statements))


def overwrite(path: Path, content: bytes) -> None:
    """Replace the file by this content."""
    path.write_bytes(content)


def flipped(seed: int) -> Callable[[Path], None]:
    """Return a function that flips some bits of the file."""

    def act(path: Path) -> None:
        chance, content = random.Random(seed), bytearray(path.read_bytes())
        for _ in range(chance.choice((1, 5, 50))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        overwrite(path, bytes(content))

    return act


def another_program(path: Path) -> None:
    """Put a database of another program in its place."""
    path.unlink()
    execute(path, "CREATE TABLE t (a)")


def truncated(part: float) -> Callable[[Path], None]:
    """Return a function that truncates the file."""
    return lambda path: os.truncate(path, int(path.stat().st_size * part))


def crafted(*statements: str) -> Callable[[Path], None]:
    """Return a function that changes the file with SQL."""
    return lambda path: execute(path, *statements)


CRAFTED: dict[str, Callable[[Path], None]] = {
    "trigger": crafted("CREATE TRIGGER t AFTER UPDATE ON messages BEGIN DELETE FROM messages; END"),
    "view": crafted("ALTER TABLE messages RENAME TO m", "CREATE VIEW messages AS SELECT * FROM m"),
    "endless view": crafted(
        "DROP TABLE messages",
        "CREATE VIEW messages AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) SELECT id FROM r",
    ),
    "more tables": crafted("CREATE TABLE t (a)"),
    "fewer tables": crafted("DROP TABLE notes"),
    "another column": crafted("ALTER TABLE messages ADD COLUMN more"),
    "another index": crafted("CREATE INDEX messages_by_uuid ON messages (status)"),
    "no header": crafted("DELETE FROM journal"),
    "two headers": crafted("INSERT INTO journal SELECT * FROM journal"),
    "text in the header": crafted("UPDATE journal SET runs = 'x', commits = x'00'"),
    "older header": crafted("UPDATE journal SET commits = 0"),
    "no messages": crafted("DELETE FROM messages"),
    "one message less": crafted("DELETE FROM messages WHERE id = 7"),
    "one message more": crafted(
        "INSERT INTO messages SELECT 99, 'k', body, 1, 1, state, 1, 1, 1, NULL, '', '', 0, '', 5 FROM messages LIMIT 1"
    ),
    "unknown state": crafted("UPDATE messages SET state = 'lost' WHERE id = 3"),
    "another state": crafted("UPDATE messages SET state = 'never_sent' WHERE id = 1"),
    "another key": crafted("UPDATE messages SET key = 'other' WHERE id = 1"),
    "key as bytes": crafted("UPDATE messages SET key = x'ff00' WHERE id = 1"),
    "key not UTF-8": crafted("UPDATE messages SET key = CAST(x'ff00' AS TEXT) WHERE id = 1"),
    "body as a number": crafted("UPDATE messages SET body = 1 WHERE id = 1"),
    "huge body": crafted("UPDATE messages SET body = zeroblob(100000000) WHERE id = 1"),
    "huge number": crafted("UPDATE messages SET attempts = 9223372036854775807 WHERE id = 1"),
    "time out of range": crafted("UPDATE messages SET tried_at = 1e300 WHERE id = 1"),
    "infinite time": crafted("UPDATE messages SET finished_at = 9e999 WHERE id = 1"),
    "notes as bytes": crafted("INSERT INTO notes VALUES ('a', CAST(x'ff' AS TEXT))"),
    "unreadable schema": crafted(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE messages (' WHERE name = 'messages'",
    ),
    "no columns": crafted("PRAGMA writable_schema = ON", "UPDATE sqlite_master SET rootpage = 1"),
    "another application": crafted("PRAGMA application_id = 7"),
    "another version": crafted("PRAGMA user_version = 7"),
    "another program's file": another_program,
    "empty": lambda path: overwrite(path, b""),
    "text": lambda path: overwrite(path, b"to,text\n" * 1000),
    "zeros": lambda path: overwrite(path, bytes(20_000)),
    "header only": lambda path: os.truncate(path, 100),
    "no header page": lambda path: overwrite(path, bytes(100) + path.read_bytes()[100:]),
    "grown": lambda path: overwrite(path, path.read_bytes() + random.Random(1).randbytes(9000)),
    **{f"{part:.0%} of it": truncated(part) for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)},
    **{f"flipped {seed}": flipped(seed) for seed in range(20)},
}


@pytest.mark.parametrize("read_only", [False, True], ids=["for sending", "for reading"])
@pytest.mark.parametrize("craft", CRAFTED)
async def test_a_bad_file_is_one_clear_error(path: Path, craft: str, read_only: bool) -> None:
    """A damaged or crafted file is refused with one line that names it, or the damage makes no difference."""
    before = await use(path, read_only=True)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    CRAFTED[craft](path)
    refused, found = "", {}
    try:
        found = await use(path, read_only=read_only)
    except JournalError as error:
        refused = str(error)
    if refused:
        assert refused.startswith(f"{path}: ")
        assert "\n" not in refused
    else:
        assert craft.startswith(("flipped", "grown", "notes", "90%", "99%"))
        assert {key: found[key] for key in before} == before


@pytest.mark.parametrize("read_only", [False, True], ids=["for sending", "for reading"])
@pytest.mark.parametrize("word", [b"order-1", b"uuid-12", b"never_sent", b"rejected"])
async def test_a_changed_byte_in_a_key_or_a_state_is_found(path: Path, word: bytes, read_only: bool) -> None:
    """One changed bit in a message's key, uuid or state is found before anything is sent, wherever SQLite keeps a copy of it."""
    content = path.read_bytes()
    places = [
        at for at in range(len(content)) if content.startswith(word, at) and not content.startswith(b"rejected'", at)
    ]
    assert places
    for at in places:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        # Reading does not use the copies in the indexes.
        with pytest.raises(JournalError, match="is damaged") if not read_only else contextlib.suppress(JournalError):
            await use(path, read_only=read_only)
        path.write_bytes(content)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe that nobody writes to."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    yield pipe
    pipe.unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("ending", ["", "-lock", "-wal"])
async def test_a_pipe_blocks_nothing(path: Path, pipe: Path, ending: str, read_only: bool) -> None:
    """A named pipe in place of the journal, or of a file beside it, never blocks; for sending it is refused."""
    part = Path(f"{path}{ending}")
    part.unlink(missing_ok=True)
    pipe.rename(part)
    with contextlib.suppress(JournalError) if read_only and ending else pytest.raises(JournalError):
        await use(path, read_only=read_only)
    part.rename(pipe)


# --- files of other users ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["-lock", "-wal", "-shm", "-journal", "-new"])
async def test_no_link_is_followed(tmp_path: Path, ending: str) -> None:
    """A symbolic link in place of a file beside the journal is refused or replaced, and its target stays as it is."""
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    path = tmp_path / "new.db"
    Path(f"{path}{ending}").symlink_to(target)
    with contextlib.suppress(JournalError):
        await use(path, read_only=False)
    assert target.read_text() == "mine"
    assert not Path(f"{path}{ending}").is_symlink() or ending != "-new"


@pytest.mark.skipif(os.name != "posix", reason="this system has no modes")
@pytest.mark.parametrize("ending", ["-lock", "-wal"])
async def test_a_file_that_others_may_write_is_refused(path: Path, ending: str) -> None:
    """A file beside the journal that other users may write is not used, and the error names it."""
    part = Path(f"{path}{ending}")
    part.touch()
    part.chmod(0o666)
    with pytest.raises(JournalError, match=f"{part.name} belongs to another user, or others may write it"):
        await use(path, read_only=False)


@pytest.mark.skipif(os.name != "posix", reason="this system has no umask")
async def test_all_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """With a umask of 0 too, the journal and the files beside it are for their owner only."""
    before = os.umask(0)
    try:
        async with Journal(tmp_path / "spring.db") as journal:
            await fill(journal, 1)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert len(modes) == 4
    assert set(modes.values()) == {0o600}


# --- the lock ---------------------------------------------------------------------------------------------------------


async def test_a_backup_in_the_process_keeps_the_lock(path: Path) -> None:
    """A program that reads all the journal's files, as a backup does, keeps the lock."""
    async with CampaignLauncher() as launcher, Journal(path) as journal:
        for file in path.parent.iterdir():
            file.read_bytes()
        config = ChildConfig("http://127.0.0.1:1", str(path))
        assert "is in use" in (await launcher.run(config)).output["error"]
        await fill(journal, 10, first=100)
    assert len(await use(path, read_only=True)) == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_forked_process_does_not_keep_the_lock(path: Path) -> None:
    """A child process that outlives the program does not hold the program's journal."""
    gate, opener = os.pipe()
    child = None
    try:
        async with Journal(path):
            child = os.fork()
            if not child:
                try:
                    # The child ends when the program closes the pipe, or ends itself.
                    os.close(opener)
                    os.read(gate, 1)
                finally:
                    os._exit(0)
        async with Journal(path):
            pass
    finally:
        os.close(opener)
        if child is not None:
            os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
        os.close(gate)


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-1.0, 1e18, float("nan"), float("inf")])
async def test_a_clock_that_becomes_wrong_leaves_the_journal_readable(tmp_path: Path, wrong: float) -> None:
    """A clock that becomes invalid during a run is ignored: the journal can be read and used again."""
    path, times = tmp_path / "spring.db", [1000.0]
    async with Journal(path, clock=lambda: times[0]) as journal:
        await fill(journal, 6)
        times[0] = wrong
        await fill(journal, 6, first=6)
    async with Journal(path) as journal:
        entries = [entry async for entry in journal.entries()]
    assert len(entries) == 12
    assert {entry.tried_at.timestamp() for entry in entries} == {1000.0}
