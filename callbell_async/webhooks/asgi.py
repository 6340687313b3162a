"""A webhook as an ASGI application: alone under a server, or in Starlette or FastAPI.

Source: the ASGI specification, "HTTP & WebSocket" 2.5 and "Lifespan" 2.0.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from callbell_async.arguments import Secret
from callbell_async.webhooks.options import Handler, ReceiverOptions
from callbell_async.webhooks.receiver import WebhookReceiver
from callbell_async.webhooks.request import NOT_FOUND, ReceiverResponse
from callbell_async.webhooks.signature import SIGNATURE_HEADER

__all__ = ["WebhookApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SIGNATURE = SIGNATURE_HEADER.lower().encode()

_MAX_DIGITS = 18
"""The digits of a `Content-Length` that is read; a longer one is too large in any case."""


class _DisconnectedError(Exception):
    """The client disconnected before the end of the body."""


class WebhookApp:
    """An ASGI application that receives Callbell's events.

    Alone under a server, it closes its receiver when the server shuts down. A framework does not announce its shutdown to a route: use
    `async with webhook_app:` in its lifespan, which closes the receiver at the end. Nothing needs to be started.

    Args:
        handler: as for `WebhookReceiver`.
        secret: as for `WebhookReceiver`.
        url_secret: as for `WebhookReceiver`.
        header_secret: as for `WebhookReceiver`.
        path: the only path that is served, as the client requests it; other paths get 404. `None` for every path.
        options: `unsigned`, `respond_after` and the other options of `WebhookReceiver`.

    Attributes:
        receiver: its `WebhookReceiver`.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        secret: str | Sequence[str] | None = None,
        url_secret: str | Sequence[str] | None = None,
        header_secret: tuple[str, str | Sequence[str]] | None = None,
        path: str | None = None,
        **options: Unpack[ReceiverOptions],
    ) -> None:
        self._needs_secrets = url_secret is not None or header_secret is not None
        given = Secret(secret), Secret(url_secret), Secret(header_secret)
        del secret, url_secret, header_secret
        self.receiver = WebhookReceiver(
            handler, secret=given[0].value, url_secret=given[1].value, header_secret=given[2].value, **options
        )
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
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
            response, was_read = await self._respond(scope, receive)
        except _DisconnectedError:
            return
        # A list of its own: middleware may change it.
        headers = list(_encoded_headers(response))
        if not was_read and scope.get("http_version", "1.1").startswith("1"):
            # The rest of the body may still arrive. HTTP/2 has no such header, and needs none.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[ReceiverResponse, bool]:
        """Return the response, and whether the request's body was read, or has none."""
        method = scope["method"]
        if self._path is not None and scope["path"] != self._path:
            return NOT_FOUND, method != "POST"
        length, encoding, signature = _read_headers(scope)
        found: bytes | ReceiverResponse | None = self.receiver.check_request(
            method, content_length=length, content_encoding=encoding
        )
        if found is None:
            found = await self.receiver.read_body(_Chunks(receive))
        if isinstance(found, ReceiverResponse):
            return found, method != "POST"
        secrets = _read_secrets(scope) if self._needs_secrets else {}
        return await self.receiver.receive(found, signature, **secrets), True

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.receiver.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})


@functools.cache
def _encoded_headers(response: ReceiverResponse) -> tuple[tuple[bytes, bytes], ...]:
    """Return a response's headers; there are only a few different responses."""
    headers = {**response.headers, "content-length": str(len(response.body))}
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


def _read_headers(scope: Scope) -> tuple[int | None, str | None, str | None]:
    """Return the body's length and encoding, and the signature; `None` for one that is missing."""
    length, encodings, signatures = None, [], []
    for name, value in scope["headers"]:
        if name == _SIGNATURE:
            signatures.append(value.decode("latin-1"))
        elif name == b"content-encoding":
            encodings.append(value.decode("latin-1"))
        elif name == b"content-length" and value.isdigit():
            # Python does not read numbers of thousands of digits.
            length = int(value) if len(value) <= _MAX_DIGITS else 10**_MAX_DIGITS
    return length, ",".join(encodings) or None, ",".join(signatures) or None


def _read_secrets(scope: Scope) -> dict[str, Any]:
    """Return the arguments of `WebhookReceiver.receive` that may hold a secret."""
    return {
        "url": f"{scope['path']}?{scope.get('query_string', b'').decode('latin-1')}",
        "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
    }


class _Chunks:
    """The parts of a request's body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._has_more:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        self._has_more = message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk
