"""The input of `send-many`: the rows of a CSV or JSONL file, of a spreadsheet, or of standard input, read one at a time."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import json
import queue
import re
import stat
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import attrs

from callbell_async.cli.output import pluralize
from callbell_async.errors import ConfigurationError
from callbell_async.recipients.tables import SPREADSHEET_STARTS, Sheet, csv_records, guess_delimiter, is_spreadsheet

__all__ = ["ADDED_COLUMNS", "BOM", "STANDARD_INPUT", "Row", "RowFile", "is_stream", "read_in_thread", "repeated"]

STANDARD_INPUT = Path("-")
BOM = "\ufeff"

ADDED_COLUMNS = ("outcome", "reason")
"""The columns that `--failed-to` adds to a row."""

MAX_NAMED_COLUMNS = 20
"""The number of columns that an error lists."""

_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The first line by which Excel names the delimiter."""
_JSON_ARRAY = re.compile(r"\s*\[\s*(\{|$)")
"""The beginning of an array of objects."""


def is_stream(path: Path) -> bool:
    """Return whether a path is standard input or a pipe, which can be read only once."""
    if path == STANDARD_INPUT:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        # The reader of the file raises the same error, as one for the user.
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@attrs.frozen
class Row:
    """One row of the input.

    Attributes:
        line: The line of the file on which the row begins, or the row of the sheet, from 1.
        cells: The cells by column, without blanks around them.
        original: The row as in the file: the cells of CSV or of a sheet, or the one line of JSONL.
        error: The fault in the row's form, `None` for a good row.
    """

    line: int
    cells: Mapping[str, str] = attrs.field(repr=False)
    original: Sequence[str] = attrs.field(repr=False)
    error: str | None = None


