"""The results of rows, their counts, the bar that shows them, and rows that become the same message."""

from __future__ import annotations

import io
import tracemalloc
from collections import Counter
from datetime import UTC, datetime

import pytest
from rich.console import Console

from callbell_async import (
    ConfigurationError,
    DuplicateMessageError,
    InvalidMessageError,
    JournalEntry,
    MessageReceipt,
    Outcome,
    SendReport,
    SendResult,
    TextMessage,
)
from callbell_async.cli.duplicates import DuplicateRowError, DuplicateRows
from callbell_async.cli.progress import BarView
from callbell_async.cli.results import Counts, row_result, write_counts
from tests.support.memory import traced_memory

MESSAGE = TextMessage(to="+34600000001", text="Hi")


def duplicate(outcome: Outcome, *, first_index: int | None = None) -> DuplicateMessageError:
    """A message that a journal knows."""
    entry = JournalEntry(key="k", message_body=b"{}", outcome=outcome, index=0, tried_at=datetime.now(UTC))
    return DuplicateMessageError("known", key="k", entry=entry, first_index=first_index)


@pytest.mark.parametrize(
    ("outcome", "error", "done", "may_be_accepted", "reason"),
    [
        (Outcome.ACCEPTED, None, True, False, None),
        (Outcome.UNKNOWN, OSError("Hi"), False, True, "OSError"),
        (Outcome.NEVER_SENT, ValueError("+34600000001"), False, False, "ValueError"),
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
def test_a_result_shows_whether_the_row_is_complete(
    outcome: Outcome, error: Exception | None, done: bool, may_be_accepted: bool, reason: str | None
) -> None:
    """A result states whether something is left to do, and whether the message may have arrived; of foreign exceptions it has only the kind."""
    receipt = MessageReceipt("u") if outcome is Outcome.ACCEPTED else None
    message = error if isinstance(error, InvalidMessageError) else MESSAGE
    found = row_result(5, SendResult(0, message, outcome, receipt=receipt, error=error, key="k"))
    assert (found.complete, found.may_be_accepted, found.reason) == (done, may_be_accepted, reason)
    assert (found.line, found.uuid) == (5, "u" if receipt else None)
    assert found.key == (None if isinstance(error, DuplicateRowError) else "k")


def test_the_counts_name_the_duplicates() -> None:
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
    assert counts.words() == "1 accepted, 1 rejected, 1 skipped, 1 duplicate"


# --- the bar ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "counts"),
    [
        (20, "124000 accepted"),
        (36, "124000 accepted, 1500 rejected"),
        (80, "124000 accepted, 1500 rejected, 12 unknown"),
    ],
)
def test_no_number_is_cut(width: int, counts: str) -> None:
    """On a narrow terminal the bar, the rate and the last counts are left out; the numbers that are shown are whole."""
    shown = io.StringIO()
    outcomes = Counter({Outcome.ACCEPTED: 124_000, Outcome.REJECTED: 1_500, Outcome.UNKNOWN: 12})
    view = BarView(Console(file=shown, width=width, force_terminal=True, legacy_windows=False), 1_000_000)
    with view:
        view.show(Counts(outcomes=outcomes, complete=124_000))
    assert " 125512/1000000" in shown.getvalue()
    assert f"{counts}\x1b" in shown.getvalue() or f"{counts}\n" in shown.getvalue()
    assert "…" not in shown.getvalue()
    assert ("sending" in shown.getvalue()) is (width == 80)


# --- duplicates -------------------------------------------------------------------------------------------------------


NUMBER = "+34600000001"


@pytest.mark.parametrize(
    ("elapsed", "total"), [(0.02, "total       600 in 0.0 s"), (5.0, "total       600 in 5.0 s, 100 a second")]
)
def test_the_rate_of_a_short_run_is_not_shown(elapsed: float, total: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The total of a run names the rate from five seconds on: the first messages of a run leave all at once."""
    counts = Counts()
    for index in range(600):
        counts.add(row_result(index + 2, SendResult(index, MESSAGE, Outcome.ACCEPTED, attempts=1)))
    report = SendReport(results=(), accepted=600, rejected=0, never_sent=0, unknown=0, skipped=0, elapsed=elapsed)
    write_counts(report, counts, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == total


def test_a_second_row_names_the_first() -> None:
    """Each duplicate names the line of the first row, not of the one before; errors of rows are never duplicates."""
    error = InvalidMessageError("row", "x")
    with DuplicateRows() as rows:
        found = [rows.checked(TextMessage(to=NUMBER, text="Hi"), line) for line in (2, 3, 4)]
        assert found[0] == TextMessage(to=NUMBER, text="Hi")
        assert [item.first_line for item in found[1:] if isinstance(item, DuplicateRowError)] == [2, 2]
        assert [rows.checked(error, line) for line in (5, 6)] == [error, error]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (TextMessage(to=NUMBER, text="a"), TextMessage(to="0034 600-000 001", text="a"), True),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to=NUMBER[1:], text="a"), True),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to=NUMBER, text="b"), False),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to="+34600000002", text="a"), False),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to=NUMBER, text="a", metadata={"n": 1}), False),
        (TextMessage(to=NUMBER, text="a", key="1"), TextMessage(to=NUMBER, text="a", key="2"), False),
        (TextMessage(to=NUMBER, text="a", key="1"), TextMessage(to=NUMBER, text="b", key="1"), True),
        (
            TextMessage(to="ada", text="a", channel="telegram"),
            TextMessage(to="Ada", text="a", channel="telegram"),
            False,
        ),
    ],
)
def test_the_same_message_is_one_of_same_recipient_and_content(
    first: TextMessage, second: TextMessage, same: bool
) -> None:
    """Spellings of a number are one recipient; another content, or another key, is another message."""
    with DuplicateRows() as rows:
        rows.checked(first, 2)
        assert isinstance(rows.checked(second, 3), DuplicateRowError) is same


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    """Three times the rows take no more memory: digests are kept outside of Python, in a database with a limited cache."""

    def peak(count: int) -> int:
        with traced_memory(), DuplicateRows() as rows:
            for number in range(count):
                rows.checked(TextMessage(to=NUMBER, text=str(number)), number)
            return tracemalloc.get_traced_memory()[1]

    few, many = peak(1_000), peak(3_000)
    assert many - few < 5_000


def test_a_full_temporary_directory_is_named() -> None:
    """A database that can't grow ends the run with the remedy, not with a traceback."""
    with DuplicateRows() as rows:
        rows._database.execute("PRAGMA max_page_count = 4")
        items = (rows.checked(TextMessage(to=NUMBER, text=str(number)), number) for number in range(10_000))
        with pytest.raises(ConfigurationError, match=r"^the temporary directory can't be used .*; set TMPDIR"):
            list(items)
