"""Records as CSV or JSONL, to a file or to standard output, each as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import click

from callbell_async.cli.output import csv_text, json_text, put
from callbell_async.errors import ConfigurationError

__all__ = ["RecordWriter", "form_option"]


form_option = click.option(
    "--csv/--jsonl", "as_csv", default=True, help="Write CSV with a heading (the default), or JSON, an object a line."
)


class RecordWriter:
    """Writes records in one form; `count` is how many. Raises `ConfigurationError` when the file can't be written.

    The file is begun with the first record, or at a good end without any: what fails before leaves an older one as it is.
    """

    def __init__(self, path: Path | None, *, as_csv: bool, columns: Sequence[str]) -> None:
        self.is_json = not as_csv
        self.count = 0
        self._path = path
        self._columns = columns
        self._closing = ExitStack()
        self._write: Callable[[str], Any] | None = None

    def __enter__(self) -> Self:
        if self._path is not None and not self._path.parent.is_dir():
            raise ConfigurationError(f"--output: {self._path} can't be written (there is no such directory)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._begun()
        self._closing.close()

    def add(self, record: Mapping[str, Any]) -> None:
        """Write one more; of CSV only the columns."""
        write = self._begun()
        if self.is_json:
            write(json_text(record) + "\n")
        else:
            write(csv_text(_cell(record[column]) for column in self._columns))
        self.count += 1

    def _begun(self) -> Callable[[str], Any]:
        """What writes, once the heading is written."""
        if self._write is None:
            self._write = put if self._path is None else self._closing.enter_context(_opened(self._path)).write
            if not self.is_json:
                self._write(csv_text(self._columns))
        return self._write


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="", errors="backslashreplace")
    except OSError as error:
        raise ConfigurationError(f"--output: {path} can't be written ({error.strerror})") from None


def _cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
