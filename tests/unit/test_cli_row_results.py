"""The result of a row, and the counts of a run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from callbell_async import (
    DuplicateMessageError,
    InvalidMessageError,
    JournalEntry,
    MessageReceipt,
    Outcome,
    SendResult,
    TextMessage,
)
from callbell_async.cli.duplicates import DuplicateRowError
from callbell_async.cli.row_results import Counts, row_result

MESSAGE = TextMessage(to="+447700900001", text="Hi")


def duplicate(outcome: Outcome, *, first_index: int | None = None) -> DuplicateMessageError:
    """A message that a journal knows."""
    entry = JournalEntry(key="k", message_body=b"{}", outcome=outcome, index=0, tried_at=datetime.now(UTC))
    return DuplicateMessageError("known", key="k", entry=entry, first_index=first_index)


@pytest.mark.parametrize(
    ("outcome", "error", "done", "may_be_accepted", "reason"),
    [
        (Outcome.ACCEPTED, None, True, False, None),
        (Outcome.UNKNOWN, OSError("Hi"), False, True, "OSError"),
        (Outcome.NEVER_SENT, ValueError("+447700900001"), False, False, "ValueError"),
        (Outcome.SKIPPED, None, False, False, "the run was stopped before it"),
        (Outcome.SKIPPED, duplicate(Outcome.ACCEPTED), True, False, "known"),
        (Outcome.SKIPPED, duplicate(Outcome.UNKNOWN), False, True, "known"),
        (Outcome.SKIPPED, duplicate(Outcome.REJECTED), False, False, "known"),
        (Outcome.SKIPPED, duplicate(Outcome.UNKNOWN, first_index=6), True, False, "known"),
        (Outcome.NEVER_SENT, DuplicateRowError(3, "k"), True, False, "duplicate of line 3"),
        (Outcome.SKIPPED, DuplicateRowError(3, "k"), True, False, "duplicate of line 3"),
        (Outcome.NEVER_SENT, InvalidMessageError("column 'to'", "x"), False, False, "column 'to': x"),
    ],
)
def test_a_verdict_is_what_is_left_to_do(
    outcome: Outcome, error: Exception | None, done: bool, may_be_accepted: bool, reason: str | None
) -> None:
    """A result states whether something is left to do, and whether the message may have arrived; of foreign exceptions it has only the kind."""
    receipt = MessageReceipt("u") if outcome is Outcome.ACCEPTED else None
    message = error if isinstance(error, InvalidMessageError) else MESSAGE
    found = row_result(5, SendResult(0, message, outcome, receipt=receipt, error=error, key="k"))
    assert (found.complete, found.may_be_accepted, found.reason) == (done, may_be_accepted, reason)
    assert (found.line, found.uuid) == (5, "u" if receipt else None)
    assert found.key == (None if isinstance(error, DuplicateRowError) else "k")


def test_a_tally_tells_what_was_done_before() -> None:
    """Of the skipped, those that need nothing more are counted apart."""
    counts = Counts()
    for outcome, error in (
        (Outcome.ACCEPTED, None),
        (Outcome.SKIPPED, duplicate(Outcome.ACCEPTED)),
        (Outcome.SKIPPED, None),
        (Outcome.REJECTED, ValueError()),
    ):
        counts.add(row_result(2, SendResult(0, MESSAGE, outcome, error=error)))
    assert (counts.total, counts.complete, counts.duplicates) == (4, 2, 1)
    assert counts.words() == "1 accepted, 1 rejected, 1 skipped, 1 already done"
