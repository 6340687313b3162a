"""A webhook on this machine that records all posts and sends given responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from callbell_async.sandbox import Sandbox, SandboxWebhook
from callbell_async.sandbox.api.validation import EVENTS
from tests.support.calls import until

__all__ = ["Listen", "Post", "WebhookListener", "failures", "subscribed_to_all"]


class Post(NamedTuple):
    """One post, with its time by the loop's clock."""

    headers: dict[str, str]
    body: bytes
    path: str
    at: float

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)


class WebhookListener:
    """Responds with 200 and `{"status": "ok"}`; the first posts get `responses`, in this order: a status, a response, or none (`None`)."""

    def __init__(self, *responses: int | web.Response | None) -> None:
        self.posts: list[Post] = []
        self._responses = list(responses)
        self._arrived = asyncio.Condition()
        self._over = asyncio.Event()
        # A test may let an hour pass: idle connections stay open.
        self._runner = web.ServerRunner(web.Server(self._respond, access_log=None, keepalive_timeout=1e9))

    @property
    def url(self) -> str:
        """The URL to post to."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/events?key=a%2Fb"

    @property
    def events(self) -> list[str]:
        """The names of all posted events, in order."""
        return [post.document["event"] for post in self.posts]

    def payloads(self, event: str) -> list[Any]:
        """Return the payloads of all events with this name."""
        return [post.document["payload"] for post in self.posts if post.document["event"] == event]

    async def posted(self, count: int) -> list[Post]:
        """Return all posts when `count` of them have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.posts) >= count)
        return self.posts

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        await self._runner.cleanup()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        response = self._responses.pop(0) if self._responses else 200
        async with self._arrived:
            self.posts.append(Post(dict(request.headers), body, request.raw_path, asyncio.get_running_loop().time()))
            self._arrived.notify_all()
        if response is None:
            await self._over.wait()
        if isinstance(response, web.Response):
            return response
        return web.json_response({"status": "ok"}, status=response or 200)


Listen = Callable[..., Awaitable[WebhookListener]]
"""The type of the fixture `listen`."""


def subscribed_to_all(url: str) -> SandboxWebhook:
    """Return a webhook that is subscribed to all events."""
    return SandboxWebhook(url=url, subscriptions=list(EVENTS))


async def failures(sandbox: Sandbox, count: int) -> None:
    """Return when `count` attempts have failed."""
    await until(lambda: sandbox.deliveries.failed >= count)
