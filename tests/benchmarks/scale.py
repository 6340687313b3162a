"""The CPU time per message with more messages, and with more messages in flight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.benchmarks.contenders import Contender, Setup, build
from tests.benchmarks.measure import Options, Slice, cpu_ratio, measure, rounds, started
from tests.benchmarks.report import Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import accepting_server
from tests.benchmarks.spread import Spread

SIZES = (1_000, 10_000, 100_000, 1_000_000)
CONCURRENCIES = (1, 10, 100, 1_000)

SIZED = ("floor", "send_many, async for", "send_many, journal")
"""The contenders that need no memory for each message."""
CONCURRENT = ("floor", "send_many", "send, gather", "send_many, journal", "naive aiohttp")

FLOOR_MESSAGES = 20_000
"""The floor has no start and no end: it sends at most this number beside each longer run."""
REPEATED_MESSAGES = 20_000
"""Short runs are repeated until they have sent this number of messages."""
SLICE_SECONDS = 0.1


def run(options: Options) -> Findings:
    """Measure both."""
    with accepting_server() as server:
        return Findings((*_by_size(server.base_url, options), *_by_concurrency(server.base_url, options)))


def _by_size(base_url: str, options: Options) -> Iterator[Table]:
    sizes = [size for size in SIZES if size <= options.messages] or [options.messages]
    found = [_runs(Setup(base_url, options.concurrency), size) for size in sizes]
    yield from _tables(
        f"runs of this number of messages, {options.concurrency} in flight, plain loop",
        "messages in the run",
        sizes,
        SIZED,
        found,
    )


def _runs(setup: Setup, size: int) -> dict[str, list[Slice]]:
    """Return whole runs of each contender, each with a new client; the contenders take turns."""
    found: dict[str, list[Slice]] = {key: [] for key in SIZED}
    for _ in range(max(1, min(10, REPEATED_MESSAGES // size))):
        for key in SIZED:
            with started({key: _built(key, setup)}) as plan:
                # The connections are opened outside of the measurement.
                plan[key].send(setup.concurrency)
                found[key].append(measure(min(size, FLOOR_MESSAGES) if key == "floor" else size, plan[key].send))
    return found


def _by_concurrency(base_url: str, options: Options) -> Iterator[Table]:
    found = []
    for size in CONCURRENCIES:
        plan = {key: _built(key, Setup(base_url, size)) for key in CONCURRENT}
        with started(plan):
            found.append(rounds(plan, slices=options.slices(SLICE_SECONDS * 4), seconds=SLICE_SECONDS))
    yield from _tables(
        "this number of messages in flight, plain loop", "messages in flight", CONCURRENCIES, CONCURRENT, found
    )


def _built(key: str, setup: Setup) -> Contender:
    contender = build(key, setup)
    assert contender is not None
    return contender


def _tables(
    title: str, x_axis: str, sizes: Sequence[int], keys: Sequence[str], found: Sequence[dict[str, list[Slice]]]
) -> Iterator[Table]:
    """Yield the ratios to the floor, and the CPU times."""
    yield Table(
        f"CPU time as a multiple of aiohttp alone: {title}",
        tuple(Column(f"{size}", digits=2) for size in sizes),
        tuple(Row.of(key, *(cpu_ratio(one[key], one["floor"]) for one in found)) for key in keys),
        Chart("lines", "CPU time per message, as a multiple of aiohttp alone", x_axis),
    )
    yield Table(
        f"CPU microseconds per message: {title}",
        tuple(Column(f"{size}") for size in sizes),
        tuple(Row.of(key, *(Spread.of(taken.cpu_us for taken in one[key]) for one in found)) for key in keys),
    )
