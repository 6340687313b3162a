"""Numbers in national form, and numbers that do not exist."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from callbell_async import ConfigurationError, InvalidMessageError, RecipientParser, TextMessage
from callbell_async.cli.exits import DONE, NOT_ALL_DONE, WRONG_USE
from callbell_async.wire import dump_keyed_message
from tests.support.command_line import json_lines, run


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imports of the package `phonenumbers` fail."""
    monkeypatch.setitem(sys.modules, "phonenumbers", None)


@pytest.mark.parametrize(
    ("region", "written", "number"),
    [
        ("ES", "612345678", "+34612345678"),
        ("es", "612 34-56.78", "+34612345678"),
        ("ES", "34612345678", "+34612345678"),
        ("ES", "+31 6 1234 5678", "+31612345678"),
        ("ES", "0031612345678", "+31612345678"),
        ("NL", "06-12345678", "+31612345678"),
        ("GB", "(07912) 345 678", "+447912345678"),
        ("US", "(202) 555-0123", "+12025550123"),
        ("US", "011 34 612345678", "+34612345678"),
        ("AR", "11 15-4321-4321", "+5491143214321"),
        ("BR", "(11) 98765-4321", "+5511987654321"),
        ("IT", "06 1234 5678", "+390612345678"),
        (None, "31612345678", "+31612345678"),
    ],
)
def test_a_number_is_read_as_in_its_region(region: str | None, written: str, number: str) -> None:
    """A number without + or 00 belongs to the region; the others keep their country; the result is in one form."""
    assert RecipientParser(region)(written) == number


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("61234567", "is too short for a number of the region ES"),
        ("31612345678", "is too long for a number of the region ES"),
        ("612345678.0", "looks like a decimal number"),
        ("612345678 / 612345679", "holds more than one telephone number"),
        ("call 612345678", "is not a telephone number"),
        ("1-800-FLOWERS", "is not a telephone number"),
        (" ", "must not be blank"),
    ],
)
def test_a_value_that_is_no_number_of_the_region_is_refused(written: str, reason: str) -> None:
    """A value that can't be a number of the region is refused with its reason, also without `strict`."""
    with pytest.raises(InvalidMessageError) as caught:
        RecipientParser("ES")(written)
    assert caught.value.field == "to"
    assert reason in caught.value.reason


@pytest.mark.parametrize("strict", [False, True])
def test_a_number_that_can_be_read_in_two_ways_is_refused(strict: bool) -> None:
    """A German mobile number that has lost its + looks like a landline of the region, and the message would reach somebody else."""
    parse = RecipientParser("DE", strict=strict, landlines=True)
    with pytest.raises(InvalidMessageError, match="with and without the country code 49; write it with") as caught:
        parse("4915123456789")
    assert caught.value.field == "to"
    assert parse("+4915123456789") == parse("015123456789") == parse("15123456789") == "+4915123456789"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("+3461234567", "is too short for a number with country code 34"),
        ("+346123456789", "is too long for a number with country code 34"),
        ("+999612345678", "begins with a country code that does not exist"),
        ("+447700900123", "no number with country code 44 begins like this"),
        ("+34912345678", "is the number of a landline"),
        ("+551123456789", "is the number of a landline"),
    ],
)
def test_a_number_that_does_not_exist_is_refused(number: str, reason: str) -> None:
    """With `strict` the reason is part of the error; a message by itself accepts all but the wrong country code."""
    with pytest.raises(InvalidMessageError) as caught:
        RecipientParser(strict=True)(number)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "number",
    [
        "+31612345678",
        "+34600000012",
        "+12025550123",
        "+5511987654321",
        "+551187654321",
        "+5215512345678",
        "+541143214321",
    ],
)
def test_a_number_exists_in_any_form_that_whatsapp_corrects(number: str) -> None:
    """With `strict` a number is accepted as it is written if it exists, or exists in the form to which WhatsApp corrects it."""
    assert RecipientParser(strict=True)(number) == number


def test_landlines_may_be_accepted() -> None:
    """`landlines` accepts them, and still refuses what does not exist."""
    parse = RecipientParser(strict=True, landlines=True)
    assert parse("+34912345678") == "+34912345678"
    with pytest.raises(InvalidMessageError):
        parse("+3491234567")


@pytest.mark.parametrize("region", ["XX", "UK", "", "Spain", 34])
def test_an_unknown_region_is_refused(region: object) -> None:
    """The error names the argument, and shows two codes."""
    with pytest.raises(ConfigurationError, match=r"^region=.*such as 'ES' or 'GB'"):
        RecipientParser(region)  # type: ignore[arg-type]


def test_the_extra_is_needed_only_where_it_is_used(without_extra: None) -> None:
    """Without the extra a parser without arguments works, and the errors of the others name the extra."""
    assert RecipientParser()("0031 612345678") == "+31612345678"
    with pytest.raises(ModuleNotFoundError, match=r"region: .*pip install 'callbell-async\[phone\]'"):
        RecipientParser("ES")
    with pytest.raises(ModuleNotFoundError, match=r"strict: .*pip install 'callbell-async\[phone\]'"):
        RecipientParser(strict=True)


# --- one person, several numbers --------------------------------------------------------------------------------------


def key_of(to: str) -> str:
    """Return the derived key of a text to this number."""
    return dump_keyed_message(TextMessage(to=to, text="Hi"), journal=None)[0]


