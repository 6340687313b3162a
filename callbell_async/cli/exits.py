"""How the program ends: its exit statuses, and the signals, of which the first ends a command in order and the second at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    import asyncio
    import logging

__all__ = [
    "DONE",
    "HUNG_UP",
    "INTERRUPTED",
    "JOURNAL_UNUSABLE",
    "NOT_ALL_DONE",
    "TERMINATED",
    "WRONG_USE",
    "ShutdownSignals",
    "exit_on_signals",
]

# docs/reference/exit-codes.md lists them for users.
DONE = 0
"""Everything was done; of messages: all were accepted, now or before."""
NOT_ALL_DONE = 1
"""A message was not accepted, Callbell refused a request, or no response came."""
WRONG_USE = 2
"""An option, a file or the token is wrong; nothing was done."""
JOURNAL_UNUSABLE = 3
"""The journal is in use by another process, damaged, not a journal, or can't be written."""
HUNG_UP = 129
"""Ended by SIGHUP: the terminal was closed."""
INTERRUPTED = 130
"""Ended by SIGINT (Ctrl-C), with the number that shells use."""
TERMINATED = 143
"""Ended by SIGTERM."""

_NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Ctrl-C, `kill`, and a closed terminal. Windows has no SIGHUP."""


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """End the program with the status of a shell (128 + the signal's number) while no command handles signals itself.

    Python does this for SIGINT already, by KeyboardInterrupt.
    """
    before = {}
    for number in _handled():
        if number != signal.SIGINT:
            before[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        _restore(before)


class ShutdownSignals:
    """Cancels a task at the first signal and again at the second; the third one raises KeyboardInterrupt.

    Use it around the event loop, and `cancelling` inside the task. Signals that are ignored when the block is entered, as
    `nohup` and background jobs of a shell script have it, stay ignored.

    Attributes:
        count: The number of signals so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: int | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_first: Callable[[], None] = _nothing
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _handled():
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _restore(self._before)

    @property
    def status(self) -> int | None:
        """The exit status of a program that a signal ended; `None` if no signal came."""
        return None if self._first is None else 128 + self._first

    @contextmanager
    def cancelling(self, on_first: Callable[[], None] | None = None) -> Iterator[None]:
        """Let a signal cancel the running task inside this block, and end the cancellation with the block.

        `on_first` is called after the first signal. Code behind the block, such as closing a journal, is not cancelled.
        """
        # Imported here: a signal that comes while the program starts is handled before this takes its time.
        import asyncio

        self._loop, self._task, self._on_first = (
            asyncio.get_running_loop(),
            asyncio.current_task(),
            on_first or _nothing,
        )
        if self.count:
            self._loop.call_soon(self._cancel, 1)
        try:
            yield
        except asyncio.CancelledError:
            if not self.count:
                raise
        finally:
            task, self._task = self._task, None
            while task is not None and task.cancelling():
                task.uncancel()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.count += 1
        self._first = self._first or number
        if self.count > 2:
            _hide_tracebacks()
            raise KeyboardInterrupt
        if self._loop is not None and self._task is not None:
            # Not here: the signal may interrupt anything, such as a write to a file.
            self._loop.call_soon_threadsafe(self._cancel, self.count)

    def _cancel(self, count: int) -> None:
        if self._task is None or self._loop is None:
            return
        if count > 1:
            # Later, so that the task sees the first cancellation: two at once count as one.
            self._loop.call_soon(self._cancel_again)
            return
        self._task.cancel()
        # After the task: `on_first` may be what makes the user send the second signal.
        self._loop.call_soon(self._on_first)

    def _cancel_again(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _handled() -> list[int]:
    """The signals to handle: none outside the main thread, where Python refuses it, and none that is ignored."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    _hide_tracebacks()
    raise SystemExit(128 + number)


def _hide_tracebacks() -> None:
    """Let the event loop report no task that ends the program: the exception may be raised in any task, which nobody awaits then."""
    # Not imported: while the program starts, the signal may come in the middle of an import. Then there is no logger, and no task.
    logger: logging.Logger | None = getattr(sys.modules.get("asyncio.log"), "logger", None)
    if logger is not None:
        logger.addFilter(_is_no_exit)


def _is_no_exit(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt | SystemExit))


def _nothing() -> None:
    """For a command that needs no notice of the first signal."""
