"""The cost of the journal: the same campaign with and without it, at full speed and at Callbell's rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.contenders import Setup
from tests.benchmarks.contenders.journalled import (
    Journalled,
    JournalledFaster,
    PacedJournalled,
    PacedUnjournalled,
    SinglesJournalled,
    Tagged,
    Unjournalled,
)
from tests.benchmarks.measure import Options, Slice, cpu_ratio, more_cpu, rounds, started
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import accepting_server
from tests.benchmarks.spread import Spread

SLICE_SECONDS = 0.4
RATIO_AIM = 1.3
"""At full speed: the CPU time with a journal, divided by that without."""
PACED_AIM = 66.0
"""At 300 messages a second: the CPU time that the journal adds, in microseconds a message (2 % of a core)."""
PACED_MESSAGES = 900
SINGLES_AIM = 2.0
"""The CPU time of concurrent calls of `send` with a journal, divided by that of one `send_many` with a journal."""
SINGLES = 1000
"""The number of concurrent calls."""

PLAIN, DURABLE, CALLS = "no journal", "journal", "journal, 1,000 calls of send at once"

LINES: Mapping[str, type[Unjournalled]] = {
    PLAIN: Unjournalled,
    "no journal, keys in metadata": Tagged,
    DURABLE: Journalled,
    "journal, risk_power_loss": JournalledFaster,
}
PACED: Mapping[str, type[Unjournalled]] = {PLAIN: PacedUnjournalled, DURABLE: PacedJournalled}
AT_ONCE: Mapping[str, type[Unjournalled]] = {DURABLE: Journalled, CALLS: SinglesJournalled}


def run(options: Options) -> Findings:
    """Measure all three comparisons."""
    tables, aims = [], []
    with accepting_server() as server:
        for loop in options.loops:
            setup = Setup(server.base_url, options.concurrency, loop)
            found = _measured(LINES, setup, slices=options.slices(SLICE_SECONDS))
            tables.append(_table(f"at full speed, {loop} loop", found, PLAIN))
            aims.append(
                Aim(
                    f"CPU time of send_many with a journal, of none, at full speed, {loop}",
                    cpu_ratio(found[DURABLE], found[PLAIN]),
                    RATIO_AIM,
                    unit="times",
                    cause="a claim and a result in SQLite are a fixed cost, and sending costs less than before",
                )
            )
        setup = Setup(server.base_url, options.concurrency)
        found = _measured(PACED, setup, slices=options.slices(3.0), count=PACED_MESSAGES)
        tables.append(_table("at 300 messages a second, plain loop", found, PLAIN))
        more = more_cpu(found[DURABLE], found[PLAIN])
        aims.append(Aim("CPU time that the journal adds at 300/s", more, PACED_AIM, unit="µs a message", digits=0))
        found = _measured(AT_ONCE, setup, slices=options.slices(1.0), count=SINGLES)
        tables.append(_table(f"{SINGLES:,} messages, plain loop", found, DURABLE))
        dearer = cpu_ratio(found[CALLS], found[DURABLE])
        aims.append(
            Aim(f"CPU time of {SINGLES:,} send(journal=) at once, of one send_many", dearer, SINGLES_AIM, unit="times")
        )
    return Findings(tuple(tables), tuple(aims))


def _measured(
    lines: Mapping[str, type[Unjournalled]], setup: Setup, *, slices: int, count: int | None = None
) -> dict[str, list[Slice]]:
    with started({label: build(setup) for label, build in lines.items()}) as plan:
        return rounds(plan, slices=slices, seconds=SLICE_SECONDS, count=count)


def _table(title: str, found: Mapping[str, Sequence[Slice]], base: str) -> Table:
    rows = [
        Row.of(
            label,
            cpu_ratio(taken, found[base]),
            more_cpu(taken, found[base]),
            Spread.of(one.cpu_us for one in taken),
            Spread.of(one.rate for one in taken),
        )
        for label, taken in found.items()
    ]
    columns = (
        Column("CPU time, of the first row", "times", 2),
        Column("more CPU time", "µs a message"),
        Column("CPU time", "µs a message"),
        Column("speed", "messages/s"),
    )
    return Table(title, columns, tuple(rows), Chart("bars", "CPU microseconds per message", column=2))
