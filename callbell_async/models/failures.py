"""Why a message was not delivered, read from what the integration reported."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["MessageFailure", "read_failure"]

_OUTSIDE_REPLY_WINDOW = frozenset({"131047", "470", "1004", "1005", "1006", "1007", "1008"})
"""The codes for it: the Cloud API's, the on-premises API's, and those of Gupshup for a user who is "inactive for session message"."""


@attrs.frozen(kw_only=True)
class MessageFailure:
    """Why a message was not delivered: the integration's `code`, as a string, and its words; each may be missing.

    Codes of Meta's Cloud API worth knowing: 131047 (outside the 24-hour window), 131042 (billing), 131026 (undeliverable).
    """

    code: str | None = None
    reason: str | None = None
    details: str | None = None

    @property
    def outside_reply_window(self) -> bool:
        """Whether it failed because the customer's last message was more than 24 hours ago: only a template can be sent."""
        return self.code in _OUTSIDE_REPLY_WINDOW


def read_failure(payload: Any) -> MessageFailure | None:
    """The failure in a `messageStatusPayload`, in the shape of Meta's Cloud API or of Gupshup; `None` where there is none."""
    for error in _each(_inside(payload, "messaging", "value", "statuses"), "errors"):
        return MessageFailure(
            code=_text(error.get("code")),
            reason=_text(error.get("title")) or _text(error.get("message")),
            details=_text(_inside(error, "error_data", "details")) or _text(error.get("message")),
        )
    report = _inside(payload, "payload")
    if isinstance(report, dict) and ("reason" in report or _inside(payload, "type") == "failed"):
        return MessageFailure(code=_text(report.get("code")), reason=_text(report.get("reason")))
    return None


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _each(values: Any, key: str) -> list[dict[str, Any]]:
    """The objects in the lists under `key` of several objects."""
    found: list[dict[str, Any]] = []
    for value in values if isinstance(values, list) else ():
        inner = _inside(value, key)
        found.extend(item for item in (inner if isinstance(inner, list) else ()) if isinstance(item, dict))
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
