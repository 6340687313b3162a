"""The floor: a worker pool over aiohttp that sends a constant body and ignores the response."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import orjson

from tests.benchmarks.contenders.base import HEADERS, LoopContender, payload


class Floor(LoopContender):
    """aiohttp with its defaults, and only the code that a POST needs."""

    async def open(self) -> None:
        """Open a session with as many connections as workers."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.setup.concurrency), headers=HEADERS
        )

    async def send_all(self, count: int) -> int:
        """Share the messages among the workers; the bodies of the responses are read and ignored."""
        turns = iter(range(count))
        body = orjson.dumps(payload(1_000_000))
        await asyncio.gather(*(self._work(turns, body) for _ in range(self.setup.concurrency)))
        return count

    async def _work(self, turns: Iterator[int], body: bytes) -> None:
        session, url = self._session, self.setup.url
        for _ in turns:
            async with session.post(url, data=body) as response:
                await response.read()

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()
