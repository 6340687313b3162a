"""Event loops whose time the test controls, so that nothing sleeps and no test depends on the speed of the machine."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class AdvancingLoop(asyncio.SelectorEventLoop):
    """Real sockets, and real time that a test can advance: `loop.advance(30)` makes every timeout of 30 seconds expire."""

    def __init__(self) -> None:
        super().__init__()
        self._pushed = 0.0

    def time(self) -> float:
        """Return the real time plus the advanced seconds."""
        return super().time() + self._pushed

    def advance(self, seconds: float) -> None:
        """Advance the time at once."""
        self._pushed += seconds
        # The selector may wait for a timer of the old time.
        self.call_soon_threadsafe(lambda: None)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that advances the time instead of waiting."""

    now = 1_000_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return the events that are ready; if there are none, advance the time."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and no timer is set: in virtual time this would never end")
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop without sockets and without real time: when all tasks wait, the clock jumps to the next timer."""

    def __init__(self) -> None:
        self._virtual_clock = _JumpingSelector()
        super().__init__(self._virtual_clock)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_clock.now


def current_loop() -> AdvancingLoop:
    """Return the loop of the running test."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, AdvancingLoop)
    return loop
