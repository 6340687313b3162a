"""One request over aiohttp's client within its time: a request value in, a response value out, and no exception but this library's."""

from __future__ import annotations

import asyncio
import functools
import math
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from weakref import WeakValueDictionary

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from callbell_async.errors import ClientClosedError
from callbell_async.http.direct import (
    DirectPath,
    DirectResponse,
    has_ended_unnoticed,
    log_session_path,
    open_direct_path,
)
from callbell_async.http.failures import failure_from
from callbell_async.http.options import CONTENT_TYPE, JSON_TYPE, MAX_HEADER, MAX_HEADERS, TransportOptions
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import KEPT_BODY, SUCCESS, Response
from callbell_async.redaction import hide_frames

__all__ = ["RequestTimeout", "SharedTimeout", "TrackedPayload", "Transport"]

MAX_BODY = 16 * 1024 * 1024
"""The most bytes read of a 2xx response; Callbell's pages of 20 items are far smaller. Of others `KEPT_BODY` is enough."""

ROUNDS = 3
"""The rounds of the event loop between the end of the time and its effect. If the loop was blocked, or the process suspended, a response
may be there already, and its task comes first: the loop reads it in the first or second round, and wakes the task in the next one."""


class Transport:
    """Sends requests over a pool of connections; opens its session on first use, closes only its own session.

    Args:
        options: The options.
        session: A caller's session; `None` for an own one.
        base: The transport whose pool this one uses, with other options: see `derive`.
    """

    def __init__(
        self, options: TransportOptions, session: aiohttp.ClientSession | None = None, *, base: Transport | None = None
    ) -> None:
        self._options = options
        self._session = session
        self._base = base
        self._owned: bool = session is None if base is None else base._owned
        self._closed = False
        self._direct: DirectPath | None = None
        # Those of all derived transports, too: one timer for each length.
        self._shared_timeouts: WeakValueDictionary[float | None, SharedTimeout] = (
            WeakValueDictionary() if base is None else base._shared_timeouts
        )
        self._timeouts = self._shared_timeouts.setdefault(options.timeout, SharedTimeout(options.timeout))
        self._aiohttp_timeout = aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout)
        # An own session has its headers already; a caller's session may have others of the same name.
        headers = options.extra_headers if self._owned else options.all_headers
        self._headers = CIMultiDict(headers) if headers else None
        self._body_headers = self._headers
        if not self._owned:
            self._body_headers = CIMultiDict({**options.all_headers, "Content-Type": JSON_TYPE})
        self._url: Callable[[str], URL] = (
            functools.lru_cache(maxsize=256)(functools.partial(_build_url, options.base_url))
            if base is None
            else base._url
        )

    def derive(self, *, timeout: float | None, headers: Mapping[str, str]) -> Transport:
        """Return a transport over the same pool, with this timeout, and with these headers besides its own.

        It is not closed: the transport with the pool closes for both.
        """
        options = attrs.evolve(self._options, timeout=timeout, extra_headers={**self._options.extra_headers, **headers})
        return Transport(options, base=self if self._base is None else self._base)

    @property
    def timeout(self) -> float | None:
        """The seconds for one attempt; `None` for no limit."""
        return self._options.timeout

    @property
    def max_connections(self) -> float:
        """The most connections of the pool; infinity for a caller's session without a limit."""
        if self._base is not None:
            return self._base.max_connections
        if self._owned or self._session is None or self._session.connector is None:
            return self._options.max_connections
        connector = self._session.connector
        return min((limit for limit in (connector.limit, connector.limit_per_host) if limit), default=math.inf)

    async def exchange(self, call: CallState) -> Response:
        """Send the call's request once and return its response, whatever its status.

        When cancelled, `call.written` is whether the body had begun to leave.

        Raises:
            TransportError: No readable response; `outcome` is that of this attempt.
            ConfigurationError: aiohttp refuses to send the request.
            ClientClosedError: The session was closed.
        """
        session = self._session or self._open()
        if session.closed:
            raise ClientClosedError("the aiohttp session is closed")
        payload: TrackedPayload | None = None
        response: aiohttp.ClientResponse | DirectResponse | None = None
        try:
            with RequestTimeout(self._timeouts):
                url = self._url(call.request.path)
                if self._direct is not None and self._direct.serves(call.request.method):
                    response = await self._direct.request(call, url)
                else:
                    payload = TrackedPayload(call)
                    response = await self._request(session, call.request, url, payload)
                # Nearly every response comes in one piece with its head, and needs no bound.
                complete = response.content.is_eof()
                body = await (response.read() if complete else _read_bounded(response))
            if response.status in SUCCESS:
                return Response(response.status, response.headers, body)
            # Reading to the end releases every response except one that changes the protocol.
            response.release()
            return self._redacted(response, body)
        except BaseException as error:
            hide_frames(error)
            closed = session.closed
            # aiohttp cancels requests in the pool, or raises RuntimeError, when its session closes.
            if not isinstance(error, aiohttp.ClientError | HttpProcessingError | OSError | ValueError) and not (
                closed and isinstance(error, RuntimeError | asyncio.CancelledError) and _not_cancelled()
            ):
                raise
            if response is not None and response.status not in SUCCESS:
                # The status is known, and the rest of the body is lost.
                return self._redacted(response, b"")
            failure = failure_from(
                error,
                call,
                response_started=response is not None,
                session_closed=closed,
            )
        finally:
            if payload is not None:
                payload.cancel()
            # Its repr shows the URL and all headers, and a traceback may show this frame.
            response = None
        try:
            # Outside the handler: aiohttp's error would be the context, and it holds the token.
            raise failure
        finally:
            del failure

    async def _request(
        self, session: aiohttp.ClientSession, request: Request, url: URL, payload: TrackedPayload
    ) -> aiohttp.ClientResponse:
        no_body = request.body is None
        return await session.request(
            request.method,
            url,
            data=payload,
            headers=self._headers if no_body else self._body_headers,
            skip_auto_headers=CONTENT_TYPE if no_body else None,
            timeout=self._aiohttp_timeout,
            # 307 and 308 would send the body a second time, to another address.
            allow_redirects=False,
            # A caller's session may have other defaults.
            raise_for_status=False,
            auto_decompress=True,
        )

    def redact_token(self, response: Response) -> Response:
        """Return the response without the token, in case the server echoed it: exceptions keep the response."""
        _, _, token = self._options.headers["Authorization"].partition(" ")
        # A shorter one is not a secret, and may be any word.
        if len(token) < 8:
            return response
        headers = CIMultiDict((name, value.replace(token, "…")) for name, value in response.headers.items())
        body = _in_json(token).sub("…".encode(), response.body)
        return attrs.evolve(response, headers=headers, body=body)

    def _redacted(self, response: aiohttp.ClientResponse | DirectResponse, body: bytes) -> Response:
        return self.redact_token(Response(response.status, response.headers, body, self._options.base_url))

    async def close(self) -> None:
        """Close an own pool, and end its requests in flight at once."""
        self._closed = True
        if self._session is not None and self._owned:
            # aiohttp would let a request wait for the rest of its response.
            for timeouts in list(self._shared_timeouts.values()):
                timeouts.close()
            await self._session.close()

    def close_nowait(self) -> bool:
        """Close an own pool that nobody closed, without aiohttp's warnings; return whether there was one."""
        session, self._session = self._session, None
        connector = session.connector if session is not None and self._owned else None
        if connector is None or connector.closed:
            return False
        # The synchronous half of closing: nobody can await the TLS shutdown.
        connector._close(abort_ssl=True)
        return True

    def _open(self) -> aiohttp.ClientSession:
        if self._base is not None:
            self._session = self._base._session or self._base._open()
            if self._owned:
                self._direct = open_direct_path(self._session, self._options, self._aiohttp_timeout)
            return self._session
        if self._closed:
            raise ClientClosedError("the client was closed while this call waited")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._options.max_connections),
            headers=self._options.headers,
            # Callbell sets no cookies that matter, and aiohttp searches a jar for each request.
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
        )
        self._direct = open_direct_path(self._session, self._options, self._aiohttp_timeout)
        if self._direct is None:
            log_session_path(self._session)
        return self._session


