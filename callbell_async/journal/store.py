"""The journal's file: SQLite, used from one thread. Nothing here knows a loop or a client."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from callbell_async.errors import JournalError
from callbell_async.journal.lock import FileLock
from callbell_async.models.messages import is_news

__all__ = ["COLUMNS", "Intent", "Known", "Row", "Settled", "Sighting", "Store"]

APPLICATION = 0x43424A31
"""SQLite's `application_id` of a journal: what tells it from another program's database."""
VERSION = 1
"""SQLite's `user_version`: of the tables below, and of how a message's key follows from what is sent."""

TRYING = "trying"
AGAIN = ("rejected", "never_sent", "skipped")
"""What a later run tries again: no copy of it can exist."""

MOST_UNINDEXED = 1 << 16
"""Keys are indexed in sorted batches of so many: one by one, each would write a page of its own, which costs more than all else together."""

ROWS_AT_ONCE = 500
"""In one statement; SQLite counts its question marks."""

SCHEMA = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    run INTEGER NOT NULL,
    place INTEGER NOT NULL,
    state TEXT NOT NULL,
    tried_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    settled_at REAL,
    uuid TEXT,
    status TEXT,
    reason TEXT
);
CREATE TABLE keys (key TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO marks VALUES ('runs', 0), ('indexed', 0);
"""

COLUMNS = "id, key, body, run, place, state, tried_at, attempts, settled_at, uuid, status, reason"


class Row(NamedTuple):
    """A row of `entries`."""

    id: int
    key: str
    body: bytes
    run: int
    place: int
    state: str
    tried_at: float
    attempts: int = 0
    settled_at: float | None = None
    uuid: str | None = None
    status: str | None = None
    reason: str | None = None


Intent = tuple[str, bytes, int]
"""A message about to be tried: its key, its body, and its place in the input. Plain tuples: there is one for every message of a campaign."""

Settled = tuple[str, str | None, str | None, int, float, str | None, int]
"""What became of an intent: state, uuid, status, attempts, time, reason; and its number."""


class Sighting(NamedTuple):
    """What was heard of a message afterwards: named by its key, which proves that Callbell has it, or by its uuid."""

    key: str | None
    uuid: str | None
    status: str | None
    at: float
    reason: str | None = None


class Known(NamedTuple):
    """An intent that is not to be tried: what the journal has under its key."""

    row: Row
    this_run: bool


