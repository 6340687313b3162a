"""The counts of a run's report, and the exception that it raises."""

from __future__ import annotations

from typing import Any

import pytest

from callbell_async import (
    BadRequestError,
    BulkSendError,
    ConnectionLostError,
    MessageReceipt,
    Outcome,
    SendReport,
    SendResult,
    TextMessage,
)

HELLO = TextMessage(to="+31612345678", text="Hello!")
REFUSED = BadRequestError(status=400, method="POST", path="/messages/send")
LOST = ConnectionLostError("the connection broke", method="POST", path="/messages/send", outcome=Outcome.UNKNOWN)


def report(*results: SendResult, **counts: Any) -> SendReport:
    """A report with some counts, the others 0."""
    return SendReport(
        **{"results": results, **{outcome.value: 0 for outcome in Outcome}, "elapsed": 2.0, **counts},
    )


def test_a_run_without_failures_raises_nothing() -> None:
    """Neither accepted messages nor an empty run raise an exception."""
    report(accepted=3).raise_for_failures()
    report().raise_for_failures()


def test_a_duplicate_is_not_a_failure() -> None:
    """A message that was accepted before or given twice is not a failure; one whose earlier outcome is unknown is."""
    report(accepted=1, skipped=2, duplicates=2).raise_for_failures()
    with pytest.raises(BulkSendError, match="1 of 4 messages were not accepted: 1 skipped"):
        report(accepted=1, skipped=3, duplicates=2).raise_for_failures()


@pytest.mark.parametrize(
    ("counts", "outcome", "text"),
    [
        ({"accepted": 1, "skipped": 1}, Outcome.SKIPPED, "1 of 2 messages were not accepted: 1 skipped"),
        (
            {"skipped": 1, "never_sent": 2},
            Outcome.NEVER_SENT,
            "3 of 3 messages were not accepted: 2 never_sent, 1 skipped",
        ),
        (
            {"never_sent": 1, "rejected": 1},
            Outcome.REJECTED,
            "2 of 2 messages were not accepted: 1 rejected, 1 never_sent",
        ),
        (
            {"accepted": 5, "rejected": 3, "never_sent": 2, "unknown": 1, "skipped": 4},
            Outcome.UNKNOWN,
            "10 of 15 messages were not accepted: 1 unknown, 3 rejected, 2 never_sent, 4 skipped",
        ),
    ],
)
def test_a_failure_raises_the_worst_outcome(counts: dict[str, int], outcome: Outcome, text: str) -> None:
    """`raise_for_failures` names the counts, and its outcome is the worst among them."""
    failed = report(**counts)
    with pytest.raises(BulkSendError) as caught:
        failed.raise_for_failures()
    assert (str(caught.value), caught.value.outcome, caught.value.report) == (text, outcome, failed)


def test_a_failure_is_caused_by_the_first_of_the_worst() -> None:
    """The cause of the exception is the error of a message that may have arrived, rather than of one that was refused."""
    results = (
        SendResult(0, HELLO, Outcome.ACCEPTED, receipt=MessageReceipt("adf3")),
        SendResult(1, HELLO, Outcome.REJECTED, error=REFUSED, attempts=1),
        SendResult(2, HELLO, Outcome.UNKNOWN, error=LOST, attempts=1),
    )
    with pytest.raises(BulkSendError) as caught:
        report(*results, accepted=1, rejected=1, unknown=1).raise_for_failures()
    assert caught.value.__cause__ is LOST


def test_rate_counts_what_was_tried() -> None:
    """Skipped messages do not count in the rate; a run that took no time has none."""
    assert report(accepted=3, rejected=1, skipped=6).rate == 2.0
    assert report(accepted=3, elapsed=0.0).rate == 0.0


def test_total_counts_everything() -> None:
    """Each message has one of the five outcomes."""
    assert report(accepted=1, rejected=2, never_sent=3, unknown=4, skipped=5).total == 15


def test_the_repr_of_a_result_shows_neither_number_nor_text() -> None:
    """A result may be logged."""
    shown = repr(SendResult(1, HELLO, Outcome.UNKNOWN, error=LOST, attempts=2))
    assert "31612345678" not in shown
    assert "Hello!" not in shown
    assert "ConnectionLostError" in shown
