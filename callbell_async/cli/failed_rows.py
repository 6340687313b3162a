"""`--failed-to`: writes the rows that were not accepted, unchanged, so that they can be corrected and sent again."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import attrs

from callbell_async.cli.files import are_same, open_private
from callbell_async.cli.input_rows import ADDED_COLUMNS, Row, RowFile
from callbell_async.cli.input_text import BOM
from callbell_async.cli.output import csv_text, json_text
from callbell_async.cli.places import JournalPlace
from callbell_async.cli.results import RowResult
from callbell_async.errors import ConfigurationError, Outcome

__all__ = ["FailedRows", "Outputs"]

_FORMS = {".csv", ".jsonl", ".ndjson", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"}
"""The ends of names that promise a form."""
_OUTCOMES = {outcome.value for outcome in Outcome}
_ADDED_TO_JSON = re.compile(r'(, )?"outcome": "[a-z_]+", "reason": "(?:[^"\\]|\\.)*"\}$')
"""The end of an object to which an earlier run has added its outcome and reason."""
_ADDED_TO_HEADER = re.compile(r"(?:^|.)outcome(.)reason$")


class FailedRows:
    """Writes rows with their outcomes to a file in the form of the input: CSV (also of a spreadsheet) or JSONL, encoding, byte order mark and delimiter.

    Cells are written exactly as in the input, because the file is an input itself. A row that may have been accepted is left out unless
    `unknown` is set, so that it is not sent twice by accident.

    Args:
        path: The file.
        rows: The input.
        unknown: Write also the rows that may have been accepted.
        force: Replace a file that another program has written.

    Attributes:
        kept_back: The number of rows that were left out because they may have been accepted.

    Raises:
        ConfigurationError: The file can't be written, exists already, or its name ends for another form.
    """

    def __init__(self, path: Path, rows: RowFile, *, unknown: bool = False, force: bool = False) -> None:
        form = ".jsonl" if rows.columns is None else ".csv"
        if path.suffix.lower() in _FORMS - {form, ".ndjson" if form == ".jsonl" else form}:
            raise ConfigurationError(
                f"--failed-to: the rows are written in the form of the input, those of a spreadsheet as CSV; name the file {path.stem}{form}"
            )
        self._path = path
        self._rows = rows
        self._unknown = unknown
        self._force = force
        self.kept_back = 0
        self._closing = ExitStack()
        self._write: Callable[[Row, str, str], None] = _nothing

    def __enter__(self) -> Self:
        # Line by line, so that a program that is killed leaves whole rows.
        file = open_private(
            self._path,
            "--failed-to",
            force=self._force,
            is_own=_is_failed_rows,
            encoding=self._rows.encoding,
            buffering=1,
        )
        self._closing.enter_context(file)
        with self._errors_named():
            if self._rows.has_bom:
                file.write(BOM)
            if self._rows.columns is None:
                self._write = functools.partial(_write_json, file)
            else:
                if self._rows.has_sep_line:
                    file.write(f"sep={self._rows.delimiter}\n")
                self._write = _csv_writer(file, self._rows.columns, self._rows.delimiter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._errors_named():
            self._closing.close()

    def add(self, row: Row, result: RowResult) -> None:
        """Write the row, unless it is complete or must not be sent again."""
        if result.complete:
            return
        if result.may_be_accepted and not self._unknown:
            self.kept_back += 1
            return
        outcome = "unknown" if result.may_be_accepted else result.outcome.value
        with self._errors_named():
            self._write(row, outcome, result.reason or "")

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Name the file in the error of a failed write, which does not name it itself."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"--failed-to: {self._path}") from None


def _is_failed_rows(beginning: str) -> bool:
    """Whether `--failed-to` of an earlier run has written a file that begins so."""
    lines = beginning.removeprefix(BOM).splitlines()
    if lines and lines[0].lower().startswith("sep="):
        del lines[0]
    return bool(lines and (_ADDED_TO_HEADER.search(lines[0]) or _ADDED_TO_JSON.search(lines[0])))


def _nothing(row: Row, outcome: str, reason: str) -> None:
    """The file is not open yet."""


def _csv_writer(file: TextIO, columns: list[str], delimiter: str) -> Callable[[Row, str, str], None]:
    """Write the header row, and return a function that writes a row with two more cells."""
    # The input may be such a file itself: its outcomes and reasons are replaced.
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
            # A row of a wrong length must not become a good row by the two cells that are added.
            cells.append("")
        file.write(csv_text(cells, delimiter))

    return write


def _drop_added(cells: list[str]) -> None:
    """Remove the outcome and reason that an earlier run added to a row of a wrong length."""
    end = len(cells) - (not cells[-1])
    if end >= 2 and cells[end - 2] in _OUTCOMES:
        del cells[end - 2 :]


def _write_json(file: TextIO, row: Row, outcome: str, reason: str) -> None:
    (text,) = row.original
    # Added to the text of the row: a number that is written 1.10 must not become 1.1.
    whole = _ADDED_TO_JSON.sub("}", text.strip() if row.error is None else json_text({"row": text.strip()}))
    comma = "" if whole[1:-1].isspace() or whole == "{}" else ", "
    file.write(whole[:-1] + comma + json_text({"outcome": outcome, "reason": reason})[1:] + "\n")


@attrs.frozen(kw_only=True)
class Outputs:
    """The options for results. Raises `ConfigurationError` for options that can't be combined.

    Attributes:
        as_json: Write results as JSON.
        failed_to: The file for the rows that were not accepted.
        failed_unknown: Write to it also the rows that may have been accepted.
        force: Replace a file that another program has written.
    """

    as_json: bool = False
    failed_to: Path | None = None
    failed_unknown: bool = False
    force: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("failed_unknown", "force"):
            if getattr(self, name) and self.failed_to is None:
                raise ConfigurationError(f"--{name.replace('_', '-')}: requires --failed-to")

    def failed_rows(self, rows: RowFile, *, journal: JournalPlace | None = None) -> FailedRows | None:
        """Return the writer for the rows that were not accepted; `None` without `--failed-to`. Raises `ConfigurationError`."""
        if self.failed_to is None:
            return None
        if are_same(rows.path, self.failed_to):
            raise ConfigurationError(f"--failed-to: {self.failed_to} is the input file; give another file")
        if journal is not None and (part := journal.part(self.failed_to)):
            raise ConfigurationError(f"--failed-to: {self.failed_to} {part}; give another file")
        return FailedRows(self.failed_to, rows, unknown=self.failed_unknown, force=self.force)
