"""requests: a number of threads, each with its session."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.benchmarks.contenders.base import HEADERS, Contender, payload

# It has no stubs of its own.
requests: Any = importlib.import_module("requests")


class RequestsThreads(Contender):
    """Threads, which keep their sessions open between the slices."""

    def start(self) -> None:
        """Open a pool of threads and as many sessions."""
        self._pool = ThreadPoolExecutor(self.setup.concurrency)
        self._sessions = [requests.Session() for _ in range(self.setup.concurrency)]
        for session in self._sessions:
            session.headers["Authorization"] = HEADERS["Authorization"]

    def send(self, count: int) -> int:
        """Share the messages among the threads."""
        # The iterator of a range yields each number once, whichever thread asks.
        turns = iter(range(count))
        return sum(self._pool.map(lambda session: self._work(session, turns), self._sessions))

    def _work(self, session: Any, turns: Iterator[int]) -> int:
        accepted = 0
        for index in turns:
            response = session.post(self.setup.url, json=payload(index), timeout=30.0)
            response.raise_for_status()
            accepted += bool(response.json()["message"]["uuid"])
        return accepted

    def stop(self) -> None:
        """Close the sessions and end the threads."""
        self._pool.shutdown()
        for session in self._sessions:
            session.close()
