"""Checks of metadata and JSON values: the values accepted, and the errors with their remedies."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given

from callbell_async.models.validation import (
    MAX_JSON_DEPTH,
    check_json,
    check_metadata,
)
from tests.fixtures.refusals import HALF, refusal, taken_or_refused
from tests.fixtures.strategies import any_json, quick


class Key(enum.StrEnum):
    """Keys in a `StrEnum`."""

    ORDER = "order"


class OldKey(str, enum.Enum):  # noqa: UP042 - its text is not its value, which is the point
    """Keys in a `str` and `Enum` class, as before `StrEnum`."""

    ORDER = "order"


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("spring", "spring"),
        ("", ""),
        (" ", " "),
        (1234, "1234"),
        (-1, "-1"),
        (9.5, "9.5"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_metadata_values_become_strings(value: object, text: str) -> None:
    """Numbers and booleans become strings, because Callbell refuses them with 400; strings stay as they are."""
    assert check_metadata("metadata", {"key": value}) == {"key": text}


@pytest.mark.parametrize("key", [Key.ORDER, OldKey.ORDER])
def test_metadata_keys_are_plain_strings(key: str) -> None:
    """A member of an enum becomes its value."""
    pairs = check_metadata("metadata", {key: 1})
    assert [(type(name), name) for name in pairs] == [(str, "order")]


def test_metadata_is_copied() -> None:
    """A later change of the caller's mapping changes nothing."""
    pairs = {"order": "1234"}
    taken = check_metadata("metadata", MappingProxyType(pairs))
    pairs["order"] = "5678"
    assert taken == {"order": "1234"}


def test_metadata_up_to_the_limits_are_accepted() -> None:
    """Ten pairs, keys of 50 characters and values of 500 are accepted."""
    pairs = {f"{index:050}": "ü" * 500 for index in range(10)}
    assert check_metadata("metadata", pairs) == pairs


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({str(index): "" for index in range(11)}, "it", "has 11 pairs; Callbell takes at most 10"),
        ({"k" * 51: ""}, "it", "has a key of 51 characters; Callbell takes at most 50"),
        ({"key": "v" * 501}, "it['key']", "has 501 characters; Callbell takes at most 500"),
        ({"key": None}, "it['key']", "must be a string, a number or a boolean, not NoneType"),
        ({"key": ["a"]}, "it['key']", "must be a string, a number or a boolean, not list"),
        ({"key": math.nan}, "it['key']", "must be a finite number; write a very long one as a string"),
        ({"key": -math.inf}, "it['key']", "must be a finite number; write a very long one as a string"),
        ({"key": 10**5000}, "it['key']", "must be a finite number; write a very long one as a string"),
        ({"": "a"}, "it key", "must not be blank"),
        ({1: "a"}, "it key", "must be a string, not int"),
        ([("key", "a")], "it", "must be a mapping of strings to strings, not list"),
        ("key=a", "it", "must be a mapping of strings to strings, not str"),
        (None, "it", "must be a mapping of strings to strings, not NoneType"),
    ],
)
def test_wrong_metadata_is_refused(value: object, field: str, reason: str) -> None:
    """Metadata that Callbell would refuse is refused with its key."""
    error = refusal(check_metadata, "it", value)
    assert (error.field, error.reason) == (field, reason)


def test_half_a_character_in_metadata_is_refused() -> None:
    """Keys and values with a lone surrogate are refused."""
    assert refusal(check_metadata, "it", {"key": HALF}).field == "it['key']"
    assert refusal(check_metadata, "it", {HALF: "value"}).field == "it key"


# --- JSON -------------------------------------------------------------------------------------------------------------


@given(any_json)
@quick
def test_json_is_copied_as_it_is(value: Any) -> None:
    """Any JSON value, except a whole number beyond 64 bits, is accepted, written and read again."""
    taken, error = taken_or_refused(check_json, "content", value)
    if error is None:
        assert taken == value
        assert json.loads(json.dumps(taken, allow_nan=False)) == value
    else:
        assert "64 bits" in error.reason


def test_mappings_and_tuples_become_plain() -> None:
    """Mappings of any kind become objects, tuples lists, and keys and floats of special kinds plain ones."""

    class Price(float):
        pass

    taken = check_json("content", MappingProxyType({Key.ORDER: (1, MappingProxyType({OldKey.ORDER: Price(9.5)}))}))
    assert taken == {"order": [1, {"order": 9.5}]}
    assert type(taken["order"][1]["order"]) is float
    assert {type(key) for key in (*taken, *taken["order"][1])} == {str}


def nested(levels: int) -> Any:
    """A list in an object in a list, and so on."""
    value: Any = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return value


def circle() -> Mapping[str, Any]:
    """An object that holds itself."""
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"a": math.nan}, "it['a']", "must be a finite number of at most 64 bits; write a longer one as a string"),
        ([math.inf], "it[0]", "must be a finite number of at most 64 bits; write a longer one as a string"),
        (2**64, "it", "must be a finite number of at most 64 bits; write a longer one as a string"),
        (-(2**63) - 1, "it", "must be a finite number of at most 64 bits; write a longer one as a string"),
        ({"a": [{"b": object()}]}, "it['a'][0]['b']", "can't be written as JSON: object; give a string instead"),
        ({"a": b"b"}, "it['a']", "can't be written as JSON: bytes; give a string instead"),
        ({"a": {1}}, "it['a']", "can't be written as JSON: set; give a string instead"),
        ({1: "a"}, "it", "has a key of type int; JSON takes only strings as keys"),
        ({None: "a"}, "it", "has a key of type NoneType; JSON takes only strings as keys"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused(value: object, field: str, reason: str) -> None:
    """NaN is refused, not written as null; the field names the place."""
    error = refusal(check_json, "it", value)
    assert (error.field, error.reason) == (field, reason)


def test_too_deep_json_is_refused() -> None:
    """64 levels are accepted; one more, and an endless circle, are refused."""
    assert check_json("content", nested(MAX_JSON_DEPTH)) == nested(MAX_JSON_DEPTH)
    for value in (nested(MAX_JSON_DEPTH + 1), circle()):
        assert refusal(check_json, "it", value).reason == "is nested too deep for JSON; at most 64 levels can be sent"


def test_numbers_of_64_bits_are_accepted() -> None:
    """The largest and the smallest whole number of 64 bits are accepted."""
    assert check_json("content", [2**64 - 1, -(2**63)]) == [2**64 - 1, -(2**63)]
