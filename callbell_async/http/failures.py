"""aiohttp's exceptions turned into this library's."""

from __future__ import annotations

import re
import ssl
from typing import Any

import aiohttp
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, HttpProcessingError, LineTooLong

from callbell_async.errors import (
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RequestTimeoutError,
    TransportError,
)
from callbell_async.http.requests import CallState
from callbell_async.redaction import chain

__all__ = ["classify", "failure_from"]


def failure_from(
    error: BaseException, call: CallState, *, response_started: bool, session_closed: bool
) -> CallbellError:
    """Return the exception for an attempt in which aiohttp raised `error`, with the attempt's outcome."""
    outcome = Outcome.UNKNOWN if response_started or call.written else Outcome.NEVER_SENT
    cls, reason = classify(error, outcome, response_started=response_started, session_closed=session_closed)
    if not issubclass(cls, TransportError):
        refusal: CallbellError = cls(reason)
        refusal.outcome = outcome
        return refusal
    failure: TransportError = cls(reason, method=call.request.method, path=call.request.path, outcome=outcome)
    failure.__cause__ = None if session_closed else _safe_cause(error, call.request.path)
    return failure


def _unreadable(error: BaseException) -> str | None:
    """Return why aiohttp's parser refused the response, `None` if it did not or the reason is unknown."""
    for one in chain(error):
        if isinstance(one, LineTooLong):
            # Its first argument is the line itself.
            return f"a line of the response's head is longer than {one.args[1]} bytes"
        if isinstance(one, ContentEncodingError):
            # aiohttp's text names the encoding, and nothing else of the response.
            encoding = re.search(r"\b(gzip|deflate|br|zstd)\b", str(one))
            return f"the response's Content-Encoding{f' ({encoding[1]})' if encoding else ''} can't be decoded"
        if isinstance(one, BadHttpMessage) and "Too many headers" in one.message:
            return "the response has too many headers"
    return None


def _safe_cause(error: BaseException, path: str) -> BaseException | None:
    """Return the part of aiohttp's error that a traceback may show.

    aiohttp's response errors carry the request's headers with the token. Its parser errors quote the response,
    which may echo anything. The operating system's errors are harmless, unless aiohttp added the URL, whose path may
    hold a telephone number.
    """
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return error if isinstance(error.message, str) else None
    if not isinstance(error, OSError):
        return None
    return error.__cause__ if path in str(error) else error


def classify(
    error: BaseException, outcome: Outcome, *, response_started: bool, session_closed: bool
) -> tuple[type[Any], str]:
    """Return the exception's class, and a reason that quotes neither the token nor anything that was sent."""
    if session_closed and outcome is Outcome.NEVER_SENT:
        return ClientClosedError, "the client was closed before the request was sent"
    if session_closed:
        return ConnectionLostError, "the client was closed before the response was complete"
    match error:
        case aiohttp.ClientConnectorDNSError():
            return ConnectError, f"the name {error.host!r} was not found"
        case ssl.CertificateError() | aiohttp.ClientConnectorCertificateError():
            return ConnectError, "the server's TLS certificate was refused"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return ConnectError, "the TLS handshake failed"
        case aiohttp.ClientProxyConnectionError():
            return ConnectError, "the proxy can't be reached"
        case aiohttp.ClientHttpProxyError():
            return ConnectError, f"the proxy refused to connect (status {error.status})"
        case aiohttp.ClientConnectorError():
            return ConnectError, f"no connection to {error.host}:{error.port} ({error.strerror or 'unreachable'})"
        case TimeoutError() if outcome is Outcome.NEVER_SENT:
            return RequestTimeoutError, "no connection, or no free connection in the pool, in time"
        case TimeoutError():
            return RequestTimeoutError, "no complete response in time" if response_started else "no response in time"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | HttpProcessingError() if (
            unreadable := _unreadable(error)
        ):
            return ConnectionLostError, unreadable
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return ConnectionLostError, "the response is not HTTP"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return ConfigurationError, "the base URL can't be used; give an absolute http or https URL"
        case aiohttp.ClientError() | OSError() if outcome is Outcome.NEVER_SENT:
            return ConnectionLostError, "the connection broke before anything was written"
        case aiohttp.ClientError() | OSError():
            return ConnectionLostError, (
                "the connection broke during the response" if response_started else "the connection broke"
            )
        case ValueError() if "AUTHORIZATION" in str(error):
            return ConfigurationError, (
                "the aiohttp session has other credentials for this host, from .netrc (trust_env=True) or from auth=;"
                " give the session proxy=... instead of trust_env=True, and no auth="
            )
        case _:
            return ConfigurationError, f"aiohttp can't send this request: {error}"
