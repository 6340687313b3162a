"""Measurement in short slices that take turns, because the speed of a machine may change by half within a minute."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs

from tests.benchmarks.contenders import Contender
from tests.benchmarks.servers import Server

K = TypeVar("K")


@attrs.frozen
class Slice:
    """The cost of sending a number of messages.

    Attributes:
        count: The number of messages.
        cpu: CPU seconds of this process: all threads, kernel included.
        wall: Seconds on the clock.
        server_cpu: CPU seconds of the server; 0 if it is not known.
    """

    count: int
    cpu: float
    wall: float
    server_cpu: float = 0.0

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per message."""
        return self.cpu / self.count * 1e6

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.count / self.wall


@attrs.frozen
class Spread:
    """A median with its error and its quartiles: the true median is within `error` of it in 95 of 100 cases."""

    median: float
    error: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of one or more values."""
        values = sorted(values)
        size = len(values)
        # The ranks between which the true median lies, for any distribution.
        reach = 0.98 * math.sqrt(size)
        first = max(0, math.floor(size / 2 - reach))
        last = min(size - 1, math.ceil(size / 2 + reach))
        if size == 1:
            return cls(values[0], 0.0, values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, (values[last] - values[first]) / 2, low, high)

    def text(self, digits: int) -> str:
        """Return median, error and quartiles, such as `1.05 ±0.01 (1.02-1.09)`."""
        return f"{self.median:.{digits}f} ±{self.error:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"

    def verdict(self, *, at_most: float = math.inf, at_least: float = -math.inf) -> str:
        """Return whether the median is within the bound, or too close to it to decide, and the figures."""
        distance = min(at_most - self.median, self.median - at_least)
        result = "too close to tell" if abs(distance) <= self.error else "met" if distance > 0 else "missed"
        return f"{result}, {self.text(2)}"


def measure(count: int, send: Callable[[int], int], server: Server | None = None) -> Slice:
    """Send this number of messages, which must all be accepted. The garbage of the slice before is collected first, and is not measured."""
    gc.collect()
    server_cpu = server.cpu_seconds() if server else 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    accepted = send(count)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if server:
        server_cpu = server.cpu_seconds() - server_cpu
    if accepted != count:
        raise AssertionError(f"{accepted} of {count} messages were accepted")
    return Slice(count, cpu, wall, server_cpu)


def rounds(
    contenders: Mapping[K, Contender],
    *,
    slices: int,
    seconds: float,
    server: Server | None = None,
    same_count: bool = False,
) -> dict[K, list[Slice]]:
    """Measure the contenders in turns, and return their slices. The first round is dropped.

    The order of each round is random, from a seed. In a fixed order, a contender that leaves the caches cold would always slow
    down the same one after it.

    Args:
        contenders: The contenders, started.
        slices: The number of slices for each.
        seconds: The approximate length of a slice.
        server: The server, to measure its CPU time as well.
        same_count: Whether all send the number of messages that the slowest can send.
    """
    counts = {key: _count_for(contender, seconds) for key, contender in contenders.items()}
    if same_count:
        counts = dict.fromkeys(counts, min(counts.values()))
    found: dict[K, list[Slice]] = {key: [] for key in contenders}
    keys = list(contenders)
    order = random.Random(1)
    for number in range(slices + 1):
        order.shuffle(keys)
        for key in keys:
            taken = measure(counts[key], contenders[key].send, server)
            if number:
                found[key].append(taken)
    return found


def paired(left: Sequence[Slice], right: Sequence[Slice], of: Callable[[Slice], float]) -> Spread:
    """Return the ratio of left to right, round by round."""
    return Spread.of(of(one) / of(other) for one, other in zip(left, right, strict=True))


def _count_for(contender: Contender, seconds: float) -> int:
    """Return the number of messages that take this time, a multiple of the number of workers. It also opens the connections."""
    turn = contender.setup.concurrency
    measure(turn, contender.send)
    # The best of three, because the machine may be busy for a moment.
    rate = max(measure(turn * 2, contender.send).rate for _ in range(3))
    count = max(turn, round(rate * seconds / turn) * turn)
    rate = max(measure(count, contender.send).rate for _ in range(3))
    return max(turn, round(rate * seconds / turn) * turn)
