"""Which events have been seen of late."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["SeenKeys"]


class SeenKeys:
    """The keys seen within the last `seconds`, the newest `size` of them at the most; `size` 0 forgets at once.

    `now`, in seconds of a clock that only grows, is given with every call.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        # In the order of their times. A plain dict is slow to lose its first key again and again.
        self._seen_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen_at)

    def holds(self, key: str, now: float) -> bool:
        """Whether this key has been seen."""
        self._forget_before(now - self._seconds)
        return key in self._seen_at

    def add(self, key: str, now: float) -> None:
        """See a key, from now on."""
        self._seen_at[key] = now
        self._seen_at.move_to_end(key)
        if len(self._seen_at) > self._size:
            self._seen_at.popitem(last=False)

    def _forget_before(self, moment: float) -> None:
        while self._seen_at:
            key, seen_at = next(iter(self._seen_at.items()))
            if seen_at > moment:
                return
            del self._seen_at[key]
