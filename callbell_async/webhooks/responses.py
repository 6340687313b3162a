"""What a receiver answers Callbell."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = [
    "BROKEN",
    "FAILED",
    "NOT_FOUND",
    "OK",
    "ONLY_POST",
    "TOO_LARGE",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "ReceiverResponse",
]


@attrs.frozen
class ReceiverResponse:
    """An HTTP answer: its status, its body, and its headers with lower-case names, the body's type among them."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=lambda: {"content-type": "application/json"}, hash=False)


OK = ReceiverResponse(200, b'{"status": "ok"}')
BROKEN = ReceiverResponse(400, b'{"error": "the body can\'t be read"}')
UNAUTHORIZED = ReceiverResponse(401, b'{"error": "bad signature"}')
NOT_FOUND = ReceiverResponse(404, b'{"error": "not found"}')
ONLY_POST = ReceiverResponse(405, b'{"error": "only POST"}', {"content-type": "application/json", "allow": "POST"})
TOO_LARGE = ReceiverResponse(413, b'{"error": "body too large"}')
FAILED = ReceiverResponse(500, b'{"error": "not handled"}')
"""The handler failed: Callbell sends the event again."""
UNAVAILABLE = ReceiverResponse(503, b'{"error": "busy"}')
"""The queue is full, or the receiver closes: Callbell sends the event again."""
