"""The default store: one SQLite file, used from one thread by one process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from callbell_async.errors import JournalError
from callbell_async.journal import files
from callbell_async.journal import sqlite_rows as sql
from callbell_async.journal.states import IN_FLIGHT, State
from callbell_async.journal.store import (
    STATE,
    Claim,
    ClaimRequest,
    ResultRow,
    Row,
    StatusReport,
    claimed,
    crashed,
    reported,
    resendable,
    row_from,
    with_result,
)

__all__ = ["SQLiteStore"]

BUSY_TIMEOUT = 10.0
"""The seconds for which a statement waits for another process."""
MAX_VALUE = 64 << 20
"""The most bytes in one value; only a crafted file has more."""


class SQLiteStore:
    """A `JournalStore` in a file; see there.

    Raises `JournalError` for a file that can't be used, before anything is written.
    """

    def __init__(self, path: Path, *, read_only: bool, risk_power_loss: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._lock: files.LockFile | None = None
        self.failure: JournalError | None = None
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
                f"PRAGMA journal_mode = OFF; BEGIN; {'; '.join(sql.SCHEMA)};"
                f" PRAGMA application_id = {sql.APPLICATION_ID}; PRAGMA user_version = {sql.VERSION}; COMMIT"
            )
            connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (*first, sql.checksum(first)))
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
        if self._one("PRAGMA application_id") != sql.APPLICATION_ID:
            raise JournalError(f"{self._path}: is not a journal of this library; give the path of another file")
        if self._one("PRAGMA user_version") != sql.VERSION:
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
        self._has_uuid_index = sql.BY_UUID_INDEX in schema
        if schema - {sql.BY_UUID_INDEX} != set(sql.SCHEMA):
            raise JournalError(self._broken)
        # Reading does not use the index.
        if self._one(f"PRAGMA {'quick' if self._read_only else 'integrity'}_check(1)") != "ok":
            raise JournalError(self._broken)
        journals = self._execute("SELECT * FROM journal LIMIT 2").fetchall()
        is_one = len(journals) == 1 and all(map(isinstance, journals[0], (str, *(int,) * 5)))
        if not is_one or sql.checksum(journals[0][:-1]) != journals[0][-1]:
            raise JournalError(self._broken)
        self.id, self._runs, self._commits, self._total, self._closed, _ = journals[0]
        total = last = 0
        # SQLite does not notice a changed byte in a value.
        for values in self._execute("SELECT * FROM messages ORDER BY id"):
            if not sql.is_valid(values) or sql.row_checksum(values) != values[-1]:
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
            in_flight = self._select(sql.BY_STATE, json.dumps(IN_FLIGHT), 0, -1)
            self._save([crashed(row) for row in in_flight])
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
            self._finish(results)
            for report in reports:
                named = next(iter(self._select(sql.BY_KEY, json.dumps([report.key]))), None)
                holder = next(iter(self._by_uuid(report.uuid)), None)
                self._save(reported(named, holder, report))
            return self._claim(requests, run, now) if requests else []

    def _finish(self, results: Sequence[ResultRow]) -> None:
        if results:
            # The rows have changed since the claim if an event came first, or another process has opened the journal.
            by_id = {result.row.id: result for result in results}
            self._save([with_result(row, by_id[row.id]) for row in self._select(sql.BY_ID, json.dumps([*by_id]))])

    def _claim(self, requests: Sequence[ClaimRequest], run: int, now: float) -> list[Claim]:
        known = {row.key: row for row in self._select(sql.BY_KEY, json.dumps([request.key for request in requests]))}
        rows, granted = [], []
        for request in requests:
            row = claimed(known.get(request.key), request, run=run, now=now, new_id=self._next_id)
            if row is not None:
                known[request.key] = row
                self._next_id += row.id == self._next_id
                granted.append(row)
            rows.append(row)
        saved = iter(self._save(granted))
        return [
            Claim(known[request.key], granted=False) if row is None else Claim(next(saved), granted=True)
            for request, row in zip(requests, rows, strict=True)
        ]

    def allow_resend(self, keys: Sequence[str]) -> list[str]:
        """Let the next run send these messages again, all or none; return the keys for which it is not allowed."""
        with self._transaction():
            changed, wrong = resendable(self._select(sql.BY_KEY, json.dumps(keys)), keys)
            if not wrong:
                self._save(changed)
        return wrong

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""
        with self._transaction():
            self._open_connection.executemany(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text", notes.items()
            )
            self._touched = True

    # --- read ---------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[str]) -> list[Row | None]:
        """Return the row of each key, or `None`, and claim nothing."""
        with self._translated_errors():
            found = {row.key: row for row in self._select(sql.BY_KEY, json.dumps(keys))}
        return [found.get(key) for key in keys]

    def with_uuid(self, uuid: str) -> Row | None:
        """Return the message with Callbell's uuid."""
        with self._transaction():
            return next(iter(self._by_uuid(uuid)), None)

    def _by_uuid(self, uuid: str | None) -> list[Row]:
        if not self._has_uuid_index:
            self._execute(sql.BY_UUID_INDEX)
            self._has_uuid_index = self._touched = True
        return self._select(sql.BY_UUID, uuid)

    def rows(self, states: Sequence[State], *, after: int, count: int) -> list[Row]:
        """Return at most `count` rows in these states with an id above `after`, in the order of their ids."""
        with self._translated_errors():
            return self._select(sql.BY_STATE, json.dumps(states), after, count)

    def counts(self) -> dict[State, int]:
        """Return the number of messages by state."""
        with self._translated_errors():
            found = self._execute("SELECT state, count(*) FROM messages GROUP BY state").fetchall()
        return {State(state): count for state, count in found}

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
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError(f"{self._path}: is closed")
        return self._connection

    def _execute(self, query: str, *values: object) -> sqlite3.Cursor:
        return self._open_connection.execute(query, values)

    def _one(self, query: str) -> Any:
        found = self._execute(query).fetchone()
        return None if found is None else found[0]

    def _select(self, query: str, *values: object) -> list[Row]:
        # The values were checked when the journal was opened.
        return [*map(row_from, self._execute(query, *values))]

    def _save(self, rows: Sequence[Row]) -> list[Row]:
        """Insert new rows, and update others; return them as they are stored."""
        new, known, stored = [], [], []
        for row in rows:
            values: list[Any] = [*row]
            values[STATE] = row.state.value
            version = values[-1] = sql.row_checksum(values)
            self._total += version - row.version
            stored.append(Row._make((*row[:-1], version)))
            if row.version:
                known.append((*values[sql.BODY :], row.id))
            else:
                new.append(values)
        self._touched |= bool(rows)
        self._open_connection.executemany(sql.INSERT, new)
        self._open_connection.executemany(sql.UPDATE, known)
        return stored

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
                    self._execute(sql.SAVE_JOURNAL, *journal, sql.checksum(journal))
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
