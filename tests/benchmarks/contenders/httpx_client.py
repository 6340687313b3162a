"""httpx: one `AsyncClient` and a worker pool, which suits it better than a task a message."""

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
    """So many workers as connections; one worker is plain `await` after `await`."""

    async def open(self) -> None:
        """One client; connections outlast the other contenders' slices, and those it can do without expire, for it goes through them all."""
        size = self.setup.concurrency
        self._client = httpx.AsyncClient(
            headers={"Authorization": HEADERS["Authorization"]},
            limits=httpx.Limits(max_connections=size, max_keepalive_connections=size, keepalive_expiry=10.0),
            timeout=30.0,
        )

    async def send_all(self, count: int) -> int:
        """Share the count among the workers."""
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
    """The same, helped over a weakness of its installation.

    httpcore imports sniffio several times a request; where it isn't installed (nothing requires it any more), Python searches all of
    `sys.path` for it each time, which is a third of httpx's CPU. Here Python is told that there is no such module.
    """

    def send(self, count: int) -> int:
        """Run the loop until all are sent."""
        with _search_for_sniffio_spared():
            return super().send(count)


@contextlib.contextmanager
def _search_for_sniffio_spared() -> Iterator[None]:
    spared = _SNIFFIO not in sys.modules and importlib.util.find_spec(_SNIFFIO) is None
    if spared:
        # Documented: an import that finds None fails at once.
        sys.modules[_SNIFFIO] = cast(ModuleType, None)
    try:
        yield
    finally:
        if spared:
            del sys.modules[_SNIFFIO]
