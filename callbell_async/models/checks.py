"""Checks of single values: each gives the value as it goes out, or an `InvalidMessageError` with the field and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from callbell_async.errors import InvalidMessageError

MAX_METADATA_PAIRS = 10
MAX_METADATA_KEY = 50
MAX_METADATA_VALUE = 500

# What people's lists carry between the digits: blanks, every dash, dots, brackets, and the invisible marks that come along when a
# number is copied out of a chat or an address book.
_PUNCTUATION = dict.fromkeys(
    map(
        ord,
        " \t\r\n.()[]{}-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000"
        "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff",
    )
)
# E.164: at most 15 digits, country code first; the shortest numbers in service have 7 with theirs.
_CLEAN_NUMBER = re.compile(r"(?!00)\+?[0-9]{7,15}")
_TRUNK_ZERO = re.compile(r"[(\[{]\s*0\s*[)\]}]")


def check_string(field: str, value: object) -> str:
    """A string that is not blank and can be written as UTF-8."""
    if not isinstance(value, str):
        raise InvalidMessageError(field, f"must be a string, not {type(value).__name__}")
    if not value or value.isspace():
        raise InvalidMessageError(field, "must not be blank")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidMessageError(
                field,
                "holds half a character (a lone surrogate) that can't be written as UTF-8; repair the source text",
            ) from None
    return value


def check_optional_string(field: str, value: object) -> str | None:
    """`None`, or a string that is not blank."""
    return None if value is None else check_string(field, value)


def check_number(field: str, value: object) -> str:
    """A telephone number in international form, without the punctuation people write in it.

    Blanks, dashes, dots and brackets go, and a leading `00` becomes `+`. What remains is an optional `+` and 7 to 15 digits (E.164).
    """
    if isinstance(value, str) and _CLEAN_NUMBER.fullmatch(value):
        return value
    written = check_string(field, value)
    number = written.translate(_PUNCTUATION)
    if number.startswith("00"):
        number = "+" + number[2:]
    if not _CLEAN_NUMBER.fullmatch(number):
        raise InvalidMessageError(
            field,
            "is not a telephone number; write it in international form: 7 to 15 digits with the country code, "
            "such as +31612345678",
        )
    if _TRUNK_ZERO.search(written):
        raise InvalidMessageError(field, "has a bracketed 0 that is not dialled from abroad; leave it out")
    return number


def check_url(field: str, value: object) -> str:
    """An absolute http or https URL."""
    url = check_string(field, value)
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in url):
        raise InvalidMessageError(
            field, "must be an absolute URL that begins with http:// or https:// and has no blanks in it"
        )
    return url


def check_strings(field: str, value: object) -> tuple[str, ...]:
    """Several strings, none of them blank."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidMessageError(field, f"must be a list of strings, not {type(value).__name__}")
    return tuple(check_string(f"{field}[{index}]", item) for index, item in enumerate(value))


def check_metadata(field: str, value: object) -> dict[str, str]:
    """At most 10 pairs: keys of at most 50 characters, values of at most 500; numbers and booleans become strings.

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
        pairs[key] = text
    return pairs


def _metadata_value(field: str, value: Any) -> str:
    match value:
        case str():
            # A blank value is a value: it only comes back in events.
            return check_string(field, value) if value.strip() else value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            raise InvalidMessageError(field, f"must be a string, a number or a boolean, not {type(value).__name__}")
