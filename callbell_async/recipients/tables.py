"""The cells of CSV and of spreadsheets, as text. Reading a spreadsheet needs the extra `xlsx`."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from callbell_async.errors import ConfigurationError

__all__ = ["SPREADSHEET_STARTS", "Records", "Sheet", "csv_records", "guess_delimiter", "is_spreadsheet"]

Records = Iterator[tuple[int, list[str]]]
"""The number of each line or row that is not empty, from 1, and its cells."""

_DELIMITERS = ",;\t"
_QUOTED = re.compile(r'"[^"]*"')

SPREADSHEET_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of a zip file (.xlsx, .xlsb, .ods, .numbers) and of an old .xls file."""

_LARGEST_WHOLE = 1e15
"""A spreadsheet has 15 digits; those after them are lost."""


def guess_delimiter(first_line: str) -> str:
    """Return the delimiter of CSV from its first line: a comma, a semicolon or a tab."""
    return max(_DELIMITERS, key=_QUOTED.sub("", first_line).count)


def csv_records(lines: Iterable[str], delimiter: str, *, name: str, line: int = 1) -> Records:
    """Yield the records of CSV.

    Args:
        lines: The lines, with their line ends.
        delimiter: The character between the cells.
        name: The name of the file in errors.
        line: The number of the first one of the lines.

    Raises:
        ConfigurationError: A record is not CSV; the error names its line.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    before = line - 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield line, cells
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise ConfigurationError(f"{name}: is not CSV from line {line} on ({_csv_problem(error)})") from None


def _csv_problem(error: csv.Error) -> str:
    text = str(error)
    if text == "unexpected end of data":
        return "a quotation mark is never closed"
    if "expected after" in text:
        return "characters follow a closing quotation mark; double the quotation marks inside a cell"
    if "field limit" in text:
        return f"a cell has more than {csv.field_size_limit()} characters, or a quotation mark is never closed"
    return text


def is_spreadsheet(path: Path) -> bool:
    """Return whether a file begins as spreadsheets and zip files do; a pipe does not, because it can be read only once."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) in SPREADSHEET_STARTS
    except OSError:
        # The reader of its text raises the same error, as one for the user.
        return False


class Sheet:
    """One sheet of an .xlsx, .xlsm, .xlsb, .xls or .ods file. The whole sheet is in memory, about 90 bytes for each cell.

    Args:
        path: The file.
        name: The name of the sheet. By default the first one that is not hidden.

    Raises:
        ConfigurationError: The extra `xlsx` is not installed, the file can't be read, or it has no such sheet.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self._path = path
        try:
            calamine: Any = import_module("python_calamine")
        except ModuleNotFoundError:
            raise ConfigurationError(
                f"{path}: is a spreadsheet; save it as \"CSV UTF-8\", or install the extra: pip install 'callbell-async[xlsx]'"
            ) from None
        try:
            workbook = calamine.CalamineWorkbook.from_path(str(path))
            sheets = [one for one in workbook.sheets_metadata if one.typ == calamine.SheetTypeEnum.WorkSheet]
            shown = [one for one in sheets if one.visible == calamine.SheetVisibleEnum.Visible]
            names = [one.name for one in sheets]
            if name is not None and name not in names:
                raise ConfigurationError(
                    f"there is no sheet {name!r} in {path}; it has {', '.join(map(repr, names)) or 'none'}"
                )
            if name is None and not shown:
                raise ConfigurationError(f"{path}: has no sheet that is shown; name a hidden one")
            chosen = name or shown[0].name
            # Imported only now: every client imports this module, and only spreadsheets need the readers of zip and XML.
            check_area: Callable[[Path, str], None] = import_module("callbell_async.recipients.sheet_area").check_area
            check_area(path, chosen)
            self._sheet = workbook.get_sheet_by_name(chosen)
        except calamine.PasswordError:
            raise ConfigurationError(f"{path}: is protected by a password; save it without one") from None
        except calamine.CalamineError as error:
            raise ConfigurationError(
                f'{path}: is a spreadsheet or a zip file that can\'t be read ({error}); save it as .xlsx or as "CSV UTF-8"'
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{path}: can't be read ({error})") from None

    def rows(self) -> Records:
        """Return the rows, which all have the same number of cells."""
        if not self._sheet.height:
            # python-calamine before 0.9 panics on a sheet without cells.
            return
        number = 0
        try:
            for number, values in enumerate(self._sheet.iter_rows(), 1):
                cells = [cell_text(value) for value in values]
                if any(cell.strip() for cell in cells):
                    yield number, cells
        except OverflowError:
            # The formats of a cell made a date or a duration of a number that is too large for one.
            raise ConfigurationError(
                f"{self._path}: row {number + 1} has a date or a duration that is out of range; correct the format of the cell"
            ) from None


def cell_text(value: object) -> str:
    """Return the text of a cell: numbers as short as they are exact, dates and times in ISO 8601, without the format of the sheet."""
    match value:
        case str():
            return value
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if not (value.is_integer() and abs(value) < _LARGEST_WHOLE):
            # As a spreadsheet shows it: 0.1 + 0.2 is 0.3.
            return f"{value:.15G}"
        case int() | float():
            return str(int(value))
        case datetime():
            return _on_seconds(value).isoformat(" ", "seconds" if _on_seconds(value).second else "minutes")
        case date():
            return value.isoformat()
        case time():
            return cell_text(datetime.combine(date(2000, 1, 1), value)).partition(" ")[2]
        case timedelta():
            minutes, seconds = divmod(round(value.total_seconds()), 60)
            return f"{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
        case _:
            return ""


def _on_seconds(moment: datetime) -> datetime:
    # A spreadsheet stores a moment as a fraction of days, which is not exact.
    whole = moment.replace(microsecond=0)
    # Lists write "for ever" as the last moment of the year 9999, which has no next second.
    is_up = moment.microsecond >= 500_000 and whole != datetime.max.replace(microsecond=0)
    return whole + timedelta(seconds=is_up)
