"""Checks of single values. Each returns the value to send, or raises `InvalidMessageError` with the field and the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from callbell_async.errors import InvalidMessageError

MAX_METADATA_PAIRS = 10
MAX_METADATA_KEY = 50
MAX_METADATA_VALUE = 500

MAX_KEY = MAX_METADATA_VALUE
"""A message's key is sent as a value of its metadata."""

MAX_JSON_DEPTH = 64

# The characters between the digits in people's lists: every blank, dashes, dots, brackets, and the invisible marks that come along
# when a number is copied from a chat or an address book.
_PUNCTUATION = dict.fromkeys(
    (
        *b"\t\n\v\f\r\x1c\x1d\x1e\x1f -.()[]{}\x85\xa0\xad",
        *map(ord, "\u034f\u061c\u1680\u180e\u2043\u207b\u2212\u3000\ufe0e\ufe0f\ufe58\ufe63\ufeff\uff0d"),
        *range(0x2000, 0x2016),
        *range(0x2028, 0x2030),
        *range(0x205F, 0x2070),
    )
)
# The country codes in use (ITU-T E.164), those of international networks included.
_COUNTRY_CODES = (
    "1|20|21[12368]|2[2346][0-9]|25[0-8]|27|29[01789]|3[0-469]|3[57][0-9]|38[0-35-79]|4[013-9]|42[013]|5[1-8]|5[09][0-9]"
    "|6[0-6]|67[02-9]|68[0-35-9]|69[0-2]|7|80[08]|8[1246]|85[02356]|87[08]|88[0-368]|9[0-58]|96[0-8]|97[0-79]|99[2-8]"
)
# Behind these codes a number may begin with 0. Everywhere else the 0 is a prefix that is dialled inside the country only.
_CODES_BEFORE_ZERO = "22[5679]|24[127]|26[78]|378|39|47|50[17]|67[69]|687|80[08]|853|87[08]|88[1238]|97[49]|992"

# E.164: at most 15 digits that begin with the country code; the shortest numbers in use have 7.
_E164 = re.compile(r"\+?[1-9][0-9]{6,14}")
_NOT_INTERNATIONAL = (
    "is not a telephone number; write it in international form: 7 to 15 digits that begin with the country code "
    "(which never begins with 0), such as +31612345678"
)
_DIGITS = re.compile(r"\+?[0-9]{2,20}")
_DIALLABLE = re.compile(rf"\+?(?=[0-9]{{7,15}}\Z)(?:(?:{_COUNTRY_CODES})[1-9]|(?:{_CODES_BEFORE_ZERO})0)[0-9]*")
_WITH_COUNTRY_CODE = re.compile(rf"\+?(?:{_COUNTRY_CODES})[0-9]*")
_SEVERAL_NUMBERS = re.compile(r"[0-9]{7,15}[^0-9]+[0-9]{7,15}")
_LINE_BREAK = re.compile("[\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029]+")
# Without its dot the fraction would become the end of another number.
_DECIMAL = re.compile(r"[^0-9.]*[0-9]+\.(?:[0-9]{1,2}|0+)[^0-9.]*")
_BRACKETED_ZERO = re.compile(r"[(\[{][^0-9()\[\]{}]*0[^0-9()\[\]{}]*[)\]}]")

_URL = re.compile(
    r"https?://(?:[^\s/?#@]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::[0-9]*)?(?:[/?#]\S*)?", re.IGNORECASE
)


def check_string(field: str, value: object) -> str:
    """Return a string that is not blank and can be written as UTF-8."""
    if not isinstance(value, str):
        raise InvalidMessageError(field, f"must be a string, not {type(value).__name__}")
    if not value or value.isspace():
        raise InvalidMessageError(field, "must not be blank")
    if not value.isascii():
        _check_characters(field, value)
    return value


