"""The files that a command writes: private, the records of an export, and the rows of `--failed-to`, to be corrected and sent again."""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import attrs

from callbell_async.cli.input_rows import ADDED_COLUMNS, BOM, Row, RowFile
from callbell_async.cli.options import FILE, all_options, json_option, option
from callbell_async.cli.output import csv_text, escape_control, is_terminal, json_text, write
from callbell_async.cli.places import JournalPlace, are_same
from callbell_async.errors import ConfigurationError, Outcome

if TYPE_CHECKING:
    from callbell_async.cli.results import RowResult

__all__ = [
    "ExportOptions",
    "FailedRows",
    "Outputs",
    "RecordWriter",
    "export_options",
    "neutralize_cell",
    "open_private",
    "output_options",
    "restore_cell",
]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Windows has no such flag."""
_BEGINNING = 65536
"""Bytes of an existing file that are read to find out whether an earlier run has written it."""


def open_private(
    path: Path,
    option: str,
    *,
    force: bool = False,
    is_own: Callable[[str], bool] | None = None,
    encoding: str = "utf-8",
    buffering: int = -1,
) -> TextIO:
    """Create a text file that only its owner can read and write (mode 0600), and open it for writing.

    A symbolic link is never followed. A file that exists and is not empty is replaced with `force`, or if an earlier run of the same command has
    written it; otherwise it is refused. A device or a named pipe is opened as it is.

    Args:
        path: The file.
        option: The option that names it, for the error, such as `--output`.
        force: Replace a file that exists. Its permissions and its other hard links are not kept.
        is_own: Decides from the beginning of a file (at most 64 KiB) whether an earlier run has written it. By default none has.
        encoding: The encoding of the file, also of the one that exists.
        buffering: As for `open`: -1 for blocks, 1 for lines.

    Raises:
        ConfigurationError: The file exists, is a symbolic link or can't be written.
    """

    def may_replace() -> bool:
        return force or (is_own is not None and is_own(_beginning(path, encoding)))

    try:
        descriptor = _create(path, option, may_replace)
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} can't be written ({error.strerror})") from None
    return os.fdopen(descriptor, "w", encoding=encoding, newline="", errors="backslashreplace", buffering=buffering)


def _beginning(path: Path, encoding: str) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as file:
        return file.read(_BEGINNING).decode(encoding, "replace")


def _create(path: Path, option: str, may_replace: Callable[[], bool]) -> int:
    try:
        return os.open(path, _CREATE, 0o600)
    except FileExistsError:
        found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ConfigurationError(f"{option}: {path} is a symbolic link; name the file itself")
    if not stat.S_ISREG(found.st_mode):
        return os.open(path, os.O_WRONLY | _NO_LINK)
    if found.st_size and not may_replace():
        raise ConfigurationError(f"{option}: {path} already exists; give another file, or --force to replace it")
    # A new file, because the old one may be readable by others, or have other names.
    path.unlink()
    return os.open(path, _CREATE, 0o600)


# --- records of an export ---------------------------------------------------------------------------------------------

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""The start of a cell that a spreadsheet takes for a formula, with the apostrophes that were put before it."""
_PHONE_NUMBER = re.compile(r"\+[0-9]+")


@attrs.frozen(kw_only=True)
class ExportOptions:
    """Where records are written, and in which form."""

    as_csv: bool
    raw: bool
    output: Path | None
    force: bool


