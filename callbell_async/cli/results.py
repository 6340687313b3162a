"""The result of each row of the input, the counts of a run, and the end of its output."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from callbell_async.cli.duplicates import DuplicateRowError
from callbell_async.cli.output import info, result, result_json
from callbell_async.cli.places import JournalPlace, RateLimiterPlace
from callbell_async.errors import CallbellError, DuplicateMessageError, InvalidMessageError, OptedOutError, Outcome
from callbell_async.models.results import SendReport, SendResult

__all__ = [
    "NOT_TRIED",
    "Counts",
    "Rest",
    "RowResult",
    "error_text",
    "explain_no_rows",
    "explain_rest",
    "explain_withheld",
    "opted_out_row",
    "row_result",
    "unsendable_row",
    "write_counts",
]

NOT_TRIED = "the run was stopped before it"

_SLOT = 1.0
"""Seconds for which a request keeps its slot of the rate limit after its response."""

_SHORTEST_WITH_RATE = 5.0
"""The seconds from which on the rate of a run is shown."""


@attrs.frozen(kw_only=True)
class RowResult:
    """The result of one row of the input.

    Attributes:
        line: The line of the input on which the row begins, from 1.
        outcome: The outcome in this run.
        complete: Nothing is left to do: the message was accepted, now or before, an earlier row has the same message, or the recipient has
            opted out.
        may_be_accepted: The message may have been accepted, now or before, so that it must not be sent again unasked.
        key: The message's key in the journal, if there is one.
        uuid: The accepted message's uuid.
        attempts: The number of requests.
        reason: Why it was not accepted, on one line, without recipient and text.
        opted_out: The recipient is in a file of `--exclude`.
    """

    line: int
    outcome: Outcome
    complete: bool
    may_be_accepted: bool
    key: str | None = attrs.field(default=None, repr=False)
    uuid: str | None = None
    attempts: int = 0
    reason: str | None = None
    opted_out: bool = False

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
    complete = result.outcome is Outcome.ACCEPTED or result.is_duplicate or result.is_opted_out
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
        reason=None if result.outcome is Outcome.ACCEPTED else error_text(result.error),
        opted_out=result.is_opted_out,
    )


def unsendable_row(line: int, error: InvalidMessageError) -> RowResult:
    """The result of a row that can't become a message, or that is a duplicate of an earlier row."""
    is_duplicate = isinstance(error, DuplicateRowError)
    return RowResult(
        line=line,
        outcome=Outcome.SKIPPED if is_duplicate else Outcome.NEVER_SENT,
        complete=is_duplicate,
        may_be_accepted=False,
        reason=error.reason if is_duplicate else error_text(error),
    )


def opted_out_row(line: int) -> RowResult:
    """The result of a row whose recipient is in a file of `--exclude`, in a run that sends nothing."""
    return RowResult(
        line=line,
        outcome=Outcome.SKIPPED,
        complete=True,
        may_be_accepted=False,
        reason=str(OptedOutError()),
        opted_out=True,
    )


def error_text(error: BaseException | None) -> str:
    """The error on one line; of a foreign exception only the class, because its text may quote anything."""
    if error is None:
        return NOT_TRIED
    return " ".join(str(error).split()) if isinstance(error, CallbellError) else type(error).__name__


@attrs.define
class Counts:
    """The results of a run, counted by outcome.

    Attributes:
        outcomes: The number of results by outcome.
        complete: The number of those with nothing left to do.
        opted_out: The number of those whose recipient is in a file of `--exclude`.
        without_request: The number of those that are `NEVER_SENT` without a request, such as rows with an error.
    """

    outcomes: Counter[Outcome] = attrs.field(factory=Counter)
    complete: int = 0
    opted_out: int = 0
    without_request: int = 0

    def add(self, row: RowResult) -> None:
        """Count one more."""
        self.outcomes[row.outcome] += 1
        self.complete += row.complete
        self.opted_out += row.opted_out
        self.without_request += row.outcome is Outcome.NEVER_SENT and not row.attempts

    @property
    def total(self) -> int:
        """The number of results."""
        return self.outcomes.total()

    @property
    def duplicates(self) -> int:
        """The number of skipped messages that were accepted before, or that an earlier row has."""
        return self.complete - self.outcomes[Outcome.ACCEPTED] - self.opted_out

    @property
    def not_sent(self) -> int:
        """The number of messages that certainly were not sent in this run, without duplicates and opt-outs."""
        return self.outcomes[Outcome.NEVER_SENT] + self.outcomes[Outcome.SKIPPED] - self.duplicates - self.opted_out

    def rate(self, elapsed: float) -> float:
        """Messages per second, without the skipped ones and those without a request.

        The run uses the rate limit for `elapsed` seconds and the time for which its last requests keep their slots. So the figure
        is never above the limit, also for a short run whose first messages all leave at once.
        """
        return (self.total - self.outcomes[Outcome.SKIPPED] - self.without_request) / (elapsed + _SLOT)

    def words(self) -> str:
        """The counts in words, without those that are 0."""
        counts = {outcome.value: self.outcomes[outcome] for outcome in Outcome}
        counts["skipped"] -= self.duplicates + self.opted_out
        counts[_noun(self.duplicates)] = self.duplicates
        counts["opted out"] = self.opted_out
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _noun(duplicates: int) -> str:
    return "duplicate" if duplicates == 1 else "duplicates"


