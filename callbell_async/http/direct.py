"""The direct path: one request over aiohttp's connections and parser, without its session.

A request over `ClientSession` makes a request object, a response object and a task that writes the body, and they are
most of its cost. This module takes a connection from the session's connector, writes head and body in one step, and
reads the parsed response.

Not all of this is promised API of aiohttp. So the path is used only with the minor versions for which the tests
cover this contract; with others, every request goes over the session.

- `ClientRequest(...)` computes the headers that a session would send. The connector reads from it where to connect.
  It is never sent itself, and serves any number of connections.
- `connector.connect(request, traces, timeout)` returns a `Connection`, kept alive or new. It waits for a place in the
  pool, and applies `timeout.sock_connect` to a new connection.
- `connection.protocol` has `transport`, `writing_paused`, and `should_close`: whether the connection can't be used for
  a further request, because something other than whole responses came on it.
- `protocol.set_response_params(...)` prepares the parser for one response. `protocol.read()` returns its head and a
  `StreamReader` of its decoded body. It raises `HttpProcessingError` for bytes that are not HTTP, and `OSError` or
  `ClientError` for a lost connection.
- `connection.release()` keeps the connection for the next request, or closes it if `should_close`. Each connection
  must be released or closed.
"""

from __future__ import annotations

import asyncio
import functools
import select
import types
from collections.abc import Callable
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDictProxy
from yarl import URL

from callbell_async.http.options import CONTENT_TYPE, JSON_TYPE, MAX_HEADER, MAX_HEADERS, TransportOptions
from callbell_async.http.requests import CallState
from callbell_async.observe import area_logger

__all__ = ["DirectPath", "DirectResponse", "has_ended_unnoticed", "log_session_path", "open_direct_path"]

_log = area_logger("http")

TESTED_VERSIONS = frozenset({"3.14"})
"""The minor versions of aiohttp for which the tests cover the contract above."""

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
"""The methods that Callbell's API uses. HEAD and CONNECT follow rules of their own, which aiohttp's session knows."""

_SESSION = aiohttp.ClientSession
_ORIGINALS = (_SESSION.request, _SESSION._request)
_IS_ORIGINAL = all(
    isinstance(method, types.FunctionType) and method.__globals__ is vars(aiohttp.client) for method in _ORIGINALS
)

_checks: WeakKeyDictionary[asyncio.BaseProtocol, Callable[[float], object]] = WeakKeyDictionary()
"""For each connection that has had a request, whether there is something to read."""


def open_direct_path(
    session: aiohttp.ClientSession, options: TransportOptions, timeout: aiohttp.ClientTimeout
) -> DirectPath | None:
    """Return the direct path over an own session, or `None` if all requests must go over the session.

    They must with another version of aiohttp, and if somebody traces or changes the requests of every session, as
    OpenTelemetry and Sentry do.
    """
    connector = session.connector
    if connector is None or not _is_tested() or _is_changed(session):
        return None
    return DirectPath(session, connector, options, timeout)


def log_session_path(session: aiohttp.ClientSession) -> None:
    """Log that all requests go over the session, and why."""
    if _is_tested():
        _log.info("requests go over aiohttp's ClientSession, because something traces or replaces its requests")
    else:
        version = aiohttp.__version__
        _log.warning(
            "the direct path is disabled, because it was not tested with aiohttp %s: requests take more CPU time",
            version,
            extra={"callbell.aiohttp.version": version},
        )


def _is_tested() -> bool:
    return ".".join(aiohttp.__version__.split(".")[:2]) in TESTED_VERSIONS


def _is_changed(session: aiohttp.ClientSession) -> bool:
    return (
        type(session) is not _SESSION or not _IS_ORIGINAL or bool(session.trace_configs) or bool(session._middlewares)
    )


