"""What Callbell says when it refuses, and how much of that may be said aloud."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from callbell_async.wire import WireError, load_json

__all__ = ["ErrorBody", "parse_error_body", "summarize"]


class ErrorBody(NamedTuple):
    """What an answer holds against a request: a stable `code`, words, and words by field; each may be missing."""

    code: str | None = None
    message: str | None = None
    errors: Mapping[str, tuple[str, ...]] = {}


def parse_error_body(body: bytes) -> ErrorBody:
    """Read an error's body; never fails, whatever it holds.

    Callbell's bodies are `{"error": "…"}`, `{"error": {field: ["…"]}}` and the same object of lists without its wrapper; some carry
    a `code`. Other shapes of JSON are taken apart into their strings. A proxy may answer with HTML or nothing.
    """
    try:
        document = load_json(body)
    except WireError:
        return ErrorBody()
    wrapper = document if isinstance(document, dict) else {"error": document}
    code, detail = wrapper.get("code"), wrapper.get("error") or wrapper
    errors: dict[str, tuple[str, ...]] = {}
    if isinstance(detail, dict):
        code, message = code or detail.get("code"), detail.get("message")
        errors = {
            field: tuple(_leaves(complaints))
            for field, complaints in detail.items()
            if isinstance(complaints, list | dict | str) and field not in ("code", "error", "message")
        }
        if not isinstance(message, str):
            message = "; ".join(f"{field} {', '.join(lines)}" for field, lines in errors.items())
    else:
        message = ", ".join(_leaves(detail))
    return ErrorBody(code if isinstance(code, str) else None, message or None, errors)


def _leaves(value: Any) -> Iterator[str]:
    """The strings and numbers in a JSON value, in their order. Others decide how deep it is, so this doesn't recurse."""
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


# --- what may be said aloud -------------------------------------------------------------------------------------------

_SAYABLE = frozenset(
    {"from", "type", "template_uuid", "channel_uuid", "team_uuid", "fields", "bot_status", "optin_contact"}
)
"""Keys of a message's body whose values are nobody's secret and often stand in a complaint as plain words."""

_KNOWN_CODES = frozenset({"whatsapp_wallet_depleted_credit"})

_NUMBER = re.compile(r"\+?\d(?:[\W_]{0,3}\d){5,}")
"""Six digits or more, however they are punctuated."""
_IDENTIFIER_OR_NUMBER = re.compile(
    rf"\b([0-9a-f]{{32}}|[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\b|{_NUMBER.pattern}", re.IGNORECASE
)

_SUMMARY = 300


def summarize(complaints: ErrorBody, sent: bytes | None) -> str:
    """Callbell's code and words without what they may echo of the body that was `sent`: a number, a text, or any other value."""
    values = sorted(_sent_values(sent), key=len, reverse=True)
    said = _discreet(complaints.message or "", values)
    if code := complaints.code:
        # A code that Callbell documents is no echo; any other may be one.
        said = f"[{code if code in _KNOWN_CODES else _discreet(code, values)}] {said}"
    return said.strip()[:_SUMMARY]


def _discreet(words: str, values: Iterable[str]) -> str:
    for value in values:
        # Blanks may come back in another form.
        parts = value.split()
        # Compiling a long text takes milliseconds, and hardly any is echoed.
        if not all(part.casefold() in words.casefold() for part in parts):
            continue
        pattern = r"\s+".join(map(re.escape, parts))
        # A short one would be found within other words.
        words = re.sub(rf"(?<!\w){pattern}(?!\w)" if len(value) < 4 else pattern, "…", words, flags=re.IGNORECASE)
    return " ".join(_IDENTIFIER_OR_NUMBER.sub(lambda found: found[1] or "…", words).split())


def _sent_values(body: bytes | None) -> set[str]:
    try:
        document = load_json(body or b"null")
    except WireError:
        return set()
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if key not in _SAYABLE}
    # A number may come back with more before it than was sent, so numbers go by their looks.
    return {value.strip() for value in _leaves(document) if not _NUMBER.fullmatch(value)} - {""}