# --- the end of the output ---------------------------------------------------------------------------------------------


def write_counts(report: SendReport, counts: Counts, *, as_json: bool) -> None:
    """Write the counts by outcome, as part of the result."""
    by_outcome = {outcome.value: counts.outcomes[outcome] for outcome in Outcome}
    if as_json:
        needless = {"duplicates": counts.duplicates, "opted_out": counts.opted_out}
        result_json({"total": counts.total, **by_outcome, **needless, "elapsed": round(report.elapsed, 3)})
        return
    skipped = {_noun(counts.duplicates): counts.duplicates, "opted out": counts.opted_out}
    parts = ", ".join(f"{count} of them {name}" for name, count in skipped.items() if count)
    for name, count in by_outcome.items():
        result(f"{name:<12}{count}{f' ({parts})' if name == 'skipped' and parts else ''}")
    # The first messages of a run leave all at once, so the rate of a shorter run is not that of a longer one.
    rate = f", {counts.rate(report.elapsed):.0f} a second" if report.elapsed >= _SHORTEST_WITH_RATE else ""
    result(f"{'total':<12}{counts.total} in {report.elapsed:.1f} s{rate}")


def explain_no_rows(name: str) -> None:
    """Print that an input has a header row only."""
    info(f"{name}: has a header row and no other row; nothing was sent")


def explain_withheld(count: int) -> None:
    """Print how many rows were left out of the failed rows, because they must not be sent again unasked."""
    if count:
        rows = "row may have been accepted and is" if count == 1 else "rows may have been accepted and are"
        info(f"{count} {rows} not in --failed-to (--failed-unknown includes rows that may have been accepted)")


@attrs.frozen(kw_only=True)
class Rest:
    """The rows that a run did not send.

    Attributes:
        last_line: The line of the last row that was read.
        not_sent: The number of rows up to there that certainly were not sent.
        is_stream: The input can't be read again.
        failed_to: The file with the rows that were not sent.
        journal: The journal of the run.
        base_url: The address of the run; `None` for Callbell's own.
        rate_limiter: The shared rate limiter of the run, if an option named it.
        missing: The number of rows that could not be written to `failed_to`.
        first_missing: The line of the first of them.
    """

    last_line: int
    not_sent: int
    is_stream: bool
    failed_to: Path | None
    journal: JournalPlace | None
    base_url: str | None = None
    rate_limiter: RateLimiterPlace | None = None
    missing: int = 0
    first_missing: int = 0


def explain_rest(reason: str, rest: Rest) -> None:
    """Print how to send the rest after a run that ended early for this reason, such as "interrupted"."""
    if not rest.last_line:
        info(f"{reason}: no row was tried; run the same command again")
        return
    if rest.missing:
        rows = "1 row is" if rest.missing == 1 else f"{rest.missing} rows are"
        info(
            f"--failed-to is incomplete: {rows} missing in it from line {rest.first_missing} on, and its last line may be cut"
        )
    if rest.journal is not None:
        path = shlex.quote(str(rest.journal))
        if rest.is_stream:
            info(f"{reason}; to send the rest, run the same command with the same input and --journal {path}")
        else:
            address = "" if rest.base_url is None else f" --base-url {shlex.quote(rest.base_url)}"
            limiter = "" if rest.rate_limiter is None else f" --rate-limiter {shlex.quote(str(rest.rate_limiter))}"
            info(f"{reason}; to send the rest: callbell-async resume {path}{address}{limiter}")
        return
    if not rest.not_sent:
        info(f"{reason}: every row up to line {rest.last_line} was tried, and none after it")
        return
    rows = "row was" if rest.not_sent == 1 else "rows were"
    # Of a file all rows are there.
    unread = f", and no row after line {rest.last_line} was read" if rest.is_stream else ""
    if rest.failed_to is None:
        where = f"up to line {rest.last_line}, and none after it was tried (--failed-to FILE keeps such rows)"
    elif rest.missing:
        where = f"up to line {rest.last_line}{unread}"
    else:
        where = f"and are in --failed-to{unread}"
    info(f"{reason}: {rest.not_sent} {rows} not sent {where}")
