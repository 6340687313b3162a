"""The store over PostgreSQL: any number of processes on one journal. Needs the extra `postgres`."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from callbell_async.errors import JournalError
from callbell_async.journal import postgres_sql as sql
from callbell_async.journal.postgres_url import JournalAddress
from callbell_async.journal.states import IN_FLIGHT, State
from callbell_async.journal.store import (
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

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "a journal in PostgreSQL needs the driver: pip install 'callbell-async[postgres]'", name=error.name
    ) from error

__all__ = ["PostgresStore"]

T = TypeVar("T")

_DEFAULTS: Mapping[str, Any] = {
    "application_name": "callbell_async",
    "connect_timeout": 10,
    # A server that has disappeared is noticed after a minute.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Parameters of the connection that the URL may set otherwise."""
_SESSION = (
    # A process whose host has disappeared is noticed after a minute: then its session ends.
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
    "SET idle_in_transaction_session_timeout = 0",
)
IDLE_SESSION_TIMEOUT = 140_000
"""The first version of PostgreSQL that can end idle sessions."""
ATTEMPTS = 5
"""The most attempts at a transaction that the server ended because of another one. It has written nothing then."""

_RETRIED = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_SCHEMA_PAGE = "docs/reference/journal-schema.md has the SQL"


class PostgresStore:
    """A `JournalStore` in PostgreSQL; see there.

    It has one connection, which holds an advisory lock for its lifetime. Every claim names that lock as its owner. When the lock is
    free, the session has ended, and what it was sending is `UNKNOWN`: another store finds that when it opens the journal, reads
    it, or meets one of these messages.

    Raises `JournalError` for a database that can't be used, before anything is written.
    """

    def __init__(self, address: JournalAddress, *, read_only: bool, risk_power_loss: bool) -> None:
        self._address = address
        self._name = address.name
        self._label = address.label
        self._read_only = read_only
        self.failure: JournalError | None = None
        self._connection = self._connect()
        try:
            self._run(lambda: self._open(risk_power_loss))
        except BaseException:
            self.close()
            raise

    # --- open and close -----------------------------------------------------------------------------------------------

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        failure = ""
        try:
            given = frozenset(conninfo_to_dict(self._address.conninfo))
            defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
            return psycopg.connect(self._address.conninfo, autocommit=True, client_encoding="utf8", **defaults)
        except psycopg.Error as error:
            # libpq quotes a URL that it can't read.
            unreadable = isinstance(error, psycopg.ProgrammingError)
            failure = "the URL is not valid" if unreadable else " ".join(str(error).split())
        # Outside the handler: the driver's error would be the context, and its frames hold the password.
        raise JournalError(f"{self._label}: can't connect to PostgreSQL ({failure})")

    def _open(self, risk_power_loss: bool) -> None:
        encoding, commit, is_read_only, self._backend = self._one(sql.SERVER)
        if encoding != "UTF8":
            raise JournalError(f"{self._label}: the database has the encoding {encoding}; use one with UTF8")
        if self._read_only:
            self._execute("SET default_transaction_read_only = on")
        elif is_read_only:
            raise JournalError(f"{self._label}: the server accepts no writes (a read-only replica?); use the primary")
        for setting in _SESSION:
            self._execute(setting)
        if self._connection.info.server_version >= IDLE_SESSION_TIMEOUT:
            self._execute("SET idle_session_timeout = 0")
        # A claim must survive a crash of the server, whatever the server's default is.
        if risk_power_loss or commit == "off":
            self._execute(f"SET synchronous_commit = {'off' if risk_power_loss else 'on'}")
        self._open_journal()
        if not self._read_only:
            self._owner = 0
            # A random number: another program in this database may use advisory locks too.
            while not (self._owner and self._one("SELECT pg_try_advisory_lock(%s)", self._owner)[0]):
                self._owner = secrets.randbits(62)
            self._write(self._recover)

    def _open_journal(self) -> None:
        if self._one(sql.MISSING)[0]:
            if self._read_only:
                raise JournalError(f"{self._label}: does not exist")
            with self._connection.transaction():
                self._execute(sql.CREATION_LOCK)
                self._execute(sql.SCHEMA)
        found = self._execute(sql.JOURNAL, self._name).fetchone()
        if found is None and not self._read_only:
            self._execute(sql.INSERT_JOURNAL, self._name, secrets.token_hex(8), sql.VERSION)
            found = self._one(sql.JOURNAL, self._name)
        if found is None:
            raise JournalError(f"{self._label}: does not exist")
        self.id, version = found
        if version != sql.VERSION:
            raise JournalError(
                f"{self._label}: was written by another version of this library (its tables have version {version}, this one needs"
                f" {sql.VERSION}); continue with that version, or begin a new journal"
            )
        # Tables of another form are found here, and not in the middle of a run.
        self._execute(sql.BY_KEYS, self._name, [])

    def close(self) -> None:
        """Close the store; harmless when it is closed."""
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    # --- write --------------------------------------------------------------------------------------------------------

    def begin_run(self) -> int:
        """Return the number of a new run."""
        return int(self._write(lambda: self._one(sql.NEW_RUN, self._name))[0])

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

        def write() -> list[Claim]:
            self._finish(results)
            for report in reports:
                named = next(iter(self._select(sql.BY_KEYS_LOCKED, [report.key])), None)
                holder = next(iter(self._select(sql.BY_UUID_LOCKED, report.uuid)), None)
                self._save(reported(named, holder, report))
            return self._claim(requests, run, now) if requests else []

        return self._write(write)

    def _finish(self, results: Sequence[ResultRow]) -> None:
        saved = self._save([with_result(result.row, result) for result in results])
        # An event may have come first, or another process has found that the session of this one had ended.
        changed = {result.row.id: result for result in results if result.row.id not in saved}
        if changed:
            rows = self._select(sql.BY_IDS_LOCKED, [*changed])
            self._save([with_result(row, changed[row.id]) for row in rows])

    def _claim(self, requests: Sequence[ClaimRequest], run: int, now: float) -> list[Claim]:
        claims: dict[int, Claim] = {}
        pending = dict(enumerate(requests))
        known = self._current(sql.BY_KEYS, [request.key for request in requests])
        while True:
            rows_of = {row.key: row for row in known}
            wanted: dict[str, tuple[int, Row]] = {}
            for index, request in pending.items():
                if request.key not in wanted:
                    before = rows_of.get(request.key)
                    row = claimed(before, request, run=run, now=now, new_id=0)
                    if row is not None:
                        wanted[request.key] = (index, row)
                    elif before is not None:
                        claims[index] = Claim(before, granted=False)
            for row in self._insert([row for _, row in wanted.values()]):
                claims[wanted[row.key][0]] = Claim(row, granted=True)
            pending = {index: request for index, request in pending.items() if index not in claims}
            if not pending:
                return [claims[index] for index in range(len(requests))]
            # Given twice, or another process was faster.
            known = self._select(sql.BY_KEYS, [request.key for request in pending.values()])

    def _insert(self, rows: Sequence[Row]) -> list[Row]:
        """Insert or update claimed rows, unless another process has changed them; return those that are stored."""
        if not rows:
            return []
        columns = ("key", "body", "input_index", "state", "tried_at", "resent", "version")
        values = [[getattr(row, column) for row in rows] for column in columns]
        values[3] = [row.state.value for row in rows]
        by_key = {row.key: row for row in rows}
        stored = self._execute(sql.CLAIM, self._name, rows[0].run, self._owner, *values).fetchall()
        if any(backend != self._backend for *_, backend in stored):
            # Another session does not hold the lock.
            raise JournalError(
                f"{self._label}: the connection changes between transactions; connect to PostgreSQL itself, or to a pool in session mode"
            )
        return [by_key[key]._replace(id=row_id, version=version) for key, row_id, version, _ in stored]

    def allow_resend(self, keys: Sequence[str]) -> list[str]:
        """Let the next run send these messages again, all or none; return the keys for which it is not allowed."""

        def write() -> list[str]:
            self._recover()
            changed, wrong = resendable(self._select(sql.BY_KEYS_LOCKED, list(keys)), keys)
            if not wrong:
                self._save(changed)
            return wrong

        return self._write(write)

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""

        def write() -> None:
            for name, text in sorted(notes.items()):
                self._execute(sql.WRITE_NOTE, self._name, name, text)

        self._write(write)

    # --- read ---------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[str]) -> list[Row | None]:
        """Return the row of each key, or `None`, and claim nothing."""
        found = {row.key: row for row in self._read(lambda: self._current(sql.BY_KEYS, list(keys)))}
        return [found.get(key) for key in keys]

    def with_uuid(self, uuid: str) -> Row | None:
        """Return the message with Callbell's uuid."""
        return next(iter(self._read(lambda: self._current(sql.BY_UUID, uuid))), None)

    def rows(self, states: Sequence[State], *, after: int, count: int) -> list[Row]:
        """Return at most `count` rows in these states with an id above `after`, in the order of their ids."""
        wanted = [state.value for state in states]
        return self._read(lambda: self._current(sql.BY_STATE, wanted, after, count))

    def counts(self) -> dict[State, int]:
        """Return the number of messages by state."""
        found = self._run(lambda: self._execute(sql.COUNTS, self._name).fetchall())
        return {State(state): count for state, count in found}

    def statuses(self) -> dict[str | None, int]:
        """Return the number of accepted messages by status."""
        return dict(self._run(lambda: self._execute(sql.STATUSES, self._name, State.ACCEPTED.value).fetchall()))

    def notes(self) -> dict[str, str]:
        """Return the notes of the program."""
        return dict(self._run(lambda: self._execute(sql.NOTES, self._name).fetchall()))

    # --- the database -------------------------------------------------------------------------------------------------

    def _execute(self, query: str, *values: object) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), values or None)

    def _one(self, query: str, *values: object) -> tuple[Any, ...]:
        found = self._execute(query, *values).fetchone()
        if found is None:
            raise JournalError(f"{self._label}: was deleted; begin a new journal where no message may be sent twice")
        return found

    def _select(self, query: str, *values: object) -> list[Row]:
        return [*map(row_from, self._execute(query, self._name, *values))]

    def _current(self, query: str, *values: object) -> list[Row]:
        """Return rows, of which those in flight are in flight indeed; a journal for reading shows what is stored."""
        rows = self._select(query, *values)
        if not self._read_only and any(row.state in IN_FLIGHT for row in rows) and self._recover():
            return self._select(query, *values)
        return rows

    def _recover(self) -> bool:
        """Mark what ended sessions were sending as `UNKNOWN`, and return whether there was something."""
        ended = [owner for (owner,) in self._execute(sql.ENDED_OWNERS, self._name, self._owner)]
        if ended:
            self._save([crashed(row) for row in self._select(sql.OF_OWNERS_LOCKED, ended)])
        return bool(ended)

    def _save(self, rows: Sequence[Row]) -> set[int]:
        """Update rows unless they have changed since they were read; return the ids of those that are stored."""
        if not rows:
            return set()
        columns = ("id", "version", "state", *sql.LATER_COLUMNS.split(", ")[1:])
        values = [[getattr(row, column) for row in rows] for column in columns]
        values[2] = [row.state.value for row in rows]
        return {row_id for (row_id,) in self._execute(sql.SAVE, *values, self._name)}

    def _read(self, work: Callable[[], T]) -> T:
        """Read in one transaction, which may find what an ended session has left."""
        return self._run(work) if self._read_only else self._write(work)

    def _write(self, work: Callable[[], T]) -> T:
        """Work in one transaction, again if another transaction was in its way. After any other failure nothing more is written."""
        if self._read_only:
            raise JournalError(f"{self._label}: was opened for reading only")
        if self.failure is not None:
            raise self.failure

        def transact() -> T:
            with self._connection.transaction():
                return work()

        try:
            return self._run(transact)
        except BaseException as error:
            failure = f"{self._label}: can't be written after {type(error).__name__}; start again"
            self.failure = error if isinstance(error, JournalError) else JournalError(failure)
            raise

    def _run(self, work: Callable[[], T]) -> T:
        """Work, and raise the driver's errors as `JournalError`."""
        failure = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return work()
            except psycopg.Error as error:
                failure = self._describe(error)
                if not isinstance(error, _RETRIED) or attempt == ATTEMPTS:
                    break
        # Outside the handler: the frames of the driver's error hold recipients and texts.
        raise JournalError(f"{self._label}: {failure}")

    def _describe(self, error: psycopg.Error) -> str:
        # The details that the server adds quote keys.
        text = error.diag.message_primary or " ".join(str(error).split())
        match error:
            case psycopg.errors.InsufficientPrivilege():
                return f"the user lacks a permission ({text}); {_SCHEMA_PAGE} and the permissions"
            case psycopg.errors.ReadOnlySqlTransaction():
                return "the server accepts no writes (a read-only replica?); use the primary, and start again"
            case (
                psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn() | psycopg.errors.InvalidSchemaName()
            ):
                return f"its tables are missing, or of another version of this library ({text}); {_SCHEMA_PAGE}"
            case psycopg.errors.DiskFull():
                return "the server's disk is full; make room and start again (nothing was sent that is not recorded)"
            case psycopg.OperationalError() if self._connection.closed or error.sqlstate is None:
                return f"the connection to PostgreSQL was lost ({text}); start again (nothing was sent that is not recorded)"
            case _:
                return f"PostgreSQL refused a statement ({text}); start again (nothing was sent that is not recorded)"