def _check_characters(field: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidMessageError(
            field,
            "holds half a character (a lone surrogate) that can't be written as UTF-8; repair the source text",
        ) from None


def check_optional_string(field: str, value: object) -> str | None:
    """Return `None`, or a string that is not blank."""
    return None if value is None else check_string(field, value)


def check_key(field: str, value: object) -> str:
    """Return a string of 1 to 500 characters that is not blank and has no NUL."""
    key = check_string(field, value)
    if len(key) > MAX_KEY:
        raise InvalidMessageError(field, f"has {len(key)} characters; at most {MAX_KEY} fit into metadata")
    if "\0" in key:
        raise InvalidMessageError(field, "has a NUL character, which PostgreSQL can't store; leave it out")
    return key


def check_number(field: str, value: object) -> str:
    """Return a telephone number in international form, without the punctuation that people write in it.

    Blanks, dashes, dots and brackets are removed, and a leading `00` becomes `+`. The result is an optional `+` and 7 to 15 digits that
    begin with a country code in use (E.164). Refused, each with its reason: several numbers in one value, a decimal number such as
    31612345678.0, a national number, a country code that does not exist, and the 0 that is dialled inside a country only.
    """
    if isinstance(value, str) and _DIALLABLE.fullmatch(value):
        return value
    written, number = _digits_of(field, value, _E164, _NOT_INTERNATIONAL)
    if not _WITH_COUNTRY_CODE.fullmatch(number):
        raise InvalidMessageError(
            field,
            "begins with a country code that does not exist; write the number in international form, such as +31612345678",
        )
    if _BRACKETED_ZERO.search(written) or not _DIALLABLE.fullmatch(number):
        raise InvalidMessageError(
            field,
            "has a 0 that is not dialled from abroad; write the number as it is dialled from another country, such as +442079460958",
        )
    return number


def check_digits(field: str, value: object) -> str:
    """Return the digits of a telephone number in national or international form, with a `+` before the latter.

    Refused are the same values as in `check_number`, apart from those whose country code or first 0 is not as it is dialled from abroad.
    """
    return _digits_of(field, value, _DIGITS, "is not a telephone number; write its digits, such as 612 345 678")[1]


def _digits_of(field: str, value: object, form: re.Pattern[str], reason: str) -> tuple[str, str]:
    """Return a number as it is written, and without punctuation; the latter has the form, or is refused for the reason."""
    written = check_string(field, value)
    if _holds_several_numbers(written):
        raise InvalidMessageError(field, "holds more than one telephone number; give one, and build a message for each")
    number = _without_punctuation(written)
    if not form.fullmatch(number):
        raise InvalidMessageError(field, reason)
    if _DECIMAL.fullmatch(written):
        raise InvalidMessageError(
            field, "looks like a decimal number, as a spreadsheet writes it; write the telephone number as text"
        )
    return written, number


def is_number(value: object) -> bool:
    """Return whether a value is one telephone number in international form."""
    try:
        check_number("to", value)
    except InvalidMessageError:
        return False
    return True


def _without_punctuation(written: str) -> str:
    number = written.translate(_PUNCTUATION)
    return "+" + number[2:] if number.startswith("00") else number


def _holds_several_numbers(written: str) -> bool:
    """Return whether there are two or more groups of at least 7 digits, however the digits of each are punctuated."""
    # A plus begins a number, and a number does not run over a line break.
    apart = _LINE_BREAK.sub("/", written.replace("+", "/"))
    return bool(_SEVERAL_NUMBERS.search(written) or _SEVERAL_NUMBERS.search(apart.translate(_PUNCTUATION)))


def normalize_recipient(recipient: str) -> str:
    """Return the one form of a recipient that all its spellings share: a telephone number as `+` and its digits, any other identifier as it is."""
    number = _without_punctuation(recipient)
    if not _E164.fullmatch(number):
        return recipient
    return number if number[0] == "+" else "+" + number


def is_same_recipient(first: str, second: str) -> bool:
    """Return whether two recipients are the same telephone number, or the same identifier of another channel."""
    return first == second or normalize_recipient(first) == normalize_recipient(second)


# Each rule: the number as it is written, and the number as WhatsApp may write it.
_CORRECTIONS = (
    # Brazil: two digits of area code, then the ninth digit (always a 9) or not.
    (re.compile(r"\+55([1-9]{2})([0-9]{8})"), r"+55\g<1>9\g<2>"),
    (re.compile(r"\+55([1-9]{2})9([0-9]{8})"), r"+55\g<1>\g<2>"),
    # Mexico: the 1 of mobile numbers, which is no longer dialled.
    (re.compile(r"\+52([0-9]{10})"), r"+521\g<1>"),
    (re.compile(r"\+521([0-9]{10})"), r"+52\g<1>"),
    # Argentina: the 9 of mobile numbers, which is dialled from abroad only.
    (re.compile(r"\+54([0-9]{10})"), r"+549\g<1>"),
    (re.compile(r"\+549([0-9]{10})"), r"+54\g<1>"),
)


def number_variants(number: str) -> tuple[str, ...]:
    """Return the other forms of a telephone number to which WhatsApp may correct it, each as `+` and its digits.

    They exist in Brazil (with and without the ninth digit), Mexico (52 and 521) and Argentina (54 and 549).
    """
    written = normalize_recipient(number)
    return tuple(
        dict.fromkeys(match.expand(other) for form, other in _CORRECTIONS if (match := form.fullmatch(written)))
    )


# For each country above, the form that is dialled today. In Brazil only numbers of mobile telephones: others have never got a ninth digit.
_CURRENT_FORMS = (
    (re.compile(r"\+55([1-9]{2})([6-9][0-9]{7})"), r"+55\g<1>9\g<2>"),
    (re.compile(r"\+521([0-9]{10})"), r"+52\g<1>"),
    (re.compile(r"\+54([0-9]{10})"), r"+549\g<1>"),
)

has_one_form = re.compile(r"\+(?!5[245])").match
"""Whether a recipient is a telephone number with `+` that WhatsApp never corrects: then `recipient_identity` returns it as it is."""


def recipient_identity(recipient: str) -> str:
    """Return what two recipients have in common if a message to both reaches one person: the one form of a number.

    It is as `normalize_recipient` returns it, in the form that is dialled today where WhatsApp corrects numbers: in Brazil with the ninth
    digit, in Mexico without the 1, in Argentina with the 9. `number_variants` goes further: it also has forms that are only possible.
    """
    number = recipient if recipient[:1] == "+" else normalize_recipient(recipient)
    for form, current in _CURRENT_FORMS:
        if match := form.fullmatch(number):
            return match.expand(current)
    return number


def check_url(field: str, value: object) -> str:
    """Return an absolute http or https URL without blanks, control characters or invisible marks."""
    url = check_string(field, value)
    if not _URL.fullmatch(url) or not url.isprintable():
        raise InvalidMessageError(
            field, "must be an absolute URL that begins with http:// or https:// and has no blanks in it"
        )
    return url


def check_strings(field: str, value: object) -> tuple[str, ...]:
    """Return strings that come in an order, none of them blank."""
    if not isinstance(value, tuple | list):
        raise InvalidMessageError(field, f"must be a list of strings, not {type(value).__name__}")
    return tuple(check_string(f"{field}[{index}]", item) for index, item in enumerate(value))


def check_metadata(field: str, value: object) -> dict[str, str]:
    """Return at most 10 pairs: keys of at most 50 characters, values of at most 500; numbers and booleans become strings.

    Callbell refuses a value that is not a string with 400.
    """
    if not isinstance(value, Mapping):
        raise InvalidMessageError(field, f"must be a mapping of strings to strings, not {type(value).__name__}")
    if len(value) > MAX_METADATA_PAIRS:
        raise InvalidMessageError(field, f"has {len(value)} pairs; Callbell takes at most {MAX_METADATA_PAIRS}")
    pairs = {}
    for key, item in value.items():
        if len(check_string(f"{field} key", key)) > MAX_METADATA_KEY:
            raise InvalidMessageError(
                field, f"has a key of {len(key)} characters; Callbell takes at most {MAX_METADATA_KEY}"
            )
        text = _metadata_value(f"{field}[{key!r}]", item)
        if len(text) > MAX_METADATA_VALUE:
            raise InvalidMessageError(
                f"{field}[{key!r}]", f"has {len(text)} characters; Callbell takes at most {MAX_METADATA_VALUE}"
            )
        # str.__str__ takes the characters out of an enum, which orjson does not take as a key.
        pairs[str.__str__(key)] = text
    return pairs


def _metadata_value(field: str, value: Any) -> str:
    match value:
        case str():
            # A blank value is allowed, because it only comes back in events.
            return check_string(field, value) if value.strip() else value
        case bool():
            return "true" if value else "false"
        case int() | float():
            try:
                if math.isfinite(value):
                    return str(value)
            except OverflowError:
                pass
            raise InvalidMessageError(field, "must be a finite number; write a very long one as a string")
        case _:
            raise InvalidMessageError(field, f"must be a string, a number or a boolean, not {type(value).__name__}")


def check_json(field: str, value: object, *, depth: int = MAX_JSON_DEPTH) -> Any:
    """Return a copy of a value that JSON can hold: `None`, booleans, numbers, strings, lists, tuples, and mappings with strings as keys.

    Numbers must be finite, and whole ones fit into 64 bits. Nothing is nested more than 64 deep.
    """
    if not depth:
        raise InvalidMessageError(field, f"is nested too deep for JSON; at most {MAX_JSON_DEPTH} levels can be sent")
    match value:
        case None | bool():
            return value
        case str():
            _check_characters(field, value)
            return value
        case int() if -(2**63) <= value < 2**64:
            return value
        case float() if math.isfinite(value):
            return float(value)
        case int() | float():
            raise InvalidMessageError(
                field, "must be a finite number of at most 64 bits; write a longer one as a string"
            )
        case list() | tuple():
            return [check_json(f"{field}[{index}]", item, depth=depth - 1) for index, item in enumerate(value)]
        case Mapping():
            return {
                _json_key(field, key): check_json(f"{field}[{key!r}]", item, depth=depth - 1)
                for key, item in value.items()
            }
        case _:
            raise InvalidMessageError(field, f"can't be written as JSON: {type(value).__name__}; give a string instead")


def _json_key(field: str, key: object) -> str:
    if not isinstance(key, str):
        raise InvalidMessageError(field, f"has a key of type {type(key).__name__}; JSON takes only strings as keys")
    _check_characters(f"{field} key", key)
    return str.__str__(key)
