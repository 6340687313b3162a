"""What is written: lines for people on standard error, results on standard output, for people or as JSON."""

from __future__ import annotations

import csv
import errno
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

import click

__all__ = [
    "UNWRITABLE",
    "bar",
    "counted",
    "csv_text",
    "is_terminal",
    "json_text",
    "printable",
    "put",
    "say",
    "tell",
    "tell_json",
    "tell_table",
]

UNWRITABLE = "the output can't be written"

_BAR_WIDTH = 40

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, marks that turn the direction of a line, and halves of characters."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits at this end; a stream that was closed before the program began is `None`."""
    return stream is not None and stream.isatty()


def counted(number: int, what: str, more: str | None = None) -> str:
    """So many of something in words; `more` is its plural, if it is not made with an s."""
    return f"{number} {what if number == 1 else more or what + 's'}"


def say(line: str) -> None:
    """A line for people, on standard error."""
    click.echo(line, err=True)


def put(text: str, *, color: bool | None = None) -> None:
    """Text of the result, on standard output. Raises an `OSError` that names it when it can't be written, or was closed from the start."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed", UNWRITABLE)
    try:
        click.echo(text, nl=False, color=color)
    except OSError as error:
        raise OSError(error.errno, error.strerror, UNWRITABLE) from None


def tell(line: str) -> None:
    """A line of the result, on standard output; raises what `put` raises."""
    put(line + "\n")


def tell_json(document: Mapping[str, Any]) -> None:
    """An object of the result, on a line of its own."""
    tell(json_text(document))


def json_text(document: Any) -> str:
    """JSON on one line; dates in ISO 8601."""
    text = json.dumps(document, ensure_ascii=False, default=_plain)
    # What is half a character can't be written, except as the escape that it is in JSON.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else str(value)


def csv_text(cells: Iterable[Any], delimiter: str = ",") -> str:
    """A line of CSV with its end; whatever a cell holds, it is read back as it was."""
    line = io.StringIO(newline="")
    # With this end both its characters are quoted within a cell; a lone one of another end would not be.
    csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def printable(text: str) -> str:
    """One line without control characters: what others wrote must not move a terminal's cursor, nor begin or turn round a line."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def tell_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on a terminal; elsewhere lines with tabs between the cells, without the headings. Nothing is cut, and the first column not even broken: one
    copies it.
    """
    written = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for cells in written:
            tell("\t".join(cells))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=place == 0)
    for cells in written:
        table.add_row(*map(Text, cells))
    Console().print(table)


def bar(count: int, most: int) -> str:
    """A bar for `count` where `most` is a full one; nothing where output is no terminal."""
    if not is_terminal(sys.stdout) or not most:
        return ""
    return "█" * max(round(_BAR_WIDTH * count / most), 1 if count else 0)
