"""The limit of requests in a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["RequestWindow"]


class RequestWindow:
    """At most `limit` requests in any window of one second; what is refused does not count."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        """Whether a request that comes now is within the limit."""
        now = self._clock()
        while self._taken and now - self._taken[0] > 1.0:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            return False
        self._taken.append(now)
        return True
