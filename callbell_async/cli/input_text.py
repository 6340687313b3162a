"""The lines of a text file or of standard input, and advice for files that are not text in the expected encoding."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from callbell_async.errors import ConfigurationError
from callbell_async.recipients.sheets import SPREADSHEET_STARTS

__all__ = ["BOM", "STANDARD_INPUT", "TextLines", "checked_encoding"]

STANDARD_INPUT = Path("-")
BOM = "\ufeff"

_BOM_IN_CP1252 = "ï»¿"
"""A UTF-8 byte order mark that was read as cp1252 or Latin-1."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

_SAVE_AS = 'save it as "CSV UTF-8"'


class TextLines:
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
            text = text[1:]
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
        if line == 0 and block.startswith(_UTF_16) and not self._is_given:
            return f"is UTF-16; {_SAVE_AS}, or give --encoding utf-16"
        line += 1 + block[:start].count(b"\n")
        if self._is_given:
            return f"is not {self.encoding} in line {line}; give another --encoding, or {_SAVE_AS}"
        return f"is not UTF-8 in line {line}; {_SAVE_AS}, or give its encoding, such as --encoding cp1252"


def checked_encoding(name: str) -> str:
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
