"""A worker pool over an asynchronous library: the cheapest way to send many messages with one that has no bulk call."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator

from tests.benchmarks.contenders.base import LoopContender


class WorkerPoolContender(LoopContender):
    """As many workers as messages in flight; each sends one message after the other."""

    async def send_all(self, count: int) -> int:
        """Share the messages among the workers."""
        turns = iter(range(count))
        return sum(await asyncio.gather(*(self._work(turns) for _ in range(self.setup.concurrency))))

    async def _work(self, turns: Iterator[int]) -> int:
        accepted = 0
        for index in turns:
            accepted += await self.send_one(index)
        return accepted

    @abstractmethod
    async def send_one(self, index: int) -> bool:
        """Send one message, and return whether it was accepted."""
