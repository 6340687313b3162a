"""Measurement in short slices that take turns, because the speed of a machine may change by half within a minute."""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import attrs

from tests.benchmarks.contenders import Contender
from tests.benchmarks.spread import Spread

__all__ = [
    "Options",
    "Slice",
    "Spread",
    "cpu_ratio",
    "measure",
    "more_cpu",
    "paired",
    "rounds",
    "started",
]

K = TypeVar("K")


@attrs.frozen
class Options:
    """The size of a measurement.

    Attributes:
        seconds: Seconds of measuring each contender, or of sending at the rate limit.
        messages: Messages in the longest run.
        concurrency: Messages in flight, where it is not the subject.
        loops: The event loops: `plain`, `uvloop`.
    """

    seconds: float = 10.0
    messages: int = 100_000
    concurrency: int = 50
    loops: tuple[str, ...] = ("plain", "uvloop")

    def slices(self, slice_seconds: float) -> int:
        """Return the number of slices of this length for each contender."""
        return max(3, round(self.seconds / slice_seconds))


@attrs.frozen
class Slice:
    """The cost of sending a number of messages.

    Attributes:
        count: The number of messages.
        cpu: CPU seconds of this process: all threads, kernel included.
        wall: Seconds on the clock.
    """

    count: int
    cpu: float
    wall: float

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per message."""
        return self.cpu / self.count * 1e6

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.count / self.wall


def measure(count: int, send: Callable[[int], int]) -> Slice:
    """Send this number of messages, which must all be accepted. The garbage of the slice before is collected first, and is not measured."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    accepted = send(count)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if accepted != count:
        raise AssertionError(f"{accepted} of {count} messages were accepted")
    return Slice(count, cpu, wall)


@contextlib.contextmanager
def started(contenders: Mapping[K, Contender]) -> Iterator[Mapping[K, Contender]]:
    """Start the contenders, and stop them at the end."""
    with contextlib.ExitStack() as stack:
        for contender in contenders.values():
            contender.start()
            stack.callback(contender.stop)
        yield contenders


def rounds(
    contenders: Mapping[K, Contender], *, slices: int, seconds: float = 0.1, count: int | None = None
) -> dict[K, list[Slice]]:
    """Measure the contenders in turns, and return their slices. The first round is dropped.

    The order of each round is random, from a seed. In a fixed order, a contender that leaves the caches cold would always slow
    down the same one after it.

    Args:
        contenders: The contenders, started.
        slices: The number of slices for each.
        seconds: The approximate CPU time of a slice.
        count: The number of messages in a slice, the same for all, instead of a CPU time.
    """
    counts = {key: count or _count_for(contender, seconds) for key, contender in contenders.items()}
    found: dict[K, list[Slice]] = {key: [] for key in contenders}
    keys = list(contenders)
    order = random.Random(1)
    # The many objects of one library would make every garbage collection slow, also those of the others.
    gc.freeze()
    try:
        for number in range(slices + 1):
            order.shuffle(keys)
            for key in keys:
                taken = measure(counts[key], contenders[key].send)
                if number:
                    found[key].append(taken)
    finally:
        gc.unfreeze()
    return found


def paired(left: Sequence[Slice], right: Sequence[Slice], of: Callable[[Slice, Slice], float]) -> Spread:
    """Return the spread of a comparison, round by round."""
    return Spread.of(of(one, other) for one, other in zip(left, right, strict=True))


def cpu_ratio(left: Sequence[Slice], right: Sequence[Slice]) -> Spread:
    """Return the CPU time per message, divided by that of the other."""
    return paired(left, right, lambda one, other: one.cpu_us / other.cpu_us)


def more_cpu(left: Sequence[Slice], right: Sequence[Slice]) -> Spread:
    """Return the CPU microseconds per message that are more than those of the other."""
    return paired(left, right, lambda one, other: one.cpu_us - other.cpu_us)


def _count_for(contender: Contender, seconds: float) -> int:
    """Return the number of messages that cost this CPU time, a multiple of the number of workers. It also opens the connections."""
    turn = contender.setup.concurrency
    measure(turn, contender.send)
    first = measure(turn * 2, contender.send)
    # Enough messages for a good estimate, and no more than a tenth of a slice costs.
    count = max(turn * 2, round(seconds / 10 / first.cpu * first.count / turn) * turn)
    cost = min(measure(count, contender.send).cpu / count for _ in range(2))
    return max(turn, round(seconds / cost / turn) * turn)
