"""The rows of a file or of standard input, one at a time."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import attrs

from callbell_async.errors import ConfigurationError

__all__ = ["ADDED", "STANDARD_INPUT", "Row", "RowFile"]

STANDARD_INPUT = Path("-")

ADDED = ("outcome", "reason")
"""What a row has besides when it comes from `--failed-to`."""

_QUOTED = re.compile(r'"[^"]*"')
_ARRAY = re.compile(r"\s*\[\s*(\{|$)")
"""How an array of objects begins."""


@attrs.frozen
class Row:
    """One row: the line of the file it begins on (from 1), and its cells by column; `fault` says what is wrong with its form.

    `original` is the row as it came: the cells of CSV, or the one line of JSONL.
    """

    line: int
    cells: Mapping[str, str] = attrs.field(repr=False)
    original: Sequence[str] = attrs.field(repr=False)
    fault: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong with its form."""
        return self.fault is None


class RowFile:
    """CSV with a heading, or JSONL (an object a line), read as a stream: UTF-8 with or without a BOM; empty lines are left out.

    CSV may have commas, semicolons or tabs, and quotes. JSONL is what ends in `.jsonl` or `.ndjson`, or begins with `{`. `columns` are
    the names in the heading, `None` for JSONL; `delimiter` is CSV's. What is no plain file (standard input, a pipe) is a stream: `is_stream`. It
    is read once only, and can't be counted.

    Raises `ConfigurationError` when it can't be read or has no heading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = "standard input" if path == STANDARD_INPUT else str(path)
        self.is_stream = path == STANDARD_INPUT or (path.exists() and not path.is_file() and not path.is_dir())
        self.delimiter = ","
        self.columns: list[str] | None = None
        rows = self._begin()
        self._stream = rows if self.is_stream else None

    def need(self, columns: Iterable[str], option: str) -> None:
        """Raise `ConfigurationError` unless all `columns`, named by `option`, are there; JSON objects tell only one by one."""
        for column in columns:
            if self.columns is not None and column not in self.columns:
                raise ConfigurationError(
                    f"{option}: there is no column {column!r} in {self.name}{_named('; it has ', self.columns)}"
                )

    def rows(self) -> Iterator[Row]:
        """The rows in their order; those of a stream once."""
        return self._begin() if self._stream is None else self._stream

    def count(self) -> int | None:
        """How many rows there are, after reading through the whole file; `None` for a stream."""
        return None if self.is_stream else sum(1 for _ in self.rows())

    def _begin(self) -> Iterator[Row]:
        lines = self._lines()
        empty = 0
        for first in lines:
            if first.strip():
                break
            empty += 1
        else:
            raise ConfigurationError(f"{self.name}: is empty; its first line must name the columns, such as: to,name")
        if _ARRAY.match(first):
            raise ConfigurationError(
                f"{self.name}: is a JSON array; write its objects one a line, without the brackets"
            )
        lines = itertools.chain([first], lines)
        if self.path.suffix.lower() in (".jsonl", ".ndjson") or first.lstrip().startswith("{"):
            return _json_rows(lines, empty)
        return self._csv_rows(first, lines, empty)

    def _csv_rows(self, first: str, lines: Iterable[str], empty: int) -> Iterator[Row]:
        heading = _QUOTED.sub("", first)
        self.delimiter = max(",;\t", key=heading.count)
        records = self._records(csv.reader(lines, delimiter=self.delimiter, strict=True), empty)
        _, names = next(records)
        columns = self.columns = [name.strip() for name in names]
        # Spreadsheets end lines with as many separators as the widest has: columns without a name don't count.
        if twice := {name for name in columns if name and columns.count(name) > 1}:
            raise ConfigurationError(f"{self.name}: two columns have the same name{_named(': ', sorted(twice))}")
        return (_csv_row(line, columns, cells) for line, cells in records)

    def _records(self, reader: Any, empty: int) -> Iterator[tuple[int, list[str]]]:
        line = empty + 1
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield line, cells
                line = empty + reader.line_num + 1
        except csv.Error as error:
            raise ConfigurationError(f"{self.name}: is not CSV from line {line} on ({_plainly(error)})") from None

    def _lines(self) -> Iterator[str]:
        line = 0
        try:
            source = _standard_input() if self.path == STANDARD_INPUT else self.path.open("rb")
            with io.TextIOWrapper(source, encoding="utf-8-sig", newline="") as file:
                for text in file:
                    line += 1
                    if "\0" in text:
                        raise ConfigurationError(
                            f"{self.name}: has a NUL character in line {line}, as UTF-16 has; save it as UTF-8 text, CSV or JSONL"
                        )
                    yield text
        except OSError as error:
            raise ConfigurationError(f"{self.name}: can't be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            # It is read in blocks: the lines before, and those of this block that are good.
            line += 1 + error.object[: error.start].count(b"\n")
            raise ConfigurationError(
                f"{self.name}: is not UTF-8 in line {line}; save it as UTF-8 text, CSV or JSONL"
            ) from None


def _plainly(error: csv.Error) -> str:
    return "a quotation mark is never closed" if str(error) == "unexpected end of data" else str(error)


def _named(introduction: str, columns: Iterable[str]) -> str:
    """The names of columns, unless they look like somebody's number: then the heading was forgotten."""
    names = [name for name in columns if name]
    if any(sum(map(str.isdigit, name)) >= 6 for name in names):
        return "; its first line must name the columns, such as: to,name"
    return introduction + ", ".join(names)


def _csv_row(line: int, columns: list[str], cells: list[str]) -> Row:
    fault = None
    if len(cells) != len(columns):
        fault = f"has {len(cells)} cells where the heading has {len(columns)}"
    return Row(line, dict(zip(columns, map(str.strip, cells), strict=False)), cells, fault)


def _json_rows(lines: Iterable[str], empty: int) -> Iterator[Row]:
    return (_json_row(line, text) for line, text in enumerate(lines, empty + 1) if text.strip())


def _json_row(line: int, text: str) -> Row:
    try:
        # A number is taken as it is written: 007 is no JSON, but 1.10 is.
        found = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_object
        )
    except _RefusedError as error:
        return Row(line, {}, [text], str(error))
    except (ValueError, RecursionError):
        return Row(line, {}, [text], "is not JSON; each line must be an object of its own")
    if not isinstance(found, dict):
        return Row(line, {}, [text], 'is no JSON object, such as {"to": "+31612345678"}')
    return Row(line, {key: said for key, value in found.items() if (said := _said(value)) is not None}, [text])


class _RefusedError(ValueError):
    """What Python's reader of JSON takes, and nobody can have meant."""


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"has {name}, which is not JSON; write a string, or null for an empty cell")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs if name not in ADDED]
        if twice := {name for name in names if names.count(name) > 1}:
            raise _RefusedError(f"has the same key twice{_named(': ', sorted(twice))}")
    return found


def _said(value: Any) -> str | None:
    """A JSON value as a cell: null is an empty one, and what holds others is none."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return ""
        case _:
            return None


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ConfigurationError("standard input: was closed before anything was read")
    stream = sys.stdin.buffer
    try:
        # A reader of our own: a thread that still waits in Python's would hold up the end of the program.
        return open(stream.fileno(), "rb", closefd=False)
    except OSError:
        return stream