def export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--csv`, `--jsonl`, `--raw`, `--output` and `--force`; it gets them as `export`."""

    @all_options(
        option(
            "--csv/--jsonl",
            "as_csv",
            default=True,
            group="Output",
            help="Write CSV with a header row (the default), or JSON, one object per line.",
        ),
        option("--raw", is_flag=True, group="Output", help="Write CSV cells that look like formulas unchanged."),
        option(
            "--output",
            type=FILE,
            group="Output",
            help="Write to this new file, which only you can read; the default is standard output.",
        ),
        option("--force", is_flag=True, group="Output", help="Replace the file that --output names."),
    )
    @functools.wraps(command)
    def with_export(*, as_csv: bool, raw: bool, output: Path | None, force: bool, **options: Any) -> Any:
        if force and output is None:
            raise ConfigurationError("--force: requires --output")
        export = ExportOptions(as_csv=as_csv, raw=raw, output=output, force=force)
        return command(export=export, **options)

    return with_export


class RecordWriter:
    """Writes records in one form; `count` is their number.

    The file is created with the first record, or without any at the end of the block: if reading the records fails before,
    a file that `--force` would replace stays as it is. Raises `ConfigurationError` when the file can't be written.
    """

    def __init__(self, options: ExportOptions, *, columns: Sequence[str]) -> None:
        self.is_json = not options.as_csv
        self.count = 0
        self._options = options
        self._columns = columns
        self._closing = ExitStack()
        self._write: Callable[[str], Any] | None = None
        self._to_terminal = options.output is None and is_terminal(sys.stdout)

    def __enter__(self) -> Self:
        path = self._options.output
        if path is not None:
            fault: str | None
            try:
                fault = None if path.parent.is_dir() else "there is no such directory"
            except OSError as error:
                fault = error.strerror
            if fault:
                raise ConfigurationError(f"--output: {path} can't be written ({fault})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._started()
        self._closing.close()

    def add(self, record: Mapping[str, Any]) -> None:
        """Write one more record; in CSV only its columns."""
        write_text = self._started()
        if self.is_json:
            write_text(json_text(record) + "\n")
        else:
            write_text(csv_text(self._cell(record[column]) for column in self._columns))
        self.count += 1

    def _cell(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, str):
            cell = value if self._options.raw else neutralize_cell(value)
            return escape_control(cell) if self._to_terminal else cell
        return value

    def _started(self) -> Callable[[str], Any]:
        """The function that writes; the first call opens the file and writes the header row."""
        if self._write is None:
            path = self._options.output
            if path is None:
                self._write = write
            else:
                file = self._closing.enter_context(open_private(path, "--output", force=self._options.force))
                self._to_terminal = is_terminal(file)
                self._write = file.write
            if not self.is_json:
                self._write(csv_text(self._columns))
        return self._write


def neutralize_cell(text: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would take for a formula; a plain telephone number stays as it is."""
    return f"'{text}" if _FORMULA.match(text) and not _PHONE_NUMBER.fullmatch(text) else text


def restore_cell(text: str) -> str:
    """Undo `neutralize_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


# --- rows of --failed-to ----------------------------------------------------------------------------------------------

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
        missing: The number of rows that could not be written. After the first one no further row is written.
        first_missing: The line of the first of these rows in the input.

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
        self.kept_back = self.missing = self.first_missing = 0
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
        if self.missing:
            self._miss(row)
            return
        outcome = "unknown" if result.may_be_accepted else result.outcome.value
        try:
            with self._errors_named():
                self._write(row, outcome, result.reason or "")
        except OSError:
            self._miss(row)
            raise

    def _miss(self, row: Row) -> None:
        self.first_missing = min(self.first_missing, row.line) if self.missing else row.line
        self.missing += 1

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

    def failed_rows(
        self, rows: RowFile, *, lists: Iterable[Path] = (), journal: JournalPlace | None = None
    ) -> FailedRows | None:
        """Return the writer for the rows that were not accepted; `None` without `--failed-to`. Raises `ConfigurationError`."""
        if self.failed_to is None:
            return None
        if are_same(rows.path, self.failed_to):
            raise ConfigurationError(f"--failed-to: {self.failed_to} is the input file; give another file")
        if any(are_same(path, self.failed_to) for path in lists):
            # An opt-out that is lost may get messages.
            raise ConfigurationError(f"--failed-to: {self.failed_to} is a file of --exclude; give another file")
        if journal is not None and (part := journal.part(self.failed_to)):
            raise ConfigurationError(f"--failed-to: {self.failed_to} {part}; give another file")
        return FailedRows(self.failed_to, rows, unknown=self.failed_unknown, force=self.force)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--failed-to`, `--failed-unknown`, `--force` and `--json`; it gets them as `outputs`."""

    @all_options(
        option("--failed-to", type=FILE, group="Output", help="Write the rows that were not accepted to this file."),
        option(
            "--failed-unknown",
            is_flag=True,
            group="Output",
            help="Include rows that may have been accepted, marked as unknown.",
        ),
        option("--force", is_flag=True, group="Output", help="Replace a file that --failed-to has not written."),
        json_option,
    )
    @functools.wraps(command)
    def with_outputs(
        *, as_json: bool, failed_to: Path | None, failed_unknown: bool, force: bool, **options: Any
    ) -> Any:
        outputs = Outputs(as_json=as_json, failed_to=failed_to, failed_unknown=failed_unknown, force=force)
        return command(outputs=outputs, **options)

    return with_outputs