class Store:
    """One journal's file, open; all its methods raise `JournalError` for a file that can't be used.

    After a failed write nothing is written any more: what is in the file is true, and what isn't was not sent.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool,
        risk_power_loss: bool,
    ) -> None:
        self._path = path
        self._read_only = read_only
        self._unindexed: set[str] = set()
        self._failed: JournalError | None = None
        self._lock: FileLock | None = None
        self._check_place()
        if not read_only:
            self._lock = FileLock(path)
        try:
            with self._told():
                if not read_only and not path.exists():
                    self._create()
                self._connection = self._connect(risk_power_loss)
                self._next_id = self._number("SELECT coalesce(max(id), 0) + 1 FROM entries")
                self._indexed = self._number("SELECT value FROM marks WHERE name = 'indexed'")
                if not read_only:
                    self._recover()
        except BaseException:
            self.close()
            raise

    def _check_place(self) -> None:
        if self._path.is_dir():
            raise JournalError(f"{self._path}: is a directory; give the path of a file in it")
        if not self._path.parent.is_dir():
            raise JournalError(f"{self._path}: the directory {self._path.parent} isn't there; make it first")
        if self._path.exists() and not self._path.is_file():
            raise JournalError(f"{self._path}: is no file; give the path of one")
        if self._read_only and not self._path.exists():
            raise JournalError(f"{self._path}: there is no such journal")

    def _create(self) -> None:
        """Make an empty journal, whole or not at all: a journal that was begun and is empty would be one that was lost."""
        file = self._path.resolve()
        newest, draft = (file.with_name(file.name + end) for end in ("-wal", "-new"))
        if newest.exists():
            raise JournalError(
                f"{self._path}: is gone, but {newest.name} is there, which holds what it recorded last;"
                " put the journal back, or remove that file as well to begin a new journal"
            )
        # Recipients and texts will be in it: nobody else's business.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA journal_mode = OFF; BEGIN; {SCHEMA}"
                f" PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
            )
        draft.replace(file)

    def _connect(self, risk_power_loss: bool) -> sqlite3.Connection:
        # The executor's one thread uses it; a read-only viewer beside a run waits for it.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={'ro' if self._read_only else 'rw'}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10.0,
        )
        self._connection = connection
        if self._number("PRAGMA application_id") != APPLICATION:
            raise JournalError(f"{self._path}: is no journal of this library; give the path of another file")
        if self._number("PRAGMA user_version") != VERSION:
            raise JournalError(
                f"{self._path}: was written by another version of this library; go on with that one, or begin a new journal"
            )
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL waits for the disk at each commit. macOS's own fsync does not, without being asked.
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if risk_power_loss else 'FULL'}")
            connection.execute("PRAGMA fullfsync = 1")
        return connection

    def _recover(self) -> None:
        """What was under way when the last process ended may have arrived."""
        complaint = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if complaint != "ok":
            raise JournalError(_damaged(self._path))
        with self._transaction():
            self._connection.execute(
                "UPDATE entries SET state = 'unknown', reason = ? WHERE state = ?",
                ("the program ended while it was under way", TRYING),
            )
            self._index()

    def close(self) -> None:
        """Close the file and let go of the lock; harmless when closed."""
        with contextlib.suppress(sqlite3.Error):
            # What it could not write is recovered when it is opened next.
            if hasattr(self, "_connection"):
                self._connection.close()
        if self._lock is not None:
            self._lock.release()

    # --- what a run writes --------------------------------------------------------------------------------------------

    def begin_run(self) -> int:
        """The number of a new run."""
        with self._transaction():
            self._connection.execute("UPDATE marks SET value = value + 1 WHERE name = 'runs'")
        return self._number("SELECT value FROM marks WHERE name = 'runs'")

    def record(
        self,
        settled: Sequence[Settled],
        sightings: Iterable[Sighting] = (),
        intents: Sequence[Intent] = (),
        *,
        run: int = 0,
        now: float = 0.0,
    ) -> list[int | Known]:
        """Write what became of earlier intents, what was heard, and new intents, all or nothing, before it returns.

        For each new intent: the number under which it may be tried, or why it may not.
        """
        keys = [key for key, _, _ in intents]
        with self._transaction():
            for first in range(0, len(settled), ROWS_AT_ONCE):
                some = settled[first : first + ROWS_AT_ONCE]
                self._connection.execute(_settle_query(len(some)), [*chain.from_iterable(some)])
            for sighting in sightings:
                self._see(sighting)
            known = self._known(keys)
            if not intents:
                verdicts: list[int | Known] = []
            elif not known and len(set(keys)) == len(keys):
                verdicts = list(range(self._next_id, self._next_id + len(keys)))
                self._insert(intents, run, now)
            else:
                verdicts = [self._intend(intent, known, run, now) for intent in intents]
        if len(self._unindexed) >= MOST_UNINDEXED:
            with self._transaction():
                self._index()
        return verdicts

    def _insert(self, intents: Sequence[Intent], run: int, now: float) -> None:
        values: list[object] = [run, now]
        for number, intent in enumerate(intents, self._next_id):
            values.append(number)
            values += intent
        self._connection.execute(_insert_query(len(intents)), values)
        self._next_id += len(intents)
        self._unindexed.update([key for key, _, _ in intents])

    def _intend(self, intent: Intent, known: dict[str, Row], run: int, now: float) -> int | Known:
        key, body, place = intent
        row = known.get(key)
        if row is None:
            number = self._next_id
            self._insert((intent,), run, now)
        elif row.run == run or row.state not in AGAIN:
            return Known(row, row.run == run)
        else:
            number = row.id
            self._connection.execute(
                "UPDATE entries SET body = ?, run = ?, place = ?, state = ?, tried_at = ?, attempts = 0,"
                " settled_at = NULL, reason = NULL WHERE id = ?",
                (body, run, place, TRYING, now, number),
            )
        known[key] = Row(number, key, body, run, place, TRYING, now)
        return number

    def _known(self, keys: Sequence[str]) -> dict[str, Row]:
        """The rows under these keys, so far as there are any."""
        if not self._unindexed.isdisjoint(keys):
            self._index()
        if not keys or not self._indexed:
            return {}
        found = self._connection.execute(
            f"SELECT {_of('e')} FROM keys k JOIN entries e ON e.id = k.id WHERE k.key IN ({', '.join('?' * len(keys))})",
            keys,
        )
        return {row.key: row for row in map(Row._make, found)}

    def _index(self) -> None:
        last = self._next_id - 1
        self._connection.execute(
            "INSERT INTO keys SELECT key, id FROM entries WHERE id > ? ORDER BY key", (self._indexed,)
        )
        self._connection.execute("UPDATE marks SET value = ? WHERE name = 'indexed'", (last,))
        self._indexed = last
        self._unindexed.clear()

    def _see(self, sighting: Sighting) -> None:
        row = None
        if sighting.key is not None:
            row = self._known([sighting.key]).get(sighting.key)
        if row is None and sighting.uuid is not None:
            row = self.with_uuid(sighting.uuid)
        if row is None:
            return
        # It has the message's key: whatever was thought of it, Callbell has it.
        accepted = row.state != "accepted"
        self._connection.execute(
            "UPDATE entries SET state = 'accepted', uuid = coalesce(uuid, ?), settled_at = CASE WHEN ? THEN ? ELSE settled_at END,"
            " status = CASE WHEN ? THEN ? ELSE status END, reason = CASE WHEN ? THEN ? ELSE reason END WHERE id = ?",
            (
                sighting.uuid,
                accepted,
                sighting.at,
                newer := is_news(sighting.status, row.status),
                sighting.status,
                accepted or newer,
                sighting.reason,
                row.id,
            ),
        )

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def with_uuid(self, uuid: str) -> Row | None:
        """The message that Callbell knows by this uuid."""
        if not self._read_only:
            # Only who asks pays for it: a run that nobody watches has no use for this index.
            self._connection.execute("CREATE INDEX IF NOT EXISTS by_uuid ON entries (uuid) WHERE uuid IS NOT NULL")
        found = self._connection.execute(f"SELECT {COLUMNS} FROM entries WHERE uuid = ?", (uuid,)).fetchone()
        return None if found is None else Row._make(found)

    def with_key(self, key: str) -> Row | None:
        """The message with this key."""
        with self._told():
            found = self._connection.execute(
                f"SELECT {_of('e')} FROM keys k JOIN entries e ON e.id = k.id WHERE k.key = ?"
                f" UNION ALL SELECT {COLUMNS} FROM entries WHERE id > ? AND key = ? LIMIT 1",
                (key, self._number("SELECT value FROM marks WHERE name = 'indexed'"), key),
            ).fetchone()
        return None if found is None else Row._make(found)

    def has_uuid(self, uuid: str) -> bool:
        """Whether a message of this journal is known to be the one with this uuid."""
        with self._told():
            return self.with_uuid(uuid) is not None

    def rows(self, states: Sequence[str], *, after: int, count: int) -> list[Row]:
        """At most `count` rows in these states, those with numbers above `after`, in order."""
        with self._told():
            found = self._connection.execute(
                f"SELECT {COLUMNS} FROM entries WHERE id > ? AND state IN ({', '.join('?' * len(states))}) ORDER BY id LIMIT ?",
                (after, *states, count),
            ).fetchall()
        return [Row._make(row) for row in found]

    def counts(self, column: str, *, of_state: str | None = None) -> dict[str | None, int]:
        """How many rows there are by `column`, of all or of one state."""
        with self._told():
            return dict(
                self._connection.execute(
                    f"SELECT {column}, count(*) FROM entries WHERE ?1 IS NULL OR state = ?1 GROUP BY {column}",
                    (of_state,),
                ).fetchall()
            )

    def resend(self, keys: Sequence[str]) -> list[str]:
        """Let the messages with these keys be tried again, all or none; those of them that are not `unknown`, where there are any."""
        with self._transaction():
            known = {key: self._known([key]).get(key) for key in keys}
            wrong = [key for key, row in known.items() if row is None or row.state != "unknown"]
            if not wrong:
                self._connection.executemany(
                    "UPDATE entries SET state = 'skipped', reason = 'to be sent again' WHERE id = ?",
                    [(row.id,) for row in known.values() if row is not None],
                )
        return wrong

    def notes(self) -> dict[str, str]:
        """What a program keeps beside the messages."""
        with self._told():
            return dict(self._connection.execute("SELECT name, text FROM notes").fetchall())

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Keep these as well; a note of the same name is replaced."""
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text", notes.items()
            )

    # --- the file -----------------------------------------------------------------------------------------------------

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._read_only:
            raise JournalError(f"{self._path}: was opened for reading only")
        if self._failed is not None:
            raise self._failed
        try:
            with self._told():
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            # What is in memory may be ahead of the file now.
            failed = f"{self._path}: can't be written after {type(error).__name__}; start again"
            self._failed = error if isinstance(error, JournalError) else JournalError(failed)
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the file as `JournalError`, with the path and the remedy."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(_complaint(self._path, error)) from error
        except OSError as error:
            raise JournalError(f"{self._path}: can't be used as a journal ({error.strerror})") from error


