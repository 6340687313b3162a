"""What is said at the end of a run."""

from __future__ import annotations

import shlex
from pathlib import Path

from callbell_async.cli.output import say, tell, tell_json
from callbell_async.cli.verdicts import Tally
from callbell_async.errors import Outcome
from callbell_async.models.results import SendReport

__all__ = ["tell_counts", "tell_how_to_go_on", "tell_kept_back"]


def tell_counts(report: SendReport, tally: Tally, *, as_json: bool) -> None:
    """The counts by outcome, as part of the result."""
    counts = {outcome.value: getattr(report, outcome.value) for outcome in Outcome}
    if as_json:
        elapsed = round(report.elapsed, 3)
        tell_json({"total": report.total, **counts, "done_before": tally.done_before, "elapsed": elapsed})
        return
    for name, count in counts.items():
        before = f" ({tally.done_before} of them already done)" if name == "skipped" and tally.done_before else ""
        tell(f"{name:<12}{count}{before}")
    tell(f"{'total':<12}{report.total} in {report.elapsed:.1f} s, {report.rate:.0f} a second")


def tell_kept_back(count: int) -> None:
    """How many rows are not among the failed ones because they must not be sent again unseen."""
    if count:
        row = "row may have been accepted and is" if count == 1 else "rows may have been accepted and are"
        say(f"{count} {row} not in --failed-to (--failed-unknown writes what may have been accepted as well)")


def tell_how_to_go_on(what: str, *, last_line: int, journal: Path | None, is_stream: bool) -> None:
    """How the rest is sent after a run that `what` says the end of, such as "interrupted"."""
    if journal is None:
        say(f"{what}: everything up to line {last_line} was tried, and nothing after it")
    elif is_stream:
        say(
            f"{what}; for the rest, give the same input to the same command, with --journal {shlex.quote(str(journal))} again"
        )
    else:
        say(f"{what}; for the rest: callbell-async resume {shlex.quote(str(journal))}")
