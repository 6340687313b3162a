"""Texts with `{column}` placeholders, which the cells of a row fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from callbell_async.errors import ConfigurationError, InvalidMessageError

__all__ = ["ColumnRef", "Literal", "RowValue", "TextTemplate", "split_values"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VALUE_PART = re.compile(r"\{\{|\}\}|\{[^{}]*\}|.", re.DOTALL)


class RowValue(Protocol):
    """A value that is computed from the cells of a row.

    Attributes:
        option: The option that gave it.
        columns: The columns that it needs.
        source: Its origin in errors: a column or an option.
    """

    option: str
    columns: list[str]
    source: str

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the value for one row. Raises `InvalidMessageError`, which names the column, when a cell is missing."""
        ...


class TextTemplate:
    """A text with `{column}` placeholders; `{{` and `}}` are single braces. Raises `ConfigurationError` for a lone brace.

    A blank cell inside a text is refused, because "Dear ," is seldom meant. A text that is one placeholder and nothing else may be blank: whether
    that is allowed depends on where it is used.

    Args:
        text: The text.
        option: The option that gave it.
        allow_empty: Accept blank cells inside the text.
    """

    def __init__(self, text: str, option: str, *, allow_empty: bool = False) -> None:
        self.option = option
        self.columns: list[str] = []
        self._text = text
        for found in _PLACEHOLDER.finditer(text):
            if found.group() in "{}":
                raise ConfigurationError(
                    f"{option}: has a lone brace; write {{column}} for a column, and {{{{ or }}}} for a brace"
                )
            if found.group(1) is not None:
                self.columns.append(found.group(1))
        is_cell = len(self.columns) == 1 and text.strip() == f"{{{self.columns[0]}}}"
        self._may_be_blank = allow_empty or is_cell
        self.source = _column(self.columns[0]) if is_cell else self._mixed_source()

    def _mixed_source(self) -> str:
        names = list(dict.fromkeys(self.columns))
        if not names:
            return self.option
        return f"{self.option} with column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the text with the cells of one row. The text of a cell is never read as a template."""
        return _PLACEHOLDER.sub(
            lambda found: found.group()[0] if found.group(1) is None else self._cell(cells, found.group(1)), self._text
        )

    def _cell(self, cells: Mapping[str, str], column: str) -> str:
        cell = _cell(cells, column)
        if not (self._may_be_blank or cell.strip()):
            raise InvalidMessageError(
                f"column {column!r}", f"is empty, inside the text of {self.option}; fill it in, or give --allow-empty"
            )
        return cell


class Literal:
    """A text without placeholders: braces are braces."""

    def __init__(self, text: str, option: str) -> None:
        self.option = self.source = option
        self.columns: list[str] = []
        self._text = text

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the text."""
        del cells
        return self._text


class ColumnRef:
    """The cell of one column, unchanged."""

    def __init__(self, column: str, option: str) -> None:
        self.option = option
        self.columns = [column]
        self.source = _column(column)

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the cell."""
        return _cell(cells, self.columns[0])


def _column(name: str) -> str:
    return f"column {name!r}"


def _cell(cells: Mapping[str, str], column: str) -> str:
    # Each JSON object may have other keys.
    try:
        return cells[column]
    except KeyError:
        raise InvalidMessageError(_column(column), "is missing, or is not a string, number or boolean") from None


def split_values(text: str) -> list[str]:
    """Split the values of a template at the commas outside of braces, so that a cell with a comma stays one value."""
    return [value.strip() for value in _split(_VALUE_PART.findall(text))] if text.strip() else []


def _split(parts: Iterable[str]) -> list[str]:
    values = [""]
    for part in parts:
        if part == ",":
            values.append("")
        else:
            values[-1] += part
    return values
