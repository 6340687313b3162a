"""How a run is shown while it is under way: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from callbell_async.cli.output import pluralize, is_terminal, escape_control, info
from callbell_async.cli.row_results import Counts

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["BarView", "LineView", "View", "view_for"]

LINE_EVERY = 5.0
"""Seconds between two plain lines: enough to see it move in a log, few enough to read."""

_ROOM_FOR_RATE = 30
_ROOM_FOR_BAR = 60
"""Columns of a terminal that the numbers of a million messages leave room in."""


class View(Protocol):
    """What shows a run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, counts: Counts) -> None:
        """Show how far it is."""

    def info(self, line: str) -> None:
        """A line for people, above or beside the progress."""


def view_for(total: int | None) -> View:
    """A bar where standard error is a terminal, plain lines where it is none; `total` is how many there are, where that is known."""
    if not is_terminal(sys.stderr):
        return LineView(total)
    from rich.console import Console

    return BarView(Console(stderr=True), total)


class LineView:
    """Plain lines on standard error, one every few seconds."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._began_at = clock()
        self._next_at = self._began_at + LINE_EVERY

    def __enter__(self) -> Self:
        self.say("sending messages" if self._total is None else f"sending {pluralize(self._total, 'message')}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def show(self, counts: Counts) -> None:
        """Say how far it is, if it is time."""
        now = self._clock()
        if now < self._next_at:
            return
        self._next_at = now + LINE_EVERY
        rate = counts.total / (now - self._began_at)
        done, left = f"{counts.total}", ""
        if self._total is not None:
            done, left = f"{counts.total} of {self._total}", f", {_time(max(0, self._total - counts.total) / rate)} left"
        self.say(f"{done} done, {rate:.0f} a second{left}: {counts.words()}")

    def info(self, line: str) -> None:
        """A line of its own."""
        info(escape_control(line))


class BarView:
    """A bar with the rate and the time left, and the counts by outcome below it."""

    def __init__(self, console: Console, total: int | None) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class RateColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:.0f}/s")

        class TwoLines(Progress):
            # All in one line would leave no room for the bar where a terminal is narrow.
            def get_renderables(self) -> Iterable[RenderableType]:
                yield from super().get_renderables()
                yield Text(_fitting(counts[0], console.width), no_wrap=True, overflow="ellipsis")

        counts = self._counts = [""]
        # A number that is cut would be another number: what has no room is left out.
        columns: list[ProgressColumn] = [MofNCompleteColumn()]
        if console.width >= _ROOM_FOR_RATE:
            columns += [RateColumn(), TimeRemainingColumn()]
        if console.width >= _ROOM_FOR_BAR:
            columns = [TextColumn("sending"), BarColumn(), *columns]
        self._progress = TwoLines(
            *columns,
            console=console,
            # Results that go into a file or a pipe must not be taken along to the terminal.
            redirect_stdout=is_terminal(sys.stdout),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, counts: Counts) -> None:
        """Move the bar; it is drawn a few times a second, however often this is called."""
        self._counts[0] = counts.words()
        self._progress.update(self._task, completed=counts.total)

    def info(self, line: str) -> None:
        """A line above the bar."""
        self._progress.console.print(escape_control(line), markup=False, highlight=False)


def _fitting(counts: str, width: int) -> str:
    """As many of the counts, from the first on, as there is room for."""
    while len(counts) > width and ", " in counts:
        counts = counts.rpartition(", ")[0]
    return counts


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
