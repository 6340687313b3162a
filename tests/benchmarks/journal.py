"""The cost of the journal: the same campaign with and without it, in slices that take turns, at Callbell's rate and at full speed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks.contenders import Contender, Setup
from tests.benchmarks.contenders.journalled import (
    Journalled,
    JournalledFaster,
    PacedJournalled,
    PacedUnjournalled,
    SinglesJournalled,
    Tagged,
    Unjournalled,
)
from tests.benchmarks.measure import Slice, Spread, measure, paired, rounds
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import Server, fast_server

CPU_AIM = 1.5
"""At full speed: the CPU time with a journal, divided by that without."""
PACED_AIM = 66.0
"""At 300 messages a second: the CPU time that the journal adds, in microseconds a message (2 % of a core)."""
PACED_RATE = 300
SINGLES_AIM = 2.0
"""The CPU time of concurrent calls of `send` with a journal, divided by that of one `send_many` with a journal."""
SINGLES = 1000
"""The number of concurrent calls."""

PLAIN, TAGGED, DURABLE, FASTER, CALLS = (
    "unjournalled",
    "unjournalled, keys in metadata",
    "journalled",
    "journalled, risk_power_loss",
    "journalled, one send() a message",
)


LINES: dict[str, type[Unjournalled]] = {
    PLAIN: Unjournalled,
    TAGGED: Tagged,
    DURABLE: Journalled,
    FASTER: JournalledFaster,
}
AT_ONCE: dict[str, type[Unjournalled]] = {DURABLE: Journalled, CALLS: SinglesJournalled}
PACED: dict[str, type[Unjournalled]] = {PLAIN: PacedUnjournalled, DURABLE: PacedJournalled}


def run(*, loops: Sequence[str], concurrency: int, seconds: float, slice_seconds: float) -> None:
    """Measure about `seconds` of each, with TLS and without, and print what the journal adds."""
    slices = max(3, round(seconds / slice_seconds))
    for tls in (True, False):
        with fast_server(tls=tls) as server:
            for loop in loops:
                with started(LINES, server, Setup(server.base_url, concurrency, loop)) as plan:
                    found = rounds(plan, slices=slices, seconds=slice_seconds)
                where = f"{server.name}, {loop} loop"
                show(f"{where}: {slices} rounds, about {slice_seconds} s each, at concurrency {concurrency}", "")
                show(*_lines(found), "")
    with fast_server() as server, started(PACED, server, Setup(server.base_url, concurrency)) as plan:
        found = in_rounds(plan, slices=max(3, round(seconds / 3)), count=3 * PACED_RATE)
    show(f"{server.name}: {PACED_RATE} messages a second, rounds of {3 * PACED_RATE} messages", "")
    show(*_paced_lines(found), "")
    with fast_server() as server, started(AT_ONCE, server, Setup(server.base_url, concurrency)) as plan:
        found = in_rounds(plan, slices=max(3, round(seconds)), count=SINGLES)
    show(f"{server.name}: rounds of {SINGLES} messages, with one send_many and with concurrent calls of send", "")
    show(*_calls_lines(found), "")


@contextlib.contextmanager
def started(lines: Mapping[str, type[Unjournalled]], server: Server, setup: Setup) -> Iterator[dict[str, Contender]]:
    """Start contenders of these kinds, and stop them at the end."""
    with contextlib.ExitStack() as stack:
        plan: dict[str, Contender] = {}
        for label, build in lines.items():
            contender = plan[label] = build(setup)
            contender.tls = server.tls
            contender.start()
            stack.callback(contender.stop)
        yield plan


def in_rounds(plan: Mapping[str, Contender], *, slices: int, count: int) -> dict[str, list[Slice]]:
    """Let each send `count` messages in each round, in random order. The first round is dropped: it is a burst."""
    found: dict[str, list[Slice]] = {label: [] for label in plan}
    order, labels = random.Random(1), list(plan)
    for number in range(slices + 1):
        order.shuffle(labels)
        for label in labels:
            taken = measure(count, plan[label].send)
            if number:
                found[label].append(taken)
    return found


def _paced_lines(found: Mapping[str, Sequence[Slice]]) -> Iterator[str]:
    yield table(("", "messages/s", "CPU µs", "more by"), [_row(label, found)[:4] for label in found])
    more = _more(found, DURABLE)
    yield f"aim: at most {PACED_AIM:g} µs more a message: {more.verdict(at_most=PACED_AIM)}"


def _calls_lines(found: Mapping[str, Sequence[Slice]]) -> Iterator[str]:
    rows = []
    for label, slices in found.items():
        dearer = paired(slices, found[DURABLE], lambda one: one.cpu_us)
        rate, cpu = Spread.of(one.rate for one in slices), Spread.of(one.cpu_us for one in slices)
        rows.append((label, f"{rate.median:.0f}", f"{cpu.median:.0f}", dearer.text(3)))
    yield table(("", "messages/s", "CPU µs", "CPU / send_many's"), rows)
    dearer = paired(found[CALLS], found[DURABLE], lambda one: one.cpu_us)
    yield f"aim: at most {SINGLES_AIM:g} times the CPU of send_many: {dearer.verdict(at_most=SINGLES_AIM)}"


def _lines(found: Mapping[str, Sequence[Slice]]) -> Iterator[str]:
    header = ("", "messages/s", "CPU µs", "more by", "CPU / unjournalled's")
    yield table(header, [_row(label, found) for label in found])
    yield "messages/s and CPU µs are medians; the rest is of slices of the same round: median ±its error (quartiles)"
    for label in (DURABLE, FASTER):
        dearer = paired(found[label], found[PLAIN], lambda one: one.cpu_us)
        yield f"aim: {label}: at most {CPU_AIM:g} times the CPU: {dearer.verdict(at_most=CPU_AIM)}"


def _row(label: str, found: Mapping[str, Sequence[Slice]]) -> tuple[str, ...]:
    cpu = Spread.of(one.cpu_us for one in found[label])
    rate = Spread.of(one.rate for one in found[label])
    dearer = paired(found[label], found[PLAIN], lambda one: one.cpu_us)
    return label, f"{rate.median:.0f}", f"{cpu.median:.0f}", _more(found, label).text(1), dearer.text(3)


def _more(found: Mapping[str, Sequence[Slice]], label: str) -> Spread:
    pairs = zip(found[label], found[PLAIN], strict=True)
    return Spread.of(one.cpu_us - other.cpu_us for one, other in pairs)
