"""Reading the body of an error response, and summarizing it for the exception's text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from callbell_async.redaction import json_scalars, redact, sent_values
from callbell_async.wire import WireError, load_json

__all__ = ["ErrorBody", "parse_error_body", "summarize"]


class ErrorBody(NamedTuple):
    """The code, the message, and the messages by field of an error response; each may be missing."""

    code: str | None = None
    message: str | None = None
    errors: Mapping[str, tuple[str, ...]] = {}


def parse_error_body(body: bytes) -> ErrorBody:
    """Read the body of an error response; never fails.

    Callbell's bodies are `{"error": "…"}`, `{"error": {field: ["…"]}}` and the same object of lists without its wrapper; some have
    a `code`. The message of any other JSON is its strings. A body that is not JSON, such as a proxy's HTML, is read as empty.
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
            field: tuple(json_scalars(complaints))
            for field, complaints in detail.items()
            if isinstance(complaints, list | dict | str) and field not in ("code", "error", "message")
        }
        if not isinstance(message, str):
            message = "; ".join(f"{field} {', '.join(lines)}" for field, lines in errors.items())
    else:
        message = ", ".join(json_scalars(detail))
    return ErrorBody(_code(code), message or None, errors)


def _code(value: object) -> str | None:
    # A gateway may write WhatsApp's code, such as 131047, as a number.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


_KNOWN_CODES = frozenset({"whatsapp_wallet_depleted_credit"})

_SUMMARY = 300


def summarize(error: ErrorBody, sent: bytes | None) -> str:
    """Return the error's code and message in at most 300 characters, without values of the request's body `sent`."""
    try:
        values = sent_values(load_json(sent or b"null"))
    except WireError:
        values = set()
    message = redact(error.message or "", values, limit=_SUMMARY)
    if code := error.code:
        # A documented code is never an echo; any other may be one.
        message = f"[{code if code in _KNOWN_CODES else redact(code, values, limit=_SUMMARY)}] {message}"
    return message.strip()[:_SUMMARY]