def _build_url(base_url: str, path: str) -> URL:
    if not (path.isascii() and (base_url + path).isprintable()) or " " in path:
        # It is written as it is, and a line break would begin a header.
        raise ValueError("its path has characters that must be percent-encoded")
    return URL(base_url + path, encoded=True)


async def _read_bounded(response: aiohttp.ClientResponse | DirectResponse) -> bytes:
    """Read the whole body, or the beginning of one that is longer than its limit."""
    limit = MAX_BODY if response.status in SUCCESS else KEPT_BODY
    parts = []
    size = 0
    try:
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > limit:
                # Releasing a response before its end closes the connection: cheaper than reading on.
                return b"".join(parts)[:KEPT_BODY]
    except (aiohttp.ClientError, OSError):
        if response.status in SUCCESS:
            raise
    finally:
        response.release()
    return b"".join(parts)


@functools.lru_cache(maxsize=8)
def _in_json(token: str) -> re.Pattern[bytes]:
    r"""Return a pattern of the token in JSON, where each character may be written as itself or as `\u0041`, and `/` as `\/`."""
    return re.compile(
        b"".join(
            b"(?:%s|%s(?i:u%04x))"
            % (re.escape(character.encode()), rb"\\/|\\" if character == "/" else rb"\\", ord(character))
            for character in token
        )
    )


