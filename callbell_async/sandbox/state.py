"""What the sandbox knows and decides, without I/O: which requests it takes, and what it keeps of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs

__all__ = ["RequestWindow", "SandboxMessage", "check_message"]

CHANNELS = ("whatsapp", "facebook", "instagram", "telegram")
TYPES = ("text", "image", "document", "audio", "video")

_ABSENT = "must be present and not empty"


@attrs.frozen(kw_only=True)
class SandboxMessage:
    """A message the sandbox accepted: its uuid, and the body as it came."""

    uuid: str
    body: Mapping[str, Any]


class RequestWindow:
    """At most `limit` requests in any window of one second; what is refused does not count."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        """Whether a request that comes now is within the limit."""
        now = self._clock()
        while self._taken and now - self._taken[0] > 1.0:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            return False
        self._taken.append(now)
        return True


def check_message(body: Any) -> dict[str, list[str]]:
    """What is wrong with the body of `POST /messages/send`, by field; empty when nothing is."""
    if not isinstance(body, dict):
        return {"body": ["must be a JSON object"]}
    errors: dict[str, list[str]] = {}

    def complain(field: str, complaint: str) -> None:
        errors.setdefault(field, []).append(complaint)

    if not _filled(body.get("to")) and not _filled(body.get("bsuid")):
        complain("to", _ABSENT)
    if body.get("from") not in CHANNELS:
        complain("from", f"must be one of: {', '.join(CHANNELS)}")
    if body.get("type") not in TYPES:
        complain("type", f"must be one of: {', '.join(TYPES)}")
    content = body.get("content")
    if not isinstance(content, dict):
        complain("content", _ABSENT)
    elif body.get("type") == "text":
        # A template without placeholders has nothing to put here.
        if not _filled(content.get("text")) and "template_uuid" not in body:
            complain("content.text", _ABSENT)
    elif not _filled(content.get("url")):
        complain("content.url", _ABSENT)
    if "template_uuid" in body:
        if not _filled(body["template_uuid"]):
            complain("template_uuid", _ABSENT)
        if body.get("optin_contact") is not True:
            complain("optin_contact", "must be present and true")
    for complaint in _check_metadata(body.get("metadata", {})):
        complain("metadata", complaint)
    return errors


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


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
