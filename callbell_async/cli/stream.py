"""Rows that have to be waited for, without keeping the event loop waiting."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from callbell_async.cli.input_rows import Row

__all__ = ["waited_for"]

_Asked = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Row | None]"]


async def waited_for(rows: Iterator[Row]) -> AsyncIterator[Row]:
    """The rows, each read by a thread when it is asked for.

    The thread is a daemon: one that waits for a pipe can't be stopped, and must not keep the program from ending.
    """
    asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(rows, asked), name="callbell-rows", daemon=True).start()
    loop = asyncio.get_running_loop()
    try:
        while True:
            row = loop.create_future()
            asked.put((loop, row))
            if (read := await row) is None:
                return
            yield read
    finally:
        asked.put(None)


def _read(rows: Iterator[Row], asked: queue.SimpleQueue[_Asked | None]) -> None:
    while (wanted := asked.get()) is not None:
        loop, future = wanted
        settle: Callable[[], None]
        try:
            settle = functools.partial(future.set_result, next(rows, None))
        except Exception as error:
            settle = functools.partial(future.set_exception, error)
        try:
            loop.call_soon_threadsafe(_settle, future, settle)
        except RuntimeError:
            # The loop was closed meanwhile.
            return


def _settle(future: asyncio.Future[Row | None], settle: Callable[[], None]) -> None:
    # The run may have ended meanwhile.
    if not future.done():
        settle()
