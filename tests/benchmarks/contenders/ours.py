"""The `send_many` of this library, with a generator that builds each message when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

from callbell_async import CallbellClient, TextMessage
from callbell_async.errors import Outcome
from tests.benchmarks.contenders.base import TOKEN, LoopContender, recipient, text


def messages(count: int) -> Iterator[TextMessage]:
    """Yield this number of messages, each built when it is needed."""
    for index in range(count):
        yield TextMessage(to=recipient(index), text=text(index))


class AwaitedSendMany(LoopContender):
    """`await client.send_many(…)`: the report has all results. The rate limit is never reached."""

    rate_limit: ClassVar[int | None] = 1_000_000

    async def open(self) -> None:
        """Open a client with the defaults, except for the base URL and the rate limit."""
        self._client = CallbellClient(
            TOKEN,
            base_url=self.setup.base_url,
            rate_limit=self.rate_limit,
            max_connections=max(100, self.setup.concurrency),
        )

    async def send_all(self, count: int) -> int:
        """Send the messages in one run."""
        report = await self._client.send_many(messages(count), concurrency=self.setup.concurrency)
        return report.accepted

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


class IteratedSendMany(AwaitedSendMany):
    """`async for result in client.send_many(…)`: constant memory."""

    async def send_all(self, count: int) -> int:
        """Send the messages in one run."""
        accepted = 0
        async for result in self._client.send_many(messages(count), concurrency=self.setup.concurrency):
            accepted += result.outcome is Outcome.ACCEPTED
            if self.progress is not None:
                self.progress(accepted)
        return accepted


class OneByOne(AwaitedSendMany):
    """`await client.send(message)`, one message after the other."""

    async def send_all(self, count: int) -> int:
        """Send the messages one by one."""
        accepted = 0
        for message in messages(count):
            accepted += bool((await self._client.send(message)).uuid)
        return accepted


class GatheredSends(AwaitedSendMany):
    """`asyncio.gather` over `client.send`, one call for each message. The pool of connections bounds the messages in flight."""

    async def open(self) -> None:
        """Open a client whose pool is as large as the concurrency."""
        self._client = CallbellClient(
            TOKEN,
            base_url=self.setup.base_url,
            rate_limit=self.rate_limit,
            max_connections=self.setup.concurrency,
        )

    async def send_all(self, count: int) -> int:
        """Send all at once."""
        receipts = await asyncio.gather(*map(self._client.send, messages(count)))
        return sum(bool(receipt.uuid) for receipt in receipts)
