"""Rows from a file or from standard input."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from callbell_async import ConfigurationError
from callbell_async.cli.input_rows import RowFile, repeated

NUMBER = "+34600000001"


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """A CSV file that the test writes."""
    return tmp_path / "recipients.csv"


@pytest.fixture
def jsonl_file(tmp_path: Path) -> Path:
    """A JSONL file that the test writes."""
    return tmp_path / "recipients.jsonl"


# --- CSV --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (b"to,name\n1,Ada\n", ["Ada"]),
        (b"\xef\xbb\xbfto,name\r\n1,Ada\r\n", ["Ada"]),
        (b"to;name\n1;Ada, Countess\n", ["Ada, Countess"]),
        (b"to\tname\n1\tAda\n", ["Ada"]),
        (b'to,name\n1,"Ada ""the first"",\nCountess"\n', ['Ada "the first",\nCountess']),
        ("to,name\n1,Zoë\n\n2, Søren \n".encode(), ["Zoë", "Søren"]),
    ],
)
def test_files_of_spreadsheets_are_read(csv_file: Path, raw: bytes, names: list[str]) -> None:
    """CSV is read with and without a byte order mark, with commas, semicolons and tabs, quotes, and empty lines."""
    csv_file.write_bytes(raw)
    rows = RowFile(csv_file)
    assert rows.columns == ["to", "name"]
    assert [row.cells["name"] for row in rows.rows()] == names
    assert rows.count() == len(names)


SAVE_AS = 'save it as "CSV UTF-8"'


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"to\n1\n\xff\n", f"is not UTF-8 in line 3; {SAVE_AS}, or give its encoding, such as --encoding cp1252"),
        (b"to\n" + b"1234567\n" * 5_000 + b"1\xff\n", "is not UTF-8 in line 5002;"),
        ("to\n1\n".encode("utf-16"), f"is UTF-16; {SAVE_AS}, or give --encoding utf-16"),
        ("to\n1\n".encode("utf-32"), f"is UTF-32; {SAVE_AS}, or give --encoding utf-32"),
        ("\ufeffto\n1\n".encode("utf-32-be"), f"is UTF-32; {SAVE_AS}, or give --encoding utf-32"),
        ("to\n1\n".encode("utf-16-be"), "has a NUL character in line 1, which UTF-16 text and binary files have;"),
        (b"to,name\n1,A\0a\n", "has a NUL character in line 2, which"),
        (
            b"PK\x03\x04\x14\x00\x06\x00\x08",
            "is a spreadsheet or a zip file that can't be read (Cannot detect file format); save it as .xlsx or as",
        ),
        (b"PK\x03\x04\x2d\xff\xfe", "is a spreadsheet or a zip file that can't be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "is a spreadsheet or a zip file that can't be read"),
        (b'to\n1\n"1\n2\n', "is not CSV from line 3 on (a quotation mark is never closed)"),
        (b'to\n1\n"1"x\n', "is not CSV from line 3 on (characters follow a closing quotation mark; double the"),
        (b"to\n" + b"x" * 140_000, "is not CSV from line 2 on (a cell has more than 131072 characters, or a"),
        (b'[{"to": "1"},\n{"to": "2"}]\n', "is a JSON array; write one object on each line, without the brackets"),
        (b'[\n{"to": "1"}\n]\n', "is a JSON array"),
        (b"", "is empty; its first line must name the columns, such as: to,name"),
        (b"\n ,, \n", "is empty; its first line"),
        (b"sep=;\n", "is empty; its first line"),
        (b'sep="\nto\n', "sep=: the delimiter must be one character"),
    ],
    ids=[
        "latin-1",
        "far down",
        "utf-16",
        "utf-32",
        "utf-32 of the other order",
        "utf-16 unmarked",
        "NUL",
        "xlsx",
        "zip",
        "xls",
        "open quote",
        "behind a quote",
        "long cell",
        "array",
        "long array",
        "empty",
        "no names",
        "sep alone",
        "sep of a quote",
    ],
)
def test_an_unreadable_file_is_named_with_its_remedy(csv_file: Path, raw: bytes, error: str) -> None:
    """A file in another encoding or of another kind is refused with the line, the cause and the remedy."""
    csv_file.write_bytes(raw)
    with pytest.raises(ConfigurationError) as raised:
        list(RowFile(csv_file).rows())
    assert str(raised.value).startswith(f"{csv_file}: {error}")


@pytest.mark.parametrize(
    ("encoding", "codec", "bom"),
    [
        ("cp1252", "cp1252", False),
        ("CP1252", "cp1252", False),
        ("utf-16", "utf-16", False),
        ("utf-16-le", "utf-16-le", True),
        ("utf-8", "utf-8", True),
        ("utf-8-sig", "utf-8", True),
        ("utf_8_sig", "utf-8", False),
    ],
)
def test_encoding_reads_what_it_names(csv_file: Path, encoding: str, codec: str, bom: bool) -> None:
    """`--encoding` reads other encodings; a byte order mark is dropped and remembered."""
    csv_file.write_bytes(("\ufeff" * bom + "to,name\n1,Zoë\n").encode(codec))
    rows = RowFile(csv_file, encoding=encoding)
    assert (rows.columns, rows.has_bom) == (["to", "name"], bom)


def test_two_byte_order_marks_are_dropped(csv_file: Path) -> None:
    """A file with two byte order marks, as programs leave them that add one to every file, has its first column."""
    csv_file.write_bytes("\ufeff\ufeffto,name\n1,Zoë\n".encode())
    rows = RowFile(csv_file)
    assert (rows.columns, rows.has_bom) == (["to", "name"], True)
    assert [row.cells["name"] for row in rows.rows()] == ["Zoë"]


@pytest.mark.parametrize(
    ("encoding", "raw", "error"),
    [
        ("utf-99", b"to\n", "--encoding: 'utf-99' is not a known text encoding; common ones are utf-8, cp1252"),
        ("base64", b"to\n", "--encoding: 'base64' is not a known text encoding"),
        ("ut\0f", b"to\n", "--encoding: 'ut\\x00f' is not a known text encoding"),
        ("cp1252", "\ufeffto\n1\n".encode(), "{}: begins with the mark of UTF-8; leave out --encoding"),
        ("cp1252", b"to\n1\n\x81\n", "{}: is not cp1252 in line 3; give another --encoding, or save it as"),
        ("utf-16", b"to\n1\n", "{}: is not utf-16 in line 1; give another --encoding"),
    ],
)
def test_a_wrong_encoding_is_named(csv_file: Path, encoding: str, raw: bytes, error: str) -> None:
    """An unknown encoding, and one that does not fit the file, are refused with the remedy."""
    csv_file.write_bytes(raw)
    with pytest.raises(ConfigurationError) as raised:
        list(RowFile(csv_file, encoding=encoding).rows())
    assert str(raised.value).startswith(error.format(csv_file))


def test_a_sep_line_names_the_delimiter(csv_file: Path) -> None:
    """Excel's line `sep=` is not the header row: it names the delimiter, and counts as a line of the file."""
    for first in ("sep=|", '"sep=|"', "SEP=|"):
        csv_file.write_text(f"\n{first}\r\n\nto|name\n1|Ada; Bob\n")
        rows = RowFile(csv_file)
        (row,) = rows.rows()
        assert (rows.has_sep_line, rows.columns, row.line) == (True, ["to", "name"], 5)
        assert row.cells == {"to": "1", "name": "Ada; Bob"}
    assert RowFile(csv_file, delimiter=";").columns == ["to|name"]


