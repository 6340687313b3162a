"""Checks of numbers, strings and URLs: the values accepted, and the errors with their remedies."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async.models.validation import (
    check_json,
    check_metadata,
    check_number,
    check_optional_string,
    check_string,
    check_strings,
    check_url,
    is_same_recipient,
    normalize_recipient,
    number_variants,
)
from tests.fixtures.refusals import HALF, refusal, taken_or_refused
from tests.fixtures.strategies import any_text, junk, number_spellings, quick

TO = "+31612345678"


# --- telephone numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+31612345678", TO),
        ("31612345678", "31612345678"),
        ("0031612345678", TO),
        ("00 31 612345678", TO),
        ("(00) 31 612345678", TO),
        ("+31 6 1234 5678", TO),
        ("+31-6-1234-5678", TO),
        ("+31.6.1234.5678", TO),
        ("+31 (6) 12345678", TO),
        ("[+31] {6} 12345678", TO),
        ("\t+31612345678\r\n", TO),
        ("+31(10)2345678", "+31102345678"),
        ("+1 (305) 000-0000", "+13050000000"),
        ("1234567", "1234567"),
        ("+123456789012345", "+123456789012345"),
    ],
)
def test_a_number_loses_its_punctuation(written: str, number: str) -> None:
    """Blanks, dashes, dots and brackets are removed, and a leading `00` becomes `+`."""
    assert check_number("to", written) == number


BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]
DASHES = list("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad\ufe63\uff0d")
INVISIBLE = list(
    "\u200b\u200c\u200d\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufe0f\ufeff"
)


@pytest.mark.parametrize("mark", [*BLANKS, *DASHES, *INVISIBLE], ids=lambda mark: f"U+{ord(mark):04X}")
def test_a_number_loses_every_blank_dash_and_invisible_mark(mark: str) -> None:
    """Marks that come with a copied number are removed in every position."""
    assert check_number("to", f"{mark}+31{mark}6{mark}{mark}12345678{mark}") == TO


@pytest.mark.parametrize(
    "written",
    [
        "+31 six 12345678",
        "john.doe",
        "+31612345678 ext 4",
        "+31/612345678",
        "31612345678+",
        "++31612345678",
        "31+612345678",
        "+",
        "--",
        "123456",
        "+123456",
        "+1234567890123456",
        "٣١٦١٢٣٤٥٦٧٨",
        "０031612345678",
        "31612345678\x00",
    ],
)
def test_other_text_in_place_of_a_number_is_refused(written: str) -> None:
    """Letters, other signs, other scripts' digits and wrong lengths are refused with the form to write."""
    error = refusal(check_number, "it", written)
    assert error.field == "it"
    assert error.reason.startswith("is not a telephone number; write it in international form: 7 to 15 digits")
    assert "+31612345678" in error.reason


@pytest.mark.parametrize("written", ["0612345678", "+0612345678", "(0)612345678", "000031612345678", "(020) 7946 0958"])
def test_a_number_without_its_country_code_is_refused(written: str) -> None:
    """No country code begins with 0, so a national number is refused."""
    assert "country code (which never begins with 0)" in refusal(check_number, "it", written).reason


ZERO = "has a 0 that is not dialled from abroad; write the number as it is dialled from another country, such as +442079460958"


@pytest.mark.parametrize("zero", ["(0)", "[0]", "{0}", "( 0 )", "(\u00a00\u200e)", "(-0-)"])
@pytest.mark.parametrize("country", ["+44", "+39"])
def test_a_bracketed_0_is_refused(country: str, zero: str) -> None:
    """A `(0)` is not dialled from abroad; with it the message would go to another number."""
    assert refusal(check_number, "it", f"{country} {zero} 20 7946 0958").reason == ZERO


@pytest.mark.parametrize(
    "written",
    ["+55 (011) 98765-4321", "+44 (020) 7946 0958", "0044 020 7946 0958", "+1 (0305) 000-0000", "55 011 987654321"],
)
def test_a_trunk_prefix_is_refused(written: str) -> None:
    """The 0 behind the country code is refused with its reason, in brackets or not."""
    assert refusal(check_number, "it", written).reason == ZERO


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+39 (06) 1234 5678", "+390612345678"),
        ("+39 06 1234 5678", "+390612345678"),
        ("+225 (07) 00 00 00 00", "+2250700000000"),
        ("378 0549 123456", "3780549123456"),
    ],
)
def test_a_0_that_belongs_to_the_number_is_kept(written: str, number: str) -> None:
    """In Italy, Ivory Coast and San Marino, numbers begin with a 0 that is dialled from abroad, too."""
    assert check_number("it", written) == number


@pytest.mark.parametrize("written", ["+999 612345678", "999612345678", "00 210 12345678"])
def test_a_country_code_that_does_not_exist_is_refused(written: str) -> None:
    """A number whose first digits belong to no country is refused with its reason."""
    assert refusal(check_number, "it", written).reason == (
        "begins with a country code that does not exist; write the number in international form, such as +31612345678"
    )


