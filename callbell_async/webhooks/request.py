"""What a request to a webhook is, decided without I/O."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from callbell_async.errors import EventDecodeError, SignatureError
from callbell_async.models.events import Event
from callbell_async.webhooks.parse import parse_event
from callbell_async.webhooks.signature import verify_signature
from callbell_async.wire.json_text import WireError, load_json

__all__ = ["Probe", "Refused", "Unreadable", "decide"]


@attrs.frozen
class Probe:
    """Somebody, Callbell perhaps, looks whether there is an answer."""


@attrs.frozen
class Refused:
    """Nothing shows that Callbell sent it."""

    error: SignatureError


@attrs.frozen
class Unreadable:
    """Callbell sent it, and it can't be read: sending it again would not help."""

    error: EventDecodeError


def decide(
    body: bytes, signature: str | None, *, secret: str | Sequence[str] | None, tolerance: float, now: float
) -> Event | Probe | Refused | Unreadable:
    """Tell what this body is with this signature; without a secret whatever comes is taken for Callbell's.

    What has neither a signature nor an event in it is a probe. It is answered like one though a secret is set: nothing is handled, and a URL
    that refuses Callbell's probes would be disabled.
    """
    if secret is not None:
        try:
            verify_signature(body, signature, secret, tolerance=tolerance, now=now)
        except SignatureError as error:
            return Probe() if signature is None and _holds_no_event(body) else Refused(error)
    try:
        return parse_event(body)
    except EventDecodeError as error:
        return Probe() if _holds_no_event(body) else Unreadable(error)


def _holds_no_event(body: bytes) -> bool:
    """Whether the body is empty, or JSON that has no `event`."""
    if not body.strip():
        return True
    try:
        document = load_json(body)
    except WireError:
        return False
    return not (isinstance(document, dict) and "event" in document)
