"""A webhook in a process of its own: `python -m tests.benchmarks.webhook_serve KIND LOOP`, with a key of `KINDS` as kind.

It listens on a free port of 127.0.0.1, prints the port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable

import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from callbell_async.webhooks import Event, WebhookApp, add_webhook_route
from tests.benchmarks.contenders.base import new_loop

SECRET = "whsec_benchmark"
RESPONSE = b'{"status": "ok"}'


def is_signed(body: bytes, header: str) -> bool:
    """Check the HMAC as a handler written by hand does."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.digest(SECRET.encode(), parts["t"].encode() + b"." + body, "sha256").hex()
    return hmac.compare_digest(expected, parts["v1"])


async def handle(event: Event) -> None:
    """Do nothing with an event."""


# --- aiohttp ----------------------------------------------------------------------------------------------------------


async def bare_aiohttp(request: web.Request) -> web.Response:
    """Check the HMAC, and parse the JSON: a handler written by hand."""
    body = await request.read()
    if not is_signed(body, request.headers["X-Callbell-Signature"]):
        return web.Response(status=401)
    json.loads(body)
    return web.Response(body=RESPONSE, content_type="application/json")


def _bare(app: web.Application) -> None:
    app.router.add_post("/hook", bare_aiohttp)


def _route(app: web.Application) -> None:
    add_webhook_route(app, "/hook", handle, secret=SECRET)


@contextlib.asynccontextmanager
async def _aiohttp(add: Callable[[web.Application], None]) -> AsyncIterator[int]:
    """Serve an application, and return its port."""
    app = web.Application()
    add(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


# --- Starlette under uvicorn ------------------------------------------------------------------------------------------


async def bare_starlette(request: Request) -> Response:
    """Do the same as `bare_aiohttp`."""
    body = await request.body()
    if not is_signed(body, request.headers["X-Callbell-Signature"]):
        return Response(status_code=401)
    json.loads(body)
    return Response(RESPONSE, media_type="application/json")


def _bare_starlette() -> Route:
    return Route("/hook", bare_starlette, methods=["POST"])


def _webhook_app() -> Route:
    return Route("/hook", WebhookApp(handle, secret=SECRET))


@contextlib.asynccontextmanager
async def _starlette(route: Callable[[], Route]) -> AsyncIterator[int]:
    """Serve an application, and return its port."""
    # With the protocol named, the loop sends small packets at once.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        config = uvicorn.Config(Starlette(routes=[route()]), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


KINDS = {
    "bare aiohttp": lambda: _aiohttp(_bare),
    "add_webhook_route": lambda: _aiohttp(_route),
    "bare Starlette": lambda: _starlette(_bare_starlette),
    "WebhookApp": lambda: _starlette(_webhook_app),
}
"""The servers by name."""


async def serve(kind: str) -> None:
    """Serve until standard input ends."""
    async with KINDS[kind]() as port:
        print(port, flush=True)  # noqa: T201
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: new_loop(sys.argv[2])) as runner:
        runner.run(serve(sys.argv[1]))
