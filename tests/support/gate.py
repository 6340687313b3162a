"""A gate in front of the sandbox's responses, for tests that need a number of requests in flight."""

from __future__ import annotations

import asyncio
import threading

from callbell_async.sandbox import Sandbox, faults

__all__ = ["Gate"]


class Gate:
    """Holds the responses to all messages after the first ones until it is opened."""

    def __init__(self, sandbox: Sandbox, *, after: int) -> None:
        self._read = threading.Semaphore(0)
        self._open = asyncio.Event()
        self._loops: list[asyncio.AbstractEventLoop] = []
        sandbox.inject(
            faults.no_response(self._note, until=self._open), when=lambda request: len(sandbox.messages) >= after
        )

    def wait_for(self, count: int) -> None:
        """Return when this number of messages wait for their response."""
        for _ in range(count):
            self._read.acquire()

    def open(self) -> None:
        """Send these responses and all further ones."""
        self._loops[0].call_soon_threadsafe(self._open.set)

    def _note(self) -> None:
        self._loops.append(asyncio.get_running_loop())
        self._read.release()
