"""The only module that knows aiohttp's client: one request out, one answer in, and every failure turned into one of ours.

What became of a request that failed can't be told from the exception alone: a total timeout looks the same in the pool's queue and while
waiting for the answer. It can be told from the body: aiohttp asks for it only when there is a connection to write it on. So
the body, an empty one where there is none, is a payload that notes when it is asked for; a request whose body never began can't
have been accepted.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import sys
from typing import Any

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from callbell_async._version import __version__
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
from callbell_async.http.requests import KEPT_BODY, CallState, Response
from callbell_async.http.timeouts import SharedTimeout

__all__ = ["Transport", "TransportOptions", "default_user_agent"]

MAX_ANSWER = 16 * 1024 * 1024
"""The most bytes read of a good answer; Callbell's pages of 20 items are far below. Of others, `KEPT_BODY` is enough."""


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


_JSON = "application/json"
_NO_TYPE = frozenset({"Content-Type"})


class _NoticedBody(aiohttp.BytesPayload):
    """A JSON body that tells its call when aiohttp begins to write it; where there is none, an empty one tells the same."""

    def __init__(self, call: CallState) -> None:
        super().__init__(call.request.body or b"", content_type=_JSON)
        self._call: CallState | None = call

    @property
    def consumed(self) -> bool:
        """Whether it has begun to leave. aiohttp repeats GET, PUT and DELETE by itself, unpaced and uncounted, unless this is so."""
        return self._call is None or self._call.written

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
        self._closed = False
        self._deadlines = SharedTimeout(options.timeout)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout)
        # A session of our own has them already; a caller's may have others of the same name.
        self._headers = None if self._owned else options.headers
        self._body_headers = None if self._owned else CIMultiDict({**options.headers, "Content-Type": _JSON})
        self._url = functools.lru_cache(maxsize=256)(functools.partial(_build_url, options.base_url))

    async def exchange(self, call: CallState) -> Response:
        """Send the call's request once and read its answer, whatever its status.

        Raises `TransportError` with the outcome of this attempt, `ConfigurationError` for what aiohttp refuses to send, and
        `ClientClosedError` when the session was closed. When cancelled, `call.written` says whether the body had begun to leave.
        """
        request = call.request
        session = self._session or self._open()
        if session.closed:
            raise ClientClosedError("the aiohttp session is closed")
        bare = request.body is None
        body = _NoticedBody(call)
        response: aiohttp.ClientResponse | None = None
        try:
            with self._deadlines.start():
                response = await session.request(
                    request.method,
                    self._url(request.path),
                    data=body,
                    headers=self._headers if bare else self._body_headers,
                    skip_auto_headers=_NO_TYPE if bare else None,
                    timeout=self._timeout,
                    # 307 and 308 would send the body a second time, to somewhere else.
                    allow_redirects=False,
                    # A caller's session may have been set up otherwise.
                    raise_for_status=False,
                    auto_decompress=True,
                )
                # What has come whole needs no bound: nearly every answer comes in one piece with its head.
                whole = response.content.is_eof()
                content = await (response.read() if whole else _read_bounded(response))
            if _good(response):
                return Response(response.status, response.headers, content)
            # Reading to the end releases all answers but one that changes the protocol.
            response.release()
            return self.conceal(Response(response.status, response.headers, content))
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.CancelledError) as error:
            closed = session.closed
            if isinstance(error, RuntimeError | asyncio.CancelledError) and not (closed and _goes_on()):
                raise
            if response is not None and not _good(response):
                # It was refused; the rest of its words got lost on the way.
                return self.conceal(Response(response.status, response.headers, b""))
            failure = self._failure(call, error, answering=response is not None, closed=closed)
        finally:
            body.withdraw()
        try:
            # Not while aiohttp's error is handled: that would become its context, token and all.
            raise failure
        finally:
            del failure

    def conceal(self, answer: Response) -> Response:
        """The same without the token, should the server have echoed it: exceptions keep what was answered."""
        _, _, token = self._options.headers["Authorization"].partition(" ")
        # A shorter one is no secret, and may be any word.
        if len(token) < 8:
            return answer
        headers = CIMultiDict((name, value.replace(token, "…")) for name, value in answer.headers.items())
        return answer._replace(headers=headers, body=answer.body.replace(token.encode(), "…".encode()))

    async def close(self) -> None:
        """Close the pool, if it is this transport's own; what is under way in it ends at once."""
        self._closed = True
        if self._session is not None and self._owned:
            # aiohttp would leave one who reads an answer waiting for the rest of it.
            self._deadlines.close()
            await self._session.close()

    def abandon(self) -> bool:
        """Let go of an own pool that nobody closed, without aiohttp's warnings; whether there was one."""
        session, self._session = self._session, None
        connector = session.connector if session is not None and self._owned else None
        if connector is None or connector.closed:
            return False
        # The synchronous half of closing: nobody is left to await the rest, least of all TLS saying goodbye.
        connector._close(abort_ssl=True)
        return True

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ClientClosedError("the client was closed while this call waited")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._options.max_connections),
            headers=self._options.headers,
            # Callbell sets no cookies that matter, and a jar is searched for each request.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    def _failure(self, call: CallState, error: BaseException, *, answering: bool, closed: bool) -> CallbellError:
        """One of our exceptions for what aiohttp raised, by type and by whether the body had begun to leave."""
        outcome = Outcome.UNKNOWN if answering or call.written else Outcome.NEVER_SENT
        cls, reason = _classify(error, outcome=outcome, answering=answering, closed=closed)
        if not issubclass(cls, TransportError):
            refusal: CallbellError = cls(reason)
            refusal.outcome = outcome
            return refusal
        failure: TransportError = cls(reason, method=call.request.method, path=call.request.path, outcome=outcome)
        failure.__cause__ = None if closed else _tellable(error, str(self._url(call.request.path)))
        return failure


