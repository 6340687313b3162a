"""The rows of a journal, the rules by which they change, and `JournalStore`, which applies the rules. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVar

from callbell_async.errors import JournalError
from callbell_async.journal.states import State, StateEvent, next_state, outcome_of
from callbell_async.models.journal import Confirmation, JournalEntry
from callbell_async.models.receipts import MessageStatus, supersedes

__all__ = [
    "LATEST",
    "STATE",
    "Claim",
    "ClaimRequest",
    "JournalStore",
    "Row",
    "StatusReport",
    "claimed",
    "crashed",
    "entry_from",
    "known_status",
    "reported",
    "resendable",
    "row_from",
    "with_result",
]

T = TypeVar("T")
Column = Literal["id", "key", "uuid", "state"]

LATEST = 253_402_300_799
"""The last second of the year 9999; `datetime` has no later one."""


class Row(NamedTuple):
    """One message, as it is stored. Times are seconds since 1970."""

    id: int
    key: str
    body: bytes
    run: int
    input_index: int
    state: State
    tried_at: float
    attempts: int = 0
    finished_at: float | None = None
    uuid: str | None = None
    status: str | None = None
    reason: str | None = None
    resent: int = 0
    confirmed_by: Confirmation | None = None
    version: int = 0
    """The store's mark of these values; 0 for a row that is not stored yet."""


STATE = Row._fields.index("state")


class ClaimRequest(NamedTuple):
    """A message that a run is about to send. One exists for every message of a run, so it is a plain tuple."""

    key: str
    body: bytes
    input_index: int


class Claim(NamedTuple):
    """The journal's decision about one message: whether this run may send it, and its row."""

    row: Row
    granted: bool


class StatusReport(NamedTuple):
    """An event about a message, or its place in the contact's history; it names the message's key or uuid."""

    key: str | None
    uuid: str | None
    status: str | None
    at: float
    reason: str | None
    confirmed_by: Confirmation


