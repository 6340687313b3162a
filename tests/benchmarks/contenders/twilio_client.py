"""twilio: its asynchronous HTTP client, directed to the server on loopback."""

from __future__ import annotations

import importlib
from typing import Any

from tests.benchmarks.contenders.base import recipient, text
from tests.benchmarks.contenders.worker_pool import WorkerPoolContender

# It has no stubs of its own.
http: Any = importlib.import_module("twilio.http.async_http_client")
rest: Any = importlib.import_module("twilio.rest")

PUBLIC = "https://api.twilio.com"


class Twilio(WorkerPoolContender):
    """`client.messages.create_async`."""

    async def open(self) -> None:
        """Open the client; its HTTP client keeps one aiohttp session."""
        self._http = http.AsyncTwilioHttpClient()
        request, root = self._http.request, self.setup.root

        async def request_on_loopback(method: str, url: str, *arguments: Any, **options: Any) -> Any:
            return await request(method, root + url.removeprefix(PUBLIC), *arguments, **options)

        self._http.request = request_on_loopback
        self._client = rest.Client("AC" + "0" * 32, "benchmark", http_client=self._http)

    async def send_one(self, index: int) -> bool:
        """Create the message."""
        message = await self._client.messages.create_async(to=recipient(index), from_="+447700900001", body=text(index))
        return bool(message.sid)

    async def close(self) -> None:
        """Close the session."""
        await self._http.close()
