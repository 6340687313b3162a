"""The input of a run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping, Sized
from itertools import islice
from typing import Any

from callbell_async.errors import ConfigurationError
from callbell_async.models.messages import Message
from callbell_async.models.results import Item

__all__ = ["MessageSource"]


class MessageSource:
    """The input of a run, read one message at a time by the next free worker.

    Args:
        messages: An iterable or async iterable of messages. An `InvalidMessageError` takes the place of a message that could not be built.

    Raises:
        ConfigurationError: `messages` is not iterable, or is a single message, a text or a mapping.

    Attributes:
        immediate: Whether `get_nowait` and `read_into` read the input; otherwise `get` does.
        length: The number of messages; `None` for an input without a length.
        stopped: Whether the source returns no further message.
    """

    def __init__(self, messages: Iterable[Item] | AsyncIterable[Item]) -> None:
        # The items of a text or of a mapping are never messages.
        wrong = isinstance(messages, Message | str | bytes | Mapping)
        if wrong or not isinstance(messages, Iterable | AsyncIterable):
            raise ConfigurationError(
                "messages: must be an iterable or an async iterable of messages, "
                f"not {type(messages).__name__}; for one message use send()"
            )
        self._sync = enumerate(messages) if isinstance(messages, Iterable) else None
        self._async = aiter(messages) if isinstance(messages, AsyncIterable) and self._sync is None else None
        self.immediate = self._sync is not None
        self.length = len(messages) if isinstance(messages, Sized) else None
        self.stopped = False
        self._read = 0
        # An async iterator must not get a second request for an item before the first has ended.
        self._lock = asyncio.Lock()
        self._reader: asyncio.Task[Any] | None = None
        self._drain_timeout: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def get_nowait(self) -> tuple[int, Item] | None:
        """Return the next message with its index, or `None` at the end and after `stop`; raises what the input raises."""
        if self.stopped or self._sync is None:
            return None
        numbered = next(self._sync, None)
        if numbered is None:
            self._sync = None
        return numbered

    def read_into(self, items: deque[tuple[int, Any]], count: int) -> bool:
        """Append at most `count` messages with their indexes; return whether there may be more, and raise what the input raises."""
        for numbered in islice(self._sync or (), 0 if self.stopped else count):
            items.append(numbered)
            count -= 1
            if self.stopped:
                break
        return not (count or self.stopped)

    async def get(self) -> tuple[int, Item] | None:
        """Return the same for an async input."""
        async with self._lock:
            if self.stopped or self._async is None:
                return None
            self._reader = asyncio.current_task()
            self._limit_wait()
            try:
                item = await anext(self._async)
            except StopAsyncIteration:
                self._async = None
                return None
            finally:
                self._reader = None
                if self._timer is not None:
                    self._timer.cancel()
            self._read += 1
            return self._read - 1, item

    def stop(self) -> None:
        """Return no further message, and cancel the wait for one."""
        self.stopped = True
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()

    def drain(self, timeout: float) -> None:
        """Stop from this call on if the next message takes longer than `timeout` seconds."""
        self._drain_timeout = timeout
        self._limit_wait()

    def remaining(self) -> Iterable[tuple[int, Item]]:
        """Read the messages that no worker got, if the input has a length: another input may have no end."""
        while self.length is not None and self._sync is not None:
            try:
                numbered = next(self._sync, None)
            except Exception:
                # The run has ended already: an unreadable message is not in its report.
                return
            if numbered is None:
                return
            yield numbered

    def _limit_wait(self) -> None:
        if self._reader is not None and self._drain_timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(self._drain_timeout, self.stop)