class JournalStore(ABC):
    """Where a journal keeps its messages. A subclass has the statements and the transactions of one database.

    All methods are synchronous, and one thread calls them. They raise `JournalError`. After a failed write a store writes
    nothing more: a message that is not claimed is not sent.

    Attributes:
        id: 16 hex digits that distinguish this journal from every other; its messages carry them.
        single_run: The number of the run that has the single messages, one for each opening.
        failure: The failure after which it writes nothing more.
    """

    id: str
    single_run: int
    failure: JournalError | None = None

    def record(
        self,
        results: Sequence[Row],
        reports: Sequence[StatusReport],
        requests: Sequence[ClaimRequest] = (),
        *,
        run: int | None = None,
        now: float,
    ) -> list[Claim]:
        """Write results, reports and new claims in one transaction, and return a claim for each request.

        Args:
            results: The rows of claims after their results.
            reports: Written in this order.
            requests: The messages to claim.
            run: The number of their run. With `None` they are single messages, which share a run: an earlier attempt in it does
                not make a message a duplicate.
            now: The time of the attempts.
        """

        def write() -> list[Claim]:
            self._finish(results)
            for report in reports:
                named = self._select("key", [report.key], lock=True)
                holder = self._select("uuid", report.uuid, lock=True)
                self._save(reported(named[0] if named else None, holder[0] if holder else None, report))
            return self._claim(requests, run, now)

        return self._write(write)

    def _finish(self, results: Sequence[Row]) -> None:
        saved = {row.id for row in self._save(results)}
        # An event may have come first, or another process has found that the one that claimed the message had ended.
        changed = {row.id: row for row in results if row.id not in saved}
        if changed:
            self._save([with_result(row, changed[row.id]) for row in self._select("id", [*changed], lock=True)])

    def _claim(self, requests: Sequence[ClaimRequest], run: int | None, now: float) -> list[Claim]:
        claims: dict[int, Claim] = {}
        pending = [*enumerate(requests)]
        # A second round is for a message that was given twice, and for one for which another process was faster.
        while pending:
            known = {row.key: row for row in self._select("key", [request.key for _, request in pending])}
            wanted: dict[str, int] = {}
            rows = []
            for index, request in pending:
                if request.key not in wanted:
                    before = known.get(request.key)
                    row = claimed(before, request, run=run or self.single_run, now=now, is_single=run is None)
                    if row is not None:
                        wanted[request.key] = index
                        rows.append(row)
                    elif before is not None:
                        claims[index] = Claim(before, granted=False)
            for row in self._save_claims(rows):
                claims[wanted[row.key]] = Claim(row, granted=True)
            pending = [(index, request) for index, request in pending if index not in claims]
        return [claims[index] for index in range(len(requests))]

    def allow_resend(self, keys: Sequence[str]) -> list[str]:
        """Let the next run send these messages again, all or none; return the keys for which it is not allowed."""

        def write() -> list[str]:
            # Without a lock first: what an ended process was sending is `UNKNOWN` then.
            self._select("key", [*keys])
            changed, wrong = resendable(self._select("key", [*keys], lock=True), keys)
            if not wrong:
                self._save(changed)
            return wrong

        return self._write(write)

    def find(self, keys: Sequence[str]) -> list[Row | None]:
        """Return the row of each key, or `None`, and claim nothing."""
        found = {row.key: row for row in self._read(lambda: self._select("key", [*keys]))}
        return [found.get(key) for key in keys]

    def with_uuid(self, uuid: str) -> Row | None:
        """Return the message with Callbell's uuid."""
        return next(iter(self._write(lambda: self._select("uuid", uuid))), None)

    def rows(self, states: Sequence[State], *, after: int, count: int) -> list[Row]:
        """Return at most `count` rows in these states with an id above `after`, in the order of their ids."""
        return self._read(lambda: self._select("state", [state.value for state in states], after, count))

    # --- the statements of one database -------------------------------------------------------------------------------

    @abstractmethod
    def begin_run(self) -> int:
        """Return the number of a new run."""

    @abstractmethod
    def counts(self) -> list[tuple[State, str | None, int]]:
        """Return the number of messages of each state and status."""

    @abstractmethod
    def notes(self) -> dict[str, str]:
        """Return the notes of the program."""

    @abstractmethod
    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""

    @abstractmethod
    def close(self) -> None:
        """Close the store; harmless when it is closed."""

    @abstractmethod
    def _read(self, work: Callable[[], T]) -> T:
        """Read what is stored."""

    @abstractmethod
    def _write(self, work: Callable[[], T]) -> T:
        """Work in one transaction."""

    @abstractmethod
    def _select(self, column: Column, *values: Any, lock: bool = False) -> list[Row]:
        """Return the rows with these values in a column, of which those in flight are in flight indeed.

        With `lock` they are returned as they are stored, and no other process can change them before the end of the transaction.
        """

    @abstractmethod
    def _save(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Update rows unless they have changed since they were read, and return those that are stored, as they are stored."""

    def _save_claims(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Do the same with claimed rows, and insert those without an id."""
        return self._save(rows)


def claimed(row: Row | None, request: ClaimRequest, *, run: int, now: float, is_single: bool) -> Row | None:
    """Return the row after a run has claimed a message, or `None` if the run must not send it."""
    if row is None:
        return Row(0, request.key, request.body, run, request.input_index, State.SENDING, now)
    state = next_state(row.state, StateEvent.CLAIM)
    if state is None or (row.run == run and not is_single):
        return None
    new = Row(
        row.id, row.key, request.body, run, request.input_index, state, now, resent=row.resent, version=row.version
    )
    # The copy that arrived may be the first one, so the history is searched from the first attempt.
    return new._replace(tried_at=row.tried_at, resent=1) if state is State.RESENDING else new


def crashed(row: Row) -> Row:
    """Return the row after the process that was sending it has ended."""
    state = next_state(row.state, StateEvent.CRASH) or row.state
    return row._replace(state=state, reason="the program ended while the message was in flight")


def with_result(row: Row, finished: Row) -> Row:
    """Return a row that has changed since its claim, after the result of the claim; the same if another run has claimed it since.

    The row may be `UNKNOWN` already, if another process opened the journal before this result could be written.
    """
    if row.run != finished.run:
        return row
    if row.state is not State.ACCEPTED:
        return finished._replace(version=row.version)
    row = row._replace(attempts=finished.attempts)
    is_proof = finished.state is State.ACCEPTED and finished.uuid is not None
    if is_proof and (row.uuid is None or row.confirmed_by == "history"):
        return row._replace(uuid=finished.uuid, confirmed_by="response")
    return row


def reported(named: Row | None, holder: Row | None, report: StatusReport) -> list[Row]:
    """Return the rows after a report that changes them: `named` has its key, and `holder` has its uuid."""
    row = named or holder
    if named is None or holder is None or named.id == holder.id:
        return [] if row is None else [_with_report(row, report)]
    if report.confirmed_by == "history":
        # The message in the history is that of the other row.
        return []
    changed = [_with_report(named, report)]
    if holder.confirmed_by == "history":
        # Its uuid was inferred, and the event shows that it is not its own.
        changed.insert(0, holder._replace(uuid=None, status=None, reason=None))
    return changed


def _with_report(row: Row, report: StatusReport) -> Row:
    """Return the row after a report: Callbell has the message, whatever the journal knew of it before."""
    before = row.state
    row = row._replace(state=next_state(before, StateEvent.CONFIRM) or before)
    if before is not State.ACCEPTED:
        row = row._replace(
            finished_at=report.at, uuid=report.uuid, reason=report.reason, confirmed_by=report.confirmed_by
        )
    elif row.confirmed_by == "history" and report.confirmed_by == "event" and report.key:
        # The uuid was inferred, and may be that of another message. The event names the message itself.
        row = row._replace(uuid=report.uuid, status=None, reason=None, confirmed_by=report.confirmed_by)
    elif row.uuid is None and report.confirmed_by == "event":
        # A uuid from the history is only inferred.
        row = row._replace(uuid=report.uuid)
    if supersedes(report.status, row.status):
        return row._replace(status=report.status, reason=report.reason)
    if report.status == row.status and (report.reason or "").startswith(row.reason or ""):
        # The code of a failure may come later than the failure.
        return row._replace(reason=report.reason)
    return row


def resendable(rows: Sequence[Row], keys: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Return the rows after the user has allowed their messages to be sent again, and the keys for which that is not allowed."""
    changed = [
        row._replace(state=state, reason="to be sent again")
        for row in rows
        if (state := next_state(row.state, StateEvent.ALLOW_RESEND)) is not None
    ]
    allowed = {row.key for row in changed}
    return changed, [key for key in keys if key not in allowed]


def row_from(values: Sequence[Any]) -> Row:
    """Return the row with these stored values."""
    return Row._make((*values[:STATE], State(values[STATE]), *values[STATE + 1 :]))


def entry_from(row: Row) -> JournalEntry:
    """Return what a user sees of a row."""
    return JournalEntry(
        key=row.key,
        message_body=row.body,
        outcome=outcome_of(row.state),
        index=row.input_index,
        uuid=row.uuid,
        status=known_status(row.status),
        attempts=row.attempts,
        tried_at=datetime.fromtimestamp(row.tried_at, UTC),
        finished_at=None if row.finished_at is None else datetime.fromtimestamp(row.finished_at, UTC),
        reason=row.reason,
        in_flight=row.state in (State.SENDING, State.RESENDING),
        resent=bool(row.resent),
        confirmed_by=row.confirmed_by,
    )


def known_status(status: str | None) -> MessageStatus | str | None:
    """Return a status as a `MessageStatus`, if it is one that the library knows."""
    return MessageStatus(status) if status in set(MessageStatus) else status
