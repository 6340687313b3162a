"""Event loops whose time the test decides, so that nothing sleeps and no test depends on how fast the machine is."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class AdvancingLoop(asyncio.SelectorEventLoop):
    """Real sockets, and real time that a test can push forward: `loop.advance(30)` lets every timeout of 30 seconds expire."""

    def __init__(self) -> None:
        super().__init__()
        self._pushed = 0.0

    def time(self) -> float:
        """Real time and what was pushed."""
        return super().time() + self._pushed

    def advance(self, seconds: float) -> None:
        """Let so much time go by at once."""
        self._pushed += seconds
        # The selector may be asleep until a timer of the old time.
        self.call_soon_threadsafe(lambda: None)


class _JumpingSelector(selectors.DefaultSelector):
    """Where a real selector would sleep, time jumps instead."""

    now = 1_000_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """What is ready; if nothing is, the time is later."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and no timer is set: in virtual time this would last for ever")
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """No sockets, and no real time: when all tasks wait, the clock jumps to the next timer. Hours pass in milliseconds."""

    def __init__(self) -> None:
        self._virtual_clock = _JumpingSelector()
        super().__init__(self._virtual_clock)

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._virtual_clock.now


def current_loop() -> AdvancingLoop:
    """The running test's loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, AdvancingLoop)
    return loop
