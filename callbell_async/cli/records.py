"""Records as CSV or JSONL, to a file or to standard output, each as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from callbell_async.cli.output import csv_text, json_text
from callbell_async.errors import ConfigurationError

__all__ = ["RecordWriter", "form_option"]


form_option = click.option(
    "--csv/--jsonl", "as_csv", default=True, help="Write CSV with a heading (the default), or JSON, an object a line."
)


class RecordWriter:
    """Writes records in one form; `count` is how many. Raises `ConfigurationError` when the file can't be written."""

    def __init__(self, path: Path | None, *, as_csv: bool, columns: Sequence[str]) -> None:
        self.is_json = not as_csv
        self.count = 0
        self._path = path
        self._columns = columns
        self._closing = ExitStack()
        self._write: Callable[[str], Any] = lambda text: click.echo(text, nl=False)

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                file = self._path.open("w", encoding="utf-8", newline="", errors="backslashreplace")
            except OSError as error:
                raise ConfigurationError(f"--output: {self._path} can't be written ({error.strerror})") from None
            self._write = self._closing.enter_context(file).write
        if not self.is_json:
            self._write(csv_text(self._columns))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()

    def add(self, record: Mapping[str, Any]) -> None:
        """Write one more; of CSV only the columns."""
        if self.is_json:
            self._write(json_text(record) + "\n")
        else:
            self._write(csv_text(_cell(record[column]) for column in self._columns))
        self.count += 1


def _cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