class DirectResponse:
    """The part of aiohttp's `ClientResponse` that the transport uses."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: CIMultiDictProxy[str], content: aiohttp.StreamReader
    ) -> None:
        self._connection = connection
        self.status = status
        self.headers = headers
        self.content = content

    async def read(self) -> bytes:
        """Return a body that has arrived completely, and release the connection."""
        try:
            body = self.content.read_nowait()
        except BaseException:
            _discard(self._connection)
            raise
        self.release()
        return body

    def release(self) -> None:
        """Return the connection to the pool; close it if the request or the response is not complete."""
        protocol = self._connection.protocol
        if protocol is not None and protocol.writing_paused:
            _discard(self._connection)
        else:
            self._connection.release()


class DirectPath:
    """Sends requests over the connections of an own session."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connector: aiohttp.BaseConnector,
        options: TransportOptions,
        timeout: aiohttp.ClientTimeout,
    ) -> None:
        self._connector = connector
        self._timeout = timeout
        self._prepared = functools.cache(functools.partial(_prepare, session, options))

    def serves(self, method: str) -> bool:
        """Return whether a request may take this path now.

        aioresponses, VCR.py and others replace the methods of `ClientSession`, possibly for a while only.
        """
        return method in METHODS and (_SESSION.request, _SESSION._request) == _ORIGINALS

    async def request(self, call: CallState, url: URL) -> DirectResponse:
        """Write the call's request, and return the response as soon as its head is there.

        Marks the call as written in the same step as the write.
        """
        body = call.request.body
        request, start, end = self._prepared(call.request.method, body is not None)
        while True:
            connection = await self._connector.connect(request, traces=[], timeout=self._timeout)
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or not has_ended_unnoticed(protocol, transport):
                break
            connection.close()
        try:
            if protocol is None or transport is None or transport.is_closing() or protocol.should_close:
                # The server has closed it, or responded before the request.
                raise ConnectionResetError("the connection ended before the request was written")
            protocol.set_response_params(
                read_until_eof=True, max_line_size=MAX_HEADER, max_field_size=MAX_HEADER, max_headers=MAX_HEADERS
            )
            call.mark_written()
            # Not in a variable: the head holds the token, and a traceback may show this frame.
            transport.write(
                b"%b%b%b%d\r\n\r\n%b" % (start, url.raw_path_qs.encode(), end, len(body or b""), body or b"")
            )
            while True:
                head, content = await protocol.read()
                # A response may have interim responses before it. 101 is none: it changes the protocol.
                if head.code >= 200 or head.code == 101:
                    return DirectResponse(connection, head.code, head.headers, content)
        except BaseException:
            _discard(connection)
            raise


def _discard(connection: Connection) -> None:
    """Close a connection, without writing the rest of a request."""
    protocol = connection.protocol
    if protocol is not None and protocol.writing_paused and protocol.transport is not None:
        # Closing would wait until the server has read all of it.
        protocol.transport.abort()
    connection.close()


def _prepare(
    session: aiohttp.ClientSession, options: TransportOptions, method: str, has_body: bool
) -> tuple[aiohttp.ClientRequest, bytes, bytes]:
    """Return the request to pass to the connector, and the head before and after the path, up to the length."""
    request = aiohttp.ClientRequest(
        method,
        # Without the path, which may hold a telephone number: aiohttp's errors quote the URL.
        URL(options.base_url, encoded=True),
        headers=options.all_headers,
        skip_auto_headers=None if has_body else CONTENT_TYPE,
        data=aiohttp.BytesPayload(b"", content_type=JSON_TYPE),
        loop=asyncio.get_running_loop(),
        session=session,
    )
    lines = [f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "Content-Length"]
    return request, f"{method} ".encode(), f" HTTP/1.1\r\n{''.join(lines)}Content-Length: ".encode()


def has_ended_unnoticed(protocol: asyncio.BaseProtocol, transport: asyncio.BaseTransport) -> bool:
    """Return whether a connection that had a request before must not have another one; called before each request.

    On an idle connection nothing is expected, so whatever there is to read is its end. The event loop has not read it yet if
    it was blocked, or if the process was suspended, for longer than the server keeps idle connections. A request that is
    written then would be `UNKNOWN`. The first request of a connection is never checked: TLS may have its session tickets to
    read.
    """
    is_readable = _checks.get(protocol)
    if is_readable is None:
        _checks[protocol] = _check_of(transport)
        return False
    return bool(is_readable(0))


def _check_of(transport: asyncio.BaseTransport) -> Callable[[float], object]:
    """Return the function that waits for something to read, for a number of milliseconds."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return lambda _: False
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda _: select.select([connection], [], [], 0)[0]
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return poll.poll
