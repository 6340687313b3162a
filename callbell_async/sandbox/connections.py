"""Requests and faults on real connections: the only module of the sandbox that knows aiohttp's server."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from callbell_async.observe import area_logger
from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse, response_head
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = [
    "Connections",
    "HttpExchange",
    "RawResponse",
    "apply_fault",
    "http_response",
    "read_body",
    "refuse_other_sites",
    "sandbox_request",
    "stream_changes",
]

BASE = "/v1"

CHANGES_EVERY = 0.1
SILENCE = 5.0
"""The seconds between two looks at the revision, and after which an event is sent without a change."""

_log = area_logger("sandbox")


def _without_request(record: logging.LogRecord) -> bool:
    """Remove the traceback of an unreadable request, which quotes the request: the token may be in it."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
    return True


_log.addFilter(_without_request)


# --- requests -----------------------------------------------------------------------------------------------------------


def sandbox_request(request: web.BaseRequest, at: float) -> SandboxRequest:
    """Return the head of a request as a value; `at` is the sandbox's clock."""
    path, _, query = request.raw_path.partition("#")[0].partition("?")
    below_v1 = path.startswith(f"{BASE}/")
    return SandboxRequest(
        method=request.method,
        path=path.removeprefix(BASE) if below_v1 else path,
        below_v1=below_v1,
        query=_first_of_each(parse_qsl(query, keep_blank_values=True)),
        headers=_first_of_each((name.lower(), value) for name, value in request.headers.items()),
        at=at,
        target=request.raw_path,
        raw_headers=tuple((_text(name), _text(value)) for name, value in request.raw_headers),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _first_of_each(pairs: Any) -> Mapping[str, str]:
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    return first


def refuse_other_sites(request: web.BaseRequest) -> SandboxResponse | None:
    """Return a 403 for a request of a web page that is not the sandbox's own; `None` for any other request.

    The sandbox listens on a loopback address, but every web page in a browser of this machine can reach it. A page that resolves its own
    name to 127.0.0.1 (DNS rebinding) sends that name as the `Host`. A page on another address sends its `Origin`.
    """
    hosts = request.headers.getall("Host", [])
    if not all(_is_this_machine(host) for host in hosts):
        return SandboxResponse(403, {"error": "the Host header must be 127.0.0.1 or localhost; use the sandbox's URL"})
    own_origins = {f"{request.scheme}://{host}".lower() for host in hosts}
    if not all(origin.lower() in own_origins for origin in request.headers.getall("Origin", [])):
        return SandboxResponse(403, {"error": "requests from web pages with another Origin are refused"})
    return None


def _is_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def read_body(http: web.BaseRequest, request: SandboxRequest) -> SandboxResponse | None:
    """Read the body of a request; return the response to one that is too large, or does not match its headers."""
    try:
        request.body = await http.read()
    except web.HTTPRequestEntityTooLarge:
        return SandboxResponse(413, {"error": "request entity too large"})
    except web.RequestPayloadError:
        return SandboxResponse(400, {"error": "the body does not match its headers"})
    return None


# --- connections --------------------------------------------------------------------------------------------------------


def http_response(response: SandboxResponse, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response for aiohttp to send, with further headers."""
    all_headers = {**response.all_headers, **(headers or {})}
    return web.Response(status=response.status, body=response.content, headers=all_headers)


async def stream_changes(
    http: web.BaseRequest, revision: Callable[[], int], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send a server-sent event at each change of a revision, until the client leaves."""
    response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
    await response.prepare(http)
    sent, silent_for = -1, 0.0
    with contextlib.suppress(ConnectionError):
        while http.transport is not None and not http.transport.is_closing():
            # Also without a change: a test may change a record, which the account does not notice.
            if sent != revision() or silent_for >= SILENCE:
                sent, silent_for = revision(), 0.0
                await response.write(f"data: {sent}\n\n".encode())
            # Changes within this time are one event, so that many messages in a row do not flood the page.
            await asyncio.sleep(CHANGES_EVERY)
            silent_for += CHANGES_EVERY
    return response


class Connections:
    """The connections of the server.

    Attributes:
        opened: The number of connections opened so far.
    """

    def __init__(self) -> None:
        self.opened = 0
        self._open: dict[web.RequestHandler, asyncio.Event] = {}

    def server(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
        """Return a server that reports its connections here; call it in the loop that will run the server."""
        return _Server(self, handler)

    def begin(self, connection: web.RequestHandler) -> None:
        """Count a new connection."""
        self.opened += 1
        self._open[connection] = asyncio.Event()

    def end(self, connection: web.RequestHandler) -> None:
        """Wake the tasks that wait for the end of this connection."""
        self._open.pop(connection).set()

    async def wait_closed(self, connection: web.RequestHandler) -> None:
        """Return when this connection has ended."""
        if connection in self._open:
            await self._open[connection].wait()

    async def wait_disconnected(self) -> None:
        """Return when no connection is open."""
        while self._open:
            await next(iter(self._open.values())).wait()


class _Server(web.Server):
    def __init__(
        self, connections: Connections, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> None:
        # A test may let an hour pass: idle connections are closed only on purpose.
        super().__init__(handler, access_log=None, logger=_log, keepalive_timeout=1e9)
        self._own_connections = connections

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._own_connections.begin(handler)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._own_connections.end(handler)


class HttpExchange:
    """A request on its connection; the `Exchange` of faults.

    Args:
        http: aiohttp's request.
        request: The request as a value.
        wait_closed: Returns when the connection has ended.
        execute: Executes the request.

    Attributes:
        is_read: Whether the body was read.
        refused: The response of a request that is not executed; `None` for any other request.
    """

    def __init__(
        self,
        http: web.BaseRequest,
        request: SandboxRequest,
        wait_closed: Callable[[], Awaitable[None]],
        execute: Callable[[DeliveryFailure | None], SandboxResponse],
    ) -> None:
        self.is_read = False
        self.refused: SandboxResponse | None = None
        self.request = request
        self._http = http
        self._transport = http.transport
        self._wait_closed = wait_closed
        self._execute = execute
        self._response: SandboxResponse | None = None

    def execute(self, failure: DeliveryFailure | None = None) -> SandboxResponse:
        """Execute the request once, unless it was refused, and return its response."""
        if self._response is None:
            self._response = self.refused or self._execute(failure)
        return self._response

    async def read(self) -> None:
        """Read the body; one that is too large, or does not match its headers, is `refused`."""
        self.is_read = True
        if self._http.headers.get("Expect", "").lower() == "100-continue":
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.refused = await read_body(self._http, self.request)

    async def send(self, response: SandboxResponse) -> None:
        """Send a complete response."""
        body = b"" if self.request.method == "HEAD" else response.content
        await self.write(response_head(response) + body)
        self.request.status, self.request.response = response.status, response

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the client reads them."""
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        await self._http.writer.write(data)

    def close(self) -> None:
        """Close the connection after what was written."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Reset the connection."""
        if self._transport is not None and not self._transport.is_closing():
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def end_writing(self) -> None:
        """Close this side of the connection; over TLS both sides."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    async def client_gone(self) -> None:
        """Return when the connection has ended."""
        await self._wait_closed()

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, or will be once everything is written."""
        return self._transport is None or self._transport.is_closing()


class RawResponse(web.StreamResponse):
    """A response that writes nothing: the fault has already written to the connection."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write no head."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""

    @property
    def keep_alive(self) -> bool | None:
        """True: if the connection has to end, the fault has closed it."""
        return True


async def apply_fault(fault: Fault, exchange: HttpExchange) -> web.StreamResponse:
    """Apply a fault to a request."""
    exchange.request.fault = fault.name
    # The client may close the connection at any time.
    with contextlib.suppress(ConnectionError):
        await fault.act(exchange)
    if exchange.closed:
        await exchange.client_gone()
    return RawResponse()
