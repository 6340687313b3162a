"""The default store: one SQLite file, used from one thread by one process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from callbell_async.errors import JournalError
from callbell_async.journal import files
from callbell_async.journal.states import IN_FLIGHT, State, StateEvent, next_state
from callbell_async.journal.store import (
    EVENT,
    HISTORY,
    LATEST,
    RESPONSE,
    Claim,
    ClaimRequest,
    ResultRow,
    Row,
    StatusReport,
    claim,
    crashed,
    with_report,
    with_result,
)

__all__ = ["SQLiteStore"]

APPLICATION_ID = 0x43424A31
"""SQLite's `application_id` of a journal."""
VERSION = 2
"""SQLite's `user_version`: of the tables below, and of the way a message's key follows from its content."""

SCHEMA = [
    *[
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL, run INTEGER NOT NULL,\n        input_index INTEGER NOT NULL, state TEXT NOT NULL, tried_at REAL NOT NULL, attempts INTEGER NOT NULL, finished_at REAL,\n        uuid TEXT, status TEXT, reason TEXT, resent INTEGER NOT NULL, confirmed_by TEXT, checksum INTEGER NOT NULL)",
        "CREATE INDEX messages_by_uuid ON messages (uuid) WHERE uuid IS NOT NULL",
        "CREATE TABLE journal (id TEXT NOT NULL, runs INTEGER NOT NULL, commits INTEGER NOT NULL, total INTEGER NOT NULL,\n        closed INTEGER NOT NULL, checksum INTEGER NOT NULL)",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL)",
    ]
]
"""`total` is the sum of the messages' checksums; `closed` is 1 when no process has the journal open for writing."""

BY_ID = "SELECT * FROM messages WHERE id IN (SELECT value FROM json_each(?))"
BY_KEY = "SELECT * FROM messages WHERE key IN (SELECT value FROM json_each(?))"
BY_UUID = "SELECT * FROM messages WHERE uuid = ? LIMIT 1"
BY_STATE = "SELECT * FROM messages WHERE state IN (SELECT value FROM json_each(?)) AND id > ? ORDER BY id LIMIT ?"
SAVE = "INSERT INTO messages VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}".format(  # noqa: S608 - names of columns
    ", ".join("?" * (len(Row._fields) + 1)),
    ", ".join(f"{name} = excluded.{name}" for name in (*Row._fields[2:], "checksum")),
)
SAVE_JOURNAL = "UPDATE journal SET id = ?, runs = ?, commits = ?, total = ?, closed = ?, checksum = ?"

BUSY_TIMEOUT = 10.0
"""The seconds for which a statement waits for another process."""
MAX_VALUE = 64 << 20
"""The most bytes in one value; only a crafted file has more."""

_STATE = Row._fields.index("state")
_STATES = {state.value: state for state in State}
_TYPES: tuple[tuple[type, ...], ...] = (
    *((int,), (str,), (bytes,), (int,), (int,), (str,), (float,), (int,), (float, type(None))),
    *((str, type(None)),) * 3,
    *((int,), (str, type(None)), (int,)),
)


class SQLiteStore:
    """A `JournalStore` in a file; see there.

    Raises `JournalError` for a file that can't be used, before anything is written.
    """

    def __init__(self, path: Path, *, read_only: bool, risk_power_loss: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._lock: files.LockFile | None = None
        self._failure: JournalError | None = None
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
        header = files.Header(self.id, self._commits, bool(self._closed))
        if self._read_only:
            header = header._replace(closed=True)
        if refused := files.refusal(path, header, note, self._file):
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
            connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (*first, _checksum(first)))
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
            sql for (sql,) in self._execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'")
        }
        if schema != set(SCHEMA):
            raise JournalError(self._broken)
        # Whoever only looks doesn't need the index.
        if self._one(f"PRAGMA {'quick' if self._read_only else 'integrity'}_check(1)") != "ok":
            raise JournalError(self._broken)
        journals = self._execute("SELECT * FROM journal LIMIT 2").fetchall()
        is_one = len(journals) == 1 and all(map(isinstance, journals[0], (str, *(int,) * 5)))
        if not is_one or _checksum(journals[0][:-1]) != journals[0][-1]:
            raise JournalError(self._broken)
        self.id, self._runs, self._commits, self._total, self._closed, _ = journals[0]
        total = last = 0
        # SQLite does not notice a changed byte in a value.
        for values in self._execute("SELECT * FROM messages ORDER BY id"):
            checksum = values[-1]
            if _checksum(values[:-1]) != checksum or not _is_valid(values):
                raise JournalError(self._broken)
            total, last = total + checksum, values[0]
        if total != self._total:
            raise JournalError(self._broken)
        self._next_id = last + 1

    def _begin_use(self) -> None:
        """Mark the journal as open, in the database file itself, and mark what a crashed process was sending as `UNKNOWN`."""
        self._execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            self._closed = 0
            in_flight = self._select(BY_STATE, json.dumps(IN_FLIGHT), 0, -1)
            self._save((crashed(row), checksum) for row, checksum in in_flight)
            self._touch()
        if self._execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]:
            raise JournalError(f"{self._path}: another process reads it for too long; try again when it has ended")

    def close(self) -> None:
        """Close the store; harmless when it is closed."""
        # What can't be written now is recovered the next time.
        with contextlib.suppress(sqlite3.Error, JournalError):
            if self._connection is not None and not self._read_only and self._failure is None:
                with self._transaction():
                    self._closed = 1
                    self._touch()
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
            self._touch()
        return int(self._runs)

    def record(
        self,
        results: Sequence[ResultRow],
        reports: Sequence[StatusReport],
        requests: Sequence[ClaimRequest],
        *,
        run: int,
        now: float,
    ) -> list[Claim]:
        """Write results, reports and new claims in one transaction, and return a claim for each request."""
        with self._transaction():
            if results:
                stored = {
                    row.id: (row, checksum)
                    for row, checksum in self._select(BY_ID, json.dumps([r.id for r in results]))
                }
                known = [(result, *stored[result.id]) for result in results if result.id in stored]
                self._save((with_result(row, result), checksum) for result, row, checksum in known)
            for report in reports:
                found = self._select(BY_KEY, json.dumps([report.key])) or self._select(BY_UUID, report.uuid)
                self._save((with_report(row, report), checksum) for row, checksum in found)
            return self._claim(requests, run, now) if requests else []

    def _claim(self, requests: Sequence[ClaimRequest], run: int, now: float) -> list[Claim]:
        stored = {
            row.key: (row, checksum) for row, checksum in self._select(BY_KEY, json.dumps([r.key for r in requests]))
        }
        known: dict[str, Row] = {key: row for key, (row, _) in stored.items()}
        claims = []
        for request in requests:
            one = claim(known.get(request.key), request, run=run, now=now, new_id=self._next_id)
            if one.granted:
                known[request.key] = one.row
                self._next_id += one.row.id == self._next_id
            claims.append(one)
        granted = [one.row for one in claims if one.granted]
        self._save((row, stored[row.key][1] if row.key in stored else 0) for row in granted)
        return claims

    def allow_resend(self, keys: Sequence[str]) -> list[str]:
        """Let the next run send these messages again, all or none; return the keys for which it is not allowed."""
        with self._transaction():
            found = {row.key: (row, checksum) for row, checksum in self._select(BY_KEY, json.dumps(keys))}
            changed = {
                key: (row._replace(state=state, reason="to be sent again"), checksum)
                for key, (row, checksum) in found.items()
                if (state := next_state(row.state, StateEvent.ALLOW_RESEND)) is not None
            }
            wrong = [key for key in keys if key not in changed]
            if not wrong:
                self._save(changed.values())
        return wrong

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""
        with self._transaction():
            self._the_connection.executemany(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text", notes.items()
            )
            self._touch()

    # --- read ---------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[str]) -> list[Row | None]:
        """Return the row of each key, or `None`, and claim nothing."""
        with self._translated_errors():
            found = {row.key: row for row, _ in self._select(BY_KEY, json.dumps(keys))}
        return [found.get(key) for key in keys]

    def with_uuid(self, uuid: str) -> Row | None:
        """Return the message with Callbell's uuid."""
        with self._translated_errors():
            return next((row for row, _ in self._select(BY_UUID, uuid)), None)

    def rows(self, states: Sequence[State], *, after: int, count: int) -> list[Row]:
        """Return at most `count` rows in these states with an id above `after`, in the order of their ids."""
        with self._translated_errors():
            return [row for row, _ in self._select(BY_STATE, json.dumps(states), after, count)]

    def counts(self) -> dict[State, int]:
        """Return the number of messages by state."""
        with self._translated_errors():
            found = self._execute("SELECT state, count(*) FROM messages GROUP BY state").fetchall()
        return {_STATES[state]: count for state, count in found}

    def statuses(self) -> dict[str | None, int]:
        """Return the number of accepted messages by status."""
        with self._translated_errors():
            return dict(
                self._execute(
                    "SELECT status, count(*) FROM messages WHERE state = ? GROUP BY status", State.ACCEPTED.value
                ).fetchall()
            )

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

    def _select(self, query: str, *values: object) -> list[tuple[Row, int]]:
        """Return rows, each with its checksum."""
        return [(self._row(found), found[-1]) for found in self._execute(query, *values)]

    def _row(self, values: tuple[Any, ...]) -> Row:
        # Only a file that another program has changed since it was opened has others.
        if not _is_valid(values):
            raise JournalError(self._broken)
        return Row._make((*values[:_STATE], _STATES[values[_STATE]], *values[_STATE + 1 : -1]))

    def _save(self, rows: Iterable[tuple[Row, int]]) -> None:
        """Insert or update rows, each given with its checksum so far (0 for a new one)."""
        values = []
        for row, before in rows:
            plain = (*row[:_STATE], row.state.value, *row[_STATE + 1 :])
            checksum = _checksum(plain)
            self._total += checksum - before
            values.append((*plain, checksum))
        if values:
            self._touched = True
            self._the_connection.executemany(SAVE, values)

    def _touch(self) -> None:
        self._touched = True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._read_only:
            raise JournalError(f"{self._path}: was opened for reading only")
        if self._failure is not None:
            raise self._failure
        try:
            with self._translated_errors():
                self._touched = False
                self._execute("BEGIN IMMEDIATE")
                yield
                if self._touched:
                    self._commits += 1
                    journal = (self.id, self._runs, self._commits, self._total, self._closed)
                    self._execute(SAVE_JOURNAL, *journal, _checksum(journal))
                self._execute("COMMIT")
                if self._touched and self._lock is not None:
                    self._lock.write(files.LockNote(self.id, self._commits, self._file))
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error, JournalError):
                self._execute("ROLLBACK")
            # What is in memory may be ahead of the file.
            failure = f"{self._path}: can't be written after {type(error).__name__}; start again"
            self._failure = error if isinstance(error, JournalError) else JournalError(failure)
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


def _checksum(values: tuple[Any, ...]) -> int:
    # `ascii`, because `repr` depends on the Python version for characters that are new to it.
    return zlib.crc32(ascii(values).encode())


def _is_valid(values: tuple[Any, ...]) -> bool:
    """Return whether these are the values of a row: each of its type, a known state, and times that `datetime` has."""
    if len(values) != len(_TYPES) or not all(map(isinstance, values, _TYPES)):
        return False
    tried_at, finished_at, confirmed_by = values[6], values[8], values[13]
    return (
        values[_STATE] in _STATES
        and 0 <= tried_at <= LATEST
        and (finished_at is None or 0 <= finished_at <= LATEST)
        and confirmed_by in (None, RESPONSE, EVENT, HISTORY)
    )
