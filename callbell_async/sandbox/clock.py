"""The sandbox's calendar, and the forms in which Callbell writes dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

__all__ = ["START", "Calendar", "MovableClock", "is_writable", "local", "local_millis", "utc", "utc_millis"]

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""The date when a sandbox begins, by default. It is the same in every run, so that responses can be compared."""

_CALLBELL_TIME = timezone(timedelta(hours=1))


class MovableClock:
    """A clock that can be moved forward.

    Args:
        clock: Returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return the seconds of the clock, and how far it was moved."""
        return self._clock() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._ahead += seconds


class Calendar:
    """The date that belongs to a clock.

    Args:
        clock: Returns seconds that only grow.
        start: The date of the clock's time now.
    """

    def __init__(self, clock: Callable[[], float], start: datetime = START) -> None:
        self._clock = clock
        self._zero = clock()
        self._start = start

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._zero

    def now(self) -> datetime:
        """Return the current date."""
        return self.after(self.elapsed())

    def reaches(self, seconds: float) -> bool:
        """Return whether the clock can be moved forward by these seconds: dates end with the year 9999."""
        try:
            return is_writable(self.after(self.elapsed() + seconds))
        except OverflowError:
            return False

    def after(self, seconds: float) -> datetime:
        """Return the date some seconds after the start."""
        return self._start + timedelta(seconds=seconds)


def is_writable(date: datetime) -> bool:
    """Return whether a date, and those some hours before and after it, can be written in any time zone."""
    return 1 < date.year < 9999


def utc(date: datetime) -> str:
    """Format a date as `2020-11-13T21:08:53Z`: contacts, messages, templates, teams, members, webhook events."""
    return f"{date.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def utc_millis(date: datetime) -> str:
    """Format a date as `2022-10-17T15:15:06.095Z`: a deleted contact."""
    return f"{date.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def local(date: datetime) -> str:
    """Format a date as `2025-12-18 20:00:19 +0100`: custom statuses, funnels, webhooks."""
    return f"{date.astimezone(_CALLBELL_TIME):%Y-%m-%d %H:%M:%S %z}"


def local_millis(date: datetime) -> str:
    """Format a date as `2024-11-26T20:14:40.649+01:00`: a user's status, the event of a message."""
    return date.astimezone(_CALLBELL_TIME).isoformat(timespec="milliseconds")
