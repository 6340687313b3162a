"""From a file or standard input to rows, and from rows to messages."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    AudioMessage,
    ConfigurationError,
    DocumentMessage,
    Image,
    ImageMessage,
    InvalidMessageError,
    Outcome,
    TemplateMessage,
    TextMessage,
    VideoMessage,
)
from callbell_async.cli.failed_rows import FailedRows
from callbell_async.cli.input_rows import Row, RowFile
from callbell_async.cli.message_form import MessageForm, message_to, plan_for_rows
from callbell_async.cli.output import csv_text
from callbell_async.cli.placeholders import TextTemplate, split_values
from callbell_async.cli.row_results import RowResult
from tests.fixtures.strategies import quick

NUMBER = "+447700900001"


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """A file to write recipients into."""
    return tmp_path / "recipients.csv"


@pytest.fixture
def jsonl_file(tmp_path: Path) -> Path:
    """A file to write objects into."""
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
def test_reads_what_spreadsheets_write(csv_file: Path, raw: bytes, names: list[str]) -> None:
    """With and without a BOM, commas, semicolons and tabs, quotes, and empty lines."""
    csv_file.write_bytes(raw)
    rows = RowFile(csv_file)
    assert rows.columns == ["to", "name"]
    assert [row.cells["name"] for row in rows.rows()] == names
    assert rows.count() == len(names)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"to\n1\n\xff\n", "is not UTF-8 in line 3; save it as UTF-8 text, CSV or JSONL"),
        (b"to\n" + b"1234567\n" * 5_000 + b"1\xff\n", "is not UTF-8 in line 5002;"),
        ("to\n1\n".encode("utf-16"), "is not UTF-8 in line 1;"),
        (b'to\n1\n"1\n2\n', "is not CSV from line 3 on .a quotation mark is never closed"),
        (b'to\n1\n"1"x\n', "is not CSV from line 3 on"),
        ("to\n1\n".encode("utf-16-le"), "has a NUL character in line 1, as UTF-16 has; save it as UTF-8 text"),
        (b"to,name\n1,A\0a\n", "has a NUL character in line 2"),
        (b'[{"to": "1"},\n{"to": "2"}]\n', "is a JSON array; write its objects one a line, without the brackets"),
        (b'[\n{"to": "1"}\n]\n', "is a JSON array"),
    ],
    ids=[
        "latin-1",
        "far down",
        "utf-16",
        "open quote",
        "behind a quote",
        "utf-16 unmarked",
        "NUL",
        "array",
        "long array",
    ],
)
def test_says_where_a_file_breaks(csv_file: Path, raw: bytes, said: str) -> None:
    """A file in another encoding, with an open quote or of another form ends with a clear error that names the line."""
    csv_file.write_bytes(raw)
    with pytest.raises(ConfigurationError, match=said):
        list(RowFile(csv_file).rows())


def test_a_template_fills_columns_and_keeps_double_braces() -> None:
    """`{column}` is replaced once; double braces stand for single ones, and cells are never read as templates."""
    template = TextTemplate("{{code}}: {code} for {full name}")
    assert template.columns == ["code", "full name"]
    assert template.fill({"code": "{full name}", "full name": "Ada"}) == "{code}: {full name} for Ada"


def test_lines_are_those_of_an_editor(csv_file: Path) -> None:
    """Empty lines, also before the heading, and cells of several lines count: a row is named by the line it begins on."""
    csv_file.write_text('\n\nto,name\n1,Ada\n\n2,"Grace\nHopper"\n3,Joan\n')
    assert [row.line for row in RowFile(csv_file).rows()] == [4, 6, 8]


def test_separators_within_quotes_of_the_heading_are_none(csv_file: Path) -> None:
    """The separator is found outside of the heading's quotes."""
    csv_file.write_text('"to, or number";name\n1;Ada\n')
    assert RowFile(csv_file).columns == ["to, or number", "name"]


def test_columns_without_a_name_may_be_many(csv_file: Path) -> None:
    """Spreadsheets leave empty columns behind: they are no reason to refuse a file."""
    csv_file.write_text("to;name;;\n1;Ada;;\n")
    (row,) = RowFile(csv_file).rows()
    assert (row.cells["to"], row.cells["name"], row.fault) == ("1", "Ada", None)


_cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["\r", 'a"b', ";", ",\n", "\t", " x "]
)


