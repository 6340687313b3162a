"""The only module that knows aiohttp's client: one request out, one answer in, and every failure turned into one of ours.

What became of a request that failed can't be told from the exception alone: a total timeout looks the same in the pool's queue and while
waiting for the answer. It can be told from the body: aiohttp asks for it only when there is a connection to write it on. So
the body is a payload that notes when it is asked for; a request whose body never began can't have been accepted.
"""

from __future__ import annotations

import functools
import ssl
import sys
from typing import Any, NoReturn

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from callbell_async._version import __version__
from callbell_async.deadlines import Deadlines
from callbell_async.errors import (
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RequestTimeoutError,
    TransportError,
)
from callbell_async.protocol import KEPT_BODY, Answer, Call

__all__ = ["Transport", "TransportOptions", "default_user_agent"]

MAX_ANSWER = 16 * 1024 * 1024
"""The most bytes read of a good answer; Callbell's pages of 20 items are far below. Of an error, `KEPT_BODY` is enough."""


def default_user_agent() -> str:
    """The versions of callbell-async, aiohttp and Python."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"callbell-async/{__version__} aiohttp/{aiohttp.__version__} python/{python}"


@attrs.frozen(kw_only=True)
class TransportOptions:
    """Where requests go, and what each may take: `timeout` and `connect_timeout` in seconds, `None` for no limit."""

    base_url: str
    headers: CIMultiDict[str] = attrs.field(repr=False)
    timeout: float | None
    connect_timeout: float | None
    max_connections: int


class _NoticedBody(aiohttp.BytesPayload):
    """A JSON body that tells its call when aiohttp begins to write it."""

    def __init__(self, body: bytes, call: Call) -> None:
        super().__init__(body, content_type="application/json")
        self._call: Call | None = call

    def withdraw(self) -> None:
        """From now on it can't be written: what was said to have never left must never leave."""
        self._call = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self._call is None:
            raise ConnectionResetError("the request was given up before its body was written")
        # aiohttp holds the headers back to write them with the body. If the transport is closing by now (a kept-alive connection the
        # server has just dropped), it writes neither and raises: still nothing has left.
        dropped = isinstance(writer, StreamWriter) and (writer.transport is None or writer.transport.is_closing())
        self._call.written = not dropped
        await writer.write(self._value)


