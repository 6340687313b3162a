"""The default store: one SQLite file, used from one thread by one process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from callbell_async.errors import JournalError
from callbell_async.journal import files
from callbell_async.journal.states import IN_FLIGHT, State
from callbell_async.journal.store import LATEST, STATE, Column, JournalStore, Row, crashed, row_from
from callbell_async.models.journal import Confirmation

__all__ = ["SQLiteStore"]

APPLICATION_ID = 0x43424A31
"""SQLite's `application_id` of a journal."""
VERSION = 2
"""SQLite's `user_version`: of the tables below, and of the way a message's key follows from its content."""

_MESSAGES = """CREATE TABLE messages (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL, run INTEGER NOT NULL, input_index INTEGER NOT NULL,
    state TEXT NOT NULL, tried_at REAL NOT NULL, attempts INTEGER NOT NULL, finished_at REAL, uuid TEXT, status TEXT, reason TEXT,
    resent INTEGER NOT NULL, confirmed_by TEXT, version INTEGER NOT NULL
)"""
_JOURNAL = """CREATE TABLE journal (
    id TEXT NOT NULL, runs INTEGER NOT NULL, commits INTEGER NOT NULL, total INTEGER NOT NULL, closed INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)"""
SCHEMA = (_MESSAGES, _JOURNAL, "CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL)")
"""`total` is the sum of the messages' versions, which are checksums; `closed` is 1 when no process has the journal open for writing."""

SELECT: Mapping[Column, str] = {
    "id": "SELECT * FROM messages WHERE id IN (SELECT value FROM json_each(?))",
    "key": "SELECT * FROM messages WHERE key IN (SELECT value FROM json_each(?))",
    "uuid": "SELECT * FROM messages WHERE uuid = ? LIMIT 1",
    "state": "SELECT * FROM messages WHERE state IN (SELECT value FROM json_each(?)) AND id > ? ORDER BY id LIMIT ?",
}
INSERT = f"INSERT INTO messages VALUES ({', '.join('?' * len(Row._fields))})"  # noqa: S608 - question marks
UPDATE = (
    "UPDATE messages SET body = ?, run = ?, input_index = ?, state = ?, tried_at = ?, attempts = ?, finished_at = ?, uuid = ?,"
    " status = ?, reason = ?, resent = ?, confirmed_by = ?, version = ? WHERE id = ? AND version = ?"
)
BY_UUID_INDEX = "CREATE INDEX messages_by_uuid ON messages (uuid) WHERE uuid IS NOT NULL"
"""Created when it is first needed: a run without events does not pay for it."""
SAVE_JOURNAL = "UPDATE journal SET id = ?, runs = ?, commits = ?, total = ?, closed = ?, checksum = ?"

BODY = Row._fields.index("body")
_STATES = frozenset(state.value for state in State)
_TYPES: tuple[tuple[type, ...], ...] = (
    *((int,), (str,), (bytes,), (int,), (int,), (str,), (float,), (int,), (float, type(None))),
    *((str, type(None)),) * 3,
    *((int,), (str, type(None)), (int,)),
)


def row_checksum(values: Sequence[Any]) -> int:
    """Return the checksum of a row of `messages`, which ends with its checksum."""
    # 0 is the version of a row that is not stored.
    return zlib.crc32(values[BODY], checksum((*values[:BODY], *values[BODY + 1 : -1]))) or 1


def checksum(values: tuple[Any, ...]) -> int:
    """Return the checksum of some values."""
    # `ascii`, because `repr` depends on the Python version for characters that are new to it.
    return zlib.crc32(ascii(values).encode())


def is_valid(values: tuple[Any, ...]) -> bool:
    """Return whether these are the values of a row: each of its type, a known state, and times that `datetime` has."""
    if len(values) != len(_TYPES) or not all(map(isinstance, values, _TYPES)):
        return False
    tried_at, finished_at, confirmed_by = values[6], values[8], values[13]
    return (
        values[STATE] in _STATES
        and 0 <= tried_at <= LATEST
        and (finished_at is None or 0 <= finished_at <= LATEST)
        and confirmed_by in (None, *get_args(Confirmation))
    )


T = TypeVar("T")

BUSY_TIMEOUT = 10.0
"""The seconds for which a statement waits for another process."""
MAX_VALUE = 64 << 20
"""The most bytes in one value; only a crafted file has more."""


