"""From the rows of a CSV file to messages, one at a time."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from callbell_async.errors import ConfigurationError, InvalidMessageError
from callbell_async.models.messages import TextMessage
from callbell_async.models.results import Item

__all__ = ["Row", "RowFile", "TextTemplate", "text_message"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class TextTemplate:
    """A text with `{column}` in it; `{{` and `}}` stand for single braces. Raises `ConfigurationError` for a brace alone."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.columns: list[str] = []
        for found in _PLACEHOLDER.finditer(text):
            if found.group() in "{}":
                raise ConfigurationError(
                    "--text: has a brace alone; write {column} for a column and {{ or }} for a brace"
                )
            if found.group(1) is not None:
                self.columns.append(found.group(1))

    def fill(self, cells: dict[str, str]) -> str:
        """The text with the cells of one row."""
        return _PLACEHOLDER.sub(
            lambda found: found.group()[0] if found.group(1) is None else cells[found.group(1)], self._text
        )


@attrs.frozen
class Row:
    """One row: the line of the file it ends on (from 1), and its cells by column; `fault` says what is wrong with its form."""

    line: int
    cells: dict[str, str]
    fault: str | None = None


class RowFile:
    """A CSV file with a heading: UTF-8 with or without a BOM, commas, semicolons or tabs, quotes, empty lines; read as a stream.

    Raises `ConfigurationError` when it can't be read or has no heading.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _, heading = next(self._read(), (0, []))
        self.columns = [name.strip() for name in heading]
        if not self.columns:
            raise ConfigurationError(f"{path}: is empty; its first line must name the columns, such as: to,name")
        if twice := {name for name in self.columns if self.columns.count(name) > 1}:
            raise ConfigurationError(f"{path}: two columns have the same name: {', '.join(sorted(twice))}")

    def need(self, columns: list[str], option: str) -> None:
        """Raise `ConfigurationError` unless all `columns`, named by `option`, are there."""
        for column in columns:
            if column not in self.columns:
                raise ConfigurationError(
                    f"{option}: there is no column {column!r} in {self._path}; it has {', '.join(self.columns)}"
                )

    def rows(self) -> Iterator[Row]:
        """The rows in their order; empty lines are left out."""
        lines = self._read()
        next(lines, None)
        for line, cells in lines:
            fault = None
            if len(cells) != len(self.columns):
                fault = f"has {len(cells)} cells where the heading has {len(self.columns)}"
            yield Row(line, dict(zip(self.columns, map(str.strip, cells), strict=False)), fault)

    def count(self) -> int:
        """How many rows there are."""
        return sum(1 for _ in self.rows())

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        line = 0
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                heading = file.readline()
                file.seek(0)
                reader = csv.reader(file, delimiter=max(",;\t", key=heading.count), strict=True)
                for cells in reader:
                    line = reader.line_num
                    if any(cell.strip() for cell in cells):
                        yield line, cells
        except OSError as error:
            raise ConfigurationError(f"{self._path}: can't be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self._path}: is not UTF-8 after line {line}; save it as UTF-8") from None
        except csv.Error as error:
            raise ConfigurationError(f"{self._path}: is not CSV after line {line} ({error})") from None


def text_message(row: Row, template: TextTemplate, *, to_column: str, channel: str) -> Item:
    """The message for a row, or what is wrong with it."""
    try:
        if row.fault is not None:
            raise InvalidMessageError("row", row.fault)
        return TextMessage(to=row.cells[to_column], text=template.fill(row.cells), channel=channel)
    except InvalidMessageError as error:
        return error