def _build_url(base_url: str, path: str) -> URL:
    if not (path.isascii() and path.isprintable()) or " " in path:
        # aiohttp would write it as it is, and a line break would begin a header.
        raise ValueError("its path has characters that must be percent-encoded")
    return URL(base_url + path, encoded=True)


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, or the beginning of one that is longer than is wanted: an error's or a broken server's may be of any size."""
    limit = MAX_ANSWER if _good(response) else KEPT_BODY
    parts = []
    size = 0
    try:
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > limit:
                # Released before its end, a connection is closed: cheaper than to read on, whatever is still to come.
                return b"".join(parts)[:KEPT_BODY]
    except (aiohttp.ClientError, OSError):
        if _good(response):
            raise
    finally:
        response.release()
    return b"".join(parts)


def _good(response: aiohttp.ClientResponse) -> bool:
    return 200 <= response.status < 300


def _goes_on() -> bool:
    """Whether nobody has cancelled the task: a session that is closed cancels those who wait in its pool all the same."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


def _tellable(error: BaseException, url: str) -> BaseException | None:
    """What a traceback may show of aiohttp's error.

    Its response errors carry the request's headers, and so the token; its parser's quote the answer, which may echo anything. What
    the operating system said is harmless, unless aiohttp put the URL into it: there may be a telephone number in that.
    """
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return error if isinstance(error.message, str) else None
    if not isinstance(error, OSError):
        return None
    return error.__cause__ if url in str(error) else error


def _classify(error: BaseException, *, outcome: Outcome, answering: bool, closed: bool) -> tuple[type[Any], str]:
    """Which of our exceptions it is, and why, in words that hold neither the token nor anything that was sent."""
    if closed and outcome is Outcome.NEVER_SENT:
        return ClientClosedError, "the client was closed before the request left"
    if closed:
        return ConnectionLostError, "the client was closed before a whole answer came"
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
            return ConfigurationError, f"aiohttp can't send this request: {error}"
