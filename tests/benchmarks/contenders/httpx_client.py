"""httpx: one `AsyncClient` for all messages, as its documentation recommends."""

from __future__ import annotations

import httpx

from tests.benchmarks.contenders.base import HEADERS, payload
from tests.benchmarks.contenders.worker_pool import WorkerPoolContender


class Httpx(WorkerPoolContender):
    """As many connections as workers."""

    async def open(self) -> None:
        """Open one client. Its connections stay open during the slices of other contenders; idle ones expire, because httpx searches all of them."""
        size = self.setup.concurrency
        self._client = httpx.AsyncClient(
            headers={"Authorization": HEADERS["Authorization"]},
            limits=httpx.Limits(max_connections=size, max_keepalive_connections=size, keepalive_expiry=10.0),
            timeout=30.0,
        )

    async def send_one(self, index: int) -> bool:
        """Post the message, and read the uuid."""
        response = await self._client.post(self.setup.url, json=payload(index))
        response.raise_for_status()
        return bool(response.json()["message"]["uuid"])

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()
