"""A server with scripted responses that records its requests byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import orjson
from aiohttp import web

from callbell_async import CallbellClient, RetryPolicy

__all__ = ["Recorded", "Recorder", "recorded_client"]


@attrs.frozen
class Recorded:
    """One request as it arrived: `target` is the path and the query, still encoded; `json` is `None` without a body."""

    method: str
    target: str
    json: Any = None


class Recorder:
    """Responds with `responses` in order, and repeats the last one."""

    def __init__(self) -> None:
        self.responses: list[tuple[int, Any]] = []
        self.requests: list[Recorded] = []

    def respond_with(self, *documents: Any, status: int = 200) -> None:
        """Set the next responses; `bytes` are sent unchanged."""
        self.responses = [(status, document) for document in documents]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record the request, and send the next response."""
        body = await request.read()
        self.requests.append(Recorded(request.method, request.raw_path, orjson.loads(body) if body else None))
        status, document = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if isinstance(document, bytes):
            return web.Response(status=status, body=document)
        return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


@asynccontextmanager
async def recorded_client() -> AsyncIterator[tuple[CallbellClient, Recorder]]:
    """Yield a client and its server; nothing is retried."""
    recorder = Recorder()
    runner = web.ServerRunner(web.Server(recorder.handle, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with CallbellClient(
            "token", base_url=f"http://{host}:{port}/v1", retry=RetryPolicy(attempts=1)
        ) as callbell:
            yield callbell, recorder
    finally:
        await runner.cleanup()
