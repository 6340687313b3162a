"""A webhook on this machine: it records the posts and sends the responses that a test gives it."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

__all__ = ["Post", "WebhookListener"]


class Post(NamedTuple):
    """A post, with its time by the event loop's clock."""

    headers: dict[str, str]
    body: bytes
    path: str
    at: float

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)


class WebhookListener:
    """Responds with 200 and `{"status": "ok"}`; the first posts get `answers`, in order: a status, a response, or `None` for no response."""

    def __init__(self, *answers: int | web.Response | None) -> None:
        self.posts: list[Post] = []
        self._answers = list(answers)
        self._come = asyncio.Condition()
        self._over = asyncio.Event()
        # A test may advance the time by an hour: an idle connection stays open.
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None, keepalive_timeout=1e9))

    @property
    def url(self) -> str:
        """The URL of the webhook."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/events?key=a%2Fb"

    @property
    def events(self) -> list[str]:
        """The names of the events that were posted."""
        return [post.document["event"] for post in self.posts]

    def payloads(self, event: str) -> list[Any]:
        """The payloads of the events of this name."""
        return [post.document["payload"] for post in self.posts if post.document["event"] == event]

    async def posted(self, count: int) -> list[Post]:
        """Return when `count` posts have arrived."""
        async with self._come:
            await self._come.wait_for(lambda: len(self.posts) >= count)
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

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        answer = self._answers.pop(0) if self._answers else 200
        async with self._come:
            self.posts.append(Post(dict(request.headers), body, request.raw_path, asyncio.get_running_loop().time()))
            self._come.notify_all()
        if answer is None:
            await self._over.wait()
        if isinstance(answer, web.Response):
            return answer
        return web.json_response({"status": "ok"}, status=answer or 200)
