"""The sandbox's calendar, and the forms in which Callbell writes dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

__all__ = ["START", "Calendar", "local", "local_millis", "utc", "utc_millis"]

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When a sandbox begins, if nobody says otherwise: the same for every run, so that answers can be compared."""

_CALLBELL_TIME = timezone(timedelta(hours=1))


class Calendar:
    """The date that goes with a clock: `start` now, and as much later as the clock will be."""

    def __init__(self, clock: Callable[[], float], start: datetime = START) -> None:
        self._clock = clock
        self._zero = clock()
        self._start = start

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._zero

    def now(self) -> datetime:
        """The date."""
        return self.after(self.elapsed())

    def after(self, seconds: float) -> datetime:
        """The date so many seconds after the start."""
        return self._start + timedelta(seconds=seconds)


def utc(date: datetime) -> str:
    """Such as `2020-11-13T21:08:53Z`: contacts, messages, templates, teams, members, webhook events."""
    return f"{date.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def utc_millis(date: datetime) -> str:
    """Such as `2022-10-17T15:15:06.095Z`: when a contact was deleted."""
    return f"{date.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def local(date: datetime) -> str:
    """Such as `2025-12-18 20:00:19 +0100`: custom statuses, funnels, webhooks."""
    return f"{date.astimezone(_CALLBELL_TIME):%Y-%m-%d %H:%M:%S %z}"


def local_millis(date: datetime) -> str:
    """Such as `2024-11-26T20:14:40.649+01:00`: a user's status, a message's event."""
    return date.astimezone(_CALLBELL_TIME).isoformat(timespec="milliseconds")