class SQLiteStore(JournalStore):
    """A `JournalStore` in a file; see there.

    Raises `JournalError` for a file that can't be used, before anything is written.
    """

    def __init__(self, path: Path, *, read_only: bool, risk_power_loss: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._lock: files.LockFile | None = None
        self._broken = f"{path}: is damaged, or not a journal; restore a good copy, or begin a new journal where no message may be sent twice"
        try:
            with self._translated_errors():
                self._open(risk_power_loss)
        except BaseException:
            self._release()
            raise

    # --- open and close -----------------------------------------------------------------------------------------------

    def _open(self, risk_power_loss: bool) -> None:
        path = self._path
        files.check_place(path, read_only=self._read_only)
        if self._read_only:
            # Read before the database, so that the database is never behind it.
            note = files.read_note(path)
        else:
            self._lock = files.LockFile(path)
            note = self._lock.note
            files.check_side_files(path)
            if not path.exists():
                self._create()
        self._connect(risk_power_loss)
        self._execute("BEGIN")
        self._check()
        self._execute("COMMIT")
        self._file = path.stat().st_ino
        current = files.LockNote(self.id, self._commits, self._file)
        if refused := files.refusal(path, current, note, is_closed=self._read_only or bool(self._closed)):
            raise JournalError(refused)
        if not self._read_only:
            self._begin_use()

    def _create(self) -> None:
        """Create an empty journal, complete or not at all: a journal that is empty by accident would be one that was lost."""
        log, draft = files.beside(self._path, "-wal"), files.beside(self._path, "-new")
        if log.exists() and log.stat().st_size:
            raise JournalError(
                f"{self._path}: is missing, but {log.name} is there, which holds its last transactions;"
                " restore the journal, or delete that file too to begin a new journal"
            )
        draft.unlink(missing_ok=True)
        # It will hold recipients and texts.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600))
        first = (secrets.token_hex(8), 0, 1, 0, 1)
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA journal_mode = OFF; BEGIN; {'; '.join(SCHEMA)};"
                f" PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"
            )
            connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (*first, checksum(first)))
        draft.replace(files.beside(self._path, ""))

    def _connect(self, risk_power_loss: bool) -> None:
        file = files.beside(self._path, "")
        mode = "ro" if self._read_only else "rw"
        if self._read_only and not files.beside(file, "-wal").exists() and not os.access(file.parent, os.W_OK):
            # Nobody writes it, and SQLite would create files beside it.
            mode += "&immutable=1"
        connection = sqlite3.connect(
            f"{file.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT,
        )
        self._connection = connection
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
        # A crafted schema must not run functions, and a damaged page must not be trusted.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            raise JournalError(f"{self._path}: is not a journal of this library; give the path of another file")
        if self._one("PRAGMA user_version") != VERSION:
            raise JournalError(
                f"{self._path}: was written by another version of this library; continue with that version, or begin a new journal"
            )
        # FULL waits for the disk at each commit. On macOS only a full fsync does.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if risk_power_loss else 'FULL'}")
        connection.execute("PRAGMA fullfsync = 1")

    def _check(self) -> None:
        """Find what is damaged or missing: a message that is not found under its key would be sent again."""
        schema = {
            statement
            for (statement,) in self._execute(
                "SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
            )
        }
        self._has_uuid_index = BY_UUID_INDEX in schema
        if schema - {BY_UUID_INDEX} != set(SCHEMA):
            raise JournalError(self._broken)
        # Reading does not use the index.
        if self._one(f"PRAGMA {'quick' if self._read_only else 'integrity'}_check(1)") != "ok":
            raise JournalError(self._broken)
        journals = self._execute("SELECT * FROM journal LIMIT 2").fetchall()
        is_one = len(journals) == 1 and all(map(isinstance, journals[0], (str, *(int,) * 5)))
        if not is_one or checksum(journals[0][:-1]) != journals[0][-1]:
            raise JournalError(self._broken)
        self.id, self._runs, self._commits, self._total, self._closed, _ = journals[0]
        total = last = 0
        # SQLite does not notice a changed byte in a value.
        for values in self._execute("SELECT * FROM messages ORDER BY id"):
            if not is_valid(values) or row_checksum(values) != values[-1]:
                raise JournalError(self._broken)
            total, last = total + values[-1], values[0]
        if total != self._total:
            raise JournalError(self._broken)
        self._next_id = last + 1

    def _begin_use(self) -> None:
        """Mark the journal as open, in the database file itself, and mark what a crashed process was sending as `UNKNOWN`."""
        self._execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            self._closed = 0
            self._runs += 1
            self.single_run = self._runs
            self._save([crashed(row) for row in self._select("state", IN_FLIGHT, 0, -1)])
            self._touched = True
        if self._execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]:
            raise JournalError(f"{self._path}: another process reads it for too long; try again when it has ended")

    def close(self) -> None:
        """Close the store; harmless when it is closed."""
        # A journal that can't be closed in order is recovered the next time.
        with contextlib.suppress(sqlite3.Error, JournalError):
            if self._connection is not None and not self._read_only and self.failure is None:
                with self._transaction():
                    self._closed = 1
                    self._touched = True
                self._execute("PRAGMA wal_checkpoint(FULL)")
        self._release()

    def _release(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # --- write --------------------------------------------------------------------------------------------------------

    def begin_run(self) -> int:
        """Return the number of a new run."""
        with self._transaction():
            self._runs += 1
            self._touched = True
        return int(self._runs)

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""
        with self._transaction():
            self._the_connection.executemany(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text", notes.items()
            )
            self._touched = True

    # --- read ---------------------------------------------------------------------------------------------------------

    def counts(self) -> list[tuple[State, str | None, int]]:
        """Return the number of messages of each state and status."""
        with self._translated_errors():
            found = self._execute("SELECT state, status, count(*) FROM messages GROUP BY state, status").fetchall()
        return [(State(state), status, count) for state, status, count in found]

    def notes(self) -> dict[str, str]:
        """Return the notes of the program."""
        with self._translated_errors():
            notes = dict(self._execute("SELECT name, text FROM notes").fetchall())
        if not all(isinstance(text, str) for pair in notes.items() for text in pair):
            raise JournalError(self._broken)
        return notes

    # --- the file -----------------------------------------------------------------------------------------------------

    @property
    def _the_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError(f"{self._path}: is closed")
        return self._connection

    def _execute(self, query: str, *values: object) -> sqlite3.Cursor:
        return self._the_connection.execute(query, values)

    def _one(self, query: str) -> Any:
        found = self._execute(query).fetchone()
        return None if found is None else found[0]

    def _select(self, column: Column, *values: Any, lock: bool = False) -> list[Row]:
        if column == "uuid":
            if not self._has_uuid_index:
                self._execute(BY_UUID_INDEX)
                self._has_uuid_index = self._touched = True
        else:
            values = (json.dumps(values[0]), *values[1:])
        # The values were checked when the journal was opened.
        return [*map(row_from, self._execute(SELECT[column], *values))]

    def _save(self, rows: Sequence[Row]) -> Sequence[Row]:
        execute = self._the_connection.execute
        stored = []
        for row in rows:
            values: list[Any] = [*row]
            values[STATE] = row.state.value
            if not row.id:
                values[0] = self._next_id
                self._next_id += 1
            version = values[-1] = row_checksum(values)
            if row.id:
                is_stored = execute(UPDATE, (*values[BODY:], row.id, row.version)).rowcount == 1
            else:
                is_stored = execute(INSERT, values).rowcount == 1
            if is_stored:
                self._total += version - row.version
                stored.append(Row._make((values[0], *row[1:-1], version)))
        self._touched |= bool(stored)
        return stored

    def _read(self, work: Callable[[], T]) -> T:
        with self._translated_errors():
            return work()

    def _write(self, work: Callable[[], T]) -> T:
        with self._transaction():
            return work()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._read_only:
            raise JournalError(f"{self._path}: was opened for reading only")
        if self.failure is not None:
            raise self.failure
        try:
            with self._translated_errors():
                self._touched = False
                self._execute("BEGIN IMMEDIATE")
                yield
                if self._touched:
                    self._commits += 1
                    journal = (self.id, self._runs, self._commits, self._total, self._closed)
                    self._execute(SAVE_JOURNAL, *journal, checksum(journal))
                self._execute("COMMIT")
                if self._touched and self._lock is not None:
                    self._lock.write(files.LockNote(self.id, self._commits, self._file))
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error, JournalError):
                self._execute("ROLLBACK")
            # The counters in memory may be ahead of the file.
            failure = f"{self._path}: can't be written after {type(error).__name__}; start again"
            self.failure = error if isinstance(error, JournalError) else JournalError(failure)
            raise

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(self._describe(error)) from error
        except UnicodeDecodeError as error:
            # SQLite quotes what it can't read.
            raise JournalError(self._broken) from error
        except OSError as error:
            remedy = "; make room and start again" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
            raise JournalError(f"{self._path}: can't be used as a journal ({error.strerror}{remedy})") from error

    def _describe(self, error: sqlite3.Error) -> str:
        name: str = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith("SQLITE_FULL"):
            return f"{self._path}: the disk is full; make room and start again (nothing was sent that is not recorded)"
        if name.startswith("SQLITE_IOERR"):
            return f"{self._path}: the disk can't be written or read ({error}); start again when it can"
        if name.startswith("SQLITE_BUSY"):
            return f"{self._path}: another process has locked it for too long; try again when it has ended"
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
            return f"{self._path}: can't be used as a journal ({error})"
        return self._broken
