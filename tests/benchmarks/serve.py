"""Two small HTTP servers for processes of their own: `python -m tests.benchmarks.serve constant|strict`.

Each listens on a free port of 127.0.0.1, prints the port, and ends when its standard input does, so that none is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from tests.benchmarks.contenders.base import new_loop

ANSWER = b'{"message":{"uuid":"adf3d1216d4c4dcd908199d6700f2381","status":"enqueued"}}'

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Reply = Callable[[bytes], None]
Handler = Callable[[bytes, Reply], None]
"""Is given a request's head and how to answer it, at once or later."""


def response(status: str, body: bytes, header: str = "") -> bytes:
    """A whole answer; `header` is one line or nothing."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + (f"{header}\r\n" if header else "") + "\r\n").encode() + body


class HttpProtocol(asyncio.Protocol):
    """As much of HTTP/1.1 as well-behaved clients need: keep-alive and `Content-Length`."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        # uvloop's transports have asyncio's methods, but not its classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand over every request that has come whole."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._handle(head, self._reply)

    def _reply(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def constant() -> Handler:
    """Accepts every message with the same answer."""
    answer = response("200 OK", ANSWER)
    return lambda _, reply: reply(answer)


class Strict:
    """Refuses each request that would be the `limit + 1`st in any window of one second, by its own monotonic clock.

    All requests count, refused ones too. A request is counted when it arrives; its answer leaves `delay` milliseconds later at most (drawn
    evenly, from a seed). Every `inject`th request that is within the limit is answered 429 all the same, with `header` if there is one.
    `GET /stats` tells what was seen.
    """

    def __init__(self, *, limit: int, delay: float, seed: int, inject: int, header: str) -> None:
        self._limit = limit
        self._delay = delay / 1000
        self._random = random.Random(seed)
        self._inject = inject
        self._injected = response("429 Too Many Requests", b'{"error":"injected"}', header)
        self._refused = response("429 Too Many Requests", b'{"error":"too many requests"}')
        self._accepted = response("200 OK", ANSWER)
        self._window: deque[float] = deque()
        self._stats = {"requests": 0, "refused": 0, "injected": 0, "fullest": 0}
        self._arrivals: list[float] = []

    def __call__(self, head: bytes, reply: Reply) -> None:
        """Count, decide, and answer after the delay."""
        if head.startswith(b"GET"):
            reply(response("200 OK", json.dumps({**self._stats, "arrivals": self._arrivals}).encode()))
            return
        answer = self._decide(time.monotonic())
        if self._delay:
            asyncio.get_running_loop().call_later(self._random.uniform(0, self._delay), reply, answer)
        else:
            reply(answer)

    def _decide(self, now: float) -> bytes:
        stats, window = self._stats, self._window
        while window and now - window[0] > 1.0:
            window.popleft()
        window.append(now)
        self._arrivals.append(now)
        stats["requests"] += 1
        stats["fullest"] = max(stats["fullest"], len(window))
        if len(window) > self._limit:
            stats["refused"] += 1
            return self._refused
        if self._inject and stats["requests"] % self._inject == 0:
            stats["injected"] += 1
            return self._injected
        return self._accepted


async def serve(handle: Handler) -> None:
    """Listen until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(handle), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A server for the benchmarks.")
    parser.add_argument("kind", choices=("constant", "strict"))
    parser.add_argument("--limit", type=int, default=300, help="requests in any second")
    parser.add_argument("--delay", type=float, default=0.0, help="longest answer time in milliseconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inject", type=int, default=0, help="answer 429 to every n-th request")
    parser.add_argument("--header", default="", help="a header line for the injected 429s")
    options = parser.parse_args()
    handle: Handler = constant()
    if options.kind == "strict":
        handle = Strict(
            limit=options.limit,
            delay=options.delay,
            seed=options.seed,
            inject=options.inject,
            header=options.header,
        )
    loop = asyncio.new_event_loop()
    with contextlib.suppress(ModuleNotFoundError):
        loop = new_loop("uvloop")
    loop.run_until_complete(serve(handle))


if __name__ == "__main__":
    main()
