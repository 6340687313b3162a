"""What is said at the end of a run."""

from __future__ import annotations

import shlex
from pathlib import Path

from callbell_async.cli.output import info, result, result_json
from callbell_async.cli.row_results import Counts
from callbell_async.errors import Outcome
from callbell_async.models.results import SendReport

__all__ = ["write_counts", "explain_rest", "explain_withheld"]


def write_counts(report: SendReport, counts: Counts, *, as_json: bool) -> None:
    """The counts by outcome, as part of the result."""
    counts = {outcome.value: getattr(report, outcome.value) for outcome in Outcome}
    if as_json:
        elapsed = round(report.elapsed, 3)
        result_json({"total": report.total, **counts, "duplicates": counts.duplicates, "elapsed": elapsed})
        return
    for name, count in counts.items():
        before = f" ({counts.duplicates} of them already done)" if name == "skipped" and counts.duplicates else ""
        result(f"{name:<12}{count}{before}")
    result(f"{'total':<12}{report.total} in {report.elapsed:.1f} s, {report.rate:.0f} a second")


def explain_withheld(count: int) -> None:
    """How many rows are not among the failed ones because they must not be sent again unseen."""
    if count:
        row = "row may have been accepted and is" if count == 1 else "rows may have been accepted and are"
        info(f"{count} {row} not in --failed-to (--failed-unknown writes what may have been accepted as well)")


def explain_rest(
    what: str, *, last_line: int, not_sent: int, journal: Path | None, is_stream: bool, failed_to: Path | None
) -> None:
    """How the rest is sent after a run that `what` says the end of, such as "interrupted".

    Without a journal: which lines are left. `not_sent` are those up to the last line that were read and did not leave.
    """
    if journal is None:
        if not_sent:
            where = "they are in --failed-to" if failed_to is not None else "--failed-to FILE writes down which"
            were = "was" if not_sent == 1 else "were"
            info(f"{what}: nothing after line {last_line} was tried; up to it, {not_sent} {were} not sent ({where})")
        else:
            info(f"{what}: everything up to line {last_line} was tried, and nothing after it")
    elif is_stream:
        info(
            f"{what}; for the rest, give the same input to the same command, with --journal {shlex.quote(str(journal))} again"
        )
    else:
        info(f"{what}; for the rest: callbell-async resume {shlex.quote(str(journal))}")
