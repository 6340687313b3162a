"""Spreadsheets as the input of `send-many`."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook  # type: ignore[import-untyped]

from callbell_async.cli.exits import DONE, NOT_ALL_DONE, WRONG_USE
from callbell_async.cli.input_rows import RowFile
from callbell_async.errors import ConfigurationError
from callbell_async.recipients import sheet_area
from callbell_async.recipients.opt_outs import OptOutList
from tests.support.command_line import json_lines, run


def written(folder: Path, *rows: Iterable[Any], sheet: str = "Spring", **more: Iterable[Iterable[Any]]) -> Path:
    """Write an .xlsx file with these rows in a sheet, and further sheets."""
    workbook = Workbook()
    del workbook["Sheet"]
    for name, content in {sheet: rows, **more}.items():
        page = workbook.create_sheet(name)
        for row in content:
            page.append(list(row))
    path = folder / "people.xlsx"
    workbook.save(path)
    return path


def change_part(path: Path, name: str, old: bytes, new: bytes) -> None:
    """Replace bytes in a file inside an .xlsx file."""
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    assert old in parts[name]
    parts[name] = parts[name].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (31612345678, "31612345678"),
        (31612345678.0, "31612345678"),
        ("+31612345678", "+31612345678"),
        (" Ada ", "Ada"),
        ("0031612345678", "0031612345678"),
        (5, "5"),
        (-5.0, "-5"),
        (1.10, "1.1"),
        (0.1 + 0.2, "0.3"),
        (1234567890123456, "1.23456789012346E+15"),
        (True, "TRUE"),
        (False, "FALSE"),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 10, 30), "2026-03-01 10:30"),
        (datetime(2026, 3, 1, 10, 29, 59), "2026-03-01 10:29:59"),
        (datetime(9999, 12, 31, 23, 59, 59, 997_000), "9999-12-31 23:59:59"),
        (time(10, 30), "10:30"),
        (time(10, 30, 5), "10:30:05"),
        (timedelta(hours=26, minutes=30), "26:30"),
        (None, ""),
    ],
)
def test_a_cell_becomes_text(tmp_path: Path, value: object, text: str) -> None:
    """Whole numbers have no decimals, dates and times are in ISO form, and text is unchanged but for blanks around it."""
    file = written(tmp_path, ["value", "other"], [value, "x"])
    (row,) = RowFile(file).rows()
    assert row.cells == {"value": text, "other": "x"}


def test_a_duration_that_is_out_of_range_is_a_clear_error(tmp_path: Path) -> None:
    """A number that is too large for the format of its cell is an error with the row, before anything is sent."""
    workbook = Workbook()
    sheet = workbook.create_sheet("Times", 0)
    sheet.append(["to", "time"])
    sheet.append([34600000001, 1e12])
    sheet["B2"].number_format = "[h]:mm"
    file = tmp_path / "people.xlsx"
    workbook.save(file)
    result = run("send-many", file, "--text", "Hi", "--sandbox")
    assert result.exit_code == WRONG_USE
    assert f"{file}: row 2 has a date or a duration that is out of range" in result.output


def test_rows_have_the_numbers_of_the_sheet(tmp_path: Path) -> None:
    """The header row is the first that is not empty, empty rows are skipped, and each row has its number in the sheet."""
    file = written(tmp_path, [], ["to", "name", None], [], [1, "Ada"], [None, " "], ["2", None, "note"])
    rows = RowFile(file)
    assert rows.columns == ["to", "name", ""]
    assert [(row.line, row.cells["to"], row.cells["name"], row.error) for row in rows.rows()] == [
        (4, "1", "Ada", None),
        (6, "2", "", None),
    ]
    assert rows.count() == 2


def test_send_many_sends_each_row(tmp_path: Path) -> None:
    """A sheet is sent like CSV: numbers, dates and errors of rows, and the failed rows are CSV that can be sent again."""
    file = written(
        tmp_path, ["to", "name", "day"], [34600000001, "Ada", date(2026, 3, 1)], [123, "Jörg", None], ["x", "=1+1", 1]
    )
    failed = tmp_path / "failed.csv"
    command = ("send-many", file, "--text", "{name}: {day}", "--sandbox", "--failed-to", failed)
    result = run(*command, "--json")
    assert result.exit_code == NOT_ALL_DONE
    *results, counts = json_lines(result.stdout)
    good, *bad = sorted(results, key=lambda result: result["line"])
    assert (good["line"], good["outcome"], counts["accepted"]) == (2, "accepted", 1)
    assert [(row["line"], row["reason"].partition(" is ")[0]) for row in bad] == [
        (3, "column 'to':"),
        (4, "column 'to':"),
    ]
    assert failed.read_bytes().startswith(b"\xef\xbb\xbfto,name,day,outcome,reason\n")
    failed.write_bytes(failed.read_bytes().replace(b"123,", b"34600000003,"))
    again = run("send-many", failed, "--text", "{name}", "--sandbox", "--json")
    assert json_lines(again.stdout)[-1]["accepted"] == 1
    shown = run("send-many", file, "--text", "{name}: {day}", "--dry-run")
    assert "Ada: 2026-03-01" in shown.stdout


def test_a_sheet_is_selected_by_name(tmp_path: Path) -> None:
    """`--sheet` names the sheet, by default it is the first that is not hidden, and resume reads the same one."""
    summer: list[list[Any]] = [["to"], [34600000002], [34600000003]]
    file = written(tmp_path, ["to"], [34600000001], Summer=summer)
    command = ("send-many", file, "--text", "Hi", "--sandbox", "--json")
    assert json_lines(run(*command).stdout)[-1]["accepted"] == 1
    journal = tmp_path / "journal.db"
    assert json_lines(run(*command, "--sheet", "Summer", "--journal", journal).stdout)[-1]["accepted"] == 2
    assert json_lines(run("resume", journal, "--json").stdout)[-1]["duplicates"] == 2


def test_a_hidden_sheet_is_not_the_default(tmp_path: Path) -> None:
    """The first sheet that is shown is the default; a hidden one can be named."""
    workbook = Workbook()
    workbook["Sheet"].append(["hidden"])
    workbook["Sheet"].sheet_state = "hidden"
    workbook.create_sheet("Shown").append(["shown"])
    workbook.active = 1
    workbook.save(tmp_path / "a.xlsx")
    assert RowFile(tmp_path / "a.xlsx").columns == ["shown"]
    assert RowFile(tmp_path / "a.xlsx", sheet="Sheet").columns == ["hidden"]


def test_the_form_of_a_file_is_found_by_its_content(tmp_path: Path) -> None:
    """A spreadsheet with another name is a spreadsheet, and CSV that is named .xlsx is CSV."""
    sheet = written(tmp_path, ["to"], [1]).rename(tmp_path / "people.csv")
    assert RowFile(sheet).columns == ["to"]
    text = tmp_path / "text.xlsx"
    text.write_text("to\n1\n", encoding="utf-8")
    assert RowFile(text).columns == ["to"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--sheet", "Autumn"], "there is no sheet 'Autumn' in {file}; it has 'Spring', 'Summer'"),
        (["--encoding", "utf-8"], "--encoding: {file} is a spreadsheet; leave the option out"),
        (["--delimiter", ";"], "--delimiter: {file} is a spreadsheet; leave the option out"),
        (["--to-column", "phone"], "--to-column: there is no column 'phone' in {file}; it has to, name"),
        (["--failed-to", "failed.xlsx"], "name the file failed.csv"),
        (["--sheet", "Summer"], "{file}: is empty"),
    ],
)
def test_wrong_options_are_wrong_use(tmp_path: Path, options: list[str], text: str) -> None:
    """An unknown sheet, an option for text, and an empty sheet end the command before anything is sent."""
    file = written(tmp_path, ["to", "name"], [34600000001, "Ada"], Summer=[])
    result = run("send-many", file, "--text", "Hi", "--sandbox", *options)
    assert result.exit_code == WRONG_USE
    assert text.format(file=file) in result.output


def test_a_sheet_of_csv_is_wrong_use(tmp_path: Path) -> None:
    """`--sheet` is refused for a file that is not a spreadsheet."""
    file = tmp_path / "people.csv"
    file.write_text("to\n34600000001\n", encoding="utf-8")
    result = run("send-many", file, "--text", "Hi", "--sandbox", "--sheet", "Spring")
    assert result.exit_code == WRONG_USE
    assert f"--sheet: {file} is not a spreadsheet" in result.output


def test_two_columns_with_one_name_are_refused(tmp_path: Path) -> None:
    """The header row of a sheet obeys the rules of CSV."""
    with pytest.raises(ConfigurationError, match="two columns have the same name: to"):
        RowFile(written(tmp_path, ["to", "to"], [1, 2]))


def test_a_zip_file_is_refused(tmp_path: Path) -> None:
    """A zip file that is not a spreadsheet is a clear error."""
    file = tmp_path / "people.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("people.csv", "to\n")
    with pytest.raises(ConfigurationError, match="is a spreadsheet or a zip file that can't be read"):
        RowFile(file)


def test_standard_input_is_text(tmp_path: Path) -> None:
    """A spreadsheet on standard input is a clear error, because it can't be read as it comes."""
    file = written(tmp_path, ["to"], [34600000001])
    result = run("send-many", "-", "--text", "Hi", "--sandbox", stdin=file.read_bytes())
    assert result.exit_code == WRONG_USE
    assert "standard input: is a spreadsheet or a zip file, not text" in result.output