def _not_cancelled() -> bool:
    """Return whether nobody cancelled the task: aiohttp cancels requests in the pool when its session closes."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


class SharedTimeout:
    """The time limit that many requests share: `seconds` for each, or `None` for no limit.

    Their timeouts expire in the order in which they started, so one timer, set for the oldest, serves them all. A timer
    for each request, as aiohttp and `asyncio.timeout` set it, costs about a twelfth of the whole request.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        # A dict keeps the order, and a timeout that ends early is removed from any position.
        self._running: dict[RequestTimeout, None] = {}
        self._timer: asyncio.Handle | None = None

    def close(self) -> None:
        """Let all running timeouts expire now, also those without a limit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._running:
            self._running.popitem()[0].expire()

    def _expire_after(self, rounds: int) -> None:
        if rounds:
            self._timer = asyncio.get_running_loop().call_soon(self._expire_after, rounds - 1)
        else:
            self._expire()

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for timeout in tuple(self._running):
            if timeout.at > loop.time():
                self._timer = loop.call_at(timeout.at, self._expire_after, ROUNDS)
                break
            del self._running[timeout]
            timeout.expire()


class RequestTimeout:
    """The timeout of one request, as a context that raises `TimeoutError`; follows the rules of `asyncio.timeout`."""

    __slots__ = ("_cancellations", "_expired", "_shared", "_task", "at")

    def __init__(self, shared: SharedTimeout) -> None:
        self._shared = shared
        self._expired = False

    def expire(self) -> None:
        """Interrupt the task."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        shared, loop = self._shared, asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._cancellations = 0 if self._task is None else self._task.cancelling()
        self.at = math.inf if shared._seconds is None else loop.time() + shared._seconds
        shared._running[self] = None
        if shared._timer is None and shared._seconds is not None:
            shared._timer = loop.call_at(self.at, shared._expire_after, ROUNDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._expired:
            self._shared._running.pop(self, None)
        # Somebody else's cancellation at the same moment has priority.
        elif self._task and self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise TimeoutError from error


class TrackedPayload(aiohttp.BytesPayload):
    """A JSON body, possibly empty, that sets `written` on its call when aiohttp starts to write it.

    An exception alone does not distinguish `NEVER_SENT` from `UNKNOWN`: a timeout looks the same in the queue for a
    connection and while waiting for the response. But aiohttp asks for the body only when it has a connection to
    write it on. A request whose body was never asked for can't have been accepted.
    """

    def __init__(self, call: CallState) -> None:
        super().__init__(call.request.body or b"", content_type=JSON_TYPE)
        self._call: CallState | None = call

    @property
    def consumed(self) -> bool:
        """Whether it can't be sent again; keeps aiohttp from retrying GET, PUT and DELETE by itself."""
        return self._call is None or self._call.written

    def cancel(self) -> None:
        """Refuse to be written later: a request reported as `NEVER_SENT` must never leave."""
        self._call = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, and record that it left."""
        if self._call is None:
            raise ConnectionResetError("the request was cancelled before its body was written")
        # aiohttp holds the headers back to write them with the body. If the connection is closing by now (the
        # server has just dropped it), aiohttp writes neither and raises: nothing has left.
        if not isinstance(writer, StreamWriter):
            self._call.mark_written()
        elif (transport := writer.transport) is not None and not transport.is_closing():
            if has_ended_unnoticed(writer.protocol, transport):
                raise ConnectionResetError("the connection ended before the request was written")
            self._call.mark_written()
        await writer.write(self._value)
