"""A Callbell on this machine that is strict about its limit, and says what it saw.

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
    """The most of these moments that lie in any window of `period` seconds, both its ends included."""
    window: deque[float] = deque()
    fullest = 0
    for moment in sorted(moments):
        window.append(moment)
        while moment - window[0] > period:
            window.popleft()
        fullest = max(fullest, len(window))
    return fullest


class StrictServer:
    """Refuses with 429 each request that is beyond `limit` in any window of `period` seconds by its own clock, refused ones counted.

    Answers take from `delay[0]` to `delay[1]` seconds, drawn evenly from `seed`. With `inject_every=n` every n-th request is answered
    429 though it is within the limit, with `retry_after` as its `Retry-After`.

    `arrivals` are the moments of all requests, `accepted` says how often each text was taken, and `refused` and `injected` count the
    429s of either kind. `connections` are those open now.
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
        self._server = web.Server(self._answer, access_log=None, handler_cancellation=True)
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
        """How many connections are open."""
        return len(self._server.connections)

    async def seen(self, requests: int) -> None:
        """Wait until so many requests have arrived."""
        if len(self.arrivals) < requests:
            arrival = asyncio.get_running_loop().create_future()
            self._awaited.append((requests, arrival))
            await arrival

    async def _answer(self, request: web.BaseRequest) -> web.Response:
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
