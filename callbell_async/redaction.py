"""Redaction: exception texts, tracebacks and logs contain neither telephone numbers nor any value that was sent.

Every function of a text is linear in its length, because the text comes from a server.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlsplit

__all__ = [
    "HiddenFrames",
    "chain",
    "database_url",
    "hide_frames",
    "is_secret_parameter",
    "json_scalars",
    "mask_path",
    "mask_url",
    "redact",
    "sent_values",
]

_PUBLIC_FIELDS = frozenset(
    {"from", "type", "template_uuid", "channel_uuid", "team_uuid", "fields", "bot_status", "optin_contact"}
)
"""Keys of a message's body whose values are not personal; errors often name them."""

_NUMBER_LENGTH = 7
"""The digits of the shortest telephone numbers in service, with their country code."""

_BEGINNING = 4
"""The characters by which sent values are looked up; a shorter value is one word of its own."""

_DIGITS = re.compile(rf"\+?\d(?:[\W_]{{0,3}}\d){{{_NUMBER_LENGTH - 1},}}")
"""Digits enough for a telephone number, however they are punctuated."""

_LIKE_A_NUMBER = re.compile(
    r"""
    (?P<keep>
        \b(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b
        | (?<!\d)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])
          (?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:\ ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?(?!\d)
    )
    | \+\d(?:[\W_]{0,3}\d){6,}
    | (?<!\d)0[\W_]{0,3}0[\W_]{0,3}\d(?:[\W_]{0,3}\d){4,}
    | \d{7,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A run of seven digits, or an international number however it is punctuated; identifiers and ISO dates are recognised to be kept."""

_HOST = re.compile(r"([\w.%-]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]+)?", re.ASCII)
_PARAMETER = re.compile(r"([\w%]+)=([^@]*)", re.ASCII)


def mask_path(path: str) -> str:
    """Return a request's path without its query, with `…` for each part that looks like a telephone number."""
    return "/".join(
        "…" if _looks_like_phone_number(unquote(part)) else part for part in path.partition("?")[0].split("/")
    )


def mask_url(url: str | None) -> str:
    """Return the repr of a URL without its path and query, either of which may hold a secret."""
    if url is None:
        return repr(url)
    scheme, separator, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return repr(f"{scheme}{separator}{host}/…" if separator else "…")


def _looks_like_phone_number(part: str) -> bool:
    # Identifiers are digits and letters.
    return sum(map(str.isdigit, part)) >= _NUMBER_LENGTH and not any(map(str.isalpha, part))


def sent_values(document: Any) -> set[str]:
    """Return the values in a request's JSON body that no text may repeat."""
    if isinstance(document, Mapping):
        document = {key: value for key, value in document.items() if key not in _PUBLIC_FIELDS}
    return set(json_scalars(document))


def json_scalars(value: Any) -> Iterator[str]:
    """Yield the strings and numbers in a JSON value, in their order. Servers decide how deep it is, so this doesn't recurse."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, str):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)


def redact(text: str, sent: Iterable[str], *, limit: int) -> str:
    """Return the beginning of a text on one line, at most `limit` characters, with `…` for each value of `sent` and each telephone number.

    A sent number is found however it is spelt, also with other digits before it; any other value in capital and small letters.
    """
    # Masking numbers shortens the text once more, hardly ever to less than half.
    return _LIKE_A_NUMBER.sub(lambda found: found["keep"] or "…", _without(text, sent, limit=2 * limit))[:limit]


def _without(text: str, sent: Iterable[str], *, limit: int) -> str:
    """Return the beginning of a text, of `limit` characters or a few more, with `…` for each sent value."""
    text = " ".join(text.split())
    folded = _fold(text)
    values = {_fold(" ".join(value.split())) for value in sent} - {""}
    numbers = set(filter(_looks_like_phone_number, values))
    literals = _by_beginning(values - numbers)
    spans = _number_spans(text, numbers)
    start, end = next(spans, (len(text), 0))
    kept: list[str] = []
    position = 0
    while position < len(text) and len(kept) < limit:
        while position >= end > 0:
            start, end = next(spans, (len(text), 0))
        after = end if position >= start else _literal_end(folded, position, literals)
        kept.append("…" if after else text[position])
        position = after or position + 1
    return "".join(kept)


def _fold(text: str) -> str:
    """Return the text in small letters, with the same number of characters, so that positions in it are positions in `text`."""
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(small if len(small := character.casefold()) == 1 else character for character in text)


def _by_beginning(values: Iterable[str]) -> dict[str, list[str]]:
    """Return the values by their first four characters, the longest first."""
    found: dict[str, list[str]] = {}
    for value in sorted(values, key=len, reverse=True):
        found.setdefault(value[:_BEGINNING], []).append(value)
    return found


def _literal_end(folded: str, position: int, literals: Mapping[str, list[str]]) -> int:
    """Return the end of the longest value that begins at this position, or 0."""
    for size in range(_BEGINNING, 0, -1):
        for value in literals.get(folded[position : position + size], ()):
            end = position + len(value)
            if folded.startswith(value, position) and not (
                _continues(folded[position - 1 : position], value[0], short=len(value) < _BEGINNING)
                or _continues(folded[end : end + 1], value[-1], short=len(value) < _BEGINNING)
            ):
                return end
    return 0


def _continues(outside: str, edge: str, *, short: bool) -> bool:
    """Return whether the character beside a value belongs to the same word or number: a short value occurs within other words."""
    return outside.isdigit() if edge.isdigit() and not short else short and (outside.isalnum() or outside == "_")


def _number_spans(text: str, numbers: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each run of digits up to the last one that belongs to a sent number."""
    parts = {part for number in numbers for part in _parts("".join(filter(str.isdecimal, number)))}
    if not parts:
        return
    for found in _DIGITS.finditer(text):
        at = [index for index in range(found.start(), found.end()) if text[index].isdecimal()]
        digits = "".join(str(unicodedata.decimal(text[index])) for index in at)
        if hits := [index for index, part in enumerate(_parts(digits)) if part in parts]:
            last = hits[-1] + _NUMBER_LENGTH - 1
            while last + 1 < len(at) and at[last + 1] == at[last] + 1:
                last += 1
            yield found.start(), at[last] + 1


def _parts(digits: str) -> Iterator[str]:
    """Yield every seven digits in a row."""
    return (digits[start : start + _NUMBER_LENGTH] for start in range(len(digits) - _NUMBER_LENGTH + 1))


def database_url(url: str, name: str | None = None) -> tuple[str, str, str | None] | None:
    """Split the parameter `name` and the passwords from the URL of a database.

    Args:
        url: The URL of a PostgreSQL or a Redis.
        name: The name, where the URL has none.

    Returns:
        The URL without the name, the URL without passwords and with the name, and the name. `None` for a URL that is not valid, or in which
        a part of a password would be taken for another part of the URL, and so be shown.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    user, _, hosts = parts.netloc.rpartition("@")
    has_folders = "/" in parts.path[1:] and parts.scheme != "unix"
    if parts.fragment or "@" in user + parts.path or has_folders or not all(map(_HOST.fullmatch, hosts.split(","))):
        return None
    driver_pairs, shown_pairs = [], []
    for pair in filter(None, parts.query.split("&")):
        if (found := _PARAMETER.fullmatch(pair)) is None:
            return None
        if (key := unquote(found[1])) == "name":
            name = unquote_plus(found[2]) or name
            continue
        driver_pairs.append(pair)
        if not is_secret_parameter(key):
            shown_pairs.append(pair)
    if name is not None:
        shown_pairs.append(f"name={quote(name, safe='')}")
    open_user = user.partition(":")[0]
    shown = parts._replace(netloc=f"{open_user}@{hosts}" if open_user else hosts)
    return _with_query(parts, driver_pairs), _with_query(shown, shown_pairs), name


def _with_query(parts: SplitResult, pairs: list[str]) -> str:
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?' if pairs else ''}{'&'.join(pairs)}"


def is_secret_parameter(name: str) -> bool:
    """Return whether the parameter of a database's URL is a password or another secret: `password`, `ssl_password`, `oauth_client_secret`."""
    return any(word in name.lower() for word in ("password", "secret"))


def hide_frames(error: BaseException) -> None:
    """Remove the frames of aiohttp, asyncio and this package from the tracebacks of an error and of all beneath it.

    Their local variables hold the token, the body and the URL, and some reporters show local variables. The frames of
    a caller's own code, such as a middleware, stay.
    """
    for one in chain(error):
        kept: list[TracebackType] = []
        traceback = one.__traceback__
        while traceback is not None:
            package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
            if package not in ("aiohttp", "asyncio", "callbell_async"):
                kept.append(traceback)
            traceback = traceback.tb_next
        for entry in reversed(kept):
            traceback = TracebackType(traceback, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        one.__traceback__ = traceback


class HiddenFrames:
    """A block that hides the frames of this package in the traceback of an error that leaves it, as `hide_frames` does.

    The frame of the block is hidden as well: its local variables may hold a number, a text, a URL or a piece of a file.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            hide_frames(error)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and every cause and context beneath it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