@quick
@given(rows=st.lists(st.lists(_cells, min_size=3, max_size=3)), delimiter=st.sampled_from(",;\t"))
def test_any_cell_comes_back_by_way_of_the_failed_rows(rows: list[list[str]], delimiter: str) -> None:
    """Whatever stands in a cell, quotes, separators and line ends too, is read as it was written, and written as it was read."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.csv", Path(folder) / "second.csv"
        with first.open("w", encoding="utf-8", newline="") as file:
            file.writelines(csv_text(row, delimiter) for row in [["a", "b", "c"], *rows])
        source = RowFile(first)
        with FailedRows(second, source) as failed:
            for row in source.rows():
                failed.add(row, RowResult(line=row.line, outcome=Outcome.REJECTED, complete=False, may_be_accepted=False, reason="x"))
        again = [row.original for row in RowFile(second).rows()]
    assert again == [[*row, "rejected", "x"] for row in rows if any(cell.strip() for cell in row)]


@pytest.mark.parametrize("heading", [f"{NUMBER},Ada", f"{NUMBER},{NUMBER}"])
def test_a_forgotten_heading_is_not_told(csv_file: Path, heading: str) -> None:
    """Where the first line is a recipient already, the error says what belongs there, and not who it is."""
    csv_file.write_text(f"{heading}\n+447700900002,Grace\n")
    with pytest.raises(ConfigurationError, match=r"its first line must name the columns, such as: to,name$") as raised:
        RowFile(csv_file).need(["to"], "--to-column")
    assert NUMBER not in str(raised.value)


# --- JSONL ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.NDJSON", "rows", "rows.txt"])
def test_objects_fill_the_same_placeholders(tmp_path: Path, name: str) -> None:
    """JSONL, by its name or by its first character: strings as they are, numbers as written, true and false; null is empty."""
    path = tmp_path / name
    path.write_text('\ufeff{"to": "1", "n": 1.10, "b": true, "x": null, "big": 12345678901234567890}\n\n{"to": 2}\n')
    rows = RowFile(path)
    assert rows.columns is None
    assert [(row.line, row.cells) for row in rows.rows()] == [
        (1, {"to": "1", "n": "1.10", "b": "true", "x": "", "big": "12345678901234567890"}),
        (3, {"to": "2"}),
    ]
    assert rows.count() == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"to": ', "row: is not JSON"),
        ("[" * 100_000, "row: is not JSON"),
        ('["+447700900001"]', "row: is no JSON object"),
        (f'{{"to": "{NUMBER}", "name": NaN}}', "row: has NaN, which is not JSON; write a string, or null"),
        (f'{{"to": "{NUMBER}", "name": "Ada", "x": [-Infinity]}}', "row: has -Infinity, which is not JSON"),
        (f'{{"to": "{NUMBER}", "name": "Ada", "name": "Bob"}}', "row: has the same key twice: name"),
        (f'{{"to": "{NUMBER}", "name": "Ada", "x": {{"{NUMBER}": 1, "{NUMBER}": 2}}}}', "row: has the same key twice"),
        ('{"to": 447700900001.0, "name": "Ada"}', "to: looks like a decimal number"),
        ('{"name": "Ada"}', "row: has no string, number or boolean for 'to'"),
        ('{"to": ["+447700900001"], "name": "Ada"}', "row: has no string, number or boolean for 'to'"),
    ],
)
def test_a_bad_object_is_one_bad_row(jsonl_file: Path, line: str, said: str) -> None:
    """A line that is no object, or lacks what is needed, says so, and the others are sent."""
    jsonl_file.write_text(f'{line}\n{{"to": "{NUMBER}", "name": "Ada"}}\n')
    plan = plan_for_rows(MessageForm(text="Hi {name}"))
    bad, good = map(plan.item, RowFile(jsonl_file).rows())
    assert str(bad).startswith(said)
    assert good == TextMessage(to=NUMBER, text="Hi Ada")


def test_an_object_that_was_among_the_failed_rows_may_say_so_twice(jsonl_file: Path) -> None:
    """`outcome` and `reason` are what `--failed-to` adds, also to an object that has its own: it is a good row again."""
    jsonl_file.write_text(f'{{"outcome": 1, "to": "{NUMBER}", "outcome": "rejected", "reason": "x"}}\n')
    (row,) = RowFile(jsonl_file).rows()
    assert (row.fault, row.cells["to"]) == (None, NUMBER)


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_pipe_is_read_once_and_not_counted(tmp_path: Path) -> None:
    """What is no plain file is a stream: its heading is known at once, its number of rows never."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("to,name\n1,Ada\n2,Grace\n",))
    writer.start()
    rows = RowFile(path)
    assert (rows.is_stream, rows.columns, rows.count()) == (True, ["to", "name"], None)
    assert [row.cells["name"] for row in rows.rows()] == ["Ada", "Grace"]
    writer.join()
    assert list(rows.rows()) == []


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder is refused as what can't be read."""
    with pytest.raises(ConfigurationError, match=r"can't be read \(Is a directory\)"):
        RowFile(tmp_path)


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("{name}", ["{name}"]),
        ("{name}, {code},x", ["{name}", "{code}", "x"]),
        ("{last, first},{{a}},b", ["{last, first}", "{{a}}", "b"]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_values_are_split_at_commas_outside_braces(text: str, values: list[str]) -> None:
    """A comma in a column's name, or in a cell, does not begin another value."""
    assert split_values(text) == values


CELLS = {"to": NUMBER, "name": "Ada, C.", "code": "7", "url": "https://example.com/a.png", "none": "", "team": "t"}
URL = "https://example.com/a.png"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (MessageForm(text="Hi {name}"), TextMessage(to=NUMBER, text="Hi Ada, C.")),
        (
            MessageForm(template="T", values="{name},{code}", optin=True),
            TemplateMessage(to=NUMBER, template_uuid="T", optin_contact=True, values=("Ada, C.", "7")),
        ),
        (
            MessageForm(template="T", optin=True, image="{url}"),
            TemplateMessage(to=NUMBER, template_uuid="T", optin_contact=True, media=Image(URL)),
        ),
        (MessageForm(image="{url}", caption="For {name}"), ImageMessage(to=NUMBER, url=URL, caption="For Ada, C.")),
        (MessageForm(document="{url}", caption="{none}"), DocumentMessage(to=NUMBER, url=URL)),
        (MessageForm(audio="{url}"), AudioMessage(to=NUMBER, url=URL)),
        (MessageForm(video="{url}"), VideoMessage(to=NUMBER, url=URL)),
        (
            MessageForm(text="x", channel="telegram", channel_uuid="c", team="{team}", assigned_user="{none}"),
            TextMessage(to=NUMBER, text="x", channel="telegram", channel_uuid="c", team_uuid="t"),
        ),
        (
            MessageForm(text="x", metadata=("code", "who=name")),
            TextMessage(to=NUMBER, text="x", metadata={"code": "7", "who": "Ada, C."}),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_row_becomes_its_message(form: MessageForm, message: object) -> None:
    """Each kind of message, with its placeholders filled; what is optional may be empty in a row."""
    assert plan_for_rows(form).item(Row(2, CELLS, [])) == message


def test_a_key_is_a_cell() -> None:
    """`--key-column` gives each message the key by which a journal knows it; an empty one is refused."""
    plan = plan_for_rows(MessageForm(text="x"), key_column="code")
    assert plan.message(CELLS).key == "7"
    refused = plan_for_rows(MessageForm(text="x"), key_column="none").item(Row(2, CELLS, []))
    assert isinstance(refused, InvalidMessageError)
    assert refused.field == "key"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "nothing: give one of --text, --template, --image"),
        ({"text": "x", "image": "y"}, "--text and --image: give one of"),
        ({"template": "T", "optin": True, "audio": "y"}, "--template and --audio: give one of"),
        ({"template": "T", "optin": True, "image": "y", "video": "z"}, "--template and --image and --video"),
        ({"template": "T"}, "--template: templates are sent only to contacts who opted in; add --optin"),
        ({"text": "x", "optin": True}, "--optin: goes with --template only"),
        ({"text": "x", "values": "{a}"}, "--values: goes with --template only"),
        ({"text": "x", "caption": "c"}, "--caption: goes with --image"),
        ({"template": "T", "optin": True, "image": "y", "caption": "c"}, "--caption: goes with --image"),
        ({"image": "}"}, "--image: has a brace alone"),
        ({"template": "T", "optin": True, "values": "{a},{"}, "--values: has a brace alone"),
        ({"text": "x", "metadata": ("=a",)}, "--metadata: has no name"),
        (
            {"text": "x", "metadata": ("code", "code=name")},
            "--metadata: 'code' is given twice; each name has one value",
        ),
    ],
)
def test_options_that_do_not_go_together_are_named(form: dict[str, Any], said: str) -> None:
    """What is asked for in two ways, or in half a way, is refused with the options' names."""
    with pytest.raises(ConfigurationError) as raised:
        plan_for_rows(MessageForm(**form))
    assert str(raised.value).startswith(said)


