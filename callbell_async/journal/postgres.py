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
from callbell_async.journal.store import Column, JournalStore, Row, crashed, row_from

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
    # The rows' versions find what others have changed. With a stricter level, processes that are busy would end each other's runs.
    "SET default_transaction_isolation = 'read committed'",
)
IDLE_SESSION_TIMEOUT = 140_000
"""The first version of PostgreSQL that can end idle sessions."""
ATTEMPTS = 5
"""The most attempts at a transaction that the server ended because of another one. It has written nothing then."""

_RETRIED = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_SCHEMA_PAGE = "docs/reference/journal-schema.md has the SQL"


class PostgresStore(JournalStore):
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
            self.single_run = self.begin_run()

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
        self._execute(sql.SELECT["key"], self._name, [])

    def close(self) -> None:
        """Close the store; harmless when it is closed."""
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    # --- write --------------------------------------------------------------------------------------------------------

    def begin_run(self) -> int:
        """Return the number of a new run."""
        return int(self._write(lambda: self._one(sql.NEW_RUN, self._name))[0])

    def _save_claims(self, rows: Sequence[Row]) -> Sequence[Row]:
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

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""

        def write() -> None:
            for name, text in sorted(notes.items()):
                self._execute(sql.WRITE_NOTE, self._name, name, text)

        self._write(write)

    # --- read ---------------------------------------------------------------------------------------------------------

    def counts(self) -> list[tuple[State, str | None, int]]:
        """Return the number of messages of each state and status."""
        found = self._run(lambda: self._execute(sql.COUNTS, self._name).fetchall())
        return [(State(state), status, count) for state, status, count in found]

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

    def _select(self, column: Column, *values: Any, lock: bool = False) -> list[Row]:
        query = sql.SELECT[column] + (" FOR UPDATE" if lock else "")
        rows = self._rows(query, *values)
        # A journal that was opened for reading shows what is stored.
        if not (lock or self._read_only) and any(row.state in IN_FLIGHT for row in rows) and self._recover():
            return self._rows(query, *values)
        return rows

    def _rows(self, query: str, *values: object) -> list[Row]:
        return [*map(row_from, self._execute(query, self._name, *values))]

    def _recover(self) -> bool:
        """Mark what ended sessions were sending as `UNKNOWN`, and return whether there was something."""
        ended = [owner for (owner,) in self._execute(sql.ENDED_OWNERS, self._name, self._owner)]
        if ended:
            self._save([crashed(row) for row in self._rows(sql.OF_OWNERS_LOCKED, ended)])
        return bool(ended)

    def _save(self, rows: Sequence[Row]) -> Sequence[Row]:
        if not rows:
            return ()
        columns = ("id", "version", "state", *sql.LATER_COLUMNS.split(", ")[1:])
        values = [[getattr(row, column) for row in rows] for column in columns]
        values[2] = [row.state.value for row in rows]
        saved = {row_id for (row_id,) in self._execute(sql.SAVE, *values, self._name)}
        return [row._replace(version=row.version + 1) for row in rows if row.id in saved]

    def _read(self, work: Callable[[], T]) -> T:
        """Read in one transaction, which may find what an ended session has left."""
        return self._run(work) if self._read_only else self._write(work)

    def _write(self, work: Callable[[], T]) -> T:
        # Again if another transaction was in its way. After any other failure nothing more is written.
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
