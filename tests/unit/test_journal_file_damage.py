"""A journal that can't be used ends the run with a clear error, and nothing was sent that it has not recorded."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from callbell_async import CallbellClient, Journal, JournalError, Message, Outcome, RetryPolicy
from callbell_async.journal import ClaimRequest, writer_of
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.sandbox import Exchange, Fault, Sandbox, SandboxRequest, faults
from tests.support.campaign_child import Order, campaign
from tests.support.campaign_process import CampaignLauncher, entries_of, journal_violations, killing, text_of

MESSAGES = campaign(1, 300)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A Callbell without a rate limit."""
    async with Sandbox(limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of it."""
    retry = RetryPolicy(wait_initial=0.0)
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=retry, rate_limit=None) as client:
        yield client


@pytest.fixture
async def office() -> AsyncIterator[CampaignLauncher]:
    """Where the processes of campaigns are started."""
    async with CampaignLauncher() as office:
        yield office


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is, or will be."""
    return tmp_path / "spring.db"


async def unrecorded(sandbox: Sandbox, path: Path) -> list[str]:
    """What the sandbox has and the journal doesn't know, or knows as not sent."""
    entries = {text_of(entry): entry.outcome for entry in await entries_of(path)}
    maybe = (Outcome.ACCEPTED, Outcome.UNKNOWN)
    return [text for text in map(text_of, sandbox.messages) if entries.get(text) not in maybe]


# --- a full disk --------------------------------------------------------------------------------------------------------


def limit_pages(journal: Journal, count: int | None) -> None:
    """Let the journal's file grow to so many pages; `None` for as many as there is room for."""
    store = writer_of(journal)._store
    assert isinstance(store, SQLiteStore)
    (pages,) = store._execute("PRAGMA page_count").fetchone()
    store._execute(f"PRAGMA max_page_count = {1 << 30 if count is None else pages + count}")


@pytest.mark.parametrize("room", [0, 1, 5, 20])
async def test_a_full_disk_ends_the_run(sandbox: Sandbox, callbell: CallbellClient, path: Path, room: int) -> None:
    """It says which file, and what to do; what was sent is recorded; with room again, the rest is sent, and nothing twice."""
    journal = Journal(path)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(journal)
        limit_pages(journal, room)
        with pytest.raises(JournalError, match=r"spring\.db: the disk is full; make room and start again"):
            await callbell.send_many(MESSAGES, journal=journal, concurrency=20)
        assert await unrecorded(sandbox, path) == []
        assert len(sandbox.messages) < 300
        # Closing tells again what could not be written.
        stack.pop_all()
        with pytest.raises(JournalError):
            await journal.close()
    before = len(sandbox.messages)
    report = await callbell.send_many(MESSAGES, journal=Journal(path))
    assert report.accepted == len(sandbox.messages) - before
    assert journal_violations(MESSAGES, sandbox.messages, await entries_of(path)) == []


@pytest.mark.parametrize("limit", [0, 4096, 30_000, 40_000, 100_000, 300_000])
async def test_a_process_that_may_not_write_sends_nothing_unrecorded(
    sandbox: Sandbox, office: CampaignLauncher, path: Path, limit: int
) -> None:
    """The same with files that really can't grow, wherever that is met: making the journal, its index of pages, its log."""
    order = Order(sandbox.url, str(path), seed=1, size=600)
    said = (await office.run(order._replace(file_limit=limit))).output
    await sandbox.wait_disconnected()
    assert str(path) in said["error"]
    assert "start again" in said["error"]
    if path.exists():
        assert await unrecorded(sandbox, path) == []
    else:
        assert sandbox.requests == []
    await office.run(order)
    await sandbox.wait_disconnected()
    assert journal_violations(campaign(1, 600), sandbox.messages, await entries_of(path)) == []


# --- a damaged file -----------------------------------------------------------------------------------------------------


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Put bytes in place of others."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def another_programs(path: Path) -> None:
    """In its place a database of another program."""
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY)")


