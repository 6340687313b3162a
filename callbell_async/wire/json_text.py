"""JSON text: parsing, which repairs what one bad character would spoil, and writing."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from callbell_async.errors import InvalidMessageError

__all__ = ["MAX_DEPTH", "WireError", "dump_arguments", "dump_json", "load_json"]

MAX_DEPTH = 254
"""How many levels of arrays and objects are read. Whatever is read can also be written, copied, compared and shown."""


class WireError(ValueError):
    """JSON of another shape than documented. Its text names what is missing, and quotes nothing."""


def load_json(body: bytes) -> Any:
    """Parse JSON.

    Text that is not quite JSON is repaired first: bytes that are not UTF-8 and lone surrogates become replacement characters (U+FFFD),
    a byte order mark is skipped, control characters and backslashes in strings are taken literally, and numbers that are not finite
    (`NaN`, `Infinity`, `1e999`) become null.

    Raises:
        WireError: the body is not JSON even so, or is nested more than 254 levels deep.
    """
    document, problem = None, ""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Its text names a position, never the content. The error itself keeps the document, so it must not become a context.
        problem = f"not JSON: {error.msg} at character {error.pos}"
    if problem:
        document = _load_repaired(body, problem)
    # A body with fewer brackets can't be nested too deeply.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(document)
    return document


def dump_json(value: Any, *, field: str, canonical: bool = False) -> bytes:
    """Write JSON, with sorted keys if `canonical`; raises `InvalidMessageError` naming `field` for what JSON can't hold."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if canonical else None)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidMessageError(field, f"can't be written as JSON: {error}") from None


def dump_arguments(value: Any) -> bytes:
    """Write the JSON of a request from a caller's values; refuses also NaN and infinity, which would become null, and erase a field."""
    body = dump_json(value, field="json")
    if b"null" in body and _has_endless_number(value):
        raise InvalidMessageError("json", "has a number that is not finite (NaN or infinity); JSON has no such number")
    return body


def _has_endless_number(value: Any) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case dict():
            return any(map(_has_endless_number, value.values()))
        case list() | tuple():
            return any(map(_has_endless_number, value))
        case _:
            return False


# Each alternative takes all it can, and an unterminated string ends with the text: the time is linear in the text's length.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|\ufeff|-?(?:NaN|Infinity)|-?[0-9][0-9.eE+-]*', re.DOTALL)
_SPECIAL = re.compile(
    r'[\x00-\x1f]|\\["\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\'
)
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def _load_repaired(body: bytes, problem: str) -> Any:
    repaired = _TOKEN.sub(_repair_token, body.decode(errors="replace")).encode()
    try:
        return orjson.loads(repaired)
    except orjson.JSONDecodeError:
        pass
    raise WireError(problem)


def _repair_token(match: re.Match[str]) -> str:
    text = match[0]
    if text[0] == '"':
        return _SPECIAL.sub(_repair_special, text)
    if text == "\ufeff":
        return ""
    try:
        return text if math.isfinite(float(text)) else "null"
    except ValueError:
        return text


def _repair_special(match: re.Match[str]) -> str:
    special = match[0]
    if special == "\\":
        return "\\\\"
    if special[0] != "\\":
        return f"\\u{ord(special):04x}"
    return "\\ufffd" if _LONE_SURROGATE.fullmatch(special) else special


def _check_depth(document: Any) -> None:
    # To write the document is the fastest test: the parser takes about 1000 levels, the writer 254.
    try:
        orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise WireError(f"nested more than {MAX_DEPTH} levels deep") from None
