"""The result of each row of the input, and the counts of a run; no input and no output."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from callbell_async.cli.duplicates import DuplicateRowError
from callbell_async.errors import CallbellError, DuplicateMessageError, InvalidMessageError, Outcome
from callbell_async.models.results import SendResult

__all__ = ["NOT_TRIED", "Counts", "RowResult", "error_text", "row_result", "unsendable_row"]

NOT_TRIED = "the run was stopped before it"

_SLOT = 1.0
"""Seconds for which a request keeps its slot of the rate limit after its response."""


@attrs.frozen(kw_only=True)
class RowResult:
    """The result of one row of the input.

    Attributes:
        line: The line of the input on which the row begins, from 1.
        outcome: The outcome in this run.
        complete: Nothing is left to do: the message was accepted, now or before, or an earlier row has the same message.
        may_be_accepted: The message may have been accepted, now or before, so that it must not be sent again unasked.
        key: The message's key in the journal, if there is one.
        uuid: The accepted message's uuid.
        attempts: The number of requests.
        reason: Why it was not accepted, on one line, without recipient and text.
    """

    line: int
    outcome: Outcome
    complete: bool
    may_be_accepted: bool
    key: str | None = attrs.field(default=None, repr=False)
    uuid: str | None = None
    attempts: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` writes."""
        return {
            "line": self.line,
            "key": self.key,
            "outcome": self.outcome.value,
            "uuid": self.uuid,
            "attempts": self.attempts,
            "reason": self.reason,
        }


def row_result(line: int, result: SendResult) -> RowResult:
    """The result of the row on this line."""
    # Also where the run ended before it: the row must not become a message of the next run.
    if isinstance(result.message, DuplicateRowError):
        return unsendable_row(line, result.message)
    complete = result.outcome is Outcome.ACCEPTED or result.is_duplicate
    may_be_accepted = result.outcome is Outcome.UNKNOWN
    if isinstance(result.error, DuplicateMessageError) and not complete:
        may_be_accepted = result.error.entry.outcome is Outcome.UNKNOWN
    return RowResult(
        line=line,
        outcome=result.outcome,
        complete=complete,
        may_be_accepted=may_be_accepted,
        key=result.key,
        uuid=None if result.receipt is None else result.receipt.uuid,
        attempts=result.attempts,
        reason=None if result.outcome is Outcome.ACCEPTED else _reason(result.error),
    )


def unsendable_row(line: int, error: InvalidMessageError) -> RowResult:
    """The result of a row that can't become a message, or that is a duplicate of an earlier row."""
    is_duplicate = isinstance(error, DuplicateRowError)
    return RowResult(
        line=line,
        outcome=Outcome.SKIPPED if is_duplicate else Outcome.NEVER_SENT,
        complete=is_duplicate,
        may_be_accepted=False,
        reason=error.reason if is_duplicate else _reason(error),
    )


def _reason(error: BaseException | None) -> str:
    if error is None:
        return NOT_TRIED
    return error_text(error)


def error_text(error: BaseException) -> str:
    """The error on one line; of a foreign exception only the class, because its text may quote anything."""
    return " ".join(str(error).split()) if isinstance(error, CallbellError) else type(error).__name__


@attrs.define
class Counts:
    """The results of a run, counted by outcome; `complete` are those with nothing left to do."""

    outcomes: Counter[Outcome] = attrs.field(factory=Counter)
    complete: int = 0

    def add(self, row: RowResult) -> None:
        """Count one more."""
        self.outcomes[row.outcome] += 1
        self.complete += row.complete

    @property
    def total(self) -> int:
        """The number of results."""
        return self.outcomes.total()

    @property
    def duplicates(self) -> int:
        """The number of skipped messages with nothing left to do."""
        return self.complete - self.outcomes[Outcome.ACCEPTED]

    @property
    def not_sent(self) -> int:
        """The number of messages that certainly were not sent in this run, without the duplicates."""
        return self.outcomes[Outcome.NEVER_SENT] + self.outcomes[Outcome.SKIPPED] - self.duplicates

    def rate(self, elapsed: float) -> float:
        """Messages per second, without the skipped ones.

        The run uses the rate limit for `elapsed` seconds and the time for which its last requests keep their slots. So the figure
        is never above the limit, also for a short run whose first messages all leave at once.
        """
        return (self.total - self.outcomes[Outcome.SKIPPED]) / (elapsed + _SLOT)

    def words(self) -> str:
        """The counts in words, without those that are 0."""
        counts = {outcome.value: self.outcomes[outcome] for outcome in Outcome}
        counts["skipped"] -= self.duplicates
        counts["already done"] = self.duplicates
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
