"""The output of a run: its results on their way to `async for`, and its reports to the log and to the observers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from callbell_async.errors import Outcome
from callbell_async.guarded_observers import Observers
from callbell_async.models.results import SendResult
from callbell_async.observe import RunInfo, RunSummary, area_logger

__all__ = ["ResultQueue", "RunWatch"]


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


_log = area_logger("bulk")


class RunWatch:
    """Reports the moments of one run.

    Attributes:
        info: The run, for its observers.
        observers: The observers; `None` without any, and before the run starts.
        message_observers: The observers if one of them sees the end of each message; `None` otherwise.
    """

    def __init__(self, *, messages: int | None, has_journal: bool) -> None:
        self.info = RunInfo(messages=messages, has_journal=has_journal)
        self.observers: Observers | None = None
        self.message_observers: Observers | None = None
        self._paused_at = 0.0
        self._has_ended = False

    def started(self, observers: Observers | None) -> None:
        """The run begins."""
        self.observers = observers
        self.message_observers = observers if observers is not None and observers.see_messages else None
        self._notify("run_started")

    def paused(self) -> None:
        """The run pauses because of an outage."""
        self._paused_at = asyncio.get_running_loop().time()
        _log.warning(
            "a run of send_many pauses: Callbell can't be reached", extra={"callbell.messages": self.info.messages}
        )
        self._notify("run_paused")

    def resumed(self) -> None:
        """The pause has ended."""
        seconds = asyncio.get_running_loop().time() - self._paused_at
        _log.info("the pause of a run of send_many ended after %.3f s", seconds, extra={"callbell.wait": seconds})
        self._notify("run_resumed", seconds)

    def stopped(self, error: BaseException) -> None:
        """An error stops the run."""
        name = type(error).__name__
        _log.warning("%s stops a run of send_many: the rest of its input is skipped", name, extra={"error.type": name})
        self._notify("run_stopped", name)

    def ended(self, counts: Mapping[str, int], *, duplicates: int, seconds: float, error: BaseException | None) -> None:
        """The run has ended, with these numbers of results by outcome; called again, it does nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        numbers = {outcome.value: counts.get(outcome.value, 0) for outcome in Outcome}
        summary = RunSummary(
            **numbers, duplicates=duplicates, seconds=seconds, error=None if error is None else type(error).__name__
        )
        _log.info(
            "a run of send_many ended after %.3f s: %d accepted, %d rejected, %d never sent, %d unknown, %d skipped",
            seconds,
            *numbers.values(),
            extra={f"callbell.{outcome}": number for outcome, number in numbers.items()},
        )
        self._notify("run_ended", summary)

    def _notify(self, moment: str, *arguments: object) -> None:
        if self.observers is not None:
            self.observers.notify(moment, self.info, *arguments)
