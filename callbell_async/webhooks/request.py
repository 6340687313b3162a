"""One webhook request: how it is understood, and the responses to it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from callbell_async.errors import EventDecodeError, SignatureError
from callbell_async.models.events import Event
from callbell_async.webhooks.signature import Credentials
from callbell_async.wire.events import bare_payload, load_event
from callbell_async.wire.json_text import WireError, load_json

__all__ = [
    "ENCODED",
    "FAILED",
    "INCOMPLETE",
    "METHOD_NOT_ALLOWED",
    "NOT_FOUND",
    "OK",
    "TIMED_OUT",
    "TOO_LARGE",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "Probe",
    "ReceiverResponse",
    "Refused",
    "Unreadable",
    "check_head",
    "decide",
    "parse_event",
]


# --- responses --------------------------------------------------------------------------------------------------------


@attrs.frozen
class ReceiverResponse:
    """The HTTP response to a webhook request.

    Attributes:
        status: the HTTP status.
        body: the body, a JSON object. Send none in response to HEAD.
        headers: the headers with lower-case names, `content-type` included, `content-length` not.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=lambda: {"content-type": "application/json"}, hash=False)


def _response(status: int, error: str, **headers: str) -> ReceiverResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ReceiverResponse(status, b'{"error": "%s"}' % error.encode(), {"content-type": "application/json", **names})


OK = ReceiverResponse(200, b'{"status": "ok"}')
INCOMPLETE = _response(400, "the body can't be read")
UNAUTHORIZED = _response(401, "bad signature")
NOT_FOUND = _response(404, "not found")
METHOD_NOT_ALLOWED = _response(405, "only POST, GET and HEAD", allow="GET, HEAD, POST")
TIMED_OUT = _response(408, "the body took too long")
TOO_LARGE = _response(413, "body too large")
ENCODED = _response(
    415, "no Content-Encoding is allowed: the signature covers the raw body", accept_encoding="identity"
)
FAILED = _response(500, "not handled")
"""The handler failed. Callbell sends the event again."""
UNAVAILABLE = _response(503, "busy")
"""The queue is full, or the receiver is closing. Callbell sends the event again."""


# --- decisions --------------------------------------------------------------------------------------------------------


def check_head(
    method: str, content_length: int | None, content_encoding: str | None, *, max_body: int
) -> ReceiverResponse | None:
    """Return the response to a request whose body need not be read, or `None` if it must be read."""
    if method in ("GET", "HEAD"):
        # Callbell may verify a URL with GET.
        return OK
    if method != "POST":
        return METHOD_NOT_ALLOWED
    if content_encoding is not None and any(
        coding.strip().lower() not in ("", "identity") for coding in content_encoding.split(",")
    ):
        return ENCODED
    if content_length is not None and content_length > max_body:
        return TOO_LARGE
    return None


@attrs.frozen
class Probe:
    """A request without an event: Callbell, or a monitor, checks whether the URL responds."""


@attrs.frozen
class Refused:
    """A request without proof that Callbell sent it."""

    error: SignatureError


@attrs.frozen
class Unreadable:
    """A request that Callbell sent and that can't be read; a second delivery would not help."""

    error: EventDecodeError


def decide(
    body: bytes,
    signature: str | None,
    *,
    credentials: Credentials,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    tolerance: float,
    now: float,
) -> Event | Probe | Refused | Unreadable:
    """Decide what a request is; if nothing is demanded, every request is taken for Callbell's.

    A request without a signature and without an event is a probe, even if a signature is demanded: it causes nothing, and Callbell would
    disable a URL that refuses its probes.
    """
    try:
        credentials.check_secrets(url, headers)
    except SignatureError as error:
        return Refused(error)
    try:
        credentials.check_signature(body, signature, tolerance=tolerance, now=now)
    except SignatureError as error:
        return Probe() if signature is None and _has_no_event(body) else Refused(error)
    try:
        return parse_event(body)
    except EventDecodeError as error:
        return Probe() if _has_no_event(body) and not _is_bare_payload(body) else Unreadable(error)


def parse_event(body: bytes) -> Event:
    """Return the event in the body of a webhook request.

    An event that this library does not know is an `UnknownEvent`. A field that is missing, or of another type than documented, is `None` or
    empty. `event.raw` has the whole document.

    Args:
        body: the body of the request.

    Raises:
        EventDecodeError: the body is not a JSON object with a string `event`. If it is only the inner payload, as Callbell's dashboard shows
            it, the error names the envelope that is missing.
    """
    try:
        return load_event(body)
    except WireError as error:
        raise EventDecodeError(f"no event: {error}") from None


def _has_no_event(body: bytes) -> bool:
    """Return whether the body is empty, or JSON without an `event`."""
    if not body.strip():
        return True
    try:
        document = load_json(body)
    except WireError:
        return False
    return not (isinstance(document, dict) and "event" in document)


def _is_bare_payload(body: bytes) -> bool:
    return bool(body.strip()) and bare_payload(load_json(body)) is not None
