"""A server that enforces a rate limit strictly, and counts its requests.

```python
async with StrictServer(limit=300, delay=(0.0, 0.2), seed=7, inject_every=100, retry_after="1") as server:
    ...  # CallbellClient("token", base_url=server.base_url)
    assert server.refused == 0
```
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import orjson
from aiohttp import web

__all__ = ["StrictServer", "fullest_window"]


def fullest_window(moments: Iterable[float], period: float = 1.0) -> int:
    """Return the largest number of moments in any window of `period` seconds, both ends included."""
    window: deque[float] = deque()
    fullest = 0
    for moment in sorted(moments):
        window.append(moment)
        while moment - window[0] > period:
            window.popleft()
        fullest = max(fullest, len(window))
    return fullest


class StrictServer:
    """Refuses each request beyond `limit` in any window of `period` seconds with 429, by its own clock. Refused requests count, too.

    Args:
        limit: The most requests in a window.
        period: The length of a window in seconds.
        delay: The shortest and the longest response time in seconds; the times are random, from `seed`.
        seed: The seed of the response times.
        inject_every: Every n-th request within the limit gets a 429; 0 for none.
        retry_after: The `Retry-After` of these 429s.

    Attributes:
        arrivals: The times of all requests.
        accepted: The number of accepted messages by text.
        refused: The number of requests beyond the limit.
        injected: The number of injected 429s.
        connections: The number of connections that are open now.
    """

    def __init__(
        self,
        *,
        limit: int = 300,
        period: float = 1.0,
        delay: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
        inject_every: int = 0,
        retry_after: str | None = None,
    ) -> None:
        self._limit = limit
        self._period = period
        self._delay = delay
        self._random = random.Random(seed)
        self._inject_every = inject_every
        self._headers = {} if retry_after is None else {"Retry-After": retry_after}
        self._window: deque[float] = deque()
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []
        self.arrivals: list[float] = []
        self.accepted: Counter[str] = Counter()
        self.refused = self.injected = 0

    async def __aenter__(self) -> Self:
        self._server = web.Server(self._respond, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def connections(self) -> int:
        """The number of connections that are open now."""
        return len(self._server.connections)

    async def seen(self, requests: int) -> None:
        """Return when this number of requests has arrived."""
        if len(self.arrivals) < requests:
            arrival = asyncio.get_running_loop().create_future()
            self._awaited.append((requests, arrival))
            await arrival

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        refusal = self._refusal(time.monotonic())
        text = orjson.loads(body)["content"]["text"]
        if refusal is None:
            self.accepted[text] += 1
        for requests, arrival in self._awaited:
            if len(self.arrivals) >= requests and not arrival.done():
                arrival.set_result(None)
        if self._delay[1]:
            await asyncio.sleep(self._random.uniform(*self._delay))
        return refusal or _json({"message": {"uuid": f"uuid-{text}", "status": "enqueued"}})

    def _refusal(self, now: float) -> web.Response | None:
        self.arrivals.append(now)
        self._window.append(now)
        while now - self._window[0] > self._period:
            self._window.popleft()
        if len(self._window) > self._limit:
            self.refused += 1
            return _json({"error": "too many requests"}, status=429)
        if self._inject_every and len(self.arrivals) % self._inject_every == 0:
            self.injected += 1
            return _json({"error": "too many requests"}, status=429, headers=self._headers)
        return None


def _json(document: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, headers=headers, content_type="application/json")
