"""The paced rule: a slot is free a fixed time after its request was written, also without a response; no I/O."""

from __future__ import annotations

from collections import deque
from enum import Enum

__all__ = ["AfterEnd", "PacedSlots", "WriteRecord"]

STRICT_SECONDS = 60.0
"""The time after a 429 in which the strict rule applies."""


class _State(Enum):
    HELD = "held: the strict rule applies"
    WRITTEN = "written: free at its time, whether or not the response has come"
    RESPONDED = "written, and its response has come: free at its time"
    TRUSTED = "free before its request has ended"
    ENDED = "no longer counted here"


class AfterEnd(Enum):
    """The consequence of the end of a request."""

    RELEASE = "the strict rule applies to its slot"
    TAKE_BACK = "its slot was free too early: take one slot away, then the strict rule applies"
    NOTHING = "its slot is free, or will be in time"


class WriteRecord:
    """When the request of one slot was written, and whether the slot is free."""

    __slots__ = ("free_at", "state")

    def __init__(self) -> None:
        self.free_at = 0.0
        self.state = _State.HELD


class PacedSlots:
    """The slots whose requests were written.

    Args:
        hold: The seconds for which a slot is held after the response.
        jitter: The most by which the times from the write to the arrival at the server differ, in seconds.
    """

    def __init__(self, hold: float, jitter: float) -> None:
        self._hold = hold
        self._jitter = jitter
        self._strict_until = 0.0
        # In the order of the writes, and so of `free_at`.
        self._queue: deque[WriteRecord] = deque()
        self._trusted: set[WriteRecord] = set()

    @property
    def next_at(self) -> float | None:
        """When the next slot is free, as far as is known."""
        while self._queue and self._queue[0].state is _State.ENDED:
            self._queue.popleft()
        return self._queue[0].free_at if self._queue else None

    @property
    def times(self) -> list[float]:
        """When the slots are free, in order."""
        return [record.free_at for record in self._queue if record.state is not _State.ENDED]

    def write(self, record: WriteRecord, now: float) -> None:
        """The request of this slot was written."""
        if now >= self._strict_until:
            record.state = _State.WRITTEN
            record.free_at = now + self._hold + self._jitter
            self._queue.append(record)

    def collect(self, now: float) -> int:
        """Return the number of slots that are free since the last call."""
        count = 0
        while self._queue and self._queue[0].free_at <= now:
            record = self._queue.popleft()
            if record.state is _State.ENDED:
                continue
            count += 1
            if record.state is _State.WRITTEN:
                record.state = _State.TRUSTED
                self._trusted.add(record)
            else:
                record.state = _State.ENDED
        return count

    def end(self, record: WriteRecord, now: float, *, has_response: bool) -> AfterEnd:
        """The request of this slot has ended; `has_response` is whether any response was received."""
        state, record.state = record.state, _State.ENDED
        if state is _State.TRUSTED:
            self._trusted.discard(record)
            # It may still reach the server.
            return AfterEnd.NOTHING if has_response else AfterEnd.TAKE_BACK
        if state is _State.WRITTEN and has_response and record.free_at <= now + self._hold:
            record.state = _State.RESPONDED
            return AfterEnd.NOTHING
        return AfterEnd.RELEASE

    def be_strict(self, until: float) -> tuple[int, int]:
        """Apply the strict rule until this time, also to the requests in flight.

        Returns:
            The number of slots to take back, because their requests are in flight, and the number of slots to release now,
            because their responses have come.
        """
        self._strict_until = max(self._strict_until, until)
        with_response = 0
        for record in self._queue:
            if record.state is _State.WRITTEN:
                record.state = _State.HELD
            elif record.state is _State.RESPONDED:
                record.state = _State.ENDED
                with_response += 1
        self._queue.clear()
        in_flight = len(self._trusted)
        for record in self._trusted:
            record.state = _State.HELD
        self._trusted.clear()
        return in_flight, with_response
