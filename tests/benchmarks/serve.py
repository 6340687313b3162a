"""Two small HTTP servers, each for a process of its own: `python -m tests.benchmarks.serve accepting|strict`.

Each listens on a free port of 127.0.0.1, prints the port, and ends when its standard input ends, so that no process is left.
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
from collections.abc import Callable, Mapping
from typing import cast

from tests.benchmarks.contenders.base import new_loop

RESPONSE_BODY = b'{"message":{"uuid":"adf3d1216d4c4dcd908199d6700f2381","status":"enqueued"}}'

PEERS: Mapping[bytes, tuple[str, bytes]] = {
    b"/api/chat.postMessage": (
        "200 OK",
        b'{"ok":true,"channel":"C1","ts":"1503435956.000247","message":{"text":"Hello"}}',
    ),
    b"/2010-04-01/": ("201 Created", b'{"sid":"SM00000000000000000000000000000000","status":"queued","body":"Hello"}'),
    b"/bot": (
        "200 OK",
        b'{"ok":true,"result":{"message_id":1,"date":0,"chat":{"id":1,"type":"private"},"text":"Hello"}}',
    ),
}
"""The responses of other services, by the beginning of the path: Slack, Twilio, Telegram."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Send = Callable[[bytes], None]
Handler = Callable[[bytes, Send], None]
"""Takes the head of a request, and a function that sends the response, at once or later."""


def response(status: str, body: bytes, header: str = "") -> bytes:
    """Return a whole response; `header` is a further header line, or empty."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + (f"{header}\r\n" if header else "") + "\r\n").encode() + body


class HttpProtocol(asyncio.Protocol):
    """The part of HTTP/1.1 that the contenders need: keep-alive and `Content-Length`."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of a new connection."""
        # uvloop's transports have asyncio's methods, but not its classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass every complete request to the handler."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._handle(head, self._send)

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)


class Accepting:
    """A handler that accepts every message, `delay` milliseconds later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay / 1000
        self._accepted = response("200 OK", RESPONSE_BODY)
        self._peers = {path: response(status, body) for path, (status, body) in PEERS.items()}

    def __call__(self, head: bytes, send: Send) -> None:
        """Respond as the service that the path belongs to."""
        accepted = self._accepted
        if not head.startswith(b"POST /v1/"):
            path = head.split(b" ", 2)[1]
            accepted = next(body for start, body in self._peers.items() if path.startswith(start))
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, send, accepted)
        else:
            send(accepted)


class Strict:
    """A handler that refuses each request beyond `limit` in any window of one second, by its own monotonic clock.

    All requests count when they arrive, refused ones too. The response is sent `least_delay` to `delay` milliseconds later, at
    random from a seed. Every `inject`th request within the limit gets a 429, with `header` if there is one. The response to `GET /stats` has
    the numbers of all requests.
    """

    def __init__(self, *, limit: int, least_delay: float, delay: float, seed: int, inject: int, header: str) -> None:
        self._limit = limit
        self._delays = (least_delay / 1000, delay / 1000)
        self._random = random.Random(seed)
        self._inject = inject
        self._injected = response("429 Too Many Requests", b'{"error":"injected"}', header)
        self._refused = response("429 Too Many Requests", b'{"error":"too many requests"}')
        self._accepted = response("200 OK", RESPONSE_BODY)
        self._window: deque[float] = deque()
        self._stats = {"requests": 0, "refused": 0, "injected": 0, "fullest": 0}
        self._arrivals: list[float] = []

    def __call__(self, head: bytes, send: Send) -> None:
        """Count the request, decide, and respond after the delay."""
        if head.startswith(b"GET"):
            send(response("200 OK", json.dumps({**self._stats, "arrivals": self._arrivals}).encode()))
            return
        decision = self._decide(time.monotonic())
        if self._delays[1]:
            asyncio.get_running_loop().call_later(self._random.uniform(*self._delays), send, decision)
        else:
            send(decision)

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
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(handle), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A server for the benchmarks.")
    parser.add_argument("kind", choices=("accepting", "strict"))
    parser.add_argument("--limit", type=int, default=300, help="the most requests in any second")
    parser.add_argument("--delay", type=float, default=0.0, help="the (longest) response time in milliseconds")
    parser.add_argument("--least-delay", type=float, default=0.0, help="the shortest response time of `strict`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inject", type=int, default=0, help="respond with 429 to every n-th request")
    parser.add_argument("--header", default="", help="a header line for the injected 429s")
    options = parser.parse_args()
    handle: Handler = Accepting(options.delay)
    if options.kind == "strict":
        handle = Strict(
            limit=options.limit,
            least_delay=options.least_delay,
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
