"""The end of a run's output: the counts, and how to send the rest."""

from __future__ import annotations

import shlex
from pathlib import Path

import attrs

from callbell_async.cli.journal_place import JournalPlace
from callbell_async.cli.output import info, result, result_json
from callbell_async.cli.row_results import Counts
from callbell_async.errors import Outcome
from callbell_async.models.results import SendReport

__all__ = ["Rest", "explain_no_rows", "explain_rest", "explain_withheld", "write_counts"]


def write_counts(report: SendReport, counts: Counts, *, as_json: bool) -> None:
    """Write the counts by outcome, as part of the result."""
    by_outcome = {outcome.value: counts.outcomes[outcome] for outcome in Outcome}
    if as_json:
        elapsed = round(report.elapsed, 3)
        result_json({"total": counts.total, **by_outcome, "duplicates": counts.duplicates, "elapsed": elapsed})
        return
    for name, count in by_outcome.items():
        known = f" ({counts.duplicates} of them already done)" if name == "skipped" and counts.duplicates else ""
        result(f"{name:<12}{count}{known}")
    result(f"{'total':<12}{counts.total} in {report.elapsed:.1f} s, {counts.rate(report.elapsed):.0f} a second")


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
    """

    last_line: int
    not_sent: int
    is_stream: bool
    failed_to: Path | None
    journal: JournalPlace | None
    base_url: str | None = None


def explain_rest(reason: str, rest: Rest) -> None:
    """Print how to send the rest after a run that ended early for this reason, such as "interrupted"."""
    if not rest.last_line:
        info(f"{reason}: no row was tried; run the same command again")
        return
    if rest.journal is not None:
        path = shlex.quote(str(rest.journal))
        if rest.is_stream:
            info(f"{reason}; to send the rest, run the same command with the same input and --journal {path}")
        else:
            address = "" if rest.base_url is None else f" --base-url {shlex.quote(rest.base_url)}"
            info(f"{reason}; to send the rest: callbell-async resume {path}{address}")
        return
    if not rest.not_sent:
        info(f"{reason}: every row up to line {rest.last_line} was tried, and none after it")
        return
    rows = "row was" if rest.not_sent == 1 else "rows were"
    if rest.failed_to is None:
        where = f"up to line {rest.last_line}, and none after it was tried (--failed-to FILE keeps such rows)"
    else:
        # Of a file all rows are there.
        unread = f", and no row after line {rest.last_line} was read" if rest.is_stream else ""
        where = f"and are in --failed-to{unread}"
    info(f"{reason}: {rest.not_sent} {rows} not sent {where}")
