"""A server on this machine that behaves as told: whatever a client may meet on a network. The behaviours are beside it.

```python
async with FaultServer(reset_after_reading, accepted()) as server:
    ...  # the first request meets a reset, every later one is accepted
    assert [request.path for request in server.requests] == ["/messages/send", "/messages/send"]
```
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import attrs

__all__ = ["Behaviour", "Connection", "FaultServer", "Received"]


@attrs.frozen
class Received:
    """A request that was read whole; header names are in lower case, and `at` is the event loop's time."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


class FaultServer:
    """Meets the requests with `behaviours`, one each, in this order; the last one repeats.

    `requests` are those read whole, in the order they came; `begun` counts those of which a byte has come, and `connections` the
    connections opened. With `tls` it speaks TLS.
    """

    def __init__(self, *behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.behaviours = behaviours
        self.requests: list[Received] = []
        self.begun = 0
        self.connections = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.listen_no_more()
        for task in self._tasks:
            task.cancel()
        await self.no_connection()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The base URL to give a client."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def listen_no_more(self) -> None:
        """Refuse further connections; those that are open stay so."""
        self._server.close()

    async def no_connection(self) -> None:
        """Return when no connection is open any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def next_behaviour(self) -> Behaviour:
        """The behaviour for the request that begins now."""
        self.begun += 1
        return self.behaviours[min(self.begun, len(self.behaviours)) - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            # The client may leave at any time; that is no failure of the server's.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await Connection(self, reader, writer).serve()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            writer.transport.abort()


class Connection:
    """One connection, as a behaviour sees it."""

    def __init__(self, server: FaultServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._first_byte = b""

    async def serve(self) -> None:
        """Meet one request after the other, until either side ends the connection."""
        while not self._writer.is_closing() and (first := await self._reader.read(1)):
            self._first_byte = first
            await self._server.next_behaviour()(self)

    async def read_request(self) -> Received:
        """The request that has begun, which is counted from now on."""
        head = self._first_byte + await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        request = Received(method, path, headers, body, asyncio.get_running_loop().time())
        self._server.requests.append(request)
        return request

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def stay(self) -> None:
        """Keep the connection for the next request."""

    async def close(self) -> None:
        """End the connection in order, after what was written."""
        self._writer.close()

    async def reset(self) -> None:
        """Break the connection off: the client's side meets `ECONNRESET`."""
        opened: socket.socket = self._writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def wait_for_client(self) -> None:
        """Return when the client has ended the connection; what it still sends is dropped."""
        await self._reader.read()

    async def close_and_wait(self) -> None:
        """End the sending side, and return when the client has noticed and ended its own."""
        self._writer.write_eof()
        await self.wait_for_client()
        self._writer.close()


Behaviour = Callable[[Connection], Awaitable[None]]
"""What the server does when a request begins; nothing of it is read yet."""