class Transport:
    """One request at a time over a pool of connections; opens its session on first use, closes only a session of its own."""

    def __init__(self, options: TransportOptions, session: aiohttp.ClientSession | None = None) -> None:
        self._options = options
        self._session = session
        self._owned = session is None
        self._deadlines = Deadlines(options.timeout)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout)
        # A session of our own has them already.
        self._headers = None if self._owned else options.headers
        self._url = functools.lru_cache(maxsize=256)(lambda path: URL(options.base_url + path, encoded=True))

    async def exchange(self, call: Call) -> Answer:
        """Send the call's request once and read its answer, whatever its status.

        Raises `TransportError` with the outcome of this attempt, `ConfigurationError` for what aiohttp refuses to send, and
        `ClientClosedError` when the session was closed. When cancelled, `call.written` says whether the body had begun to leave.
        """
        request = call.request
        session = self._session or self._open()
        if session.closed:
            raise ClientClosedError("the aiohttp session is closed")
        body = None if request.body is None else _NoticedBody(request.body, call)
        response: aiohttp.ClientResponse | None = None
        try:
            with self._deadlines.start():
                response = await session.request(
                    request.method,
                    self._url(request.path),
                    data=body,
                    headers=self._headers,
                    timeout=self._timeout,
                    # 307 and 308 would send the body a second time, to somewhere else.
                    allow_redirects=False,
                    # A caller's session may have been set up otherwise.
                    raise_for_status=False,
                    auto_decompress=True,
                )
                # What has come whole needs no bound: nearly every answer comes in one piece with its head.
                whole = response.content.is_eof()
                return Answer(
                    response.status, response.headers, await (response.read() if whole else _read_bounded(response))
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if response is not None and not _good(response):
                # It was refused; the rest of its words got lost on the way.
                return Answer(response.status, response.headers, b"")
            self._raise(call, error, answering=response is not None)
        finally:
            if body is not None:
                body.withdraw()

    async def close(self) -> None:
        """Close the pool, if it is this transport's own."""
        self._deadlines.close()
        if self._session is not None and self._owned:
            await self._session.close()

    def abandon(self) -> bool:
        """Let go of an own pool that nobody closed, without aiohttp's warnings; whether there was one."""
        session, self._session = self._session, None
        if session is None or not self._owned or session.closed:
            return False
        connector = session.connector
        session.detach()
        if connector is not None:
            # The synchronous half of closing: it needs no running loop, which may be gone by now.
            connector._close()
        return True

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._options.max_connections),
            headers=self._options.headers,
            # Callbell sets no cookies that matter, and a jar is searched for each request.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    def _raise(self, call: Call, error: Exception, *, answering: bool) -> NoReturn:
        """Turn what aiohttp raised into one of our exceptions, by type and by whether the body had begun to leave."""
        outcome = Outcome.UNKNOWN if _may_have_left(call, error, answering=answering) else Outcome.NEVER_SENT
        cls, reason = _classify(error, outcome=outcome, answering=answering)
        if not issubclass(cls, TransportError):
            raise cls(reason) from None
        # aiohttp's response errors carry the request's headers, and so the token: they must not be chained.
        cause = None if isinstance(error, aiohttp.ClientResponseError) else error
        raise cls(reason, method=call.request.method, path=call.request.path, outcome=outcome) from cause


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, but never more than is wanted of it: an error's or a broken server's may be of any size."""
    limit = MAX_ANSWER if _good(response) else KEPT_BODY
    parts = []
    size = 0
    try:
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > limit:
                # Not to be reused: closing is cheaper than reading on, whatever is still to come.
                response.close()
                break
    except (aiohttp.ClientError, OSError):
        if _good(response):
            raise
    finally:
        response.release()
    return b"".join(parts)[:limit]


def _good(response: aiohttp.ClientResponse) -> bool:
    return 200 <= response.status < 300


def _may_have_left(call: Call, error: Exception, *, answering: bool) -> bool:
    if answering or call.written:
        return True
    if call.request.body is not None:
        return False
    # Without a body there is nothing to watch. Only what fails before a connection exists provably never left.
    return not isinstance(error, _BEFORE_CONNECTION)


_BEFORE_CONNECTION = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    ValueError,
)


def _classify(error: Exception, *, outcome: Outcome, answering: bool) -> tuple[type[Any], str]:
    """Which of our exceptions it is, and why, in words that hold neither the token nor anything that was sent."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return ConnectError, f"the name {error.host!r} was not found"
        case ssl.CertificateError() | aiohttp.ClientConnectorCertificateError():
            return ConnectError, "the server's TLS certificate was refused"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return ConnectError, "TLS could not be agreed on"
        case aiohttp.ClientProxyConnectionError():
            return ConnectError, "the proxy can't be reached"
        case aiohttp.ClientHttpProxyError():
            return ConnectError, f"the proxy refused to connect (status {error.status})"
        case aiohttp.ClientConnectorError():
            return ConnectError, f"no connection to {error.host}:{error.port} ({error.strerror or 'unreachable'})"
        case TimeoutError() if outcome is Outcome.NEVER_SENT:
            return RequestTimeoutError, "no connection, or no free connection in the pool, in time"
        case TimeoutError():
            return RequestTimeoutError, "no whole answer in time" if answering else "no answer in time"
        case aiohttp.ClientResponseError():
            return ConnectionLostError, "what came back is not HTTP"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return ConfigurationError, "the base URL can't be used; give an absolute http or https URL"
        case aiohttp.ClientError() | OSError() if outcome is Outcome.NEVER_SENT:
            return ConnectionLostError, "the connection broke before anything was written"
        case aiohttp.ClientError() | OSError():
            return ConnectionLostError, "the connection broke in mid-answer" if answering else "the connection broke"
        case _:
            return ConfigurationError, f"the aiohttp session refuses this request: {error}"
