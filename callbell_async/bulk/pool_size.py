"""The number of workers of a run: at its start, and while it sends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from callbell_async.http.requests import Countdown

__all__ = ["FIRST_WORKERS", "MAX_WORKERS", "PoolGrowth", "worker_range", "workers_to_add"]

FIRST_WORKERS = 50
"""The number of workers at the start of a run, if the caller sets no number."""

MAX_WORKERS = 300
"""The largest number to which a run adds workers: enough for 300 requests a second with responses after one second."""

ENOUGH_RATE = 300
"""Callbell's limit in requests a second. A pool that sends more needs no more workers."""

LOOK_AFTER = 0.1
"""Seconds between the time when all workers are busy and the decision to add some."""


def worker_range(
    concurrency: int | None, *, messages: int | None, connections: float, has_rate_limit: bool
) -> tuple[int, int]:
    """Return the number of workers at the start of a run, and the most workers.

    More workers than connections would hold slots while they wait for one. Without a rate limiter nothing shows how many
    requests the server can take. An empty input has one worker, which finds its end.

    Args:
        concurrency: The number that the caller sets, if any.
        messages: The number of messages, if it is known.
        connections: The most connections.
        has_rate_limit: Whether there is a rate limiter.
    """
    first, most = FIRST_WORKERS, MAX_WORKERS if has_rate_limit else FIRST_WORKERS
    if concurrency is not None:
        first = most = concurrency
        connections = math.inf
    bound = min(connections, math.inf if messages is None else max(1, messages))
    return int(min(first, bound)), int(min(most, bound))


def workers_to_add(workers: int, most: int, results: int) -> int:
    """Return the number of workers to add to a pool that was busy for `LOOK_AFTER` seconds, in which it had this number of results.

    Every added worker starts one request at once, so they start at most `ENOUGH_RATE` requests a second. Where responses come
    so fast that the present workers suffice, none is added.
    """
    return max(0, min(most - workers, round(ENOUGH_RATE * LOOK_AFTER) - results))


class PoolGrowth:
    """Adds workers to a pool while all of them are busy: then the rate limiter has free slots. It costs nothing per message.

    Args:
        idle: Counts the idle workers of the pool. A worker that has ended because the input has stays idle.
        add_worker: Adds one worker.
        may_add: Whether a worker may be added now.
        results: Returns the number of results so far.
    """

    def __init__(
        self,
        idle: Countdown,
        *,
        add_worker: Callable[[], None],
        may_add: Callable[[], bool],
        results: Callable[[], int],
    ) -> None:
        self._idle = idle
        self._add_worker = add_worker
        self._may_add = may_add
        self._results = results
        self._workers = self._most = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, first: int, most: int) -> None:
        """Add the first workers, and others later."""
        self._most = most
        self._add(first)

    def stop(self) -> None:
        """Add no further worker."""
        self._idle.on_mark = None
        if self._timer is not None:
            self._timer.cancel()

    def _add(self, count: int) -> None:
        for _ in range(count):
            self._add_worker()
        self._workers += count
        self._idle.count += count
        self._idle.on_mark = self._wait if self._workers < self._most else None

    def _wait(self) -> None:
        """The last idle worker has started a call: check after `LOOK_AFTER` whether all of them are still busy."""
        self._idle.on_mark = None
        self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER, self._look, self._results())

    def _look(self, results_before: int) -> None:
        is_busy = not self._idle.count and self._may_add()
        self._add(workers_to_add(self._workers, self._most, self._results() - results_before) if is_busy else 0)
