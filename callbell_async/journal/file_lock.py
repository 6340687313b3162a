"""One process at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from callbell_async.errors import JournalError

__all__ = ["FileLock", "beside"]


def beside(path: Path, end: str) -> Path:
    """The file whose name is a journal's with `end` behind it; the same for all symbolic links to one journal."""
    return Path(os.path.realpath(path) + end)


class FileLock:
    """Holds a journal for this process until it is released, or until the process ends, however it ends.

    An empty file beside the journal is locked, by SQLite's own means, which work on every system: the journal itself stays readable.
    Raises `JournalError` when somebody else holds it, `OSError` and `sqlite3.Error` when it can't be made.
    """

    def __init__(self, path: Path) -> None:
        lock = beside(path, "-lock")
        # Only where there is none: who closes a file gives up the locks that this process has on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._connection = sqlite3.connect(lock, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            # Nothing is ever written to it that would have to be rolled back.
            self._connection.execute("PRAGMA journal_mode = OFF")
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise JournalError(
                    f"{path}: is in use, by another process or in this one; a journal sends from one place at a time"
                ) from None
            raise JournalError(
                f"{path}: the file beside it, {lock.name}, can't be used as its lock ({error}); remove it if nobody sends with this journal"
            ) from error

    def release(self) -> None:
        """Let others have it. The empty file stays: who removed it could lock out nobody."""
        self._connection.close()
