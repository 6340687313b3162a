"""`--failed-to`: the rows that were not accepted, as they came, to be put right and sent again."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import attrs

from callbell_async.cli.input_rows import ADDED_COLUMNS, Row, RowFile
from callbell_async.cli.output import csv_text, json_text
from callbell_async.cli.paths import are_same, part_of_journal
from callbell_async.cli.row_results import Verdict
from callbell_async.errors import ConfigurationError, Outcome

__all__ = ["FailedRows", "Outputs"]

_OUTCOMES = {outcome.value for outcome in Outcome}
_ADDED_TO_JSON = re.compile(r'(, )?"outcome": "[a-z_]+", "reason": "(?:[^"\\]|\\.)*"\}$')
"""What stands at the end of an object that has been through this once."""


class FailedRows:
    """Writes rows with what became of them to a file, in the form of the input, each as it comes.

    What may have been accepted is left out, unless `unknown`: whoever feeds the file in again must not send it twice by accident. `kept_back`
    counts it. Raises `ConfigurationError` when the file can't be written, or is named for another form.
    """

    def __init__(self, path: Path, rows: RowFile, *, unknown: bool = False) -> None:
        form = ".jsonl" if rows.columns is None else ".csv"
        if path.suffix.lower() in {".csv", ".jsonl", ".ndjson"} - {form, ".ndjson" if form == ".jsonl" else form}:
            raise ConfigurationError(f"--failed-to: the rows are written as they came; name the file {path.stem}{form}")
        self._path = path
        self._rows = rows
        self._unknown = unknown
        self.kept_back = 0
        self._closing = ExitStack()
        self._write: Callable[[Row, str, str], None] = _nothing

    def __enter__(self) -> Self:
        try:
            # Line by line, so that a program that is killed leaves whole rows.
            file = self._path.open("w", encoding="utf-8", newline="", buffering=1, errors="backslashreplace")
        except OSError as error:
            raise ConfigurationError(f"--failed-to: {self._path} can't be written ({error.strerror})") from None
        self._closing.enter_context(file)
        if self._rows.columns is None:
            self._write = functools.partial(_write_json, file)
        else:
            with self._named():
                self._write = _csv_writer(file, self._rows.columns, self._rows.delimiter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._named():
            self._closing.close()

    def add(self, row: Row, verdict: Verdict) -> None:
        """Write the row, unless nothing more is needed for it or it must not be sent again."""
        if verdict.done:
            return
        if verdict.unsure and not self._unknown:
            self.kept_back += 1
            return
        outcome = "unknown" if verdict.unsure else verdict.outcome.value
        with self._named():
            self._write(row, outcome, verdict.reason or "")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What can't be written is said to be this file: a write that fails doesn't say of what."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"--failed-to: {self._path}") from None


def _nothing(row: Row, outcome: str, reason: str) -> None:
    """Before the file is open."""


def _csv_writer(file: TextIO, columns: list[str], delimiter: str) -> Callable[[Row, str, str], None]:
    """What writes a row with two cells more; a heading is written at once."""
    # The file may be one of these itself, fed in a second time.
    kept = [place for place, name in enumerate(columns) if name not in ADDED_COLUMNS]
    width = len(kept) + len(ADDED_COLUMNS)
    file.write(csv_text([*(columns[place] for place in kept), *ADDED_COLUMNS], delimiter))

    added_before = columns[-2:] == [*ADDED_COLUMNS]

    def write(row: Row, outcome: str, reason: str) -> None:
        is_good = len(row.original) == len(columns)
        cells = [row.original[place] for place in kept] if is_good else list(row.original)
        if not is_good and added_before:
            _drop_added(cells)
        cells += [outcome, reason]
        if not is_good and len(cells) == width:
            # A row with too few or too many cells must not become a good one by what is added to it.
            cells.append("")
        file.write(csv_text(cells, delimiter))

    return write


def _drop_added(cells: list[str]) -> None:
    """Take away what was added to a row of a wrong length when it went through this before."""
    end = len(cells) - (not cells[-1])
    if end >= 2 and cells[end - 2] in _OUTCOMES:
        del cells[end - 2 :]


def _write_json(file: TextIO, row: Row, outcome: str, reason: str) -> None:
    (text,) = row.original
    # Added to the text as it stands: a number that was written 1.10 must not come out as 1.1.
    whole = _ADDED_TO_JSON.sub("}", text.strip() if row.error is None else json_text({"row": text.strip()}))
    comma = "" if whole[1:-1].isspace() or whole == "{}" else ", "
    file.write(whole[:-1] + comma + json_text({"outcome": outcome, "reason": reason})[1:] + "\n")


@attrs.frozen(kw_only=True)
class Outputs:
    """Where results go besides the counts. Raises `ConfigurationError` for what doesn't go together."""

    as_json: bool = False
    failed_to: Path | None = None
    failed_unknown: bool = False

    def __attrs_post_init__(self) -> None:
        if self.failed_unknown and self.failed_to is None:
            raise ConfigurationError("--failed-unknown: goes with --failed-to")

    def failed_rows(self, rows: RowFile, *, journal: Path | None = None) -> FailedRows | None:
        """Where the rows go that were not accepted; `None` if nowhere. Raises `ConfigurationError`."""
        if self.failed_to is None:
            return None
        if are_same(rows.path, self.failed_to):
            raise ConfigurationError(f"--failed-to: {self.failed_to} is the file that is read; give another")
        if journal is not None and (part := part_of_journal(self.failed_to, journal)):
            raise ConfigurationError(f"--failed-to: {self.failed_to} {part}; give another")
        return FailedRows(self.failed_to, rows, unknown=self.failed_unknown)