def test_every_option_says_which_columns_it_needs() -> None:
    """A column that is not there is known before anything is sent, with the option that wants it."""
    form = MessageForm(template="{t}", values="{a},{b}", optin=True, image="{i}", team="{team}", metadata=("m", "n=o"))
    needs = list(plan_for_rows(form, to_column="number", key_column="k").needs())
    assert needs == [
        ("--to-column", ["number"]),
        ("--key-column", ["k"]),
        ("--template", ["t"]),
        ("--image", ["i"]),
        ("--team", ["team"]),
        ("--values", ["a"]),
        ("--values", ["b"]),
        ("--metadata", ["m"]),
        ("--metadata", ["o"]),
    ]


def test_one_message_takes_its_texts_as_they_stand() -> None:
    """Without rows there are no placeholders: braces stand for themselves, and metadata has its values."""
    message = message_to(NUMBER, MessageForm(text="{{Hi}} {", metadata=("a=b=c",)))
    assert message == TextMessage(to=NUMBER, text="{{Hi}} {", metadata={"a": "b=c"})
    with pytest.raises(ConfigurationError, match="--metadata: write NAME=VALUE"):
        message_to(NUMBER, MessageForm(text="x", metadata=("a",)))
    with pytest.raises(ConfigurationError, match="--metadata: 'a' is given twice"):
        message_to(NUMBER, MessageForm(text="x", metadata=("a=1", "a=2")))


@quick
@given(cells=st.dictionaries(st.text(), st.text()))
def test_no_cell_is_read_as_a_template(cells: dict[str, str]) -> None:
    """Whatever a customer's name is, it comes out as it went in."""
    names = [name for name in cells if name and "{" not in name and "}" not in name]
    template = TextTemplate("|".join(f"{{{name}}}" for name in names))
    assert template.fill(cells) == "|".join(cells[name] for name in names)
    assert json.dumps(template.columns) == json.dumps(names)
