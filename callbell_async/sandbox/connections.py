"""Requests and faults on real connections: the part of the sandbox that knows aiohttp's server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault import Fault, head
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = ["Connections", "HttpExchange", "Said", "meet", "response", "sandbox_request"]

BASE = "/v1"

_log = logging.getLogger("callbell_async.sandbox")


def _without_request(record: logging.LogRecord) -> bool:
    """Let aiohttp tell that a request could not be read, without the part of it that it quotes: the token may be there."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
    return True


_log.addFilter(_without_request)


def sandbox_request(request: web.BaseRequest, at: float) -> SandboxRequest:
    """The head of a request."""
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


def response(reply: SandboxResponse) -> web.Response:
    """A reply for aiohttp to send."""
    return web.Response(status=reply.status, body=reply.content, headers=reply.all_headers)


class Connections:
    """How many connections were opened, and when each is over."""

    def __init__(self) -> None:
        self.opened = 0
        self._over: dict[web.RequestHandler, asyncio.Event] = {}

    def server(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
        """A server whose connections these are; made in the loop it will run on."""
        return _Server(self, handler)

    def begin(self, connection: web.RequestHandler) -> None:
        """One is opened."""
        self.opened += 1
        self._over[connection] = asyncio.Event()

    def end(self, connection: web.RequestHandler) -> None:
        """One is over; tell who waits for that."""
        self._over.pop(connection).set()

    async def over(self, connection: web.RequestHandler) -> None:
        """Return when this one is over."""
        if connection in self._over:
            await self._over[connection].wait()

    async def none_open(self) -> None:
        """Return when none is open."""
        while self._over:
            await next(iter(self._over.values())).wait()


class _Server(web.Server):
    def __init__(
        self, connections: Connections, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> None:
        # An hour may pass in a test: an idle connection is only closed on purpose.
        super().__init__(handler, access_log=None, logger=_log, keepalive_timeout=1e9)
        self._known = connections

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._known.begin(handler)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._known.end(handler)


class HttpExchange:
    """A request on its connection, for faults."""

    def __init__(
        self,
        http: web.BaseRequest,
        request: SandboxRequest,
        over: Callable[[], Awaitable[None]],
        carry_out: Callable[[DeliveryFailure | None], SandboxResponse],
    ) -> None:
        self.is_read = False
        self.refused: SandboxResponse | None = None
        self.request = request
        self._http = http
        self._transport = http.transport
        self._over = over
        self._carry_out = carry_out
        self._carried_out: SandboxResponse | None = None

    def carry_out(self, failure: DeliveryFailure | None = None) -> SandboxResponse:
        """Do what the request asks for, unless it was refused before; once, however often it is called."""
        if self._carried_out is None:
            self._carried_out = self.refused or self._carry_out(failure)
        return self._carried_out

    async def read(self) -> None:
        """Complete the request with its body; one that is too large, or not what its head promises, is `refused`."""
        self.is_read = True
        if self._http.headers.get("Expect", "").lower() == "100-continue":
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            self.request.body = await self._http.read()
        except web.HTTPRequestEntityTooLarge:
            self.refused = SandboxResponse(413, {"error": "request entity too large"})
        except web.RequestPayloadError:
            self.refused = SandboxResponse(400, {"error": "the body is not what its headers promise"})

    async def send(self, reply: SandboxResponse) -> None:
        """A whole answer."""
        body = b"" if self.request.method == "HEAD" else reply.content
        await self.write(head(reply) + body)
        self.request.status = reply.status

    async def write(self, data: bytes) -> None:
        """Bytes, as fast as the client takes them."""
        if self.closed:
            raise ConnectionResetError("the connection is over")
        await self._http.writer.write(data)

    def close(self) -> None:
        """An orderly end."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """A reset."""
        if self._transport is not None and not self._transport.is_closing():
            opened: socket.socket = self._transport.get_extra_info("socket")
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def end_writing(self) -> None:
        """An end of this side; over TLS there is only a whole one."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    async def client_gone(self) -> None:
        """Until the connection is over."""
        await self._over()

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or will be once everything is written."""
        return self._transport is None or self._transport.is_closing()


class Said(web.StreamResponse):
    """In place of a response, where all there is to say has been said."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """No head."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """No end."""

    @property
    def keep_alive(self) -> bool | None:
        """The fault has ended the connection, if it had to."""
        return True


async def meet(fault: Fault, exchange: HttpExchange) -> web.StreamResponse:
    """Let a request meet its fault."""
    exchange.request.fault = fault.name
    # The client may leave at any time; that is no failure of the sandbox's.
    with contextlib.suppress(ConnectionError):
        await fault.act(exchange)
    if exchange.closed:
        await exchange.client_gone()
    return Said()
