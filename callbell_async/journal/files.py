"""The files of a journal: one process at a time, and protection against lost, older and copied files.

SQLite opens a file whose log (`-wal`) was deleted, an older copy, and a mix of both without an error. The messages that are missing
then would be sent again. Three facts together show it:

- The database counts its committed transactions. The file `-lock` holds that number too, written after each commit.
- The database is marked as open before the first message is sent, and as closed at the end. A closed one is complete, so it
  may be copied alone. An open one needs its `-lock`, which also names the database file by its number in the file system: a
  copy has another number.
- The database holds the sum of its rows' checksums, which no mix of older and newer pages has.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from callbell_async.errors import JournalError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["SIDE_FILES", "LockFile", "LockNote", "beside", "check_place", "check_side_files", "refusal"]

SIDE_FILES = ("-wal", "-shm", "-journal", "-lock", "-new")
"""The endings of the files that a journal has beside it, or may have."""

MOUNTS = Path("/proc/self/mountinfo")
"""The mount points of this process; only Linux has this file."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NOTE = re.compile(rb"callbell_async journal ([0-9a-f]{16}), transactions +(\d+), file +(\d+)\n")


class LockNote(NamedTuple):
    """The content of `-lock`: the journal's id, its number of committed transactions, and the number of its file."""

    id: str
    commits: int
    file: int


def beside(path: Path, ending: str) -> Path:
    """Return the side file of a journal; the same for all symbolic links to one journal."""
    return Path(os.path.realpath(path) + ending)


def refusal(path: Path, current: LockNote, note: LockNote | None, *, is_closed: bool) -> str | None:
    """Return why a journal must not be used to send messages, or `None`. Without a note (an empty `-lock`) nothing is compared."""
    if note is None:
        return None
    lock = beside(path, "-lock").name
    if note.id == current.id and note.commits > current.commits:
        return (
            f"{path}: {note.commits - current.commits} transactions are missing, as when {beside(path, '-wal').name} was deleted, or"
            f" this is an older copy; restore what is missing, or empty {lock} to continue without it: messages may be sent twice"
        )
    if is_closed or (note.id == current.id and note.file == current.file):
        return None
    return (
        f"{path}: was not closed, and is a copy, or {lock} does not belong to it; use the original with all files beside it,"
        f" or make {lock} an empty file to continue: messages may be sent twice"
    )


def check_place(path: Path, *, read_only: bool) -> None:
    """Raise `JournalError` if no journal can be at this path."""
    if path.is_dir():
        raise JournalError(f"{path}: is a directory; give the path of a file in it")
    if not path.parent.is_dir():
        raise JournalError(f"{path}: the directory {path.parent} does not exist; create it first")
    if path.exists() and not path.is_file():
        raise JournalError(f"{path}: is not a regular file; give the path of one")
    if read_only and not path.exists():
        raise JournalError(f"{path}: does not exist")
    if not read_only and _is_mount_point(beside(path, "")):
        raise JournalError(
            f"{path}: is mounted as a single file, which could be used elsewhere at the same time, and has its last transactions in"
            " other files; mount its directory"
        )


def _is_mount_point(file: Path) -> bool:
    try:
        mounts = MOUNTS.read_bytes()
    except OSError:
        return False
    # proc_pid_mountinfo(5): the fifth field is the mount point, in which blanks and backslashes are octal numbers.
    name = re.sub(rb"[ \t\n\\]", lambda found: b"\\%03o" % ord(found[0]), os.fsencode(file))
    return any(line.split(b" ")[4:5] == [name] for line in mounts.splitlines())


def check_side_files(path: Path) -> None:
    """Raise `JournalError` for a journal with two names, and for a side file that another user has put there."""
    if path.exists() and path.stat().st_nlink > 1:
        raise JournalError(
            f"{path}: has a second name (a hard link), under which it could be used at the same time; delete one"
        )
    for ending in ("", "-wal", "-shm", "-journal"):
        side = beside(path, ending)
        with contextlib.suppress(FileNotFoundError):
            _check_file(path, side, os.lstat(side))


def _check_file(path: Path, side: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"{path}: {side.name} is not a regular file; delete it")
    if hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise JournalError(
            f"{path}: {side.name} belongs to another user, or others may write it; it must be yours alone"
        )


class LockFile:
    """The lock of a journal, and the note of its last transaction, in one file beside it.

    It is held until `release`, or until the process ends. `flock` is used because it does not end when another part of the
    process opens and closes the file, as a backup does. Raises `JournalError` if another holder has it, and `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = beside(path, "-lock")
        created = True
        try:
            self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600)
        except FileExistsError:
            created = False
            self._fd = _open_existing(path, self._file)
        try:
            _check_file(path, self._file, os.fstat(self._fd))
            _lock(path, self._fd)
            if created:
                self.write(LockNote("0" * 16, 0, 0))
            self.note = read_note(path)
        except BaseException:
            if created:
                # Empty, it would mean that the user accepts the risk.
                self._file.unlink(missing_ok=True)
            os.close(self._fd)
            raise
        _held.add(self)

    def write(self, note: LockNote) -> None:
        """Replace the note; a killed process loses nothing of it."""
        line = f"callbell_async journal {note.id}, transactions {note.commits:>20}, file {note.file:>20}\n"
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, line.encode())

    def release(self) -> None:
        """Release the lock. The file stays: it shows which transaction was the last."""
        _held.discard(self)
        os.close(self._fd)


def read_note(path: Path) -> LockNote | None:
    """Return the content of `-lock`; `None` if it is missing, empty, or only zeros, as after a power failure."""
    try:
        fd = os.open(beside(path, "-lock"), os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read(200)
    found = _NOTE.fullmatch(content)
    if found is None:
        if content.strip(b"\0\n "):
            raise JournalError(f"{path}: {beside(path, '-lock').name} is not a lock file of this library; move it away")
        return None
    return LockNote(found[1].decode(), int(found[2]), int(found[3]))


def _open_existing(path: Path, lock: Path) -> int:
    try:
        return os.open(lock, os.O_RDWR | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise JournalError(f"{path}: {lock.name} can't be used as a lock file ({error.strerror}); delete it") from error


def _lock(path: Path, fd: int) -> None:
    try:
        if sys.platform == "win32":
            # Beyond the note, because no other handle can read a locked byte.
            os.lseek(fd, 1 << 20, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError | PermissionError):
            raise JournalError(
                f"{path}: is in use, by another process or by this one; only one may send with it"
            ) from None
        raise


_held: WeakSet[LockFile] = WeakSet()


def _release_in_child() -> None:
    # Otherwise a forked process would keep the lock after its owner has ended.
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
