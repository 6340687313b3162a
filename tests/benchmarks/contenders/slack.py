"""slack_sdk: its asynchronous web client, over one aiohttp session for all messages."""

from __future__ import annotations

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from tests.benchmarks.contenders.base import recipient, text
from tests.benchmarks.contenders.worker_pool import WorkerPoolContender


class SlackSdk(WorkerPoolContender):
    """`chat_postMessage`. Without a session, the client would open one for each request."""

    async def open(self) -> None:
        """Open the session and the client."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.setup.concurrency))
        self._client = AsyncWebClient("xoxb-benchmark", base_url=f"{self.setup.root}/api/", session=self._session)

    async def send_one(self, index: int) -> bool:
        """Post the message; the client raises if Slack refuses it."""
        response = await self._client.chat_postMessage(channel=recipient(index), text=text(index))
        return bool(response["ts"])

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()
