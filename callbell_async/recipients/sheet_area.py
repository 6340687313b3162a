"""The area of a sheet of .xlsx, which is known before the sheet is read: the reader holds every cell in it, empty ones too."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

from callbell_async.errors import ConfigurationError

__all__ = ["MOST_CELLS", "check_area"]

MOST_CELLS = 20_000_000
"""The most cells of a sheet, empty ones included; they need about 2 GB of memory. A full sheet of .xlsx has 17,179,869,184."""

_PIECE = 1 << 20
_PLACE = re.compile(rb"""<[^<>]*?\sr\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,7})["']""")
"""The attribute of a row and of a cell, such as `r="7"` and `r="B7"`. The text of a cell may hold the same, outside of a tag."""
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    ElementTree.ParseError,
    LookupError,
    ValueError,
    EOFError,
    RuntimeError,
    OSError,
)
"""The errors of a file that is not .xlsx, is damaged or encrypted, or has an encoding that Python's parser does not know."""


def check_area(path: Path, sheet: str) -> None:
    """Refuse a sheet whose last row and last column are so far away that its area exceeds `MOST_CELLS`.

    One cell in the last row and column of a sheet makes the reader ask for 512 GB, and the process is aborted. A file that is not .xlsx,
    or can't be read, is left to the reader.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            rows, columns = _area(archive, sheet)
    except _UNREADABLE:
        return
    if rows * columns > MOST_CELLS:
        raise ConfigurationError(
            f"{path}: the sheet {sheet!r} has {rows} rows and {columns} columns, empty ones included, and at most {MOST_CELLS} cells are read; "
            'delete the rows and columns after the list, or save it as "CSV UTF-8"'
        )


def _area(archive: zipfile.ZipFile, sheet: str) -> tuple[int, int]:
    """Return the numbers of the last row and of the last column."""
    names = {name.lower(): name for name in archive.namelist()}
    rows, columns, rest = 0, 0, b""
    with archive.open(names[_part(archive, names, sheet)]) as file:
        while data := file.read(_PIECE):
            # The last tag may be incomplete.
            whole, mark, rest = (rest + data).rpartition(b"<")
            rest = mark + rest
            if found := _PLACE.findall(whole):
                letters, numbers = map(set, zip(*found, strict=True))
                rows, columns = max(rows, *map(int, numbers)), max(columns, *map(_number, letters))
    return rows, columns


def _part(archive: zipfile.ZipFile, names: dict[str, str], sheet: str) -> str:
    """Return the name of the file in the archive that holds a sheet, in lower case."""
    # Python's parser limits the expansion of entities.
    workbook = ElementTree.fromstring(archive.read(names["xl/workbook.xml"]))  # noqa: S314
    relations = ElementTree.fromstring(archive.read(names["xl/_rels/workbook.xml.rels"]))  # noqa: S314
    targets = {one.get("Id"): one.get("Target", "") for one in relations}
    for one in workbook.iter():
        if one.tag.endswith("}sheet") and one.get("name") == sheet:
            target = targets[next((value for name, value in one.items() if name.endswith("}id")), None)].lower()
            return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError(sheet)


def _number(column: bytes) -> int:
    """Return the number of a column: 1 for A, 27 for AA; 0 for no letters."""
    number = 0
    for letter in column.upper():
        number = number * 26 + letter - 64
    return number
