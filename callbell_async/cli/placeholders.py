"""Texts with `{column}` in them, which the cells of a row fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from callbell_async.errors import ConfigurationError, InvalidMessageError

__all__ = ["Cell", "Filled", "Literal", "TextTemplate", "split_values"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VALUE_PART = re.compile(r"\{\{|\}\}|\{[^{}]*\}|.", re.DOTALL)


class Filled(Protocol):
    """What gives a text for a row: `columns` are those it needs."""

    columns: list[str]

    def fill(self, cells: Mapping[str, str]) -> str:
        """The text with the cells of one row; raises `InvalidMessageError` when one is not there."""


class TextTemplate:
    """A text with `{column}` in it; `{{` and `}}` stand for single braces. Raises `ConfigurationError` for a brace alone."""

    def __init__(self, text: str, option: str = "--text") -> None:
        self._text = text
        self.columns: list[str] = []
        for found in _PLACEHOLDER.finditer(text):
            if found.group() in "{}":
                raise ConfigurationError(
                    f"{option}: has a brace alone; write {{column}} for a column and {{{{ or }}}} for a brace"
                )
            if found.group(1) is not None:
                self.columns.append(found.group(1))

    def fill(self, cells: Mapping[str, str]) -> str:
        """The text with the cells of one row; what is in a cell is never read as a template."""
        return _PLACEHOLDER.sub(
            lambda found: found.group()[0] if found.group(1) is None else _cell(cells, found.group(1)), self._text
        )


class Literal:
    """A text as it stands, braces and all: there are no rows."""

    def __init__(self, text: str, option: str = "--text") -> None:
        del option
        self._text = text
        self.columns: list[str] = []

    def fill(self, cells: Mapping[str, str]) -> str:
        """The text."""
        del cells
        return self._text


class Cell:
    """A cell as it is."""

    def __init__(self, column: str) -> None:
        self.columns = [column]

    def fill(self, cells: Mapping[str, str]) -> str:
        """The cell."""
        return _cell(cells, self.columns[0])


def _cell(cells: Mapping[str, str], column: str) -> str:
    # JSON objects need not be alike.
    try:
        return cells[column]
    except KeyError:
        raise InvalidMessageError("row", f"has no string, number or boolean for {column!r}") from None


def split_values(text: str) -> list[str]:
    """The values of a template: split at the commas that stand outside of braces, so that a cell with a comma stays one value."""
    return [value.strip() for value in _split(_VALUE_PART.findall(text))] if text.strip() else []


def _split(parts: Iterable[str]) -> list[str]:
    values = [""]
    for part in parts:
        if part == ",":
            values.append("")
        else:
            values[-1] += part
    return values
