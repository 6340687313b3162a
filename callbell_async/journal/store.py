"""The journal's file: SQLite, used from one thread. Nothing here knows a loop or a client."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from callbell_async.errors import JournalError, Outcome
from callbell_async.journal.file_lock import FileLock, beside
from callbell_async.journal.tally import Tally
from callbell_async.models.message_status import supersedes

__all__ = ["COLUMNS", "Doubtful", "Intent", "Known", "LeftOver", "Row", "Settled", "Sighting", "Store", "Verdict"]

APPLICATION = 0x43424A31
"""SQLite's `application_id` of a journal: what tells it from another program's database."""
VERSION = 1
"""SQLite's `user_version`: of the tables below, and of how a message's key follows from what is sent."""

TRYING = "trying"
RESEND = "resend"
"""Of what is unknown: the next run may try it, because somebody asked for that by name."""
AGAIN = ("rejected", "never_sent", "skipped")
"""What a later run tries again: no copy of it can exist."""

MOST_UNINDEXED = 1 << 16
"""Keys are indexed in sorted batches of so many: one by one, each would write a page of its own, which costs more than all else together."""

LATEST = 253_402_300_799
"""The last second of the year 9999; no later one is a date."""

ROWS_AT_ONCE = 500
"""In one statement; SQLite counts its question marks."""

SCHEMA = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    run INTEGER NOT NULL,
    place INTEGER NOT NULL,
    tried_at REAL NOT NULL,
    resent INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    settled_at REAL,
    uuid TEXT,
    status TEXT,
    reason TEXT
);
CREATE VIEW messages AS
    SELECT entries.id, key, body, run, place, coalesce(state, 'trying') AS state, tried_at, coalesce(attempts, 0) AS attempts,
        settled_at, uuid, status, reason, resent
    FROM entries LEFT JOIN results ON results.id = entries.id;
CREATE TABLE keys (key TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO marks VALUES ('runs', 0), ('indexed', 0);
"""
# Both tables are only ever added to, in the order of their numbers. A result within its entry would make each row grow after the next ones had been
# put behind it, and moving those costs as much again as writing them.

NAME = "SELECT value FROM marks WHERE name = 'journal'"
RUNS = "SELECT value FROM marks WHERE name = 'runs'"

COLUMNS = "id, key, body, run, place, state, tried_at, attempts, settled_at, uuid, status, reason, resent"


class Row(NamedTuple):
    """A row of `messages`."""

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
    resent: int = 0


Intent = tuple[str, bytes, int]
"""A message about to be tried: its key, its body, and its place in the input. Plain tuples: there is one for every message of a campaign."""

Settled = tuple[int, str, int, float, str | None, str | None, str | None]
"""What became of an intent: its number, state, attempts, time, uuid, status, reason."""


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


class Doubtful(NamedTuple):
    """An intent that may be tried under this number, though an earlier attempt may have been accepted: it was asked for by name."""

    number: int


Verdict = int | Doubtful | Known
"""Under which number an intent may be tried, or why it may not."""


