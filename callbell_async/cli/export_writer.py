"""Records as CSV or JSONL, to a file or to standard output, each as it comes."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import click

from callbell_async.cli.files import open_private
from callbell_async.cli.options import option
from callbell_async.cli.output import csv_text, escape_control, is_terminal, json_text, write
from callbell_async.errors import ConfigurationError

__all__ = ["ExportOptions", "RecordWriter", "export_options", "neutralize_cell", "restore_cell"]

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

    @functools.wraps(command)
    def with_export(*, as_csv: bool, raw: bool, output: Path | None, force: bool, **options: Any) -> Any:
        if force and output is None:
            raise ConfigurationError("--force: requires --output")
        export = ExportOptions(as_csv=as_csv, raw=raw, output=output, force=force)
        return command(export=export, **options)

    decorated: Callable[..., Any] = with_export
    for add in (
        option("--force", is_flag=True, group="Output", help="Replace the file that --output names."),
        option(
            "--output",
            type=click.Path(path_type=Path),
            group="Output",
            help="Write to this new file, which only you can read; the default is standard output.",
        ),
        option("--raw", is_flag=True, group="Output", help="Write CSV cells that look like formulas unchanged."),
        option(
            "--csv/--jsonl",
            "as_csv",
            default=True,
            group="Output",
            help="Write CSV with a header row (the default), or JSON, one object per line.",
        ),
    ):
        decorated = add(decorated)
    return decorated


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
        if path is not None and not path.parent.is_dir():
            raise ConfigurationError(f"--output: {path} can't be written (there is no such directory)")
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