def test_a_missing_extra_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error of a spreadsheet names it, and CSV is read as before."""
    file = written(tmp_path, ["to"], [34600000001])
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    result = run("send-many", file, "--text", "Hi", "--sandbox")
    assert result.exit_code == WRONG_USE
    assert "pip install 'callbell-async[xlsx]'" in result.output
    text = tmp_path / "people.csv"
    text.write_text("to\n34600000001\n", encoding="utf-8")
    assert run("send-many", text, "--text", "Hi", "--sandbox").exit_code == DONE


def test_a_sheet_with_a_cell_far_away_is_refused(tmp_path: Path) -> None:
    """A cell in the last row and column, which would need 512 GB, is an error with the remedy, for rows and for opt-outs."""
    path = written(tmp_path, ["to"], ["+31612345678"], Other=[["x"]])
    workbook = load_workbook(path)
    workbook["Spring"]["XFD1048576"] = "x"
    workbook.save(path)
    error = "the sheet 'Spring' has 1048576 rows and 16384 columns, empty ones included, and at most 20000000 cells are read; delete the rows"
    for read in (RowFile, OptOutList.read):
        with pytest.raises(ConfigurationError, match=error):
            read(path)
    assert RowFile(path, sheet="Other").columns == ["x"]


def test_the_area_of_a_sheet_may_be_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sheet with as many cells as the limit is read, and one with a row more is not, in whatever pieces the file is read."""
    path = written(tmp_path, ["to", "name"], *([f"+3160000{number:04}", "Ada"] for number in range(99)))
    monkeypatch.setattr(sheet_area, "_PIECE", 7)
    monkeypatch.setattr(sheet_area, "MOST_CELLS", 200)
    assert RowFile(path).count() == 99
    monkeypatch.setattr(sheet_area, "MOST_CELLS", 199)
    with pytest.raises(ConfigurationError, match="has 100 rows and 2 columns"):
        RowFile(path)


