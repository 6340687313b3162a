"""Output of the commands: messages on standard error, results on standard output as text or JSON."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

import click

from callbell_async.observe import ROOT_LOGGER

__all__ = [
    "OUTPUT_FAILED",
    "LogLines",
    "bar",
    "csv_text",
    "escape_control",
    "fail",
    "info",
    "is_terminal",
    "json_text",
    "pluralize",
    "result",
    "result_json",
    "result_table",
    "warn",
    "warnings_shown",
    "write",
]

OUTPUT_FAILED = "the output can't be written"

_PROGRAM = "callbell-async"
_BAR_WIDTH = 40

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1 control characters, DEL, line separators, marks that change the direction of text, and lone surrogates."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal; one that was closed before the program started is `None`."""
    return stream is not None and stream.isatty()


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun; `plural` is needed where it does not end in a plain s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def escape_control(text: str) -> str:
    """One line without control characters, which could move a terminal's cursor or change the direction of text."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


# --- standard error ---------------------------------------------------------------------------------------------------


def info(line: str) -> None:
    """Write a line for people to standard error, control characters as escapes."""
    # Where the terminal was closed there is nobody left to read it, and a run must still end in order.
    with contextlib.suppress(OSError):
        click.echo(escape_control(line), err=True)


def warn(text: str) -> None:
    """Write a warning to standard error."""
    info(f"{_PROGRAM}: warning: {text}")


def fail(status: int, text: str) -> int:
    """Write an error to standard error, and return the exit status."""
    info(f"{_PROGRAM}: {text}")
    return status


class LogLines(logging.Handler):
    """Writes each record as a warning: its message and the kind of its exception, without the exception's text, which may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        error = record.exc_info[1] if record.exc_info else None
        warn(f"{record.getMessage()}{'' if error is None else f' ({type(error).__name__})'}")


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """Write the library's warnings to standard error, except those of a run: its progress and its summary show them."""
    lines = LogLines(logging.WARNING)
    lines.addFilter(lambda record: not record.name.startswith(f"{ROOT_LOGGER}.bulk"))
    logger = logging.getLogger(ROOT_LOGGER)
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)


# --- standard output --------------------------------------------------------------------------------------------------


def write(text: str, *, color: bool | None = True) -> None:
    """Write text to standard output. Raises `OSError`, also when standard output was closed before the program started.

    Escape sequences are data of an export and stay; with `color=None` those of colours go to a terminal only, with `False` nowhere.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed", OUTPUT_FAILED)
    try:
        click.echo(text, nl=False, color=color)
    except OSError as error:
        raise OSError(error.errno, error.strerror, OUTPUT_FAILED) from None


def result(line: str) -> None:
    """Write a line of the result, control characters as escapes; raises what `write` raises."""
    write(escape_control(line) + "\n")


def result_json(document: Mapping[str, Any]) -> None:
    """Write an object of the result on a line of its own; raises what `write` raises."""
    write(json_text(document) + "\n")


def result_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table on a terminal, and elsewhere lines with tabs between the cells, without the header.

    No cell is cut, and the first column is never wrapped: users copy it.
    """
    written = [[escape_control("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for cells in written:
            write("\t".join(cells) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for index, heading in enumerate(header):
        table.add_column(heading, overflow="fold", no_wrap=index == 0)
    for cells in written:
        table.add_row(*map(Text, cells))
    Console().print(table)


def bar(count: int, most: int) -> str:
    """A bar for `count`, where `most` fills it; empty where standard output is not a terminal."""
    if not is_terminal(sys.stdout) or not most:
        return ""
    return "█" * max(round(_BAR_WIDTH * count / most), 1 if count else 0)


# --- formats ----------------------------------------------------------------------------------------------------------


def json_text(document: Any) -> str:
    """JSON on one line: dates in ISO 8601, and each control character as an escape, which reads back as the same character."""
    text = json.dumps(document, ensure_ascii=False, default=_json_value)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else str(value)


def csv_text(cells: Iterable[Any], delimiter: str = ",") -> str:
    """A line of CSV with its line end; every cell reads back as it was."""
    line = io.StringIO(newline="")
    # With this line end both of its characters are quoted in a cell; a lone one of another line end would not be.
    csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"