class LeftOver(NamedTuple):
    """What became of the intents of a journal's last run, and could not be written before it was closed."""

    journal: str
    run: int
    settled: Sequence[Settled]


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
        left_over: LeftOver | None = None,
    ) -> None:
        self._path = path
        self._read_only = read_only
        self._unindexed: set[str] = set()
        self._failed: JournalError | None = None
        self._lock: FileLock | None = None
        self._tally: Tally | None = None
        try:
            with self._told():
                self._check_place()
                if not read_only:
                    self._lock = FileLock(path)
                if not read_only and not path.exists():
                    self._create()
                self._connection = self._connect(risk_power_loss)
                self.id = f"{self._number(NAME):016x}"
                self._next_id = self._number("SELECT coalesce(max(id), 0) + 1 FROM entries")
                self._indexed = self._number("SELECT value FROM marks WHERE name = 'indexed'")
                if not read_only:
                    self._check()
                    self._recover(left_over)
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
        newest, draft = beside(self._path, "-wal"), beside(self._path, "-new")
        if newest.exists():
            raise JournalError(
                f"{self._path}: is gone, but {newest.name} is there, which holds what it recorded last;"
                " put the journal back, or remove that file as well to begin a new journal"
            )
        # Recipients and texts will be in it: nobody else's business.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA journal_mode = OFF; BEGIN; {SCHEMA} INSERT INTO marks VALUES ('journal', {secrets.randbits(62)});"
                f" PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
            )
        with contextlib.closing(Tally(beside(self._path, "-count"))) as tally:
            tally.write(0)
        draft.replace(beside(self._path, ""))

    def _connect(self, risk_power_loss: bool) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rw"
        if (
            self._read_only
            and not beside(self._path, "-wal").exists()
            and not os.access(beside(self._path, "").parent, os.W_OK)
        ):
            # Nobody writes it, and SQLite would want to make files beside it all the same.
            mode += "&immutable=1"
        # The executor's one thread uses it; a read-only viewer beside a run waits for it.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
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

    def _check(self) -> None:
        """Nothing that was written may be missing or changed: what is not found under its key would be sent again."""
        if self._connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise JournalError(_damaged(self._path))
        # SQLite itself doesn't notice when the bytes of a value have changed.
        states = ", ".join(f"'{state}'" for state in (TRYING, RESEND, *Outcome))
        strange = self._number(
            f"SELECT count(*) FROM messages WHERE state NOT IN ({states}) OR tried_at NOT BETWEEN 0 AND {LATEST}"
            f" OR settled_at NOT BETWEEN 0 AND {LATEST} OR typeof(body) <> 'blob'"
        )
        found = self._number("SELECT count(*) FROM keys k JOIN entries e ON e.id = k.id AND e.key = k.key")
        if strange or found != self._indexed:
            raise JournalError(_damaged(self._path))
        tally = beside(self._path, "-count")
        if not tally.exists():
            raise JournalError(
                f"{self._path}: {tally.name}, which says how much is in it, is not beside it, as when a journal was moved, copied or linked alone;"
                " put back what belongs to it, or make an empty file of that name to go on without, and messages may be sent twice"
            )
        self._tally = Tally(tally)
        missing = self._tally.read() - (self._next_id - 1)
        if missing > 0:
            raise JournalError(
                f"{self._path}: {missing} messages that were written down are missing, as when {beside(self._path, '-wal').name} was removed, or this is an older copy;"
                f" put back what is missing, or empty {tally.name} to go on without, and they may be sent twice"
            )

    def _recover(self, left_over: LeftOver | None) -> None:
        """What was under way when the last process ended may have arrived, but for what is known of it here."""
        with self._transaction():
            # A number means the same message only as long as no other run has begun.
            if left_over is not None and left_over[:2] == (self.id, self._number(RUNS)):
                self._settle([row for row in left_over.settled if row[0] < self._next_id])
            self._connection.execute(
                "INSERT INTO results (id, state, attempts, reason) SELECT id, 'unknown', 0, ? FROM messages WHERE state = ?",
                ("the program ended while it was under way", TRYING),
            )
            self._index()

    def close(self) -> None:
        """Close the file and let go of the lock; harmless when closed."""
        # What can't be written now is recovered when it is opened next.
        with contextlib.suppress(sqlite3.Error, JournalError):
            if self._unindexed:
                # Each key is there a second time then: by that, damage to one is found.
                with self._transaction():
                    self._index()
        with contextlib.suppress(sqlite3.Error):
            if hasattr(self, "_connection"):
                self._connection.close()
        if self._tally is not None:
            self._tally.close()
        if self._lock is not None:
            self._lock.release()

    # --- what a run writes --------------------------------------------------------------------------------------------

    def begin_run(self) -> int:
        """The number of a new run."""
        with self._transaction():
            self._connection.execute("UPDATE marks SET value = value + 1 WHERE name = 'runs'")
        return self._number(RUNS)

    def record(
        self,
        settled: Sequence[Settled],
        sightings: Iterable[Sighting] = (),
        intents: Sequence[Intent] = (),
        *,
        run: int = 0,
        now: float = 0.0,
    ) -> list[Verdict]:
        """Write what became of earlier intents, what was heard, and new intents, all or nothing, before it returns.

        For each new intent: the number under which it may be tried, or why it may not.
        """
        keys = [key for key, _, _ in intents]
        with self._transaction():
            self._settle(settled)
            for sighting in sightings:
                self._see(sighting)
            known = self._known(keys)
            if not intents:
                verdicts: list[Verdict] = []
            elif not known and len(set(keys)) == len(keys):
                verdicts = list(range(self._next_id, self._next_id + len(keys)))
                self._insert(intents, run, now)
            else:
                verdicts = [self._intend(intent, known, run, now) for intent in intents]
        if len(self._unindexed) >= MOST_UNINDEXED:
            with self._transaction():
                self._index()
        return verdicts

    def look(self, keys: Sequence[str], *, run: int) -> list[Doubtful | Known | None]:
        """For messages that are not going to be tried: what the journal knows of each all the same, `None` where a later run would try it."""
        with self._transaction():
            known = self._known(keys)
        return [_standing(row, run) if (row := known.get(key)) else None for key in keys]

    def _settle(self, settled: Sequence[Settled]) -> None:
        for first in range(0, len(settled), ROWS_AT_ONCE):
            some = settled[first : first + ROWS_AT_ONCE]
            self._connection.execute(_settle_query(len(some)), [*chain.from_iterable(some)])

    def _insert(self, intents: Sequence[Intent], run: int, now: float) -> None:
        values: list[object] = [run, now]
        for number, intent in enumerate(intents, self._next_id):
            values.append(number)
            values += intent
        self._connection.execute(_insert_query(len(intents)), values)
        self._next_id += len(intents)
        self._unindexed.update([key for key, _, _ in intents])

    def _intend(self, intent: Intent, known: dict[str, Row], run: int, now: float) -> Verdict:
        key, body, place = intent
        row = known.get(key)
        standing = None if row is None else _standing(row, run)
        if isinstance(standing, Known):
            return standing
        doubtful = standing is not None
        if row is None:
            number = self._next_id
            self._insert((intent,), run, now)
        else:
            number = row.id
            # The first copy may be the one that arrived: it is looked for from then on.
            tried_at = row.tried_at if doubtful else now
            self._connection.execute(
                "UPDATE entries SET body = ?, run = ?, place = ?, tried_at = ?, resent = ? WHERE id = ?",
                (body, run, place, tried_at, doubtful or row.resent, number),
            )
            self._connection.execute("DELETE FROM results WHERE id = ?", (number,))
        known[key] = Row(number, key, body, run, place, TRYING, now)
        return Doubtful(number) if doubtful else number

    def _known(self, keys: Sequence[str]) -> dict[str, Row]:
        """The rows under these keys, so far as there are any."""
        if not self._unindexed.isdisjoint(keys):
            self._index()
        if not keys or not self._indexed:
            return {}
        marks = ", ".join("?" * len(keys))
        found = self._connection.execute(
            f"SELECT {COLUMNS} FROM messages WHERE id IN (SELECT id FROM keys WHERE key IN ({marks}))", keys
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
        newer = supersedes(sighting.status, row.status)
        # The code of a failure may come after it.
        says_more = sighting.status == row.status and (sighting.reason or "").startswith(row.reason or "")
        self._connection.execute(
            "INSERT OR REPLACE INTO results (id, state, attempts, settled_at, uuid, status, reason)"
            " VALUES (?, 'accepted', ?, ?, ?, ?, ?)",
            (
                row.id,
                row.attempts,
                sighting.at if accepted else row.settled_at,
                row.uuid or sighting.uuid,
                sighting.status if newer else row.status,
                sighting.reason if accepted or newer or says_more else row.reason,
            ),
        )

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def with_uuid(self, uuid: str) -> Row | None:
        """The message that Callbell knows by this uuid."""
        if not self._read_only:
            # Only who asks pays for it: a run that nobody watches has no use for this index.
            self._connection.execute("CREATE INDEX IF NOT EXISTS by_uuid ON results (uuid) WHERE uuid IS NOT NULL")
        found = self._connection.execute(
            f"SELECT {COLUMNS} FROM messages WHERE id = (SELECT id FROM results WHERE uuid = ?)", (uuid,)
        ).fetchone()
        return None if found is None else Row._make(found)

    def with_key(self, key: str) -> Row | None:
        """The message with this key."""
        with self._told():
            found = self._connection.execute(
                f"SELECT {COLUMNS} FROM messages WHERE id = coalesce((SELECT id FROM keys WHERE key = ?1),"
                " (SELECT id FROM entries WHERE key = ?1 AND id > (SELECT value FROM marks WHERE name = 'indexed')))",
                (key,),
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
                f"SELECT {COLUMNS} FROM messages WHERE id > ? AND state IN ({', '.join('?' * len(states))}) ORDER BY id LIMIT ?",
                (after, *states, count),
            ).fetchall()
        return [Row._make(row) for row in found]

    def counts(self, column: str, *, of_state: str | None = None) -> dict[str | None, int]:
        """How many rows there are by `column`, of all or of one state."""
        with self._told():
            return dict(
                self._connection.execute(
                    f"SELECT {column}, count(*) FROM messages WHERE ?1 IS NULL OR state = ?1 GROUP BY {column}",
                    (of_state,),
                ).fetchall()
            )

    def resend(self, keys: Sequence[str]) -> list[str]:
        """Let the messages with these keys be tried again, all or none; those of them that are not `unknown`, where there are any."""
        with self._transaction():
            known = {key: self._known([key]).get(key) for key in keys}
            wrong = [key for key, row in known.items() if row is None or row.state not in ("unknown", RESEND)]
            if not wrong:
                self._connection.executemany(
                    "UPDATE results SET state = ?, reason = 'to be sent again' WHERE id = ?",
                    [(RESEND, row.id) for row in known.values() if row is not None],
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
                if self._tally is not None:
                    self._tally.write(self._next_id - 1)
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
        except UnicodeDecodeError as error:
            # SQLite quotes what it can't read, and its words can't be read then.
            raise JournalError(_damaged(self._path)) from error
        except OSError as error:
            raise JournalError(f"{self._path}: can't be used as a journal ({error.strerror})") from error


def _standing(row: Row, run: int) -> Doubtful | Known | None:
    """Why a message that the journal has is not to be tried by this run, or that it may be though it is in doubt; `None` if it simply may be."""
    if row.run == run or row.state not in (*AGAIN, RESEND):
        return Known(row, row.run == run)
    return Doubtful(row.id) if row.state == RESEND else None


# One statement for a whole group, not one a row: at each step of a statement SQLite's module lets go of Python's lock, and to have it
# back costs more than the row.


@functools.lru_cache(maxsize=1024)
def _insert_query(count: int) -> str:
    """The run and the time, and then for each row its number, key, body and place."""
    rows = ", ".join(["(?, ?, ?, ?)"] * count)
    return (
        "INSERT INTO entries (id, key, body, run, place, tried_at)"
        f" SELECT column1, column2, column3, ?, column4, ? FROM (VALUES {rows})"
    )


@functools.lru_cache(maxsize=1024)
def _settle_query(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count)
    # What is there already is what an event has proved, or else what another process took for unknown before this could be written.
    others = ", ".join(
        f"{name} = CASE state WHEN 'accepted' THEN {name} ELSE excluded.{name} END"
        for name in ("state", "settled_at", "status", "reason")
    )
    return (
        f"INSERT INTO results (id, state, attempts, settled_at, uuid, status, reason) VALUES {rows}"
        f" ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts, uuid = coalesce(uuid, excluded.uuid), {others}"
    )


def _complaint(path: Path, error: sqlite3.Error) -> str:
    name: Any = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_FULL"):
        return f"{path}: the disk is full; make room and start again (nothing was sent that is not recorded)"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CONSTRAINT")):
        return _damaged(path)
    if name.startswith("SQLITE_IOERR"):
        return f"{path}: the disk can't be written or read ({error}); start again when it can"
    return f"{path}: can't be used as a journal ({error})"


def _damaged(path: Path) -> str:
    return f"{path}: is damaged, or no journal; put back a good copy, or begin a new journal where nothing may be sent twice"
