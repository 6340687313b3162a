"""The `JournalStore` protocol, and the rows and rules that every store shares. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from callbell_async.errors import JournalError
from callbell_async.journal.states import State, StateEvent, next_state, outcome_of
from callbell_async.models.journal import Confirmation, JournalEntry
from callbell_async.models.message_status import MessageStatus, supersedes

__all__ = [
    "LATEST",
    "STATE",
    "Claim",
    "ClaimRequest",
    "JournalStore",
    "ResultRow",
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
    single: bool = False
    """Whether it was given to `send` with a journal, so that an earlier attempt of the same run does not make it a duplicate."""


class Claim(NamedTuple):
    """The journal's decision about one message: whether this run may send it, and its row."""

    row: Row
    granted: bool


class ResultRow(NamedTuple):
    """The result of a claim, and the state that follows from it."""

    row: Row
    state: State
    attempts: int
    at: float
    uuid: str | None
    status: str | None
    reason: str | None


class StatusReport(NamedTuple):
    """An event about a message, or its place in the contact's history; it names the message's key or uuid."""

    key: str | None
    uuid: str | None
    status: str | None
    at: float
    reason: str | None
    confirmed_by: Confirmation


class JournalStore(Protocol):
    """Where a journal keeps its messages.

    All methods are synchronous, and one thread calls them. They raise `JournalError`. After a failed write a store writes
    nothing more: a message that is not claimed is not sent.
    """

    id: str
    """16 hex digits that distinguish this journal from every other; its messages carry them."""
    failure: JournalError | None
    """The failure after which it writes nothing more."""

    def begin_run(self) -> int:
        """Return the number of a new run."""
        ...

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
        ...

    def find(self, keys: Sequence[str]) -> list[Row | None]:
        """Return the row of each key, or `None`, and claim nothing."""
        ...

    def with_uuid(self, uuid: str) -> Row | None:
        """Return the message with Callbell's uuid."""
        ...

    def rows(self, states: Sequence[State], *, after: int, count: int) -> list[Row]:
        """Return at most `count` rows in these states with an id above `after`, in the order of their ids."""
        ...

    def counts(self) -> dict[State, int]:
        """Return the number of messages by state."""
        ...

    def statuses(self) -> dict[str | None, int]:
        """Return the number of accepted messages by status."""
        ...

    def allow_resend(self, keys: Sequence[str]) -> list[str]:
        """Let the next run send these messages again, all or none; return the keys for which it is not allowed."""
        ...

    def notes(self) -> dict[str, str]:
        """Return the notes of the program."""
        ...

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name."""

    def close(self) -> None:
        """Close the store; harmless when it is closed."""


def claimed(row: Row | None, request: ClaimRequest, *, run: int, now: float, new_id: int) -> Row | None:
    """Return the row after a run has claimed a message, or `None` if the run must not send it."""
    if row is None:
        return Row(new_id, *request[:2], run, request.input_index, State.SENDING, now)
    state = next_state(row.state, StateEvent.CLAIM)
    if state is None or (row.run == run and not request.single):
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


def with_result(row: Row, result: ResultRow) -> Row:
    """Return the row after the result of its claim; the same if another run has claimed it since.

    The row may be `UNKNOWN` already, if another process opened the journal before this result could be written.
    """
    if row.run != result.row.run:
        return row
    if row.state is State.ACCEPTED:
        row = row._replace(attempts=result.attempts)
        if result.state is not State.ACCEPTED or result.uuid is None:
            return row
        if row.uuid is None or row.confirmed_by == "history":
            return row._replace(uuid=result.uuid, confirmed_by="response")
        return row
    return row._replace(
        state=result.state,
        attempts=result.attempts,
        finished_at=result.at,
        uuid=result.uuid,
        status=result.status,
        reason=result.reason,
        confirmed_by="response" if result.state is State.ACCEPTED else None,
    )


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
