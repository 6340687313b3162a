"""An HTTP response as a value, and its meaning: a model, or one of this library's exceptions; no I/O."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import attrs

from callbell_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    UnprocessableEntityError,
)
from callbell_async.http.requests import Request, byte_count
from callbell_async.http.retry import UNDECIDED_STATUSES
from callbell_async.redaction import json_scalars, redact, sent_values
from callbell_async.wire import WireError, load_json

__all__ = [
    "KEPT_BODY",
    "SUCCESS",
    "ErrorBody",
    "Response",
    "error_from",
    "parse_error_body",
    "parse_retry_after",
    "read_any",
    "read_response",
    "summarize",
]

T = TypeVar("T")

SUCCESS = range(200, 300)
"""The 2xx statuses."""

KEPT_BODY = 64 * 1024
"""The number of bytes of a response's body that an exception keeps."""


@attrs.frozen
class Response:
    """A response: all of a 2xx, and of another as much as is needed. Header names are case-insensitive.

    `base_url` is the base URL of the request, for the hints of an error; a 2xx needs none.
    """

    status: int
    # A server may echo anything.
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=byte_count)
    base_url: str = ""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return self.status in SUCCESS


def read_response(request: Request, response: Response, load: Callable[[Any], T]) -> T:
    """Return what `load` makes of the JSON of a 2xx response.

    Raises:
        APIError: The status is not 2xx.
        ResponseDecodeError: The body is not JSON, or `load` can't read it.
    """
    if response.status not in SUCCESS:
        raise error_from(request, response)
    try:
        return load(load_json(response.body))
    except WireError as error:
        reason = str(error)
    html = _is_html(response)
    if html:
        reason = "HTML from a proxy or from another server, not from Callbell; check the base URL"
    # Outside the handler: the parser's error would be the context, and it holds the whole body.
    raise ResponseDecodeError(
        f"the response has status {response.status} but can't be read: {reason}",
        method=request.method,
        path=request.path,
        status=response.status,
        headers=_plain_headers(response.headers),
        body=response.body[:KEPT_BODY],
        from_callbell=not html,
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
    hint = _hint(response, error_body)
    error = cls(
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
        hint=hint,
        from_callbell=not hint or response.status == 429 or response.status >= 500,
    )
    if response.status in UNDECIDED_STATUSES:
        error.outcome = Outcome.UNKNOWN
    return error


def _hint(response: Response, error_body: ErrorBody) -> str:
    """Return the likely cause of a response that does not come from Callbell, and an empty string for Callbell's own."""
    if 300 <= response.status < 400 and (location := response.headers.get("Location")):
        return _redirect_hint(response.base_url, location)
    # The body of a server that has no such route: these words, HTML, or nothing readable.
    no_route = _is_html(response) or (error_body.message or "not found").lower() == "not found"
    if response.status == 404 and no_route and _lacks_version(response.base_url):
        return "is /v1 missing in the base URL?"
    if _is_html(response):
        return "HTML from a proxy or firewall, not from Callbell"
    if response.status in UNDECIDED_STATUSES:
        return "from a gateway that does not know whether Callbell accepted the request"
    return ""


def _redirect_hint(base_url: str, location: str) -> str:
    base = urlsplit(base_url)
    try:
        target = urlsplit(location)
        host = target.hostname or base.hostname or ""
    except ValueError:
        return "redirects to an invalid address; check the base URL"
    if base.scheme == "http" and target.scheme == "https" and host == base.hostname:
        return f"redirects to https://{host}; use https:// in the base URL"
    # The header is the server's own text: only a plain host is quoted.
    where = host if host.isascii() and host.isprintable() and len(host) <= 253 else "another address"
    return f"redirects to {where}; check the base URL"


def _lacks_version(base_url: str) -> bool:
    return bool(base_url) and "v1" not in urlsplit(base_url).path.split("/")


def _is_html(response: Response) -> bool:
    start = response.body[:256].lstrip().lower()
    return "html" in response.headers.get("Content-Type", "").lower() or start.startswith((b"<!doctype html", b"<html"))


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


_TWO_DECADES = 20 * 365 * 86_400


def parse_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that a response asks to wait, never negative, or `None` if it names no readable time.

    Reads `Retry-After` in seconds or as an HTTP date (RFC 9110, section 10.2.3), and `Retry-After-Ms`. More than two
    decades are a date as well: some servers send the time of the next attempt as seconds since 1970. A date is compared with
    the response's own `Date`, because the clock of this machine may be wrong; without one, with `now`.
    """
    now = _parse_date(headers.get("Date")) or now
    milliseconds = _number(headers.get("Retry-After-Ms"))
    value = headers.get("Retry-After")
    seconds = _number(value) if milliseconds is None else milliseconds / 1000
    if seconds is not None:
        return max(0.0, seconds - now.timestamp()) if seconds > _TWO_DECADES else seconds
    moment = _parse_date(value)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def _parse_date(value: str | None) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


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
