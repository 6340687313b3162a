"""What the journal costs: the same campaign with it and without, in slices that take turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks.contenders import Setup
from tests.benchmarks.contenders.journalled import Journalled, JournalledFaster, Tagged, Unjournalled
from tests.benchmarks.measure import Slice, Spread, paired, rounds
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import fast_server

CPU_AIM = 1.05

PLAIN, TAGGED, DURABLE, FASTER = (
    "unjournalled",
    "unjournalled, keys in metadata",
    "journalled",
    "journalled, risk_power_loss",
)


LINES: dict[str, type[Unjournalled]] = {
    PLAIN: Unjournalled,
    TAGGED: Tagged,
    DURABLE: Journalled,
    FASTER: JournalledFaster,
}


def run(*, loops: Sequence[str], concurrency: int, seconds: float, slice_seconds: float) -> None:
    """Measure about `seconds` of each, over TLS as Callbell is spoken to and without, and print what the journal adds."""
    slices = max(3, round(seconds / slice_seconds))
    for tls in (True, False):
        with fast_server(tls=tls) as server:
            for loop in loops:
                plan = {label: build(Setup(server.base_url, concurrency, loop)) for label, build in LINES.items()}
                with contextlib.ExitStack() as stack:
                    for contender in plan.values():
                        contender.tls = server.tls
                        contender.start()
                        stack.callback(contender.stop)
                    found = rounds(plan, slices=slices, seconds=slice_seconds)
                where = f"{server.name}, {loop} loop"
                show(f"{where}: {slices} rounds, about {slice_seconds} s each, at concurrency {concurrency}", "")
                show(*_lines(found), "")


def _lines(found: Mapping[str, Sequence[Slice]]) -> Iterator[str]:
    rows = []
    for label, taken in found.items():
        cpu = Spread.of(one.cpu_us for one in taken)
        rate = Spread.of(one.rate for one in taken)
        dearer = paired(taken, found[PLAIN], lambda one: one.cpu_us)
        more = Spread.of(one.cpu_us - other.cpu_us for one, other in zip(taken, found[PLAIN], strict=True))
        rows.append((label, f"{rate.median:.0f}", f"{cpu.median:.0f}", more.text(1), dearer.text(3)))
    yield table(("", "messages/s", "CPU µs", "more by", "CPU / unjournalled's"), rows)
    yield "messages/s and CPU µs are medians; the rest is of slices of the same round: median ±its error (quartiles)"
    for label in (DURABLE, FASTER):
        dearer = paired(found[label], found[PLAIN], lambda one: one.cpu_us)
        yield f"aim: {label}: at most {CPU_AIM:g} times the CPU: {dearer.verdict(at_most=CPU_AIM)}"