@pytest.mark.parametrize(
    "written",
    [
        "1234567 1234567",
        "+4512345678\n1234567",
        "+31612345678 / +31612345679",
        "+31612345678, 0031 6 1234 5679",
        "+31 6 1234 5678; +31 6 1234 5679",
        "+31612345678+31612345679",
        "31612345678 or 31612345679",
    ],
)
def test_several_numbers_are_refused(written: str) -> None:
    """Two numbers in one value are refused with their reason; they are never taken for one long number."""
    assert refusal(check_number, "it", written).reason == (
        "holds more than one telephone number; give one, and build a message for each"
    )


@pytest.mark.parametrize(
    "written",
    [
        "447700900001.0",
        "447700900001.00",
        "447700900001.5",
        "+447700900001.0",
        "00447700900001.0",
        "447700900001.000",
        " 447700900001.0\n",
        "\u200e447700900001.0\u200f",
        "(447700900001.0)",
    ],
)
def test_a_decimal_number_is_refused(written: str) -> None:
    """A number that a spreadsheet made a fraction is refused; without its dot it would be another person's number."""
    error = refusal(check_number, "it", written)
    assert error.reason == "looks like a decimal number, as a spreadsheet writes it; write the telephone number as text"


@pytest.mark.parametrize("written", ["31.6.12.34.56.78", "31612345678.", "+31 6 12 34 56.78", "31612.345678"])
def test_dots_of_another_kind_are_punctuation(written: str) -> None:
    """Several dots, or one that no fraction follows, are punctuation of a number."""
    assert check_number("it", written).removeprefix("+") == "31612345678"


def is_ambiguous(written: str) -> bool:
    """Whether a spelling may be read as a decimal number, or as two numbers."""
    return bool(
        re.fullmatch(r"[^0-9.]*[0-9]+\.[0-9]{1,2}\W*", written) or re.search(r"[0-9]{7,}[^0-9]+[0-9]{7,}", written)
    )


@given(number_spellings().filter(lambda spelling: not is_ambiguous(spelling[1])))
@quick
def test_however_a_number_is_written_it_is_the_same(spelling: tuple[str, str]) -> None:
    """All spellings of a number give one number, and are the same recipient."""
    number, written = spelling
    assert check_number("to", written) == number
    assert is_same_recipient(written, number)


@given(any_text | number_spellings().map(lambda spelling: spelling[1]))
@quick
def test_a_clean_number_stays_as_it_is(written: str) -> None:
    """Any text is refused, or becomes a number that is clean already."""
    number, error = taken_or_refused(check_number, "to", written)
    if error is None:
        assert number.removeprefix("+").isdecimal()
        assert check_number("to", number) is number


@pytest.mark.parametrize(
    ("recipient", "form"),
    [
        ("+31612345678", TO),
        ("31612345678", TO),
        ("0031 (6) 1234-5678", TO),
        ("+999612345678", "+999612345678"),
        ("0612345678", "0612345678"),
        ("12345", "12345"),
        ("john.doe", "john.doe"),
        ("", ""),
        ("\ud83d", "\ud83d"),
    ],
)
def test_a_recipient_has_one_form(recipient: str, form: str) -> None:
    """All spellings of a telephone number share a form with `+`; any other identifier is its own form."""
    assert normalize_recipient(recipient) == form == normalize_recipient(form)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (TO, "31612345678", True),
        (TO, "00 31 6 12345678", True),
        (TO, "+31612345679", False),
        ("john.doe", "john.doe", True),
        ("john.doe", "johndoe", False),
        ("+5511987654321", "+551187654321", False),
    ],
)
def test_two_spellings_are_one_recipient(first: str, second: str, same: bool) -> None:
    """Two recipients are the same where only their punctuation differs."""
    assert is_same_recipient(first, second) is is_same_recipient(second, first) is same


@pytest.mark.parametrize(
    ("number", "variants"),
    [
        ("+5511987654321", ("+551187654321",)),
        ("55 (11) 8765-4321", ("+5511987654321",)),
        ("+525512345678", ("+5215512345678",)),
        ("+5215512345678", ("+525512345678",)),
        ("+541112345678", ("+5491112345678",)),
        ("0054 9 11 1234-5678", ("+541112345678",)),
        ("+31612345678", ()),
        ("+5508007654321", ()),
        ("+5511187654321", ()),
        ("+5212345678", ()),
        ("john.doe", ()),
    ],
)
def test_a_number_has_the_forms_that_whatsapp_corrects(number: str, variants: tuple[str, ...]) -> None:
    """Brazil's ninth digit, Mexico's 1 and Argentina's 9 give one other form each; other numbers have none."""
    assert number_variants(number) == variants
    for variant in variants:
        assert number_variants(variant) == (normalize_recipient(number),)


