"""From rows and options to messages, and the errors of a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
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
    Message,
    TemplateMessage,
    TextMessage,
    VideoMessage,
)
from callbell_async.cli.input_rows import Row, RowFile
from callbell_async.cli.message_form import MessageForm, message_to, plan_for_rows
from callbell_async.cli.placeholders import TextTemplate, split_values
from tests.fixtures.strategies import quick

NUMBER = "+34600000001"


@pytest.fixture
def jsonl_file(tmp_path: Path) -> Path:
    """A JSONL file that the test writes."""
    return tmp_path / "recipients.jsonl"


def test_a_template_fills_columns_and_keeps_double_braces() -> None:
    """`{column}` is replaced once, double braces become single ones, and cells are never read as templates."""
    template = TextTemplate.read("{{code}}: {code} for {full name}", "--text")
    assert template.columns == ["code", "full name"]
    assert template.fill({"code": "{full name}", "full name": "Ada"}) == "{code}: {full name} for Ada"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"to": ', "row: is not JSON"),
        ("[" * 100_000, "row: is not JSON"),
        ('["+34600000001"]', "row: is not a JSON object"),
        (f'{{"to": "{NUMBER}", "name": NaN}}', "row: has NaN, which is not JSON; write a string, or null"),
        (f'{{"to": "{NUMBER}", "name": "Ada", "x": [-Infinity]}}', "row: has -Infinity, which is not JSON"),
        (f'{{"to": "{NUMBER}", "name": "Ada", "name": "Bob"}}', "row: has the same key twice: name"),
        (f'{{"to": "{NUMBER}", "name": "Ada", "x": {{"{NUMBER}": 1, "{NUMBER}": 2}}}}', "row: has the same key twice"),
        ('{"to": 34600000001.0, "name": "Ada"}', "column 'to': looks like a decimal number"),
        ('{"name": "Ada"}', "column 'to': is missing, or is not a string, number or boolean"),
        ('{"to": ["+34600000001"], "name": "Ada"}', "column 'to': is missing, or is not a string, number or boolean"),
    ],
)
def test_a_bad_object_is_one_bad_row(jsonl_file: Path, line: str, error: str) -> None:
    """A line that is not an object, or lacks a column, is an error with its reason, and the others are sent."""
    jsonl_file.write_text(f'{line}\n{{"to": "{NUMBER}", "name": "Ada"}}\n')
    plan = plan_for_rows(MessageForm(text="Hi {name}"))
    bad, good = map(plan.item, RowFile(jsonl_file).rows())
    assert str(bad).startswith(error)
    assert good == TextMessage(to=NUMBER, text="Hi Ada")


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
    """Each kind of message has its placeholders filled; optional fields may be empty in a row."""
    assert plan_for_rows(form).item(Row(2, CELLS, [])) == message


def test_a_key_is_a_cell() -> None:
    """`--key-column` gives each message the key by which a journal knows it; an empty one is refused."""
    plan = plan_for_rows(MessageForm(text="x"), key_column="code")
    assert plan.message(CELLS).key == "7"
    refused = plan_for_rows(MessageForm(text="x"), key_column="none").item(Row(2, CELLS, []))
    assert isinstance(refused, InvalidMessageError)
    assert refused.field == "column 'none'"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "there is nothing to send; give one of --text, --template, --image"),
        ({"text": "x", "image": "y"}, "--text and --image can't be combined; give one of"),
        ({"template": "T", "optin": True, "audio": "y"}, "--template and --audio can't be combined"),
        ({"template": "T", "optin": True, "image": "y", "video": "z"}, "--template and --image and --video can't"),
        ({"template": "T"}, "--template: templates are sent only to contacts who have opted in; add --optin"),
        ({"text": "x", "optin": True}, "--optin: requires --template"),
        ({"text": "x", "values": "{a}"}, "--values: requires --template"),
        ({"text": "x", "caption": "c"}, "--caption: requires --image"),
        ({"template": "T", "optin": True, "image": "y", "caption": "c"}, "--caption: requires --image"),
        ({"image": "}"}, "--image: has a lone brace"),
        ({"template": "T", "optin": True, "values": "{a},{"}, "--values: has a lone brace"),
        ({"text": "x", "metadata": ("=a",)}, "--metadata: has no name"),
        (
            {"text": "x", "metadata": ("code", "code=name")},
            "--metadata: 'code' is given twice; each name has one value",
        ),
    ],
)
def test_options_that_can_not_be_combined_are_named(form: dict[str, Any], error: str) -> None:
    """Options that contradict each other, or lack another option, are refused by name."""
    with pytest.raises(ConfigurationError) as raised:
        plan_for_rows(MessageForm(**form))
    assert str(raised.value).startswith(error)


def test_every_option_has_its_required_columns() -> None:
    """Each required column is known before anything is sent, with the option that names it."""
    form = MessageForm(template="{t}", values="{a},{b}", optin=True, image="{i}", team="{team}", metadata=("m", "n=o"))
    needs = list(plan_for_rows(form, to_column="number", key_column="k").required_columns())
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


def test_one_message_has_no_placeholders() -> None:
    """Without rows, braces are braces, and `--metadata` has values in place of columns."""
    message = message_to(NUMBER, MessageForm(text="{{Hi}} {", metadata=("a=b=c",)))
    assert message == TextMessage(to=NUMBER, text="{{Hi}} {", metadata={"a": "b=c"})
    with pytest.raises(ConfigurationError, match="--metadata: write NAME=VALUE"):
        message_to(NUMBER, MessageForm(text="x", metadata=("a",)))
    with pytest.raises(ConfigurationError, match="--metadata: 'a' is given twice"):
        message_to(NUMBER, MessageForm(text="x", metadata=("a=1", "a=2")))


@quick
@given(cells=st.dictionaries(st.text(), st.text()))
def test_no_cell_is_read_as_a_template(cells: dict[str, str]) -> None:
    """A cell is sent unchanged, whatever characters it has."""
    names = [name for name in cells if name and "{" not in name and "}" not in name]
    template = TextTemplate.read("|".join(f"{{{name}}}" for name in names), "--text", allow_empty=True)
    assert template.fill(cells) == "|".join(cells[name] for name in names)
    assert json.dumps(template.columns) == json.dumps(names)


# --- the errors of a row ----------------------------------------------------------------------------------------------


def error_in(form: MessageForm, cells: dict[str, str], **columns: str) -> str:
    """The error of a row with these cells."""
    refused = plan_for_rows(form, **columns).item(Row(2, {"to": NUMBER, "name": "Ada", **cells}, []))
    assert isinstance(refused, InvalidMessageError)
    return str(refused)


TEMPLATE = MessageForm(template="T", values="{name},Dear {first} {last}", optin=True, image="{url}")


@pytest.mark.parametrize(
    ("form", "cells", "error"),
    [
        (MessageForm(text="Hi"), {"to": "nobody"}, "column 'to': is not a telephone number"),
        (MessageForm(text="{name}"), {"name": " "}, "column 'name': must not be blank"),
        (MessageForm(text="{name} {name}"), {"name": "\ud800"}, "--text with column 'name': holds half a character"),
        (MessageForm(text="{{"), {"to": ""}, "column 'to': must not be blank"),
        (MessageForm(text=" "), {}, "--text: must not be blank"),
        (MessageForm(image="{name}"), {}, "column 'name': must be an absolute URL"),
        (MessageForm(image="http://a b/{name}"), {}, "--image with column 'name': must be an absolute URL"),
        (TEMPLATE, {"name": "", "first": "A", "last": "B", "url": URL}, "column 'name': must not be blank"),
        (
            TEMPLATE,
            {"first": "A", "last": "\ud800", "url": URL},
            "--values with columns 'first', 'last': holds half a character",
        ),
        (TEMPLATE, {"first": "A", "last": "B", "url": "x"}, "column 'url': must be an absolute URL"),
        (MessageForm(text="Hi", metadata=("n=name",)), {"name": "x" * 501}, "column 'name': has 501 characters"),
        (MessageForm(text="Hi", metadata=("n" * 51 + "=name",)), {}, "metadata: has a key of 51 characters"),
    ],
)
def test_an_error_names_the_column(form: MessageForm, cells: dict[str, str], error: str) -> None:
    """The error of a row names the column, or the option with its columns, and never a field of the library."""
    assert error_in(form, cells).startswith(error)


@pytest.mark.parametrize(
    ("form", "cell", "error"),
    [
        (MessageForm(template="T", optin=True, values="x,{name}"), "a\nb", "column 'name': has a line break"),
        (MessageForm(template="T", optin=True, values="{name}"), "a\tb", "column 'name': has a tab"),
        (MessageForm(template="T", optin=True, values="{name}"), "a     b", "column 'name': has more than four blanks"),
        (MessageForm(template="T", optin=True, values="Hi {name}"), "a\nb", "--values with column 'name': has a line"),
        (MessageForm(text="{name}"), "x" * 4097, "column 'name': has 4097 characters; WhatsApp takes at most 4096"),
        (MessageForm(text="Hi {name}"), "x" * 4096, "--text with column 'name': has 4099 characters"),
        (MessageForm(text="x" * 4097), "Ada", "--text: has 4097 characters"),
        (MessageForm(image=URL, caption="{name}"), "x" * 1025, "column 'name': has 1025 characters; WhatsApp takes"),
    ],
)
def test_a_message_that_whatsapp_would_refuse_is_an_error(form: MessageForm, cell: str, error: str) -> None:
    """Callbell accepts such a message and WhatsApp does not deliver it, so it is reported and not sent."""
    assert error_in(form, {"name": cell}).startswith(error)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        ("3.46E+10", "is in scientific notation, and its last digits are lost; in the spreadsheet, format the column"),
        ("3,46E+10", "is in scientific notation"),
        ("+3.46e+10", "is in scientific notation"),
        ("4E10", "is in scientific notation"),
        (f"'{NUMBER}", "begins with an apostrophe, by which a spreadsheet marks text; remove the apostrophe"),
        (f"\N{RIGHT SINGLE QUOTATION MARK}{NUMBER}", "begins with an apostrophe"),
        ("34600000001.0", "looks like a decimal number"),
    ],
)
def test_a_number_that_a_spreadsheet_changed_has_its_remedy(number: str, remedy: str) -> None:
    """A number in scientific notation, as a decimal or behind an apostrophe is refused with the way to repair the list."""
    assert error_in(MessageForm(text="Hi"), {"to": number}).startswith(f"column 'to': {remedy}")
    assert number not in error_in(MessageForm(text="Hi"), {"to": number})


def test_a_key_that_a_spreadsheet_changed_is_refused() -> None:
    """Different keys become equal in scientific notation, so such a key is refused; one that only looks similar is a key."""
    error = error_in(MessageForm(text="Hi"), {"key": "1.23E+12"}, key_column="key")
    assert error.startswith("column 'key': is in scientific notation")
    cells = {"to": NUMBER, "key": "1E5"}
    assert plan_for_rows(MessageForm(text="Hi"), key_column="key").message(cells).key == "1E5"


def test_a_row_without_a_recipient_names_both_columns() -> None:
    """With `--bsuid-column` a row may lack one of the two, but not both."""
    error = error_in(MessageForm(text="Hi"), {"to": " ", "id": ""}, bsuid_column="id")
    assert error == "column 'to' and column 'id': are both empty; give a telephone number or a WhatsApp user ID"


@pytest.mark.parametrize(
    ("form", "option"),
    [
        (MessageForm(text="Dear {name},"), "--text"),
        (MessageForm(text="{to}{name}"), "--text"),
        (MessageForm(template="T", optin=True, values="{to},Dear {name}"), "--values"),
        (MessageForm(image="https://example.com/a.png", caption="For {name}"), "--caption"),
        (MessageForm(image="https://example.com/{name}.png"), "--image"),
    ],
)
def test_an_empty_cell_inside_a_text_is_reported(form: MessageForm, option: str) -> None:
    """A text with a gap, such as "Dear ,", is not sent unless `--allow-empty` asks for it."""
    assert error_in(form, {"name": " "}) == (
        f"column 'name': is empty, inside the text of {option}; fill it in, or give --allow-empty"
    )
    allowed = plan_for_rows(attrs.evolve(form, allow_empty=True)).item(Row(2, {"to": NUMBER, "name": ""}, []))
    assert isinstance(allowed, Message)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        (MessageForm(text=" "), "--text: must not be blank"),
        (MessageForm(image="x"), "--image: must be an absolute URL"),
        (MessageForm(text="x" * 4097), "--text: has 4097 characters"),
        (MessageForm(template="T", optin=True, values="a,b\tc"), "--values: has a tab"),
        (MessageForm(template="T", optin=True, document="x"), "--document: must be an absolute URL"),
        (MessageForm(image="x", channel="telegram"), "--image: must be an absolute URL"),
        (MessageForm(image="x", region="ES", strict=True), "--image: must be an absolute URL"),
    ],
)
def test_an_option_that_is_wrong_for_every_row_is_refused_before_the_rows(form: MessageForm, error: str) -> None:
    """A wrong text or URL without a column is an error of the option, and not one for each row."""
    with pytest.raises(ConfigurationError, match=rf"^{error}"):
        plan_for_rows(form).check_options()


@pytest.mark.parametrize(
    "form",
    [
        MessageForm(text="{name}"),
        MessageForm(image="{url}", caption="For {name}"),
        MessageForm(image="https://a.example/{name}.png"),
        MessageForm(template="{t}", optin=True, values="{a},b", video="{url}", team="{team}"),
        MessageForm(text="Hi", metadata=("order=n",), channel="instagram"),
    ],
)
def test_an_option_with_columns_is_checked_in_each_row(form: MessageForm) -> None:
    """Whether a column is right is not known before its rows are read."""
    plan_for_rows(form, bsuid_column="b", key_column="k").check_options()


@pytest.mark.parametrize("number", ["0612345678", "06 1234-5678", "(06) 12345678"])
def test_a_national_number_is_refused_with_the_option_that_reads_it(number: str) -> None:
    """Without --region, the error of a number with a leading 0 names --region; other errors don't."""
    hint = "or name its country with --region, such as --region NL"
    assert error_in(MessageForm(text="Hi"), {"to": number}).endswith(hint)
    for other in ("nobody", "", "0", "+31"):
        assert "--region" not in error_in(MessageForm(text="Hi"), {"to": other})
    with pytest.raises(InvalidMessageError, match=hint):
        message_to(number, MessageForm(text="Hi"))
    with pytest.raises(InvalidMessageError) as refused:
        message_to("0612", MessageForm(text="Hi", region="NL"))
    assert "--region" not in str(refused.value)


def test_an_error_of_one_message_names_the_option() -> None:
    """Without rows an error names what was typed."""
    with pytest.raises(InvalidMessageError, match=r"^TO: is not a telephone number"):
        message_to("nobody", MessageForm(text="Hi"))
    with pytest.raises(InvalidMessageError, match=r"^--image: must be an absolute URL"):
        message_to(NUMBER, MessageForm(image="x"))