def of_another_version(path: Path) -> None:
    """A version of the journal that this library doesn't know."""
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
    "another program": (another_programs, "is not a journal of this library; give the path of another file"),
    "another version": (of_another_version, "was written by another version of this library"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_journal_sends_nothing(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, damage: str
) -> None:
    """Whatever has become of the file: an error that names it and says what to do, no request, and the file stays as it is."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    befall, told = DAMAGES[damage]
    befall(path)
    found, requests = path.read_bytes(), len(sandbox.requests)
    with pytest.raises(JournalError) as caught:
        await callbell.send_many(campaign(2, 50), journal=Journal(path))
    assert str(caught.value).startswith(f"{path}: {told}")
    assert len(sandbox.requests) == requests
    assert path.read_bytes() == found


async def test_damage_at_any_place_sends_nothing_twice(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path
) -> None:
    """Some bytes of the file have changed: the journal is refused, or what it doesn't notice makes no second copy."""
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


def log_of(path: Path) -> Path:
    """SQLite's log, which holds what was written last."""
    return Path(f"{path}-wal")


LOSSES: dict[str, Callable[[Path], object]] = {
    "log removed": lambda path: log_of(path).unlink(),
    "log emptied": lambda path: os.truncate(log_of(path), 0),
    "log cut off": lambda path: os.truncate(log_of(path), log_of(path).stat().st_size // 2),
    "log's header": lambda path: overwrite(log_of(path), 0, bytes(32)),
    "log's middle": lambda path: overwrite(log_of(path), log_of(path).stat().st_size // 2, b"x" * 5000),
    "log is another's": lambda path: log_of(path).write_bytes(random.Random(1).randbytes(9000)),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_journal_whose_end_is_missing_sends_nothing(
    sandbox: Sandbox, office: CampaignLauncher, path: Path, loss: str
) -> None:
    """What was written last is in SQLite's log: where it is gone after a crash, the journal says so, and how to go on."""
    order = Order(sandbox.url, str(path))
    sandbox.inject(killing(office.kill, "answered"), times=1, when=lambda _: len(sandbox.requests) >= 300)
    assert (await office.run(order)).killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    LOSSES[loss](path)
    error = (await office.run(order)).output["error"]
    assert error.startswith(f"{path}: ")
    assert "transactions are missing" in error
    assert "empty spring.db-lock to continue without it" in error
    assert len(sandbox.requests) == requests


async def test_an_older_copy_sends_nothing(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """A copy that is put back knows less than was sent: it is refused, until the user accepts the risk."""
    await callbell.send_many(MESSAGES[:10], journal=Journal(path))
    copy = path.read_bytes()
    await callbell.send_many(MESSAGES[:50], journal=Journal(path))
    path.write_bytes(copy)
    requests = len(sandbox.requests)
    with pytest.raises(JournalError, match="transactions are missing"):
        await callbell.send_many(MESSAGES, journal=Journal(path))
    assert len(sandbox.requests) == requests
    Path(f"{path}-lock").write_bytes(b"")
    assert (await callbell.send_many(MESSAGES[:50], journal=Journal(path))).accepted > 0


async def test_an_older_copy_with_the_same_messages_sends_nothing(
    sandbox: Sandbox, callbell: CallbellClient, path: Path
) -> None:
    """A run that only sends known messages again leaves a newer journal, too: the copy from before it is refused."""
    refusing = sandbox.inject(faults.respond(400, {"error": "no"}))
    await callbell.send_many(MESSAGES, journal=Journal(path))
    refusing.remove()
    copy = path.read_bytes()
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 300
    path.write_bytes(copy)
    with pytest.raises(JournalError, match="transactions are missing"):
        await callbell.send_many(MESSAGES, journal=Journal(path))
    assert len(sandbox.messages) == 300


@pytest.mark.parametrize("from_kill", [False, True])
async def test_an_older_copy_after_a_kill_sends_nothing(
    sandbox: Sandbox, callbell: CallbellClient, office: CampaignLauncher, path: Path, from_kill: bool
) -> None:
    """A copy of the journal alone is refused after a killed run, whether it was made before the run or in it."""
    order = Order(sandbox.url, str(path), seed=1, size=600)
    await callbell.send_many(campaign(1, 600)[:50], journal=Journal(path))
    copies = [path.read_bytes()]

    def copy(request: SandboxRequest) -> bool:
        if len(sandbox.requests) == 150:
            copies.append(path.read_bytes())
        return len(sandbox.requests) >= 400

    sandbox.inject(killing(office.kill, "answered"), times=1, when=copy)
    assert (await office.run(order)).killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    path.write_bytes(copies[from_kill])
    log_of(path).unlink()
    assert "transactions are missing" in (await office.run(order)).output["error"]
    assert len(sandbox.requests) == requests


MOVES: dict[str, Callable[[Path, Path], object]] = {
    "moved": lambda path, to: path.rename(to),
    "copied": lambda path, to: to.write_bytes(path.read_bytes()),
}


@pytest.mark.parametrize("move", MOVES)
async def test_a_closed_journal_may_be_copied_alone(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path, move: str
) -> None:
    """A journal that was closed is complete in one file: by another name it sends nothing twice."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    MOVES[move](path, tmp_path / "autumn.db")
    assert (await callbell.send_many(MESSAGES, journal=Journal(tmp_path / "autumn.db"))).accepted == 0
    assert len(sandbox.messages) == 300


@pytest.mark.parametrize("with_it", [(), ("-lock",), ("-wal",)], ids=["alone", "with -lock", "with -wal"])
@pytest.mark.parametrize("move", MOVES)
async def test_a_killed_runs_journal_needs_all_its_files(
    sandbox: Sandbox, office: CampaignLauncher, path: Path, tmp_path: Path, move: str, with_it: tuple[str, ...]
) -> None:
    """After a kill, a journal that was moved or copied without one of its files is refused, however often it is tried."""
    order = Order(sandbox.url, str(path), size=1000)
    sandbox.inject(killing(office.kill, "answered"), times=1, when=lambda _: len(sandbox.requests) >= 400)
    assert (await office.run(order)).killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    other = tmp_path / "autumn.db"
    for ending in ("", *with_it):
        MOVES[move](Path(f"{path}{ending}"), Path(f"{other}{ending}"))
    for _ in range(2):
        error = (await office.run(order._replace(journal=str(other)))).output["error"]
        assert error.startswith(f"{other}: ")
    assert len(sandbox.requests) == requests


async def test_a_killed_runs_journal_may_be_moved_with_all_its_files(
    sandbox: Sandbox, office: CampaignLauncher, path: Path, tmp_path: Path
) -> None:
    """After a kill, a journal that is renamed with the files beside it continues, and sends nothing twice."""
    order = Order(sandbox.url, str(path), size=1000)
    sandbox.inject(killing(office.kill, "answered"), times=1, when=lambda _: len(sandbox.requests) >= 400)
    assert (await office.run(order)).killed
    await sandbox.wait_disconnected()
    other = tmp_path / "autumn.db"
    for ending in ("", "-wal", "-lock"):
        Path(f"{path}{ending}").rename(f"{other}{ending}")
    await office.run(order._replace(journal=str(other)))
    await sandbox.wait_disconnected()
    assert journal_violations(campaign(0, 1000), sandbox.messages, await entries_of(other)) == []


@pytest.mark.parametrize("order_of_files", [("", "-wal", "-lock"), ("-lock", "-wal", ""), ("-wal", "", "-lock")])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_copy_made_during_a_run_sends_nothing(
    sandbox: Sandbox,
    office: CampaignLauncher,
    path: Path,
    tmp_path: Path,
    order_of_files: tuple[str, ...],
    killed: bool,
) -> None:
    """A copy made file by file while a run sends is refused, however complete it looks: it does not know what was sent since."""
    order = Order(sandbox.url, str(path), size=2000)
    other = tmp_path / "autumn.db"
    left = list(order_of_files)

    def copy(request: SandboxRequest) -> bool:
        if left and len(sandbox.requests) >= 300 * (4 - len(left)):
            ending = left.pop(0)
            Path(f"{other}{ending}").write_bytes(Path(f"{path}{ending}").read_bytes())
        return killed and len(sandbox.requests) >= 1500

    sandbox.inject(killing(office.kill, "answered"), times=1, when=copy)
    assert (await office.run(order)).killed is killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    assert str((await office.run(order._replace(journal=str(other)))).output["error"]).startswith(f"{other}: ")
    assert len(sandbox.requests) == requests


async def test_a_journal_with_two_names_sends_nothing(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path
) -> None:
    """A hard link is refused: by its two names, two processes could send with one journal."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    (tmp_path / "autumn.db").hardlink_to(path)
    for name in (path, tmp_path / "autumn.db"):
        with pytest.raises(JournalError, match="has a second name"):
            await callbell.send_many(MESSAGES, journal=Journal(name))


async def test_a_log_without_its_journal_is_no_new_journal(
    sandbox: Sandbox, callbell: CallbellClient, office: CampaignLauncher, path: Path
) -> None:
    """The file was removed after a crash, and what SQLite keeps beside it was not: nothing is begun anew over it."""
    sandbox.inject(killing(office.kill, "answered"), times=1)
    await office.run(Order(sandbox.url, str(path)))
    await sandbox.wait_disconnected()
    path.unlink()
    requests = len(sandbox.requests)
    with pytest.raises(JournalError) as caught:
        await callbell.send_many(MESSAGES, journal=Journal(path))
    assert str(caught.value).startswith(f"{path}: is missing, but spring.db-wal is there")
    assert len(sandbox.requests) == requests


async def test_an_unwritten_lock_file_does_no_harm(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """After a power failure `-lock` may hold zeros: the journal is used, and the file is written again."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    before = Path(f"{path}-lock").read_bytes()
    Path(f"{path}-lock").write_bytes(bytes(20))
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 0
    assert len(Path(f"{path}-lock").read_bytes()) == len(before)


async def test_a_removed_journal_begins_anew(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """Who removes the journal means it: what its `-lock` holds does not matter."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    path.unlink()
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 300
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 0


def test_after_a_failed_write_nothing_is_written(path: Path) -> None:
    """However a write failed: what is in memory may be ahead of the file, and would let a message through."""
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


# --- a place where no journal can be ------------------------------------------------------------------------------------


async def refused(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> str:
    """What the error says, when nothing was sent."""
    with pytest.raises(JournalError) as caught:
        await callbell.send_many(MESSAGES, journal=journal)
    assert sandbox.requests == []
    text = str(caught.value)
    assert text.startswith(f"{journal.path}: ")
    return text


@pytest.mark.parametrize("read_only", [False, True])
async def test_some_places_are_none_for_a_journal(
    sandbox: Sandbox, callbell: CallbellClient, tmp_path: Path, read_only: bool
) -> None:
    """A directory, a file below nowhere, a device: each is refused with its path and what is wrong with it."""
    missing = tmp_path / "nowhere" / "spring.db"
    for path, told in [
        (tmp_path, "is a directory"),
        (Path("/"), "is a directory"),
        (missing, f"the directory {missing.parent} does not exist"),
        (Path(os.devnull), "is not a regular file"),
        (tmp_path / ("x" * 252), "can't be used as a journal" if not read_only else "does not exist"),
        (tmp_path / ("x" * 300), "can't be used as a journal"),
    ]:
        assert told in await refused(callbell, sandbox, Journal(path, read_only=read_only))
    assert list(tmp_path.iterdir()) == []


async def test_a_journal_for_reading_sends_nothing(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """Who opened it for looking at it can't send with it."""
    async with Journal(path):
        pass
    assert "was opened for reading only" in await refused(callbell, sandbox, Journal(path, read_only=True))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="this user may read and write everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
async def test_a_file_of_somebody_else_is_refused(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, mode: int
) -> None:
    """One that may not be read, or not be written."""
    async with Journal(path):
        pass
    path.chmod(mode)
    await refused(callbell, sandbox, Journal(path))


async def test_a_lock_that_is_something_else_is_refused(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path
) -> None:
    """What stands in the lock's place is left alone, and the error names it."""
    lock = tmp_path / "spring.db-lock"
    lock.write_text("mine\n" * 1000)
    assert "spring.db-lock is not a lock file of this library" in await refused(callbell, sandbox, Journal(path))
    assert lock.read_text() == "mine\n" * 1000


async def test_a_draft_that_a_crash_left_does_no_harm(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """A journal is made beside its place, and put there whole."""
    Path(f"{path}-new").write_text("half a journal")
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 300
    assert journal_violations(MESSAGES, sandbox.messages, await entries_of(path)) == []


# --- more than one process ----------------------------------------------------------------------------------------------


async def test_a_second_process_is_refused_and_the_first_goes_on(sandbox: Sandbox, path: Path) -> None:
    """Two processes on one journal: the second sends nothing and says why; a viewer looks on; the first sends everything once."""
    order = Order(sandbox.url, str(path), seed=1, size=600)
    async with CampaignLauncher() as first, CampaignLauncher() as second:
        seen: list[str] = []

        async def intrude(exchange: Exchange) -> None:
            seen.append((await second.run(order)).output["error"])
            entries = await entries_of(path)
            seen.append(f"{sum(entry.in_flight for entry in entries) > 0}")
            await exchange.send(exchange.execute())

        intruded = sandbox.inject(Fault("intrude", intrude), times=1, when=lambda _: len(sandbox.requests) >= 100)
        life = await first.run(order)
    await sandbox.wait_disconnected()
    assert intruded.met == 1
    assert seen == [
        f"{path}: is in use, by another process or by this one; only one may send with it",
        "True",
    ]
    assert life.output["counts"]["accepted"] == 600
    assert journal_violations(campaign(1, 600), sandbox.messages, await entries_of(path)) == []


async def test_a_killed_process_leaves_the_journal_free(sandbox: Sandbox, office: CampaignLauncher, path: Path) -> None:
    """Nothing has to be removed by hand after a SIGKILL."""
    order = Order(sandbox.url, str(path), seed=1, size=300)
    sandbox.inject(killing(office.kill, "read"), times=1)
    assert (await office.run(order)).killed
    assert "error" not in (await office.run(order)).output


async def test_a_refused_second_opening_keeps_the_lock(sandbox: Sandbox, office: CampaignLauncher, path: Path) -> None:
    """That somebody in this process tries the journal as well, and is refused, lets no other process in."""
    async with Journal(path), Journal(path, read_only=True):
        with pytest.raises(JournalError, match="is in use"):
            await Journal(path).open()
        assert "is in use" in (await office.run(Order(sandbox.url, str(path)))).output["error"]
    assert sandbox.requests == []


async def test_two_names_are_one_journal(
    sandbox: Sandbox, office: CampaignLauncher, path: Path, tmp_path: Path
) -> None:
    """A link to the journal is in use as well."""
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    async with Journal(path):
        error = (await office.run(Order(sandbox.url, str(link)))).output["error"]
    assert error.startswith(f"{link}: is in use")
    assert sandbox.requests == []


# --- before a byte leaves -----------------------------------------------------------------------------------------------


async def test_what_callbell_sees_was_written_before(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """Whenever a request arrives, whoever opens the journal's file finds its message there, under way."""
    states: list[str | None] = []

    def look(request: SandboxRequest) -> bool:
        key = request.document["metadata"].get("callbell_async_key")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT state FROM messages WHERE key = ?", (key,)).fetchone()
        states.append(found and found[0])
        return False

    messages: list[Message] = [message for message in MESSAGES if not message.metadata]
    sandbox.inject(Fault("never", lambda exchange: exchange.client_gone()), when=look)
    await callbell.send_many(messages, journal=Journal(path), concurrency=20)
    assert len(states) == len(sandbox.requests) > 200
    assert set(states) == {"sending"}


@pytest.mark.parametrize(("risk_power_loss", "level"), [(False, 2), (True, 1)])
async def test_it_waits_for_the_disk_unless_told_not_to(path: Path, risk_power_loss: bool, level: int) -> None:
    """SQLite's `synchronous` is `FULL`, a wait for the disk at each commit; with `risk_power_loss` it is `NORMAL`."""
    async with Journal(path, risk_power_loss=risk_power_loss) as journal:
        store = writer_of(journal)._store
        assert isinstance(store, SQLiteStore)
        assert store._execute("PRAGMA synchronous").fetchone() == (level,)
        assert store._execute("PRAGMA journal_mode").fetchone() == ("wal",)
