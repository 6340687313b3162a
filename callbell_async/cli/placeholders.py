"""Texts with `{column}` placeholders, which the cells of a row fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Self

from callbell_async.errors import ConfigurationError, InvalidMessageError

__all__ = ["TextTemplate", "split_values"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VALUE_PART = re.compile(r"\{\{|\}\}|\{[^{}]*\}|.", re.DOTALL)


class TextTemplate:
    """A text with the cells of some columns in it.

    A blank cell inside a text is refused, because "Dear ," is seldom meant. A text that is one cell and nothing else may be blank: whether
    that is allowed depends on where it is used.

    Args:
        parts: The parts of the text, each with whether it is the name of a column.
        option: The option that gave it.
        allow_empty: Accept blank cells inside the text.

    Attributes:
        option: The option that gave it.
        columns: The columns that it needs.
        source: Its origin in errors: a column or an option.
    """

    def __init__(self, parts: Iterable[tuple[str, bool]], option: str, *, allow_empty: bool = False) -> None:
        self._parts = list(parts)
        self.option = option
        self.columns = [text for text, is_column in self._parts if is_column]
        texts = "".join(text for text, is_column in self._parts if not is_column)
        is_cell = len(self.columns) == 1 and not texts.strip()
        self._may_be_blank = allow_empty or is_cell
        self.source = _column(self.columns[0]) if is_cell else self._mixed_source()

    @classmethod
    def read(cls, text: str, option: str, *, allow_empty: bool = False) -> Self:
        """Return the template of a text with `{column}` placeholders; `{{` and `}}` are single braces.

        Raises `ConfigurationError` for a lone brace.
        """
        parts = []
        end = 0
        for found in _PLACEHOLDER.finditer(text):
            if found.group() in "{}":
                raise ConfigurationError(
                    f"{option}: has a lone brace; write {{column}} for a column, and {{{{ or }}}} for a brace"
                )
            column = found.group(1)
            parts += [
                (text[end : found.start()], False),
                (found.group()[0] if column is None else column, column is not None),
            ]
            end = found.end()
        return cls([*parts, (text[end:], False)], option, allow_empty=allow_empty)

    @classmethod
    def literal(cls, text: str, option: str) -> Self:
        """Return the template of a text without placeholders: braces are braces."""
        return cls([(text, False)], option)

    @classmethod
    def cell(cls, column: str, option: str) -> Self:
        """Return the template that is the cell of one column."""
        return cls([(column, True)], option)

    def _mixed_source(self) -> str:
        names = list(dict.fromkeys(self.columns))
        if not names:
            return self.option
        return f"{self.option} with column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the text with the cells of one row. The text of a cell is never read as a template.

        Raises `InvalidMessageError`, which names the column, when a cell is missing or is blank inside the text.
        """
        return "".join(self._cell(cells, text) if is_column else text for text, is_column in self._parts)

    def _cell(self, cells: Mapping[str, str], column: str) -> str:
        # Each JSON object may have other keys.
        if (cell := cells.get(column)) is None:
            raise InvalidMessageError(_column(column), "is missing, or is not a string, number or boolean")
        if not (self._may_be_blank or cell.strip()):
            raise InvalidMessageError(
                _column(column), f"is empty, inside the text of {self.option}; fill it in, or give --allow-empty"
            )
        return cell


def _column(name: str) -> str:
    return f"column {name!r}"


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