# --- strings and URLs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", " a ", "Zoë", "👋", "\x00", "a\nb", "x" * 100_000])
def test_a_text_stays_as_it_is(text: str) -> None:
    """A text is not trimmed, cut or escaped."""
    assert check_string("text", text) is text
    assert check_optional_string("text", text) is text


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u00a0", "\u3000\r"])
def test_a_blank_text_is_refused(blank: str) -> None:
    """A text of blanks alone is refused."""
    assert refusal(check_string, "it", blank).reason == "must not be blank"
    assert refusal(check_optional_string, "it", blank).reason == "must not be blank"


def test_half_a_character_is_refused() -> None:
    """A lone surrogate is refused, because it can't be written as UTF-8."""
    for check in (check_string, check_json):
        assert "lone surrogate" in refusal(check, "it", HALF).reason
    assert refusal(check_json, "it", {HALF: 1}).field == "it key"


@pytest.mark.parametrize("value", [b"Hello", 31612345678, 1.5, True, ["Hello"], object()])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    """A value of another type is refused, not converted; the error names its type."""
    for check in (check_string, check_optional_string, check_number, check_url):
        assert refusal(check, "it", value).reason == f"must be a string, not {type(value).__name__}"


def test_an_optional_string_may_be_missing() -> None:
    """`None` is accepted where a value is optional, and refused elsewhere."""
    assert check_optional_string("caption", None) is None
    assert refusal(check_string, "it", None).reason == "must be a string, not NoneType"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/my_image.jpeg",
        "http://example.com",
        "HTTPS://EXAMPLE.COM/A.PDF?b=c#d",
        "https://user:secret@example.com:8443/a?b=c",
        "https://[2001:db8::1]:8080/a",
        "https://bücher.example/ä.jpg",
        "http://127.0.0.1?a",
        "https://example.com/a@b:c",
    ],
)
def test_an_absolute_url_stays_as_it_is(url: str) -> None:
    """Any http or https URL stays as it is."""
    assert check_url("url", url) is url


@pytest.mark.parametrize(
    "url",
    [
        "example.com/my_image.jpeg",
        "/my_image.jpeg",
        "ftp://example.com/a",
        "file:///etc/hosts",
        "data:image/png;base64,AAAA",
        "https:example.com",
        "https://",
        "https:///a",
        "https://:443/a",
        "https://user@/a",
        "https://?a",
        "https://example.com/my image.jpeg",
        " https://example.com/a",
        "https://example.com/a\n",
        "https://exa\tmple.com/a",
        "\x00https://example.com/a",
        "https://example.com/\x7f",
        "https://example.com/\u200b",
        "https://[::1/a",
        "https://example.com:http/a",
        "https://a@b@c/",
    ],
)
def test_a_url_that_is_not_absolute_is_refused(url: str) -> None:
    """Another scheme, no host, blanks and invisible characters are refused."""
    assert (
        refusal(check_url, "it", url).reason
        == "must be an absolute URL that begins with http:// or https:// and has no blanks in it"
    )


def test_several_strings_keep_their_order() -> None:
    """A list and a tuple give a tuple."""
    assert check_strings("values", ["b", "a"]) == check_strings("values", ("b", "a")) == ("b", "a")


@pytest.mark.parametrize("value", ["John", b"John", {"a": "b"}, {"a", "b"}, 1, None])
def test_a_value_that_is_not_a_list_of_strings_is_refused(value: object) -> None:
    """A single string, a mapping and a set are refused in place of a list."""
    assert refusal(check_strings, "it", value).reason == f"must be a list of strings, not {type(value).__name__}"


@pytest.mark.parametrize("item", ["", " ", 1, None, HALF])
def test_a_wrong_item_is_named_by_its_place(item: object) -> None:
    """The field names the index of the wrong string."""
    assert refusal(check_strings, "it", ["John", item]).field == "it[1]"


# --- all checks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [check_string, check_optional_string, check_number, check_url, check_strings, check_metadata, check_json],
)
@given(value=junk)
@quick
def test_any_value_is_accepted_or_refused(check: Callable[[str, Any], Any], value: Any) -> None:
    """For any value the only exception is `InvalidMessageError`, and an accepted value is accepted again unchanged."""
    taken, error = taken_or_refused(check, "it", value)
    if error is None:
        assert check("it", taken) == taken
    else:
        assert error.field.startswith("it")
        assert str(error) == f"{error.field}: {error.reason}"


@given(value=st.text(st.characters(codec="utf-8"), min_size=8).map(lambda text: "¤" + text))
@quick
def test_a_refusal_does_not_repeat_the_value(value: str) -> None:
    """The text of an error holds neither a number nor a message's text."""
    for check in (check_number, check_url, check_strings, check_metadata):
        assert "¤" not in str(refusal(check, "it", value))
