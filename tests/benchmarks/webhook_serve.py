"""A webhook in a process of its own: `python -m tests.benchmarks.webhook_serve bare|route`, with the loop as second argument.

It listens on a free port of 127.0.0.1, prints the port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys

from aiohttp import web

from callbell_async.webhooks import Event, add_webhook_route
from tests.benchmarks.contenders.base import new_loop

SECRET = "whsec_benchmark"
CONNECTIONS = 8


async def bare(request: web.Request) -> web.Response:
    """Check the HMAC, and parse the JSON: a handler written by hand."""
    body = await request.read()
    parts = dict(part.split("=", 1) for part in request.headers["X-Callbell-Signature"].split(","))
    expected = hmac.digest(SECRET.encode(), parts["t"].encode() + b"." + body, "sha256").hex()
    if not hmac.compare_digest(expected, parts["v1"]):
        return web.Response(status=401)
    json.loads(body)
    return web.Response(body=b'{"status": "ok"}', content_type="application/json")


async def handle(event: Event) -> None:
    """Do nothing with an event."""


async def serve(kind: str) -> None:
    """Serve until standard input ends."""
    app = web.Application()
    if kind == "bare":
        app.router.add_post("/hook", bare)
    else:
        # With fewer handlers at once the queue fills up: every connection sends its next event as soon as it has a response.
        add_webhook_route(app, "/hook", handle, secret=SECRET, concurrency=CONNECTIONS)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: new_loop(sys.argv[2])) as runner:
        runner.run(serve(sys.argv[1]))
