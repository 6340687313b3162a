"""The way of the results from the workers of a bulk run to its consumer."""

from __future__ import annotations

import asyncio
from collections import deque

from callbell_async.models.results import SendResult

__all__ = ["Channel"]


class Channel:
    """Results on their way from the workers to one consumer; a worker waits while `size` results are unread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._unread: deque[SendResult] = deque()
        self._writers = 0
        self._waiting_writers: deque[asyncio.Future[None]] = deque()
        self._waiting_reader: asyncio.Future[None] | None = None
        self._unblocked = False

    def add_writer(self, writer: asyncio.Task[None]) -> None:
        """The channel ends when all its writers have."""
        self._writers += 1
        writer.add_done_callback(self._writer_done)

    def put(self, result: SendResult) -> bool:
        """Hand over a result; whether there is room for another, or the writer should wait for it."""
        self._unread.append(result)
        self._wake_reader()
        return len(self._unread) <= self._size

    async def room(self) -> None:
        """Wait until the consumer has caught up."""
        while len(self._unread) > self._size and not self._unblocked:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting_writers.append(waiting)
            await waiting

    async def get(self) -> SendResult | None:
        """The next result, or `None` when all writers have ended and all is read."""
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
        """Nobody reads any more: let the writers end."""
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