@pytest.mark.parametrize(
    ("current", "other"),
    [
        ("+5511987654321", "+551187654321"),
        ("+525512345678", "+5215512345678"),
        ("+5491143214321", "+541143214321"),
    ],
)
def test_the_forms_of_one_number_have_one_key(current: str, other: str) -> None:
    """Messages to two forms of a number are one message for a journal: both have the key of the form that is dialled today."""
    forms = (current, current[1:], other, other[1:])
    assert {key_of(form) for form in forms} == {key_of(current)}
    assert b'"to":"%b"' % other.encode() in dump_keyed_message(TextMessage(to=other, text="Hi"), journal=None)[1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # A landline, and a mobile number with the same last digits.
        ("+551123456789", "+5511923456789"),
        ("+525512345678", "+525512345679"),
        ("+34612345678", "+54612345678"),
    ],
)
def test_different_persons_have_different_keys(first: str, second: str) -> None:
    """Numbers that WhatsApp does not correct to each other stay different."""
    assert key_of(first) != key_of(second)


def test_a_number_in_a_text_has_no_other_form() -> None:
    """Only the recipient is read as a number: texts stay different."""
    keys = {
        dump_keyed_message(TextMessage(to="+551187654321", text=text), journal=None)[0]
        for text in ('"to":"+551187654321', '"to":"+5511987654321')
    }
    assert len(keys) == 2


# --- the command line -------------------------------------------------------------------------------------------------


def written(folder: Path, *numbers: str) -> Path:
    """Write a file with these recipients."""
    file = folder / "people.csv"
    file.write_text("\n".join(["to", *numbers]) + "\n", encoding="utf-8")
    return file


def test_send_many_reads_national_numbers(tmp_path: Path) -> None:
    """`--region` reads the national form, and each refused row has its line, column and reason."""
    file = written(tmp_path, "612 345 678", "61234567", "912345678", "+31612345678")
    result = run("send-many", file, "--text", "Hi", "--region", "ES", "--dry-run", "--json")
    assert result.exit_code == NOT_ALL_DONE
    first, short, landline, dutch, counts = json_lines(result.stdout)
    assert [first["body"]["to"], dutch["body"]["to"]] == ["+34612345678", "+31612345678"]
    assert short["line"] == 3
    assert short["reason"].startswith("column 'to': is too short for a number of the region ES")
    assert landline["reason"].startswith("column 'to': is the number of a landline")
    assert (counts["good"], counts["bad"]) == (2, 2)


def test_strict_is_the_default_with_the_extra(tmp_path: Path) -> None:
    """A number that does not exist is refused by send and send-many; `--no-strict` sends to it."""
    file = written(tmp_path, "+447700900123")
    for command in (("send-many", file), ("send", "+447700900123")):
        refused = run(*command, "--text", "Hi", "--sandbox")
        assert refused.exit_code in (NOT_ALL_DONE, WRONG_USE)
        assert "no number with country code 44 begins like this" in refused.output
        assert run(*command, "--text", "Hi", "--sandbox", "--no-strict").exit_code == DONE


def test_without_the_extra_nothing_changes(tmp_path: Path, without_extra: None) -> None:
    """Without the extra the number is sent to, and each of the two options is wrong use that names the extra."""
    command = ("send-many", written(tmp_path, "+447700900123"), "--text", "Hi", "--sandbox")
    assert run(*command).exit_code == DONE
    for options in (["--region", "GB"], ["--strict"]):
        result = run(*command, *options)
        assert result.exit_code == WRONG_USE
        assert f"{options[0]}: needs the package phonenumbers: pip install 'callbell-async[phone]'" in result.output


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--region", "UK"], "--region: 'UK': unknown region"),
        (["--region", "ES", "--channel", "telegram"], "--region: requires --channel whatsapp"),
        (["--strict", "--channel", "telegram"], "--strict: requires --channel whatsapp"),
    ],
)
def test_a_wrong_region_is_wrong_use(tmp_path: Path, options: list[str], text: str) -> None:
    """An unknown region, and a channel without telephone numbers, are refused before a row is read."""
    result = run("send-many", written(tmp_path, "612345678"), "--text", "Hi", "--sandbox", *options)
    assert result.exit_code == WRONG_USE
    assert text in result.output


def test_other_channels_are_not_checked(tmp_path: Path) -> None:
    """An identifier of another channel is not a telephone number, also with the extra."""
    command = ("send-many", written(tmp_path, "user-1"), "--text", "Hi", "--sandbox", "--channel", "telegram")
    assert run(*command).exit_code == DONE


def test_rows_to_two_forms_of_a_number_are_duplicates(tmp_path: Path) -> None:
    """Two rows with forms of one number are one message, in a run and over a journal."""
    file = written(tmp_path, "+5511987654321", "+551187654321")
    result = run("send-many", file, "--text", "Hi", "--dry-run", "--json")
    assert json_lines(result.stdout)[-1]["duplicates"] == 1
    journal = tmp_path / "journal.db"
    for number, accepted in (("+5511987654321", 1), ("+551187654321", 0)):
        command = ("send-many", written(tmp_path, number), "--text", "Hi", "--sandbox", "--journal", journal, "--json")
        result = run(*command)
        assert result.exit_code == DONE
        assert json_lines(result.stdout)[-1]["accepted"] == accepted


def test_resume_reads_numbers_as_before(tmp_path: Path) -> None:
    """The region is stored with the run: resume reads the file in the same way."""
    journal = tmp_path / "journal.db"
    command = ("send-many", written(tmp_path, "612345678", "612345679"), "--text", "Hi", "--sandbox", "--region", "ES")
    assert run(*command, "--journal", journal).exit_code == DONE
    resumed = run("resume", journal, "--json")
    assert resumed.exit_code == DONE
    assert json_lines(resumed.stdout)[-1]["duplicates"] == 2
