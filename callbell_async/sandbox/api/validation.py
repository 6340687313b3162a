"""The validation of requests: errors by field, in Callbell's form."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

import orjson

from callbell_async.models.messages import BotStatus
from callbell_async.sandbox.exchange import refusal
from callbell_async.sandbox.records import ChannelType

__all__ = [
    "ABSENT",
    "CHANNELS",
    "EVENTS",
    "ErrorBody",
    "Fields",
    "check_message",
    "check_webhook",
    "is_loopback",
    "query_choice",
    "read_json",
    "required_field",
]

CHANNELS: tuple[str, ...] = get_args(ChannelType)
TYPES = ("text", "image", "document", "audio", "video")
BOT_STATUSES = tuple(status.value for status in BotStatus)
EVENTS = (
    "message_created",
    "message_status_updated",
    "contact_created",
    "contact_updated",
    "contact_deleted",
    "conversation_opened",
    "conversation_closed",
    "agent_status_updated",
    "agent_session_updated",
    "team_membership_updated",
)

ABSENT = "must be present and not empty"
NOT_A_STRING = "must be a string"

ErrorBody = dict[str, list[str]]
Rule = Callable[[Any], str | None]
"""Returns the error of a value; `None` if it is valid."""


def read_json(body: bytes) -> Any:
    """Return the JSON of a body, or refuse the request with 400."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # Callbell's page has this typo in its example of a caption (`"text: "…"`), and its examples must work here.
        return orjson.loads(re.sub(rb'([{,]\s*)"text: "', rb'\1"text": "', body, count=1))
    except orjson.JSONDecodeError:
        raise refusal(400, "the body is not JSON") from None


# --- rules for one value ------------------------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """Accept a string, also an empty one."""
    return None if isinstance(value, str) else NOT_A_STRING


def filled(value: Any) -> str | None:
    """Accept a string that is not blank."""
    return None if isinstance(value, str) and value.strip() else ABSENT


def flag(value: Any) -> str | None:
    """Accept true and false."""
    return None if isinstance(value, bool) else "must be true or false"


def number(least: float, most: float) -> Rule:
    """Return a rule that accepts numbers in this range; JSON's true is not a number."""

    def rule(value: Any) -> str | None:
        valid = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return None if valid else f"must be a number from {least:.16g} to {most:.16g}"

    return rule


def whole_number(least: int, most: int | None = None) -> Rule:
    """Return a rule that accepts whole numbers in this range; `most` is `None` for no limit."""
    range_ = f"from {least}" if most is None else f"from {least} to {most}"

    def rule(value: Any) -> str | None:
        valid = isinstance(value, int) and not isinstance(value, bool) and least <= value
        return None if valid and (most is None or value <= most) else f"must be a whole number {range_}"

    return rule


def strings(value: Any) -> str | None:
    """Accept a list of strings."""
    valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if valid else "must be a list of strings"


def note(value: Any) -> str | None:
    """Accept a contact's note: at most 1000 characters."""
    return text(value) or (None if len(value) <= 1000 else "must have at most 1000 characters")


def one_of(choices: Sequence[str]) -> Rule:
    """Return a rule that accepts these strings only."""
    return lambda value: None if value in choices else f"must be one of: {', '.join(choices)}"


bot_status = one_of(BOT_STATUSES)


def custom_fields(value: Any) -> str | None:
    """Accept an object of strings, numbers, and lists of strings for checkboxes."""
    valid = isinstance(value, dict) and all(_is_field_value(item) for item in value.values())
    return None if valid else "must be an object of strings, numbers and lists of strings"


def _is_field_value(value: Any) -> bool:
    return (isinstance(value, str | int | float) and not isinstance(value, bool)) or strings(value) is None


class Fields:
    """The object in a request's body. Read its fields with their rules, then `check`, before anything is changed."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise refusal(400, {"body": ["must be a JSON object"]})
        self._document: dict[str, Any] = document
        self.errors: ErrorBody = {}

    def __contains__(self, name: str) -> bool:
        return name in self._document

    def required(self, name: str, rule: Rule = filled) -> Any:
        """Return the value of a required field."""
        value = self._document.get(name)
        self.add_error(name, rule(value) if value is not None else ABSENT)
        return value

    def optional(self, name: str, rule: Rule = text) -> Any:
        """Return the value of a field that may be missing or null."""
        value = self._document.get(name)
        if value is not None:
            self.add_error(name, rule(value))
        return value

    def add_error(self, name: str, error: str | None) -> None:
        """Add an error of a field; `None` adds nothing."""
        if error is not None:
            self.errors.setdefault(name, []).append(error)

    def check(self) -> None:
        """Refuse the request with 400 if there are errors."""
        if self.errors:
            raise refusal(400, self.errors)


def required_field(body: bytes, name: str, rule: Rule = filled) -> Any:
    """Return the only field that a request needs from its body, or refuse the request with 400."""
    fields = Fields(read_json(body))
    value = fields.required(name, rule)
    fields.check()
    return value


def query_choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str | None:
    """Return a parameter of the query, `None` if it is missing; refuse the request with 400 if it is none of the choices."""
    value = query.get(name)
    if value is not None and (error := one_of(choices)(value)):
        raise refusal(400, {name: [error]})
    return value


# --- bodies -------------------------------------------------------------------------------------------------------------


def check_message(body: Any) -> ErrorBody:
    """Return the errors of the body of `POST /messages/send` by field; empty if it is valid."""
    if not isinstance(body, dict):
        return {"body": ["must be a JSON object"]}
    fields = Fields(body)
    if fields.optional("bsuid", filled) is None:
        fields.required("to")
    else:
        fields.optional("to", filled)
    fields.add_error("from", one_of(CHANNELS)(body.get("from")))
    fields.add_error("type", one_of(TYPES)(body.get("type")))
    _check_content(fields, body)
    if "template_uuid" in body:
        fields.add_error("template_uuid", filled(body["template_uuid"]))
        fields.add_error("optin_contact", None if body.get("optin_contact") is True else "must be present and true")
    else:
        fields.optional("optin_contact", flag)
    fields.optional("template_values", strings)
    for name in ("channel_uuid", "assigned_user", "team_uuid", "fields"):
        fields.optional(name, text)
    fields.optional("bot_status", bot_status)
    for error in _check_metadata(body.get("metadata", {})):
        fields.add_error("metadata", error)
    return fields.errors


def _check_content(fields: Fields, body: Mapping[str, Any]) -> None:
    content = body.get("content")
    if not isinstance(content, dict):
        fields.add_error("content", ABSENT)
    elif body.get("type") == "text":
        # A template without placeholders needs no text.
        if "template_uuid" not in body:
            fields.add_error("content.text", filled(content.get("text")))
        elif content.get("text") is not None:
            fields.add_error("content.text", text(content["text"]))
    else:
        fields.add_error("content.url", filled(content.get("url")))
        if content.get("text") is not None:
            fields.add_error("content.text", text(content["text"]))


def _check_metadata(metadata: Any) -> list[str]:
    if not isinstance(metadata, dict):
        return ["must be an object"]
    errors = []
    if len(metadata) > 10:
        errors.append("must have at most 10 pairs")
    if any(len(key) > 50 for key in metadata):
        errors.append("keys must have at most 50 characters")
    if not all(isinstance(value, str) for value in metadata.values()):
        errors.append("values must be strings")
    elif any(len(value) > 500 for value in metadata.values()):
        errors.append("values must have at most 500 characters")
    return errors


def check_webhook(url: Any) -> str | None:
    """Return the error of a webhook's URL; `None` if it is valid: http or https, and not localhost.

    Loopback addresses are valid, because a sandbox posts to no others.
    """
    if error := filled(url):
        return error
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "must be a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "must be an http or https URL"
    local = host in ("localhost", "0.0.0.0") or host.endswith(".localhost")  # noqa: S104
    return "must not be localhost" if local else None


def is_loopback(url: str) -> bool:
    """Return whether the host of a URL is a loopback address."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False