# One statement for a whole group, not one a row: at each step of a statement SQLite's module lets go of Python's lock, and to have it
# back costs more than the row.


@functools.lru_cache(maxsize=1024)
def _insert_query(count: int) -> str:
    """The run and the time, and then for each row its number, key, body and place."""
    rows = ", ".join(["(?, ?, ?, ?)"] * count)
    return (
        "INSERT INTO entries (id, key, body, run, place, state, tried_at)"
        f" SELECT column1, column2, column3, ?, column4, 'trying', ? FROM (VALUES {rows})"
    )


@functools.lru_cache(maxsize=1024)
def _settle_query(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count)
    return (
        "UPDATE entries SET state = v.column1, uuid = coalesce(v.column2, uuid), status = coalesce(status, v.column3),"
        f" attempts = v.column4, settled_at = v.column5, reason = v.column6 FROM (VALUES {rows}) v"
        " WHERE entries.id = v.column7 AND state = 'trying'"
    )


def _of(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in COLUMNS.split(", "))


def _complaint(path: Path, error: sqlite3.Error) -> str:
    name: Any = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_FULL"):
        return f"{path}: the disk is full; make room and start again (nothing was sent that is not recorded)"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return _damaged(path)
    if name.startswith("SQLITE_IOERR"):
        return f"{path}: the disk can't be written or read ({error}); start again when it can"
    return f"{path}: can't be used as a journal ({error})"


def _damaged(path: Path) -> str:
    return f"{path}: is damaged, or no journal; put back a good copy, or begin a new journal where nothing may be sent twice"
