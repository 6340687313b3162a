"""A journal that lacks messages, because a file was lost or is an older copy, is refused."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from callbell_async import CallbellClient, Journal, JournalError
from callbell_async.sandbox import Sandbox, SandboxRequest, faults
from tests.support.campaign_child import ChildConfig, campaign_messages
from tests.support.campaign_process import CampaignLauncher, entries_of, journal_violations, kill_fault

MESSAGES = campaign_messages(1, 300)


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Overwrite some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def log_of(path: Path) -> Path:
    """Return the path of SQLite's log, which has the last transactions."""
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
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path, loss: str
) -> None:
    """A lost or damaged log after a crash is an error that names the remedy, and nothing is sent."""
    config = ChildConfig(sandbox.url, str(path))
    sandbox.inject(kill_fault(launcher.kill, "answered"), times=1, when=lambda _: len(sandbox.requests) >= 300)
    assert (await launcher.run(config)).killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    LOSSES[loss](path)
    error = (await launcher.run(config)).output["error"]
    assert error.startswith(f"{path}: ")
    assert "transactions are missing" in error
    assert "empty spring.db-lock to continue without it" in error
    assert len(sandbox.requests) == requests


async def test_an_older_copy_sends_nothing(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """An older copy lacks messages: it is refused, unless the user accepts the risk."""
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
    """An older copy is also refused if the later run sent only messages that it has."""
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
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path, from_kill: bool
) -> None:
    """After a killed run, a copy of the journal alone is refused, made before the run or during it."""
    config = ChildConfig(sandbox.url, str(path), seed=1, size=600)
    # By a process too: a client that stays open would keep its connections, and `wait_disconnected` would wait for their end.
    assert (await launcher.run(config._replace(size=50))).output["counts"] == {"accepted": 50, "skipped": 2}
    copies = [path.read_bytes()]

    def copy(request: SandboxRequest) -> bool:
        if len(sandbox.requests) == 150:
            copies.append(path.read_bytes())
        return len(sandbox.requests) >= 400

    sandbox.inject(kill_fault(launcher.kill, "answered"), times=1, when=copy)
    assert (await launcher.run(config)).killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    path.write_bytes(copies[from_kill])
    log_of(path).unlink()
    assert "transactions are missing" in (await launcher.run(config)).output["error"]
    assert len(sandbox.requests) == requests


MOVES: dict[str, Callable[[Path, Path], object]] = {
    "moved": lambda path, to: path.rename(to),
    "copied": lambda path, to: to.write_bytes(path.read_bytes()),
}


