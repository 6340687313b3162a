"""The throughput and the CPU time per message of every contender, in slices that take turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks.contenders import LOOPLESS, Contender, Setup, build
from tests.benchmarks.measure import Slice, Spread, paired, rounds
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import Server, fast_server

KEEP_ALIVE = 15.0
"""The seconds after which aiohttp closes an idle connection: a round must be shorter."""

OURS, FLOOR, NAIVE = "send_many", "floor", "naive aiohttp"
HTTPX_INSTALLED = "httpx as installed, 1 connection"
HTTPX_BEST, HTTPX_EQUAL = "httpx at its best", "httpx at equal concurrency"

LINES: Mapping[str, tuple[str, Sequence[int]]] = {
    FLOOR: ("floor", ()),
    "floor, tuned": ("floor, tuned", ()),
    OURS: ("send_many", ()),
    "send_many, async for": ("send_many, async for", ()),
    "send_many, rate_limit=None": ("send_many, rate_limit=None", ()),
    NAIVE: ("naive aiohttp", ()),
    HTTPX_BEST: ("httpx", (1, 2, 4, 8)),
    HTTPX_INSTALLED: ("httpx, as installed", (1,)),
    HTTPX_EQUAL: ("httpx", ()),
    "requests at its best": ("requests", (1, 4, 16)),
}
"""The contender of each line, and the values of concurrency of which the fastest is used; without any, the common one."""

CPU_AIM = 0.75
SPEED_AIMS: Mapping[str, float] = {NAIVE: 1.5, HTTPX_BEST: 6.0, HTTPX_INSTALLED: 6.0, HTTPX_EQUAL: 12.0}

TRY_SECONDS = 0.1


def run(*, loops: Sequence[str], concurrency: int, seconds: float, slice_seconds: float) -> None:
    """Measure each contender for about `seconds` on each loop, and print the tables and whether the aims are met."""
    slices = max(3, round(seconds / slice_seconds))
    if len(LINES) * slice_seconds > KEEP_ALIVE / 2:
        raise SystemExit(
            f"a round of {len(LINES)} slices of this length is longer than connections are kept open; use a shorter --slice"
        )
    with fast_server() as server:
        for number, loop in enumerate(loops):
            lines = {label: line for label, line in LINES.items() if not (number and line[0] in LOOPLESS)}
            with contextlib.ExitStack() as stack:
                plan: dict[str, Contender] = {}
                for label, (key, sizes) in lines.items():
                    size = _fastest(server, loop, key, sizes) if len(sizes) > 1 else (*sizes, concurrency)[0]
                    contender = build(key, Setup(server.base_url, size, loop))
                    if contender is None:
                        show(f"{label}: not installed")
                    else:
                        plan[label] = stack.enter_context(_started(contender))
                found = rounds(plan, slices=slices, seconds=slice_seconds, server=server)
            show(f"{loop} loop: {slices} rounds, about {slice_seconds} s each, at concurrency {concurrency}", "")
            show(*_lines(found, server), "")


def _fastest(server: Server, loop: str, key: str, sizes: Sequence[int]) -> int:
    tried = {size: build(key, Setup(server.base_url, size, loop)) for size in sizes}
    with contextlib.ExitStack() as stack:
        started = {size: stack.enter_context(_started(contender)) for size, contender in tried.items() if contender}
        found = {size: _speed(taken).median for size, taken in rounds(started, slices=5, seconds=TRY_SECONDS).items()}
    if not found:
        return sizes[0]
    best = max(found, key=lambda size: found[size])
    where = "" if key in LOOPLESS else f" on the {loop} loop"
    tries = ", ".join(f"{rate:.0f}/s at {size}" for size, rate in found.items())
    show(f"{key}{where} is fastest at concurrency {best} ({tries})")
    return best


@contextlib.contextmanager
def _started(contender: Contender) -> Iterator[Contender]:
    contender.start()
    try:
        yield contender
    finally:
        contender.stop()


def _speed(taken: Sequence[Slice]) -> Spread:
    return Spread.of(one.rate for one in taken)


def _lines(found: Mapping[str, Sequence[Slice]], server: Server) -> Iterator[str]:
    floor, ours = found[FLOOR], found[OURS]
    rows = []
    for label, taken in found.items():
        cpu = Spread.of(one.cpu_us for one in taken)
        over_floor = paired(taken, floor, lambda one: one.cpu_us)
        ahead = paired(ours, taken, lambda one: one.rate)
        busy = sum(one.cpu for one in taken) / sum(one.wall for one in taken)
        rows.append(
            (
                label,
                f"{_speed(taken).median:.0f}",
                f"{cpu.median:.0f}",
                over_floor.text(2),
                ahead.text(2),
                f"{busy:.0%}",
            )
        )
    head = ("contender", "messages/s", "CPU µs", "CPU / floor's", "send_many's speed / its", "client busy")
    yield table(head, rows)
    yield "messages/s and CPU µs are medians; a ratio is of slices of the same round: median ±its error (quartiles)"
    sent, wall = sum(one.count for one in floor), sum(one.wall for one in floor)
    server_cpu = sum(one.server_cpu for one in floor)
    if server_cpu:
        yield f"server under the floor: {server.name}, {server_cpu / sent * 1e6:.0f} µs per message, busy {server_cpu / wall:.0%}"
    yield from _aims(found)


def _aims(found: Mapping[str, Sequence[Slice]]) -> Iterator[str]:
    ours = found[OURS]
    dearer = paired(ours, found[FLOOR], lambda one: one.cpu_us)
    yield f"aim: send_many's CPU at most {CPU_AIM:g} times the floor's: {dearer.verdict(at_most=CPU_AIM)}"
    for label, least in SPEED_AIMS.items():
        if label in found:
            faster = paired(ours, found[label], lambda one: one.rate)
            yield f"aim: send_many at least {least:g} times as fast as {label}: {faster.verdict(at_least=least)}"
