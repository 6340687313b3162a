"""The figures of a benchmark as values: tables, aims and the conditions of the run; as text and as JSON."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import attrs
import cattrs

from tests.benchmarks.spread import Spread

PACKAGES = ("aiohttp", "uvloop", "httpx", "requests", "slack-sdk", "twilio", "aiogram")


@attrs.frozen
class Column:
    """The name of a column, the unit of its values, and the number of decimal digits to show."""

    name: str
    unit: str = ""
    digits: int = 0

    @property
    def head(self) -> str:
        """The text above the column."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


@attrs.frozen
class Row:
    """The values of a row, in the order of the columns; `None` where nothing was measured."""

    label: str
    values: tuple[Spread | None, ...]

    @classmethod
    def of(cls, label: str, *values: Spread | float | None) -> Row:
        """Return a row; a plain number is a value that was measured once."""
        return cls(label, tuple(Spread.of([value]) if isinstance(value, (int, float)) else value for value in values))


@attrs.frozen
class Chart:
    """The way to draw a table.

    Attributes:
        kind: `bars` draws one column, a bar a row. `lines` draws a line a row; the names of the columns are numbers, which
            are the positions on a logarithmic horizontal axis.
        y_axis: The quantity and the unit of the values.
        x_axis: The quantity of the horizontal axis of lines.
        column: The index of the column that bars show.
        bound: An aim to draw as a line.
        at_least: Whether values must be at least `bound`; otherwise at most.
        judged: The labels of the rows to which the aim applies.
    """

    kind: Literal["bars", "lines"]
    y_axis: str
    x_axis: str = ""
    column: int = 0
    bound: float | None = None
    at_least: bool = False
    judged: tuple[str, ...] = ()


@attrs.frozen
class Table:
    """A table of figures, with the way to draw it, if any."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    chart: Chart | None = None
    note: str = ""

    def cells(self) -> list[list[str]]:
        """Return the texts of all rows, the labels included."""
        return [[row.label, *map(_cell, row.values, self.columns)] for row in self.rows]


def _cell(value: Spread | None, column: Column) -> str:
    return "–" if value is None else value.text(column.digits)


@attrs.frozen
class Aim:
    """A bound for a figure.

    Attributes:
        what: The figure in words.
        measured: Its value.
        bound: The largest value that meets the aim; with `at_least` the smallest.
        at_least: The direction of the bound.
        unit: The unit of both.
        digits: The number of decimal digits to show.
        cause: The reason why the aim is missed, if it is.
    """

    what: str
    measured: Spread
    bound: float
    at_least: bool = False
    unit: str = ""
    digits: int = 2
    cause: str = ""

    @property
    def verdict(self) -> str:
        """Whether the aim is met; see `Spread.verdict`."""
        if self.at_least:
            return self.measured.verdict(at_least=self.bound)
        return self.measured.verdict(at_most=self.bound)

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The texts of a row: the figure, the bound, the measured value, and the verdict with its cause."""
        unit = f" {self.unit}" if self.unit else ""
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:g}{unit}"
        verdict = self.verdict
        if verdict != "met" and self.cause:
            verdict += f": {self.cause}"
        return self.what, bound, f"{self.measured.text(self.digits)}{unit}", verdict


def worst(aims: Sequence[Aim]) -> Aim:
    """Return the aim that is furthest from being met, of several with the same bound."""
    return max(aims, key=lambda aim: aim.measured.median * (-1 if aim.at_least else 1))


@attrs.frozen
class Findings:
    """The result of one benchmark: its tables and its aims."""

    tables: tuple[Table, ...]
    aims: tuple[Aim, ...] = ()


@attrs.frozen
class Conditions:
    """The command of a run, and the machine at its beginning.

    Attributes:
        command: The command, to be run from the root of the repository.
        python: The minor version of Python, such as `3.11`.
        machine: Versions and cores.
        load: The load of the machine over the minute before the run and over its last minute.
        date: The day in UTC.
    """

    command: str
    python: str
    machine: str
    load: tuple[float, float]
    date: str

    @property
    def text(self) -> str:
        """All in one line."""
        before, after = self.load
        return f"{self.date}, {self.machine}, load {before:.1f} before and {after:.1f} after"


@attrs.frozen
class Answer:
    """The findings on one question, and the conditions under which they were measured."""

    question: str
    conditions: Conditions
    findings: Findings


def conditions(command: str, load_before: float) -> Conditions:
    """Return the conditions of a run that ends now."""
    return Conditions(
        command=command,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        machine=machine(),
        load=(load_before, os.getloadavg()[0]),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def merged(old: Iterable[Answer], new: Iterable[Answer]) -> list[Answer]:
    """Return all answers; a new one replaces the old one to the same question on the same Python."""
    found = {(answer.question, answer.conditions.python): answer for answer in (*old, *new)}
    return list(found.values())


def load(path: Path) -> list[Answer]:
    """Return the answers in a JSON file; an empty list if the file does not exist."""
    if not path.exists():
        return []
    return cattrs.structure(json.loads(path.read_text(encoding="utf-8")), list[Answer])


def save(path: Path, answers: Sequence[Answer]) -> None:
    """Write the answers to a JSON file."""
    path.write_text(
        json.dumps(cattrs.unstructure(list(answers)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def show(*lines: str) -> None:
    """Print at once, so that a long run can be watched."""
    for line in lines:
        print(line, flush=True)  # noqa: T201


def text(findings: Findings) -> Iterator[str]:
    """Yield the lines of a terminal."""
    for one in findings.tables:
        yield one.title
        yield ""
        yield table(("", *(column.head for column in one.columns)), one.cells())
        yield from filter(None, (one.note, " "))
    for aim in findings.aims:
        what, bound, measured, verdict = aim.cells
        yield f"aim: {what}: {bound}; measured {measured}: {verdict}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def machine() -> str:
    """Return versions and cores in one line."""
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {packages}; {sys.platform}, {os.cpu_count()} cores"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
