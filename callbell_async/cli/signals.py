"""Ctrl-C, and SIGTERM: the first ends a run in good order, the second at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from callbell_async.cli.exit_codes import INTERRUPTED, TERMINATED

__all__ = ["Interrupts"]


class Interrupts:
    """Cancels a task with the first signal and again with the second; a third one ends the program where it stands.

    Use it around the event loop, `watch` from within the task, and `release` once nothing is left to cancel: what
    comes after, such as closing a journal, is let to its end.
    """

    def __init__(self) -> None:
        self.count = 0
        self._status = INTERRUPTED
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_first: Callable[[], None] = lambda: None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._met)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int | None:
        """The exit status of a program that was interrupted; `None` if it was not."""
        return self._status if self.count else None

    def watch(self, on_first: Callable[[], None]) -> None:
        """From now on the running task is what is cancelled; `on_first` is called then."""
        self._loop, self._task, self._on_first = asyncio.get_running_loop(), asyncio.current_task(), on_first
        if self.count:
            self._loop.call_soon(self._cancel, 1)

    def release(self) -> None:
        """From now on nothing is cancelled, and what was is over."""
        task, self._task = self._task, None
        while task is not None and task.cancelling():
            task.uncancel()

    def _met(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.count += 1
        if number == signal.SIGTERM:
            self._status = TERMINATED
        if self.count > 2:
            raise KeyboardInterrupt
        if self._loop is not None and self._task is not None:
            # Not here: the signal may have come in the middle of anything, such as a line being written.
            self._loop.call_soon_threadsafe(self._cancel, self.count)

    def _cancel(self, count: int) -> None:
        if self._task is None or self._loop is None:
            return
        if count > 1:
            # Not before the task has met the first one, which may be as fresh: two cancellations at once are one to it.
            self._loop.call_soon(self._cancel_again)
            return
        self._task.cancel()
        # What it says may be what the second signal waits for.
        self._loop.call_soon(self._on_first)

    def _cancel_again(self) -> None:
        if self._task is not None:
            self._task.cancel()
