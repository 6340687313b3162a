"""Requests and answers as values, without I/O: what goes out, and what an answer means."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from callbell_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CallbellError,
    ConfigurationError,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    UnprocessableEntityError,
)
from callbell_async.http.error_body import parse_error_body, summarize
from callbell_async.redaction import mask_path
from callbell_async.wire import WireError, load_json

__all__ = [
    "CallState",
    "Request",
    "Response",
    "build_path",
    "build_query",
    "error_from",
    "parse_retry_after",
    "read_response",
]

T = TypeVar("T")

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2. Callbell's POST and PATCH have no idempotency key."""

KEPT_BODY = 64 * 1024
"""How many bytes of an answer an exception keeps."""


class Request(NamedTuple):
    """A request that can be sent any number of times: `path` is percent-encoded and begins with a slash, query and all."""

    method: str
    path: str
    body: bytes | None = None

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice leaves the same state as sending it once."""
        return self.method in IDEMPOTENT_METHODS


class Response(NamedTuple):
    """An answer that was read whole, or an error's that was read as far as needed; header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


_SEVERITY = (Outcome.NEVER_SENT, Outcome.REJECTED, Outcome.UNKNOWN)


class CallState:
    """One call and what has become of it so far: the only state that changes while a request is being tried.

    `attempts` counts the requests tried. `written` says whether the body of the attempt under way has begun to leave.
    """

    __slots__ = ("_outcome", "attempts", "request", "written")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attempts = 0
        self.written = False
        self._outcome = Outcome.NEVER_SENT

    @property
    def outcome(self) -> Outcome:
        """What is known now, the attempt under way included: written and not settled is `UNKNOWN`."""
        return self._worst(Outcome.UNKNOWN) if self.written else self._outcome

    def begin(self) -> None:
        """A further attempt starts."""
        self.attempts += 1
        self.written = False

    def accept(self) -> None:
        """The attempt under way was accepted, which settles the call."""
        self.written = False
        self._outcome = Outcome.ACCEPTED

    def fail(self, error: CallbellError) -> None:
        """The attempt under way failed with `error`, which is told what all attempts together come to.

        A first attempt that may have arrived leaves the call `UNKNOWN`, whatever the later ones met.
        """
        self._outcome = self._worst(error.outcome)
        self.written = False
        error.outcome = self._outcome
        error.attempts = self.attempts

    def _worst(self, outcome: Outcome) -> Outcome:
        return max(self._outcome, outcome, key=_SEVERITY.index) if outcome in _SEVERITY else outcome


def build_path(*parts: str) -> str:
    """A path with every part percent-encoded (RFC 3986), slashes included.

    Raises `ConfigurationError` for a part that would lead elsewhere: a blank identifier in a DELETE must not reach the whole list.
    """
    if not all(map(_is_identifier, parts)):
        raise ConfigurationError(
            f"the path {mask_path('/' + '/'.join(map(str, parts)))} has a part that is no identifier; each must be a string, not blank"
        )
    return "".join("/" + quote(part, safe="") for part in parts)


def _is_identifier(part: object) -> bool:
    # A lone surrogate can't be written as UTF-8, and so not percent-encoded.
    return (
        isinstance(part, str)
        and bool(part.strip())
        and part not in (".", "..")
        and not any("\ud800" <= character <= "\udfff" for character in part)
    )


def build_query(query: Mapping[str, Any] | None) -> str:
    """A query string with its question mark; `None` is left out, lists are joined by commas, booleans are `true` and `false`."""
    pairs = [(key, _query_value(value)) for key, value in (query or {}).items() if value is not None]
    return "?" + urlencode(pairs, quote_via=quote) if pairs else ""


def _query_value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case str():
            return value
        case Iterable():
            return ",".join(map(_query_value, value))
        case _:
            return str(value)


# --- reading answers --------------------------------------------------------------------------------------------------


def read_response(request: Request, answer: Response, load: Callable[[Any], T]) -> T:
    """What a good answer holds; raises `APIError` for any other, and `ResponseDecodeError` for one that can't be read."""
    if not answer.ok:
        raise error_from(request, answer)
    try:
        return load(load_json(answer.body))
    except WireError as error:
        raise _decode_error(request, answer, str(error)) from None


def read_any(request: Request, answer: Response) -> Any:
    """The JSON of a good answer as it came, and `None` for an empty one; raises as `read_answer` does."""
    if answer.ok and not answer.body.strip():
        return None
    return read_response(request, answer, lambda document: document)


def _decode_error(request: Request, answer: Response, reason: str) -> ResponseDecodeError:
    return ResponseDecodeError(
        f"the answer has status {answer.status} but can't be read: {reason}",
        method=request.method,
        path=request.path,
        status=answer.status,
        headers=_plain_headers(answer.headers),
        body=answer.body[:KEPT_BODY],
    )


_ERRORS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def error_from(request: Request, answer: Response, *, now: datetime | None = None) -> APIError:
    """The exception for an answer that is not 2xx; never fails, whatever the body holds."""
    complaints = parse_error_body(answer.body)
    cls = _ERRORS.get(answer.status) or (ServerError if answer.status >= 500 else APIError)
    return cls(
        status=answer.status,
        method=request.method,
        path=request.path,
        code=complaints.code,
        message=complaints.message,
        errors=complaints.errors,
        body=answer.body[:KEPT_BODY],
        headers=_plain_headers(answer.headers),
        retry_after=parse_retry_after(answer.headers, now=now or datetime.now(UTC)),
        summary=summarize(complaints, request.body),
    )


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def parse_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """The seconds an answer asks to wait, never negative: `Retry-After` in seconds or as an HTTP date (RFC 9110, section 10.2.3), or
    `Retry-After-Ms` in milliseconds. `None` where there is no such header or it can't be read.
    """
    milliseconds = _number(headers.get("Retry-After-Ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
