"""The input of a bulk run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Sized
from typing import Any

from callbell_async.errors import ConfigurationError
from callbell_async.models.messages import Message
from callbell_async.models.results import Item

__all__ = ["MessageSource"]


class MessageSource:
    """The input, pulled one message at a time by whichever worker is free."""

    _END = object()

    def __init__(self, messages: Iterable[Item] | AsyncIterable[Item]) -> None:
        if isinstance(messages, Message) or not isinstance(messages, Iterable | AsyncIterable):
            raise ConfigurationError(
                "messages: must be an iterable or an async iterable of messages; for one message use send()"
            )
        self._sync = iter(messages) if isinstance(messages, Iterable) else None
        self._async = aiter(messages) if isinstance(messages, AsyncIterable) and self._sync is None else None
        self.immediate = self._sync is not None
        self._sized = isinstance(messages, Sized)
        self.at_most = max(1, len(messages)) if isinstance(messages, Sized) else None
        self.stopped = False
        self._index = 0
        # An async iterator may be asked for one item at a time only.
        self._lock = asyncio.Lock()
        self._puller: asyncio.Task[Any] | None = None
        self._patience: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def next(self) -> tuple[int, Item] | None:
        """The next message with its index, or `None` when there is none or the feeding has stopped; raises what the input raises."""
        return None if self.stopped or self._sync is None else self._numbered(next(self._sync, self._END))

    async def next_async(self) -> tuple[int, Item] | None:
        """The same for an input that has to be waited for."""
        async with self._lock:
            if self.stopped or self._async is None:
                return None
            self._puller = asyncio.current_task()
            self._limit_wait()
            try:
                return self._numbered(await anext(self._async, self._END))
            finally:
                self._puller = None
                if self._timer is not None:
                    self._timer.cancel()

    def stop(self) -> None:
        """Give out nothing more, even if the input is being waited for."""
        self.stopped = True
        if self._puller is not None and self._puller is not asyncio.current_task():
            self._puller.cancel()

    def hurry(self, patience: float) -> None:
        """From now on, stop when the input has to be waited for longer than so many seconds."""
        self._patience = patience
        self._limit_wait()

    def rest(self) -> Iterable[tuple[int, Item]]:
        """What was not given out, of an input that has a length; others may have no end."""
        while self._sized and self._sync is not None:
            try:
                numbered = self._numbered(next(self._sync, self._END))
            except Exception:
                # The run has an end already; what can't be read has no place in its report.
                return
            if numbered is not None:
                yield numbered

    def _limit_wait(self) -> None:
        if self._puller is not None and self._patience is not None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self.stop)

    def _numbered(self, item: Any) -> tuple[int, Item] | None:
        if item is self._END:
            self._sync = self._async = None
            return None
        index = self._index
        self._index += 1
        return index, item
