"""An HTTP response as a value, and its meaning: a model, or one of this library's exceptions; no I/O."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs

from callbell_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    UnprocessableEntityError,
)
from callbell_async.http.error_body import parse_error_body, summarize
from callbell_async.http.requests import Request
from callbell_async.wire import WireError, load_json

__all__ = ["KEPT_BODY", "Response", "error_from", "parse_retry_after", "read_any", "read_response"]

T = TypeVar("T")

KEPT_BODY = 64 * 1024
"""The number of bytes of a response's body that an exception keeps."""


@attrs.frozen(repr=False)
class Response:
    """A response: all of a 2xx, and of another as much as is needed. Header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # A traceback with local variables shows this. A server may echo anything.
        return f"<Response {self.status}, {len(self.body)} bytes>"

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


def read_response(request: Request, response: Response, load: Callable[[Any], T]) -> T:
    """Return what `load` makes of the JSON of a 2xx response.

    Raises:
        APIError: The status is not 2xx.
        ResponseDecodeError: The body is not JSON, or `load` can't read it.
    """
    if not response.ok:
        raise error_from(request, response)
    try:
        return load(load_json(response.body))
    except WireError as error:
        reason = str(error)
    # Outside the handler: the parser's error would be the context, and it holds the whole body.
    raise ResponseDecodeError(
        f"the response has status {response.status} but can't be read: {reason}",
        method=request.method,
        path=request.path,
        status=response.status,
        headers=_plain_headers(response.headers),
        body=response.body[:KEPT_BODY],
    )


def read_any(request: Request, response: Response) -> Any:
    """Return the JSON of a 2xx response as it is, `None` if the body is empty; raises as `read_response` does."""
    if response.ok and not response.body.strip():
        return None
    return read_response(request, response, lambda document: document)


_ERRORS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def error_from(request: Request, response: Response, *, now: datetime | None = None) -> APIError:
    """Return the exception for a response that is not 2xx; never fails, whatever the body holds."""
    error_body = parse_error_body(response.body)
    cls = _ERRORS.get(response.status) or (ServerError if response.status >= 500 else APIError)
    return cls(
        status=response.status,
        method=request.method,
        path=request.path,
        code=error_body.code,
        message=error_body.message,
        errors=error_body.errors,
        body=response.body[:KEPT_BODY],
        headers=_plain_headers(response.headers),
        retry_after=parse_retry_after(response.headers, now=now or datetime.now(UTC)),
        summary=summarize(error_body, request.body),
    )


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def parse_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that a response asks to wait, never negative, or `None` if it names no readable time.

    Reads `Retry-After` in seconds or as an HTTP date (RFC 9110, section 10.2.3), and `Retry-After-Ms`.
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
