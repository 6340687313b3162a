"""One request over aiohttp's client: a request value in, a response value out, and no exception but this library's."""

from __future__ import annotations

import asyncio
import functools
import math
import re
from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

import aiohttp
import attrs
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from callbell_async.errors import ClientClosedError
from callbell_async.http.direct import DirectPath, DirectResponse, log_session_path, open_direct_path
from callbell_async.http.failures import failure_from
from callbell_async.http.options import MAX_HEADER, MAX_HEADERS, TransportOptions
from callbell_async.http.payload import CONTENT_TYPE, JSON_TYPE, TrackedPayload
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import KEPT_BODY, SUCCESS, Response
from callbell_async.http.timeouts import RequestTimeout, SharedTimeout
from callbell_async.tracebacks import hide_frames

__all__ = ["Transport"]

MAX_BODY = 16 * 1024 * 1024
"""The most bytes read of a 2xx response; Callbell's pages of 20 items are far smaller. Of others `KEPT_BODY` is enough."""


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