def test_delimiter_separates_the_cells(csv_file: Path) -> None:
    """`--delimiter` takes any character, and a header row that seems to need it is refused with this advice."""
    csv_file.write_text("to|name, first\n1|Ada\n")
    assert RowFile(csv_file, delimiter="|").columns == ["to", "name, first"]
    csv_file.write_text("to|name\n1|Ada\n")
    with pytest.raises(ConfigurationError) as raised:
        RowFile(csv_file).require(["to"], "--to-column")
    assert str(raised.value) == (
        f"--to-column: there is no column 'to' in {csv_file}; it has to|name; if its cells are separated by |, give --delimiter '|'"
    )
    csv_file.write_text("to\tname, first\n1\tAda\n")
    for tab in ("tab", "\\t", "\t"):
        assert RowFile(csv_file, delimiter=tab).columns == ["to", "name, first"]
    for wrong in ("", ";;", '"', "\n"):
        with pytest.raises(ConfigurationError, match=r"^--delimiter: the delimiter must be one character"):
            RowFile(csv_file, delimiter=wrong)


class CountedName(str):
    """A column's name that counts how often it is compared."""

    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        type(self).comparisons += 1
        return str.__eq__(self, other)


def test_repeated_columns_are_found_in_linear_time() -> None:
    """A header row of 40,000 columns takes at most one comparison a column, not one for each pair of columns."""
    names = [CountedName(number) for number in range(40_000)]
    assert repeated([*names, CountedName(7), CountedName(8)]) == ["7", "8"]
    assert CountedName.comparisons <= len(names)


