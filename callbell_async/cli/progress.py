"""The progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from callbell_async.cli.output import escape_control, info, is_terminal, pluralize
from callbell_async.cli.results import Counts

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["BarView", "LineView", "View", "view_for"]

LINE_EVERY = 5.0
"""Seconds between two plain lines: a log shows that the run proceeds, and stays readable."""

_ROOM_FOR_PACE = 45
_ROOM_FOR_BAR = 75
_BAR_WIDTH = 20
"""Columns of a terminal in which the numbers of a million messages fit besides the bar."""


class View(Protocol):
    """Shows a run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, counts: Counts, paused_for: float | None = None) -> None:
        """Show the progress; `paused_for` are the seconds for which the run has been waiting for Callbell to come back."""

    def info(self, line: str) -> None:
        """Show a line for people, above or beside the progress."""


def view_for(total: int | None) -> View:
    """A bar where standard error is a terminal, else plain lines; `total` is the number of rows, if it is known."""
    if not is_terminal(sys.stderr):
        return LineView(total)
    from rich.console import Console

    return BarView(Console(stderr=True), total)


class Pace:
    """The rate of a run and the time that it still needs."""

    def __init__(self, total: int | None, clock: Callable[[], float]) -> None:
        self._total = total
        self._clock = clock
        self._started_at = clock()

    def words(self, counts: Counts, paused_for: float | None) -> str:
        """Messages per second and the time left, or for how long the run has been paused."""
        if paused_for is not None:
            return f"paused for {_time(paused_for)} (outage)"
        rate = counts.rate(self._clock() - self._started_at)
        left = "" if self._total is None or not rate else f", {_time((self._total - counts.total) / rate)} left"
        return f"{rate:.0f} a second{left}"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class LineView:
    """Plain lines on standard error, one every few seconds."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._pace = Pace(total, clock)
        self._next_at = clock() + LINE_EVERY

    def __enter__(self) -> Self:
        self.info("sending messages" if self._total is None else f"sending {pluralize(self._total, 'message')}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def show(self, counts: Counts, paused_for: float | None = None) -> None:
        """Write a line, unless the last one is too recent."""
        now = self._clock()
        if now < self._next_at:
            return
        self._next_at = now + LINE_EVERY
        done = f"{counts.total}" if self._total is None else f"{counts.total} of {self._total}"
        self.info(f"{done} done, {self._pace.words(counts, paused_for)}: {counts.words()}")

    def info(self, line: str) -> None:
        """Write a line of its own."""
        info(line)


class BarView:
    """A bar with the rate and the time left, and the counts by outcome below it."""

    def __init__(self, console: Console, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
        from rich.text import Text

        class TwoLines(Progress):
            # On one line there would be no room for the bar on a narrow terminal.
            def get_renderables(self) -> Iterable[RenderableType]:
                yield from super().get_renderables()
                yield Text(_fitting(counts[0], console.width), no_wrap=True, overflow="ellipsis")

        counts = self._counts = [""]
        # A number that is cut would be another number: a column without room is left out.
        columns: list[ProgressColumn] = [MofNCompleteColumn()]
        if console.width >= _ROOM_FOR_PACE:
            columns.append(TextColumn("{task.fields[pace]}", markup=False))
        if console.width >= _ROOM_FOR_BAR:
            columns = [TextColumn("sending"), BarColumn(_BAR_WIDTH), *columns]
        self._progress = TwoLines(
            *columns,
            console=console,
            # Results that go into a file or a pipe must not appear on the terminal.
            redirect_stdout=is_terminal(sys.stdout),
        )
        self._pace = Pace(total, clock)
        self._task = self._progress.add_task("", total=total, pace="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _closed_terminal_ignored():
            self._progress.stop()

    def show(self, counts: Counts, paused_for: float | None = None) -> None:
        """Move the bar, which is drawn a few times a second, however often this is called."""
        self._counts[0] = counts.words()
        self._progress.update(self._task, completed=counts.total, pace=self._pace.words(counts, paused_for))

    def info(self, line: str) -> None:
        """Write a line above the bar."""
        with _closed_terminal_ignored():
            self._progress.console.print(escape_control(line), markup=False, highlight=False)


def _closed_terminal_ignored() -> contextlib.AbstractContextManager[None]:
    """A terminal that was closed shows nothing any more, and the run must still end in order."""
    return contextlib.suppress(OSError)


def _fitting(counts: str, width: int) -> str:
    """As many of the counts as there is room for, from the first."""
    while len(counts) > width and ", " in counts:
        counts = counts.rpartition(", ")[0]
    return counts
