"""A webhook as an ASGI application: alone under a server, or mounted into Starlette or FastAPI.

Source: the ASGI specification, "HTTP & WebSocket" 2.5 and "Lifespan" 2.0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from callbell_async.webhooks.options import Handler, ReceiverOptions
from callbell_async.webhooks.receiver import WebhookReceiver
from callbell_async.webhooks.responses import NOT_FOUND, ONLY_POST, TOO_LARGE, ReceiverResponse
from callbell_async.webhooks.signature import SIGNATURE_HEADER

__all__ = ["WebhookApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SIGNATURE = SIGNATURE_HEADER.lower().encode()

_DIGITS = 18
"""Of a body's length; one of more is too large, whatever it is."""


class _DisconnectedError(Exception):
    """The client went away before the body's end."""


class WebhookApp:
    """An ASGI application that takes Callbell's events; `receiver` is its `WebhookReceiver`.

    The handler, the secret and the options are those of `WebhookReceiver`. `path` is the one path it answers at, as the client asks for it;
    `None` for every path that is led to it.

    Alone under a server it closes the receiver when the server shuts down. Mounted into another application it is not told of that:
    `async with webhook_app:` in that application's lifespan closes the receiver at its end. It needs no start.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        secret: str | Sequence[str] | None,
        path: str | None = None,
        **options: Unpack[ReceiverOptions],
    ) -> None:
        self.receiver = WebhookReceiver(handler, secret=secret, **options)
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            raise NotImplementedError(f"ASGI scope of type {scope['type']!r}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.receiver.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except _DisconnectedError:
            return
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> ReceiverResponse:
        if self._path is not None and scope["path"] != self._path:
            return NOT_FOUND
        if scope["method"] != "POST":
            return ONLY_POST
        length, signatures = _read_headers(scope)
        body = None if length > self.receiver.max_body else await _read_body(receive, self.receiver.max_body)
        if body is None:
            return TOO_LARGE
        return await self.receiver.receive(body, ",".join(signatures) or None)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.receiver.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})


def _read_headers(scope: Scope) -> tuple[int, list[str]]:
    """How long the body says it is, 0 where it doesn't, and the signatures."""
    length, signatures = 0, []
    for name, value in scope["headers"]:
        if name == _SIGNATURE:
            signatures.append(value.decode("latin-1"))
        elif name == b"content-length" and value.isdigit():
            # Python reads no number of thousands of digits.
            length = int(value) if len(value) <= _DIGITS else 10**_DIGITS
    return length, signatures


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """The body, or `None` for one of more than `limit` bytes, which is not read to its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)
