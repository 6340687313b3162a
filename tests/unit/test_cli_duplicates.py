"""Rows that become the same message."""

from __future__ import annotations

import tracemalloc

import pytest

from callbell_async import ConfigurationError, InvalidMessageError, TextMessage
from callbell_async.cli.duplicates import DuplicateRowError, DuplicateRows
from tests.support.memory import traced_memory

NUMBER = "+447700900001"


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
        (TextMessage(to=NUMBER, text="a"), TextMessage(to="0044 7700-900 001", text="a"), True),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to=NUMBER[1:], text="a"), True),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to=NUMBER, text="b"), False),
        (TextMessage(to=NUMBER, text="a"), TextMessage(to="+447700900002", text="a"), False),
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
