"""The sandbox's HTTP server: aiohttp's, on 127.0.0.1."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from callbell_async.sandbox.state import RequestWindow, SandboxMessage, check_message

__all__ = ["Sandbox"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox:
    """A Callbell on this machine, for trying things out and for tests; nothing it accepts goes anywhere.

    ```python
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        ...
    ```

    - `token`: the only one it accepts.
    - `port`: 0 for a free one.
    - `limit`: requests in any window of one second, beyond which it answers 429; `None` for no limit.
    - `clock`: seconds that only grow.

    It speaks `POST /messages/send` and `GET /messages/status/:uuid`. `messages` are those it accepted, in order.
    """

    def __init__(
        self,
        *,
        token: str = "sandbox",  # noqa: S107 - opens nothing but this sandbox
        port: int = 0,
        limit: int | None = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token = token
        self.messages: list[SandboxMessage] = []
        self._by_uuid: dict[str, SandboxMessage] = {}
        self._port = port
        self._window = None if limit is None else RequestWindow(limit, clock)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base URL for a client, `/v1` and all."""
        if self._runner is None:
            raise RuntimeError("the sandbox is not running; use `async with Sandbox() as sandbox:`")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/v1/messages/send", self._send)
        app.router.add_get("/v1/messages/status/{uuid}", self._status)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _json(401, {"error": "not authorized"})
        if self._window is not None and not self._window.take():
            return _json(429, {"error": "too many requests"})
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _json(error.status, {"error": error.reason.lower()})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return _json(400, {"error": "the body is not JSON"})
        if errors := check_message(body):
            return _json(400, {"error": errors})
        message = SandboxMessage(uuid=uuid.uuid4().hex, body=body)
        self.messages.append(message)
        self._by_uuid[message.uuid] = message
        return _json(200, {"message": {"uuid": message.uuid, "status": "enqueued"}})

    async def _status(self, request: web.Request) -> web.StreamResponse:
        message = self._by_uuid.get(request.match_info["uuid"])
        if message is None:
            return _json(404, {"error": "not found"})
        return _json(200, {"message": {"uuid": message.uuid, "status": "enqueued"}})


def _json(status: int, document: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")