@pytest.mark.parametrize("move", MOVES)
async def test_a_closed_journal_may_be_copied_alone(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path, move: str
) -> None:
    """A closed journal is complete in one file: a copy with another name sends nothing twice."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    MOVES[move](path, tmp_path / "autumn.db")
    assert (await callbell.send_many(MESSAGES, journal=Journal(tmp_path / "autumn.db"))).accepted == 0
    assert len(sandbox.messages) == 300


@pytest.mark.parametrize("side_files", [(), ("-lock",), ("-wal",)], ids=["alone", "with -lock", "with -wal"])
@pytest.mark.parametrize("move", MOVES)
async def test_a_killed_runs_journal_needs_all_its_files(
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path, tmp_path: Path, move: str, side_files: tuple[str, ...]
) -> None:
    """After a kill, a journal that was moved or copied without one of its files is refused, each time."""
    config = ChildConfig(sandbox.url, str(path), size=1000)
    sandbox.inject(kill_fault(launcher.kill, "answered"), times=1, when=lambda _: len(sandbox.requests) >= 400)
    assert (await launcher.run(config)).killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    other = tmp_path / "autumn.db"
    for ending in ("", *side_files):
        MOVES[move](Path(f"{path}{ending}"), Path(f"{other}{ending}"))
    for _ in range(2):
        error = (await launcher.run(config._replace(journal=str(other)))).output["error"]
        assert error.startswith(f"{other}: ")
    assert len(sandbox.requests) == requests


async def test_a_killed_runs_journal_may_be_moved_with_all_its_files(
    sandbox: Sandbox, launcher: CampaignLauncher, path: Path, tmp_path: Path
) -> None:
    """After a kill, a journal that is renamed with its side files works, and sends nothing twice."""
    config = ChildConfig(sandbox.url, str(path), size=1000)
    sandbox.inject(kill_fault(launcher.kill, "answered"), times=1, when=lambda _: len(sandbox.requests) >= 400)
    assert (await launcher.run(config)).killed
    await sandbox.wait_disconnected()
    other = tmp_path / "autumn.db"
    for ending in ("", "-wal", "-lock"):
        Path(f"{path}{ending}").rename(f"{other}{ending}")
    await launcher.run(config._replace(journal=str(other)))
    await sandbox.wait_disconnected()
    assert journal_violations(campaign_messages(0, 1000), sandbox.messages, await entries_of(other)) == []


@pytest.mark.parametrize("order_of_files", [("", "-wal", "-lock"), ("-lock", "-wal", ""), ("-wal", "", "-lock")])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_copy_made_during_a_run_sends_nothing(
    sandbox: Sandbox,
    launcher: CampaignLauncher,
    path: Path,
    tmp_path: Path,
    order_of_files: tuple[str, ...],
    killed: bool,
) -> None:
    """A copy that was made file by file during a run is refused, because it lacks later messages."""
    config = ChildConfig(sandbox.url, str(path), size=2000)
    other = tmp_path / "autumn.db"
    not_copied = list(order_of_files)

    def copy(request: SandboxRequest) -> bool:
        if not_copied and len(sandbox.requests) >= 300 * (4 - len(not_copied)):
            ending = not_copied.pop(0)
            Path(f"{other}{ending}").write_bytes(Path(f"{path}{ending}").read_bytes())
        return killed and len(sandbox.requests) >= 1500

    sandbox.inject(kill_fault(launcher.kill, "answered"), times=1, when=copy)
    assert (await launcher.run(config)).killed is killed
    await sandbox.wait_disconnected()
    requests = len(sandbox.requests)
    assert str((await launcher.run(config._replace(journal=str(other)))).output["error"]).startswith(f"{other}: ")
    assert len(sandbox.requests) == requests


async def test_a_journal_with_two_names_sends_nothing(
    sandbox: Sandbox, callbell: CallbellClient, path: Path, tmp_path: Path
) -> None:
    """A journal with a hard link is refused, because two processes could use it under two names."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    (tmp_path / "autumn.db").hardlink_to(path)
    for name in (path, tmp_path / "autumn.db"):
        with pytest.raises(JournalError, match="has a second name"):
            await callbell.send_many(MESSAGES, journal=Journal(name))


async def test_a_file_that_is_mounted_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is a mount point, as in a container that has this one file, is refused: another container may use it, too."""
    path = tmp_path / "the spring.db"
    async with Journal(path):
        pass
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr("callbell_async.journal.files.MOUNTS", mounts)
    line = "36 35 98:0 /data {} rw,noatime shared:1 - ext4 /dev/root rw\n"
    mounts.write_text(line.format("/") + line.format(str(path).replace(" ", "\\040")))
    with pytest.raises(JournalError, match="mount its directory"):
        await Journal(path).open()
    mounts.write_text(line.format("/") + line.format(tmp_path))
    async with Journal(path):
        pass


async def test_a_log_without_its_journal_is_an_error(
    sandbox: Sandbox, callbell: CallbellClient, launcher: CampaignLauncher, path: Path
) -> None:
    """If only the log is left after a crash, no new journal is created over it."""
    sandbox.inject(kill_fault(launcher.kill, "answered"), times=1)
    await launcher.run(ChildConfig(sandbox.url, str(path)))
    await sandbox.wait_disconnected()
    path.unlink()
    requests = len(sandbox.requests)
    with pytest.raises(JournalError) as caught:
        await callbell.send_many(MESSAGES, journal=Journal(path))
    assert str(caught.value).startswith(f"{path}: is missing, but spring.db-wal is there")
    assert len(sandbox.requests) == requests


async def test_an_unwritten_lock_file_does_no_harm(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """A `-lock` of zeros, as after a power failure, is accepted and written again."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    before = Path(f"{path}-lock").read_bytes()
    Path(f"{path}-lock").write_bytes(bytes(20))
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 0
    assert len(Path(f"{path}-lock").read_bytes()) == len(before)


async def test_a_deleted_journal_is_created_again(sandbox: Sandbox, callbell: CallbellClient, path: Path) -> None:
    """After the user has deleted the journal, a new one is created, whatever its `-lock` contains."""
    await callbell.send_many(MESSAGES, journal=Journal(path))
    path.unlink()
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 300
    assert (await callbell.send_many(MESSAGES, journal=Journal(path))).accepted == 0
