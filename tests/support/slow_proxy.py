"""A relay on 127.0.0.1 that delays everything, as a network between distant hosts does; in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

__all__ = ["slow_proxy"]


@contextlib.contextmanager
def slow_proxy(port: int, delay: float) -> Iterator[int]:
    """Relay to this port with `delay` seconds each way; returns the port of the relay."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    ports: list[int] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            # asyncio reports a cancelled connection as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(_pump(reader, upstream_writer, delay), _pump(upstream_reader, writer, delay))
        finally:
            writer.close()
            upstream_writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(10)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)
