"""The `send_many` of this library, fed by a generator that builds each message when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from callbell_async import CallbellClient, TextMessage
from callbell_async.errors import Outcome
from tests.benchmarks.contenders.base import TOKEN, LoopContender, recipient, text


def messages(count: int) -> Iterator[TextMessage]:
    """So many messages, each built when it is asked for."""
    for index in range(count):
        yield TextMessage(to=recipient(index), text=text(index))


class AwaitedSendMany(LoopContender):
    """`await client.send_many(…)`: the report holds all results. The rate limit is there but too high to bind."""

    rate_limit: ClassVar[int | None] = 1_000_000

    async def open(self) -> None:
        """One client with its defaults, except for where it sends and how fast it may."""
        self._client = CallbellClient(
            TOKEN,
            base_url=self.setup.base_url,
            rate_limit=self.rate_limit,
            max_connections=max(100, self.setup.concurrency),
        )

    async def send_all(self, count: int) -> int:
        """One run."""
        report = await self._client.send_many(messages(count), concurrency=self.setup.concurrency)
        return report.accepted

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


class IteratedSendMany(AwaitedSendMany):
    """`async for result in client.send_many(…)`: constant memory."""

    async def send_all(self, count: int) -> int:
        """One run."""
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


class UnlimitedSendMany(AwaitedSendMany):
    """The awaited one without a rate limiter."""

    rate_limit = None
