"""How a run is shown while it is under way: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["BarView", "LineView", "View", "view_for"]

LINE_EVERY = 5.0
"""Seconds between two plain lines: enough to see it move in a log, few enough to read."""


class View(Protocol):
    """What shows a run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, *, done: int, failed: int) -> None:
        """So many are done by now, and so many of them were not accepted."""

    def say(self, line: str) -> None:
        """A line for people, above or beside the progress."""


def view_for(console: Console, total: int) -> View:
    """A bar where there is a terminal, plain lines where there is none."""
    return BarView(console, total) if console.is_terminal else LineView(total)


class LineView:
    """Plain lines on standard error, one every few seconds."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._next_at = clock() + LINE_EVERY

    def __enter__(self) -> Self:
        self.say(f"sending {self._total} messages")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def show(self, *, done: int, failed: int) -> None:
        """Say how far it is, if it is time."""
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + LINE_EVERY
            self.say(f"{done} of {self._total} done, {failed} not accepted")

    def say(self, line: str) -> None:
        """A line of its own."""
        click.echo(line, err=True)


class BarView:
    """A bar with the rate, the time left and the failures."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("sending"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]} not accepted"),
            console=console,
        )
        self._task = self._progress.add_task("", total=total, failed=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, *, done: int, failed: int) -> None:
        """Move the bar; it is drawn a few times a second, however often this is called."""
        self._progress.update(self._task, completed=done, failed=failed)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f}/s")
