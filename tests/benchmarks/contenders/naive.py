"""The code that is usually written with aiohttp to send many messages."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.benchmarks.contenders.base import HEADERS, LoopContender, payload


class NaiveAiohttp(LoopContender):
    """`asyncio.gather` over all messages, a `Semaphore`, `json=`, `raise_for_status` and `response.json()`."""

    async def open(self) -> None:
        """Open one session, whose pool is as large as the semaphore."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.setup.concurrency),
            headers={"Authorization": HEADERS["Authorization"]},
        )

    async def send_all(self, count: int) -> int:
        """Create one task for each message."""
        semaphore = asyncio.Semaphore(self.setup.concurrency)
        uuids = await asyncio.gather(*(self._send(semaphore, index) for index in range(count)))
        return sum(map(bool, uuids))

    async def _send(self, semaphore: asyncio.Semaphore, index: int) -> str:
        async with semaphore, self._session.post(self.setup.url, json=payload(index)) as response:
            response.raise_for_status()
            document = await response.json()
            return str(document["message"]["uuid"])

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()