def test_repeated_columns_and_keys_are_refused(csv_file: Path) -> None:
    """A column that is there twice is refused by its name; a long list of columns is cut."""
    csv_file.write_text("to,a,b,a\n1,2,3,4\n")
    with pytest.raises(ConfigurationError, match=r"two columns have the same name: a$"):
        RowFile(csv_file)
    csv_file.write_text(",".join(f"c{number}" for number in range(1_000)))
    with pytest.raises(
        ConfigurationError, match=r"it has c0, c1, .*, c19 and 980 more; name the right one with --to-column$"
    ):
        RowFile(csv_file).require(["to"], "--to-column")


def test_lines_are_those_of_an_editor(csv_file: Path) -> None:
    """A row has the number of the line on which it begins, as an editor shows it: empty lines and cells of several lines count."""
    csv_file.write_text('\n\nto,name\n1,Ada\n\n2,"Grace\nHopper"\n3,Joan\n')
    assert [row.line for row in RowFile(csv_file).rows()] == [4, 6, 8]


def test_delimiters_inside_quotes_of_the_header_row_do_not_count(csv_file: Path) -> None:
    """The delimiter is searched outside of the quotes of the header row."""
    csv_file.write_text('"to, or number";name\n1;Ada\n')
    assert RowFile(csv_file).columns == ["to, or number", "name"]


def test_columns_without_a_name_may_be_many(csv_file: Path) -> None:
    """Several columns without a name, as spreadsheets leave them behind, are accepted."""
    csv_file.write_text("to;name;;\n1;Ada;;\n")
    (row,) = RowFile(csv_file).rows()
    assert (row.cells["to"], row.cells["name"], row.error) == ("1", "Ada", None)


@pytest.mark.parametrize("header", [f"{NUMBER},Ada", f"{NUMBER},{NUMBER}"])
def test_a_missing_header_row_shows_no_recipient(csv_file: Path, header: str) -> None:
    """Where the first line is a recipient, the error asks for a header row and does not show the number."""
    csv_file.write_text(f"{header}\n+34600000002,Grace\n")
    with pytest.raises(ConfigurationError, match=r"its first line must name the columns, such as: to,name$") as raised:
        RowFile(csv_file).require(["to"], "--to-column")
    assert NUMBER not in str(raised.value)


# --- JSONL ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.NDJSON", "rows", "rows.txt"])
def test_objects_fill_the_same_placeholders(tmp_path: Path, name: str) -> None:
    """A file is JSONL by its name or by its first character. Numbers stay as they are written, booleans become `true` and `false`, null is empty."""
    path = tmp_path / name
    path.write_text('\ufeff{"to": "1", "n": 1.10, "b": true, "x": null, "big": 12345678901234567890}\n\n{"to": 2}\n')
    rows = RowFile(path)
    assert rows.columns is None
    assert [(row.line, row.cells) for row in rows.rows()] == [
        (1, {"to": "1", "n": "1.10", "b": "true", "x": "", "big": "12345678901234567890"}),
        (3, {"to": "2"}),
    ]
    assert rows.count() == 2


def test_an_object_from_failed_rows_may_have_an_outcome_twice(jsonl_file: Path) -> None:
    """`--failed-to` adds `outcome` and `reason` also to an object that has its own; the row stays a good row."""
    jsonl_file.write_text(f'{{"outcome": 1, "to": "{NUMBER}", "outcome": "rejected", "reason": "x"}}\n')
    (row,) = RowFile(jsonl_file).rows()
    assert (row.error, row.cells["to"]) == (None, NUMBER)


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_pipe_is_read_once_and_not_counted(tmp_path: Path) -> None:
    """A pipe is a stream: its columns are known at once, the number of its rows is not, and its rows come once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("to,name\n1,Ada\n2,Grace\n",))
    writer.start()
    rows = RowFile(path)
    assert (rows.is_stream, rows.columns, rows.count()) == (True, ["to", "name"], None)
    assert [row.cells["name"] for row in rows.rows()] == ["Ada", "Grace"]
    writer.join()
    assert list(rows.rows()) == []


def test_a_file_without_permission_is_an_error_of_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the user may not read is reported with its name and the reason."""

    def refuse(self: Path, *arguments: object, **options: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    path = tmp_path / "people.csv"
    path.write_text("to\n+31612345678\n")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigurationError, match=r"people\.csv: can't be read \(Permission denied\)"):
        list(RowFile(path).rows())


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder can't be read, and the error gives the reason."""
    with pytest.raises(ConfigurationError, match=r"can't be read \(Is a directory\)"):
        RowFile(tmp_path)