class RowFile:
    """A CSV file or a spreadsheet with a header row, or a JSONL file (one object on each line). Empty lines are skipped.

    A name that ends in `.jsonl` or `.ndjson`, or a first line that begins with `{`, makes it JSONL. Everything else is CSV.

    Args:
        path: The file; `-` is standard input.
        encoding: The file's encoding. The default is UTF-8, with or without a byte order mark.
        delimiter: The character between the cells of CSV. By default it is found in the header row: comma, semicolon or tab.
        sheet: The name of the sheet of a spreadsheet. By default the first one that is not hidden.

    Attributes:
        name: The file's name in errors.
        columns: The names in the header row; `None` for JSONL.
        delimiter: The delimiter of CSV.
        has_sep_line: Whether a first line `sep=;` names the delimiter.
        is_stream: Whether the input is standard input or a pipe. A stream is read once and can't be counted.

    Raises:
        ConfigurationError: The file can't be read, or has no header row.
    """

    def __init__(
        self, path: Path, *, encoding: str | None = None, delimiter: str | None = None, sheet: str | None = None
    ) -> None:
        self._text = _TextLines(path, None if encoding is None else _checked_encoding(encoding))
        self._given_delimiter = None if delimiter is None else _checked_delimiter(delimiter, "--delimiter")
        self.path = path
        self.name = self._text.name
        self.is_stream = is_stream(path)
        self._sheet = self._open_sheet(sheet, {"--encoding": encoding, "--delimiter": delimiter})
        self.delimiter = ","
        self.has_sep_line = False
        self.columns: list[str] | None = None
        rows = self._begin()
        self._stream = rows if self.is_stream else None

    @property
    def encoding(self) -> str:
        """The encoding in which the file is read."""
        return self._text.encoding

    @property
    def has_bom(self) -> bool:
        """Whether the file begins with a byte order mark, or is a spreadsheet: its program needs one to recognize CSV in UTF-8."""
        return self._sheet is not None or self._text.has_bom

    def require(self, columns: Iterable[str], option: str) -> None:
        """Raise `ConfigurationError` unless the file has all `columns`, which `option` names. JSONL is checked row by row instead."""
        for column in columns:
            if self.columns is not None and column not in self.columns:
                remedy = _delimiter_hint(self.columns) or _option_hint(option, self.columns)
                hint = _listed("; it has ", self.columns) + remedy
                raise ConfigurationError(f"{option}: there is no column {column!r} in {self.name}{hint}")

    def rows(self) -> Iterator[Row]:
        """Return the rows in the order of the file. The rows of a stream come only once."""
        return self._begin() if self._stream is None else self._stream

    def count(self) -> int | None:
        """Read the whole file and return the number of its rows; `None` for a stream."""
        return None if self.is_stream else sum(1 for _ in self.rows())

    def _open_sheet(self, name: str | None, options: Mapping[str, object]) -> Sheet | None:
        if self.is_stream or not is_spreadsheet(self.path):
            if name is not None:
                raise ConfigurationError(f"--sheet: {self.name} is not a spreadsheet; leave the option out")
            return None
        for option, given in options.items():
            if given is not None:
                raise ConfigurationError(f"{option}: {self.name} is a spreadsheet; leave the option out")
        return Sheet(self.path, name)

    def _begin(self) -> Iterator[Row]:
        if self._sheet is not None:
            return self._table_rows(self._sheet.rows())
        lines = iter(self._text)
        first, line = _next_line(lines, 0)
        if first is None:
            raise self._empty()
        if _JSON_ARRAY.match(first):
            raise ConfigurationError(
                f"{self.name}: is a JSON array; write one object on each line, without the brackets"
            )
        if self.path.suffix.lower() in (".jsonl", ".ndjson") or first.lstrip().startswith("{"):
            return _json_rows(itertools.chain([first], lines), line)
        delimiter = self._given_delimiter
        if found := _SEP_LINE.fullmatch(first):
            self.has_sep_line = True
            delimiter = delimiter or _checked_delimiter(found[1], f"{self.name}: sep=")
            first, line = _next_line(lines, line)
            if first is None:
                raise self._empty()
        self.delimiter = delimiter or guess_delimiter(first)
        lines = itertools.chain([first], lines)
        return self._table_rows(csv_records(lines, self.delimiter, name=self.name, line=line))

    def _table_rows(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
        _, names = next(records, (0, None))
        if names is None:
            raise self._empty()
        columns = self.columns = [name.strip() for name in names]
        # Spreadsheets fill up short lines with delimiters: columns without a name may repeat.
        if twice := repeated(filter(None, columns)):
            raise ConfigurationError(f"{self.name}: two columns have the same name{_listed(': ', twice)}")
        return (_table_row(line, columns, cells) for line, cells in records)

    def _empty(self) -> ConfigurationError:
        return ConfigurationError(f"{self.name}: is empty; its first line must name the columns, such as: to,name")


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, sorted, in linear time."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _checked_delimiter(delimiter: str, source: str) -> str:
    delimiter = "\t" if delimiter in ("\\t", "tab") else delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigurationError(f"{source}: the delimiter must be one character, such as ; or |, or tab")
    return delimiter


def _next_line(lines: Iterator[str], line: int) -> tuple[str | None, int]:
    """Return the next line that is not empty, and its number; `line` is the number of the line before."""
    for text in lines:
        line += 1
        if text.strip():
            return text, line
    return None, line


def _delimiter_hint(columns: list[str]) -> str:
    """The remedy for a header row that seems to have another delimiter."""
    if len(columns) == 1 and (found := next((mark for mark in "|^~" if mark in columns[0]), None)):
        return f"; if its cells are separated by {found}, give --delimiter {found!r}"
    return ""


def _option_hint(option: str, columns: list[str]) -> str:
    """The remedy for a column that an option names, also where the user has not given the option."""
    return f"; name the right one with {option}" if option.endswith("-column") and _is_header(columns) else ""


def _is_header(columns: Iterable[str]) -> bool:
    """Whether no column looks like a telephone number."""
    return all(sum(map(str.isdigit, name)) < 6 for name in columns)


def _listed(introduction: str, columns: Iterable[str]) -> str:
    """List columns for an error, unless one looks like a telephone number: then the file has no header row."""
    names = [name for name in columns if name]
    if not _is_header(names):
        return "; its first line must name the columns, such as: to,name"
    more = len(names) - MAX_NAMED_COLUMNS
    return introduction + ", ".join(names[:MAX_NAMED_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def _table_row(line: int, columns: list[str], cells: list[str]) -> Row:
    error = None
    if len(cells) != len(columns):
        error = f"has {pluralize(len(cells), 'cell')}, and the header row has {len(columns)}"
    return Row(line, dict(zip(columns, map(str.strip, cells), strict=False)), cells, error)


def _json_rows(lines: Iterable[str], first_line: int) -> Iterator[Row]:
    return (_json_row(line, text) for line, text in enumerate(lines, first_line) if text.strip())


def _json_row(line: int, text: str) -> Row:
    try:
        # Numbers stay as they are written: 1.10 must not become 1.1.
        found = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_object
        )
    except _RefusedError as error:
        return Row(line, {}, [text], str(error))
    except (ValueError, RecursionError):
        return Row(line, {}, [text], "is not JSON; write one object on each line")
    if not isinstance(found, dict):
        return Row(line, {}, [text], 'is not a JSON object, such as {"to": "+31612345678"}')
    return Row(line, {key: cell for key, value in found.items() if (cell := _cell(value)) is not None}, [text])


class _RefusedError(ValueError):
    """Python's JSON parser accepts it, but it is an error in an input file."""


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"has {name}, which is not JSON; write a string, or null for an empty cell")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and (twice := repeated(name for name, _ in pairs if name not in ADDED_COLUMNS)):
        raise _RefusedError(f"has the same key twice{_listed(': ', twice)}")
    return found


def _cell(value: Any) -> str | None:
    """A JSON value as a cell: null is an empty cell; lists and objects are not cells."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return ""
        case _:
            return None


# --- text -------------------------------------------------------------------------------------------------------------

_BOM_IN_CP1252 = "ï»¿"
"""A UTF-8 byte order mark that was read as cp1252 or Latin-1."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")

