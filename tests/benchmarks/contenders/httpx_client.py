"""httpx: one `AsyncClient` and a worker pool, which is faster than a task for each message."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import cast

import httpx

from tests.benchmarks.contenders.base import HEADERS, LoopContender, payload

_SNIFFIO = "sniffio"


class InstalledHttpx(LoopContender):
    """As many workers as connections; one worker sends one message after the other."""

    async def open(self) -> None:
        """Open one client. Its connections stay open during the slices of other contenders; idle ones expire, because httpx searches all of them."""
        size = self.setup.concurrency
        self._client = httpx.AsyncClient(
            headers={"Authorization": HEADERS["Authorization"]},
            limits=httpx.Limits(max_connections=size, max_keepalive_connections=size, keepalive_expiry=10.0),
            timeout=30.0,
        )

    async def send_all(self, count: int) -> int:
        """Share the messages among the workers."""
        turns = iter(range(count))
        return sum(await asyncio.gather(*(self._work(turns) for _ in range(self.setup.concurrency))))

    async def _work(self, turns: Iterator[int]) -> int:
        accepted = 0
        for index in turns:
            response = await self._client.post(self.setup.url, json=payload(index))
            response.raise_for_status()
            accepted += bool(response.json()["message"]["uuid"])
        return accepted

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()


class Httpx(InstalledHttpx):
    """httpx without the search for a module that is not installed.

    httpcore imports sniffio several times for each request. If it is not installed (nothing requires it any more), Python searches
    all of `sys.path` each time, which is a third of httpx's CPU time. Here the import fails at once.
    """

    def send(self, count: int) -> int:
        """Run the loop until all messages are sent."""
        with _without_search_for_sniffio():
            return super().send(count)


@contextlib.contextmanager
def _without_search_for_sniffio() -> Iterator[None]:
    is_missing = _SNIFFIO not in sys.modules and importlib.util.find_spec(_SNIFFIO) is None
    if is_missing:
        # Documented: an import that finds None fails at once.
        sys.modules[_SNIFFIO] = cast(ModuleType, None)
    try:
        yield
    finally:
        if is_missing:
            del sys.modules[_SNIFFIO]