def test_only_the_places_of_cells_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that looks like the place of a cell is a text; a place in small letters is a place, as it is for the reader."""
    monkeypatch.setattr(sheet_area, "MOST_CELLS", 10_000)
    path = written(tmp_path, ["to", "text"], ["+31612345678", 'order r="B9999999"'])
    assert [row.cells["text"] for row in RowFile(path).rows()] == ['order r="B9999999"']
    change_part(path, "xl/worksheets/sheet1.xml", b'r="B2"', b'r="zz2"')
    assert RowFile(path).columns == ["to", "text", *[""] * 700]
    change_part(path, "xl/worksheets/sheet1.xml", b'r="zz2"', b'r="zz5000"')
    with pytest.raises(ConfigurationError, match="has 5000 rows and 702 columns"):
        RowFile(path)


@pytest.mark.parametrize("encoding", ["unknown", "gbk"])
def test_an_encoding_that_only_the_reader_knows_is_no_error(tmp_path: Path, encoding: str) -> None:
    """A workbook whose stated encoding Python's parser refuses is left to the reader, which ignores it."""
    path = written(tmp_path, ["to"], ["+31612345678"])
    change_part(path, "xl/workbook.xml", b"<workbook", f'<?xml version="1.0" encoding="{encoding}"?><workbook'.encode())
    assert RowFile(path).count() == 1
