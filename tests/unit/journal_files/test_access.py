"""Where a journal can be, how processes share it, and what is written before a request."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from callbell_async import CallbellClient, Journal, JournalError, Message
from callbell_async.journal import writer_of
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.sandbox import Exchange, Fault, Sandbox, SandboxRequest
from tests.support.campaign_child import ChildConfig, campaign_messages
from tests.support.campaign_process import CampaignLauncher, entries_of, journal_violations, kill_fault

MESSAGES = campaign_messages(1, 300)


# --- places -------------------------------------------------------------------------------------------------------------


async def refused(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> str:
    """Return the text of the error, after checking that nothing was sent."""
    with pytest.raises(JournalError) as caught:
        await callbell.send_many(MESSAGES, journal=journal)
    assert sandbox.requests == []
    text = str(caught.value)
    assert text.startswith(f"{journal.path}: ")
    return text


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_place_without_a_possible_journal_is_refused(
    sandbox: Sandbox, callbell: CallbellClient, tmp_path: Path, read_only: bool
) -> None:
    """A directory, a file in a missing directory, and a device are refused; the error has the path and the reason."""
    missing = tmp_path / "nowhere" / "spring.db"
    for path, text in [
        (tmp_path, "is a directory"),
        (Path("/"), "is a directory"),
        (missing, f"the directory {missing.parent} does not exist"),
        (Path(os.devnull), "is not a regular file"),
        (tmp_path / ("x" * 252), "can't be used as a journal" if not read_only else "does not exist"),
        (tmp_path / ("x" * 300), "can't be used as a journal"),
    ]:
        assert text in await refused(callbell, sandbox, Journal(path, read_only=read_only))
    assert list(tmp_path.iterdir()) == []


async def test_a_journal_for_reading_sends_nothing(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """A journal that is opened for reading only can't send."""
    async with Journal(path):
        pass
    assert "was opened for reading only" in await refused(callbell, sandbox, Journal(path, read_only=True))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="this user may read and write everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
async def test_a_file_without_permission_is_refused(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, mode: int
) -> None:
    """A file that the process may not read, or not write, is refused."""
    async with Journal(path):
        pass
    path.chmod(mode)
    await refused(callbell, sandbox, Journal(path))


async def test_a_foreign_lock_file_is_refused(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path
) -> None:
    """Another file in place of `-lock` is not changed, and the error names it."""
    lock = tmp_path / "spring.db-lock"
    lock.write_text("mine\n" * 1000)
    assert "spring.db-lock is not a lock file of this library" in await refused(callbell, sandbox, Journal(path))
    assert lock.read_text() == "mine\n" * 1000


async def test_a_draft_that_a_crash_left_does_no_harm(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """A draft of a journal, left by a crash, is replaced."""
    Path(f"{path}-new").write_text("half a journal")
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 300
    assert journal_violations(MESSAGES, sandbox.messages, await entries_of(path)) == []


# --- several processes ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_second_process_is_refused_and_the_first_continues(sandbox: Sandbox, path: Path) -> None:
    """A second process on a journal is refused with the reason; a reader works; the first process sends everything once."""
    config = ChildConfig(sandbox.url, str(path), seed=1, size=600)
    async with CampaignLauncher() as first, CampaignLauncher() as second:
        observed: list[str] = []

        async def open_elsewhere(exchange: Exchange) -> None:
            observed.append((await second.run(config)).output["error"])
            entries = await entries_of(path)
            observed.append(f"{sum(entry.in_flight for entry in entries) > 0}")
            await exchange.send(exchange.execute())

        opened = sandbox.inject(
            Fault("open elsewhere", open_elsewhere), times=1, when=lambda _: len(sandbox.requests) >= 100
        )
        ended = await first.run(config)
    await sandbox.wait_disconnected()
    assert opened.applied == 1
    assert observed == [
        f"{path}: is in use, by another process or by this one; only one may send with it",
        "True",
    ]
    assert ended.output["counts"]["accepted"] == 600
    assert journal_violations(campaign_messages(1, 600), sandbox.messages, await entries_of(path)) == []


async def test_a_killed_process_leaves_the_journal_free(
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path
) -> None:
    """After a SIGKILL no file has to be deleted by hand."""
    config = ChildConfig(sandbox.url, str(path), seed=1, size=300)
    sandbox.inject(kill_fault(launcher.kill, "read"), times=1)
    assert (await launcher.run(config)).killed
    assert "error" not in (await launcher.run(config)).output


async def test_a_refused_second_opening_keeps_the_lock(
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path
) -> None:
    """A refused second opening in the same process does not release the lock."""
    async with Journal(path), Journal(path, read_only=True):
        with pytest.raises(JournalError, match="is in use"):
            await Journal(path).open()
        assert "is in use" in (await launcher.run(ChildConfig(sandbox.url, str(path)))).output["error"]
    assert sandbox.requests == []


async def test_two_names_are_one_journal(
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path, tmp_path: Path
) -> None:
    """A symbolic link to a journal in use is in use."""
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    async with Journal(path):
        error = (await launcher.run(ChildConfig(sandbox.url, str(link)))).output["error"]
    assert error.startswith(f"{link}: is in use")
    assert sandbox.requests == []


# --- durability ---------------------------------------------------------------------------------------------------------


async def test_a_message_is_committed_before_its_request(
    sandbox: Sandbox, callbell: CallbellClient, path: Path
) -> None:
    """When a request arrives, its message is in the journal's file as `sending`."""
    states: list[str | None] = []

    def record_state(request: SandboxRequest) -> bool:
        key = request.document["metadata"].get("callbell_async_key")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT state FROM messages WHERE key = ?", (key,)).fetchone()
        states.append(found and found[0])
        return False

    messages: list[Message] = [message for message in MESSAGES if not message.metadata]
    sandbox.inject(Fault("never", lambda exchange: exchange.client_gone()), when=record_state)
    await callbell.send_many(messages, journal=Journal(path), concurrency=20)
    assert len(states) == len(sandbox.requests) > 200
    assert set(states) == {"sending"}


@pytest.mark.parametrize(("risk_power_loss", "level"), [(False, 2), (True, 1)])
async def test_it_waits_for_the_disk_without_risk_power_loss(path: Path, risk_power_loss: bool, level: int) -> None:
    """SQLite waits for the disk at each commit (`FULL`), with `risk_power_loss` only at checkpoints (`NORMAL`)."""
    async with Journal(path, risk_power_loss=risk_power_loss) as journal:
        store = writer_of(journal)._store
        assert isinstance(store, SQLiteStore)
        assert store._execute("PRAGMA synchronous").fetchone() == (level,)
        assert store._execute("PRAGMA journal_mode").fetchone() == ("wal",)
