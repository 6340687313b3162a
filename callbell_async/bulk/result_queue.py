"""The results of a run on their way from its workers to `async for`."""

from __future__ import annotations

import asyncio
from collections import deque

from callbell_async.models.results import SendResult

__all__ = ["ResultQueue"]


class ResultQueue:
    """A queue of results for one consumer. A worker that has put a result waits while more than `size` are unread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._unread: deque[SendResult] = deque()
        self._writers = 0
        self._waiting_writers: deque[asyncio.Future[None]] = deque()
        self._waiting_reader: asyncio.Future[None] | None = None
        self._unblocked = False

    def add_writer(self, writer: asyncio.Task[None]) -> None:
        """Add a writer. The queue ends when all its writers have ended."""
        self._writers += 1
        writer.add_done_callback(self._writer_done)

    def put(self, result: SendResult) -> bool:
        """Add a result. False means that the writer must wait for space before it adds another."""
        self._unread.append(result)
        self._wake_reader()
        return len(self._unread) <= self._size

    async def wait_for_space(self) -> None:
        """Wait until at most `size` results are unread."""
        while len(self._unread) > self._size and not self._unblocked:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting_writers.append(waiting)
            await waiting

    async def get(self) -> SendResult | None:
        """Return the next result, or `None` when all writers have ended and no result is unread."""
        while not self._unread:
            if not self._writers:
                return None
            self._waiting_reader = asyncio.get_running_loop().create_future()
            await self._waiting_reader
        result = self._unread.popleft()
        if len(self._unread) <= self._size:
            self._wake_writer()
        return result

    def unblock(self) -> None:
        """Let every writer continue: nobody consumes the results any more."""
        self._unblocked = True
        while self._waiting_writers:
            self._wake_writer()

    def _writer_done(self, _: asyncio.Task[None]) -> None:
        self._writers -= 1
        if not self._writers:
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self._waiting_reader is not None and not self._waiting_reader.done():
            self._waiting_reader.set_result(None)

    def _wake_writer(self) -> None:
        while self._waiting_writers:
            waiting = self._waiting_writers.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
