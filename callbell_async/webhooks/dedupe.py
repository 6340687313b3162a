"""The keys of recent events."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["SeenKeys"]


class SeenKeys:
    """The keys that were added within the last `seconds`, at most the newest `size` of them.

    `now` is in seconds of a clock that never goes back.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        # In the order of their times. A plain dict is slow when its first key is removed again and again.
        self._seen_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen_at)

    def holds(self, key: str, now: float) -> bool:
        """Return whether this key was added recently."""
        self._remove_before(now - self._seconds)
        return key in self._seen_at

    def add(self, key: str, now: float) -> None:
        """Add a key; its time starts again if it is there already."""
        self._seen_at[key] = now
        self._seen_at.move_to_end(key)
        if len(self._seen_at) > self._size:
            self._seen_at.popitem(last=False)

    def _remove_before(self, moment: float) -> None:
        while self._seen_at:
            key, seen_at = next(iter(self._seen_at.items()))
            if seen_at > moment:
                return
            del self._seen_at[key]
