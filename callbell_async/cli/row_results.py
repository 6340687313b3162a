"""What a result means to whoever runs the command; no input and no output."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from callbell_async.errors import CallbellError, DuplicateMessageError, Outcome
from callbell_async.models.results import SendResult

__all__ = ["NOT_TRIED", "Tally", "Verdict", "verdict_on"]

NOT_TRIED = "the run was stopped before it"


@attrs.frozen(kw_only=True)
class Verdict:
    """What became of one line of the input.

    `done`: it needs nothing more: accepted, now or before, or the same message as an earlier line. `unsure`: it may have been
    accepted, now or before. `reason` is one line, without a number and without a text.
    """

    line: int
    outcome: Outcome
    done: bool
    unsure: bool
    key: str | None = attrs.field(default=None, repr=False)
    uuid: str | None = None
    attempts: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return {
            "line": self.line,
            "key": self.key,
            "outcome": self.outcome.value,
            "uuid": self.uuid,
            "attempts": self.attempts,
            "reason": self.reason,
        }


def verdict_on(line: int, result: SendResult) -> Verdict:
    """The verdict on a result of this line."""
    done = result.outcome is Outcome.ACCEPTED or result.is_duplicate
    unsure = result.outcome is Outcome.UNKNOWN
    if isinstance(result.error, DuplicateMessageError) and not done:
        unsure = result.error.entry.outcome is Outcome.UNKNOWN
    return Verdict(
        line=line,
        outcome=result.outcome,
        done=done,
        unsure=unsure,
        key=result.key,
        uuid=None if result.receipt is None else result.receipt.uuid,
        attempts=result.attempts,
        reason=None if result.outcome is Outcome.ACCEPTED else _reason(result.error),
    )


def _reason(error: BaseException | None) -> str:
    if error is None:
        return NOT_TRIED
    if isinstance(error, DuplicateMessageError) and error.first_index is not None:
        return f"given twice: the first is row {error.first_index + 1} of the input, the heading not counted"
    # Of others than our own nobody knows what their text quotes.
    return " ".join(str(error).split()) if isinstance(error, CallbellError) else type(error).__name__


@attrs.define
class Tally:
    """The verdicts of a run, counted."""

    outcomes: Counter[Outcome] = attrs.field(factory=Counter)
    done: int = 0

    def add(self, verdict: Verdict) -> None:
        """One more."""
        self.outcomes[verdict.outcome] += 1
        self.done += verdict.done

    @property
    def total(self) -> int:
        """How many there are."""
        return self.outcomes.total()

    @property
    def duplicates(self) -> int:
        """How many were skipped because nothing more is needed for them."""
        return self.done - self.outcomes[Outcome.ACCEPTED]

    @property
    def not_sent(self) -> int:
        """How many provably did not leave in this run, though they are not done."""
        return self.outcomes[Outcome.NEVER_SENT] + self.outcomes[Outcome.SKIPPED] - self.duplicates

    def words(self) -> str:
        """The counts in words, without those that are none."""
        counts = {outcome.value: self.outcomes[outcome] for outcome in Outcome}
        counts["skipped"] -= self.duplicates
        counts["already done"] = self.duplicates
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