_SAVE_AS = 'save it as "CSV UTF-8"'


class _TextLines:
    """The lines of a file, with their line ends, in the order of the file. A byte order mark is dropped.

    Args:
        path: The file; `-` is standard input.
        encoding: The file's encoding. The default is UTF-8.

    Attributes:
        name: The file's name in errors.
        encoding: The encoding as Python names it.
        has_bom: Whether the file begins with a byte order mark. It is known after the first line.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.name = "standard input" if path == STANDARD_INPUT else str(path)
        self.encoding = encoding or "utf-8"
        self.has_bom = False
        self._is_given = encoding is not None
        self._path = path

    def __iter__(self) -> Iterator[str]:
        """Read the lines. Raises `ConfigurationError`, which names the line and the remedy."""
        line = 0
        try:
            source = _open_standard_input() if self._path == STANDARD_INPUT else self._path.open("rb")
            with io.TextIOWrapper(source, encoding=self.encoding, newline="") as file:
                for text in file:
                    line += 1
                    yield self._first(text) if line == 1 else self._checked(text, line)
        except OSError as error:
            raise ConfigurationError(f"{self.name}: can't be read ({error.strerror})") from None
        except UnicodeError as error:
            raise ConfigurationError(f"{self.name}: {self._advice(error, line)}") from None

    def _first(self, text: str) -> str:
        if text.startswith(BOM):
            self.has_bom = True
            # Programs that add a mark to a file that has one leave two.
            text = text.lstrip(BOM)
        if self._is_given and text.startswith(_BOM_IN_CP1252):
            raise ConfigurationError(f"{self.name}: begins with the mark of UTF-8; leave out --encoding")
        return self._checked(text, 1)

    def _checked(self, text: str, line: int) -> str:
        if "\0" not in text:
            return text
        if line == 1 and text.startswith(SPREADSHEET_STARTS[0].decode()):
            raise ConfigurationError(f"{self.name}: {_not_text()}")
        raise ConfigurationError(
            f"{self.name}: has a NUL character in line {line}, which UTF-16 text and binary files have; {_SAVE_AS}, "
            "or give its encoding, such as --encoding utf-16-le"
        )

    def _advice(self, error: UnicodeError, line: int) -> str:
        # The file is decoded in blocks: `line` lines came before this block, and the good lines of the block follow.
        block, start = (error.object, error.start) if isinstance(error, UnicodeDecodeError) else (b"", 0)
        if line == 0 and block.startswith(SPREADSHEET_STARTS):
            return _not_text()
        if line == 0 and block.startswith(_UTF_32) and not self._is_given:
            # Before the other: the mark of UTF-16 begins one of these.
            return f"is UTF-32; {_SAVE_AS}, or give --encoding utf-32"
        if line == 0 and block.startswith(_UTF_16) and not self._is_given:
            return f"is UTF-16; {_SAVE_AS}, or give --encoding utf-16"
        line += 1 + block[:start].count(b"\n")
        if self._is_given:
            return f"is not {self.encoding} in line {line}; give another --encoding, or {_SAVE_AS}"
        return f"is not UTF-8 in line {line}; {_SAVE_AS}, or give its encoding, such as --encoding cp1252"


def _checked_encoding(name: str) -> str:
    """Return the encoding's name for reading and writing; raises `ConfigurationError` for an unknown one."""
    try:
        with io.TextIOWrapper(io.BytesIO(), encoding=name):
            pass
    except (LookupError, ValueError):
        raise ConfigurationError(
            f"--encoding: {name!r} is not a known text encoding; common ones are utf-8, cp1252 and utf-16"
        ) from None
    # The byte order mark is handled apart from the encoding, so that it is known whether there is one.
    return "utf-8" if name.lower().replace("_", "-") == "utf-8-sig" else name


