"""What is wrong with what came: complaints by field, in Callbell's form."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from callbell_async.models.messages import BotStatus
from callbell_async.sandbox.exchange import refusal

__all__ = [
    "ABSENT",
    "CHANNELS",
    "EVENTS",
    "ErrorBody",
    "Fields",
    "check_message",
    "check_webhook",
    "is_loopback",
    "read_json",
]

CHANNELS = ("whatsapp", "facebook", "instagram", "telegram")
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
"""What is wrong with a value; `None` if nothing is."""


def read_json(body: bytes) -> Any:
    """The JSON of a body; refuses what is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # Callbell's own page has this slip in its example of a caption (`"text: "…"`), and its examples have to work here.
        return orjson.loads(re.sub(rb'([{,]\s*)"text: "', rb'\1"text": "', body, count=1))
    except orjson.JSONDecodeError:
        raise refusal(400, "the body is not JSON") from None


# --- rules for one value ------------------------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """A string, which may be empty."""
    return None if isinstance(value, str) else NOT_A_STRING


def filled(value: Any) -> str | None:
    """A string with something in it."""
    return None if isinstance(value, str) and value.strip() else ABSENT


def flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else "must be true or false"


def strings(value: Any) -> str | None:
    """A list of strings."""
    good = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if good else "must be a list of strings"


def note(value: Any) -> str | None:
    """A contact's note."""
    return text(value) or (None if len(value) <= 1000 else "must have at most 1000 characters")


def one_of(choices: Sequence[str]) -> Rule:
    """One of these strings."""
    return lambda value: None if value in choices else f"must be one of: {', '.join(choices)}"


bot_status = one_of(BOT_STATUSES)


def custom_fields(value: Any) -> str | None:
    """Strings, and lists of strings for checkboxes, by name."""
    good = isinstance(value, dict) and all(isinstance(item, str) or strings(item) is None for item in value.values())
    return None if good else "must be an object of strings and lists of strings"


class Fields:
    """The object in a request's body: read the fields by their rules, then `done`, before anything is changed."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise refusal(400, {"body": ["must be a JSON object"]})
        self._document: dict[str, Any] = document
        self.complaints: ErrorBody = {}

    def __contains__(self, name: str) -> bool:
        return name in self._document

    def required(self, name: str, rule: Rule = filled) -> Any:
        """A field that must be there."""
        value = self._document.get(name)
        self.complain(name, rule(value) if value is not None else ABSENT)
        return value

    def optional(self, name: str, rule: Rule = text) -> Any:
        """A field that may be missing or null."""
        value = self._document.get(name)
        if value is not None:
            self.complain(name, rule(value))
        return value

    def complain(self, name: str, complaint: str | None) -> None:
        """Note what is wrong, if anything is."""
        if complaint is not None:
            self.complaints.setdefault(name, []).append(complaint)

    def done(self) -> None:
        """Refuse the request if anything was wrong."""
        if self.complaints:
            raise refusal(400, self.complaints)


# --- bodies -------------------------------------------------------------------------------------------------------------


def check_message(body: Any) -> ErrorBody:
    """What is wrong with the body of `POST /messages/send`, by field; empty when nothing is."""
    if not isinstance(body, dict):
        return {"body": ["must be a JSON object"]}
    fields = Fields(body)
    if fields.optional("bsuid", filled) is None:
        fields.required("to")
    else:
        fields.optional("to", filled)
    fields.complain("from", one_of(CHANNELS)(body.get("from")))
    fields.complain("type", one_of(TYPES)(body.get("type")))
    _check_content(fields, body)
    if "template_uuid" in body:
        fields.complain("template_uuid", filled(body["template_uuid"]))
        fields.complain("optin_contact", None if body.get("optin_contact") is True else "must be present and true")
    else:
        fields.optional("optin_contact", flag)
    fields.optional("template_values", strings)
    for name in ("channel_uuid", "assigned_user", "team_uuid", "fields"):
        fields.optional(name, text)
    fields.optional("bot_status", bot_status)
    for complaint in _check_metadata(body.get("metadata", {})):
        fields.complain("metadata", complaint)
    return fields.complaints


def _check_content(fields: Fields, body: Mapping[str, Any]) -> None:
    content = body.get("content")
    if not isinstance(content, dict):
        fields.complain("content", ABSENT)
    elif body.get("type") == "text":
        # A template without placeholders has nothing to put here.
        if "template_uuid" not in body:
            fields.complain("content.text", filled(content.get("text")))
        elif content.get("text") is not None:
            fields.complain("content.text", text(content["text"]))
    else:
        fields.complain("content.url", filled(content.get("url")))
        if content.get("text") is not None:
            fields.complain("content.text", text(content["text"]))


def _check_metadata(metadata: Any) -> list[str]:
    if not isinstance(metadata, dict):
        return ["must be an object"]
    complaints = []
    if len(metadata) > 10:
        complaints.append("must have at most 10 pairs")
    if any(len(key) > 50 for key in metadata):
        complaints.append("keys must have at most 50 characters")
    if not all(isinstance(value, str) for value in metadata.values()):
        complaints.append("values must be strings")
    elif any(len(value) > 500 for value in metadata.values()):
        complaints.append("values must have at most 500 characters")
    return complaints


def check_webhook(url: Any) -> str | None:
    """A URL that a webhook can have: http or https, and not localhost; an address of this machine is good, because a sandbox reaches no other."""
    if complaint := filled(url):
        return complaint
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
    """Whether the host of a URL is an address by which this machine calls only itself."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False
