"""The CPU time of `send`, one message after the other, beside `session.post` and `read`."""

from __future__ import annotations

from tests.benchmarks.contenders import Contender, Setup
from tests.benchmarks.contenders.aiohttp_floor import Floor
from tests.benchmarks.contenders.ours import OneByOne
from tests.benchmarks.measure import Options, cpu_ratio, rounds, started
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import accepting_server
from tests.benchmarks.spread import Spread

SLICE_SECONDS = 0.1
AIM = 0.8


def run(options: Options) -> Findings:
    """Measure both on each loop."""
    rows, aims = [], []
    with accepting_server() as server:
        for loop in options.loops:
            setup = Setup(server.base_url, 1, loop)
            plan: dict[str, Contender] = {"session.post and read": Floor(setup), "send": OneByOne(setup)}
            with started(plan):
                found = rounds(plan, slices=options.slices(SLICE_SECONDS), seconds=SLICE_SECONDS)
            bare, ours = found.values()
            for label, taken in found.items():
                cpu = Spread.of(one.cpu_us for one in taken)
                rows.append(Row.of(f"{label}, {loop}", cpu_ratio(taken, bare), cpu))
            aims.append(
                Aim(
                    f"CPU time of send alone, of session.post and read, {loop}",
                    cpu_ratio(ours, bare),
                    AIM,
                    unit="times",
                )
            )
    table = Table(
        "one message at a time",
        (Column("CPU time, of session.post and read", "times", 2), Column("CPU time", "µs a message")),
        tuple(rows),
        Chart(
            "bars",
            "CPU time per message, as a multiple of session.post and read",
            bound=AIM,
            judged=tuple(f"send, {loop}" for loop in options.loops),
        ),
    )
    return Findings((table,), tuple(aims))