def _not_text() -> str:
    return f"is a spreadsheet or a zip file, not text; open it in a spreadsheet program and {_SAVE_AS}"


def _open_standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ConfigurationError("standard input: was closed before anything was read")
    stream = sys.stdin.buffer
    try:
        # A separate reader: a thread that still waits in Python's own reader would keep the program from ending.
        return open(stream.fileno(), "rb", closefd=False)
    except OSError:
        return stream


# --- streams ----------------------------------------------------------------------------------------------------------

_Request = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Row | None]"]


async def read_in_thread(rows: Iterator[Row]) -> AsyncIterator[Row]:
    """Read each row in a thread when it is requested, so that a slow input does not block the event loop.

    The thread is a daemon: a thread that waits for a pipe can't be stopped, and must not keep the program from ending.
    """
    requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(rows, requests), name="callbell-rows", daemon=True).start()
    loop = asyncio.get_running_loop()
    try:
        while True:
            future = loop.create_future()
            requests.put((loop, future))
            if (row := await future) is None:
                return
            yield row
    finally:
        requests.put(None)


def _serve(rows: Iterator[Row], requests: queue.SimpleQueue[_Request | None]) -> None:
    while (request := requests.get()) is not None:
        loop, future = request
        resolve: Callable[[], None]
        try:
            resolve = functools.partial(future.set_result, next(rows, None))
        except Exception as error:
            resolve = functools.partial(future.set_exception, error)
        try:
            loop.call_soon_threadsafe(_resolve, future, resolve)
        except RuntimeError:
            # The loop was closed in the meantime.
            return


def _resolve(future: asyncio.Future[Row | None], resolve: Callable[[], None]) -> None:
    # The run may have ended in the meantime.
    if not future.done():
        resolve()
