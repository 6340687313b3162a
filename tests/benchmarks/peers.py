"""The CPU time and the speed of many messages, beside other libraries on the same server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.contenders import LOOPLESS, Contender, Setup, build
from tests.benchmarks.measure import Options, Slice, cpu_ratio, rounds, started
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import accepting_server
from tests.benchmarks.spread import Spread

SLICE_SECONDS = 0.1
"""A round of all contenders must be shorter than the 15 seconds for which aiohttp keeps an idle connection."""

THREADS = 16

OURS, FLOOR, NAIVE, JOURNALLED = "send_many", "aiohttp alone (floor)", "naive aiohttp", "send_many, journal"

LINES: Mapping[str, tuple[str, int | None]] = {
    FLOOR: ("floor", None),
    OURS: ("send_many", None),
    "send_many, async for": ("send_many, async for", None),
    "send in asyncio.gather": ("send, gather", None),
    JOURNALLED: (JOURNALLED, None),
    NAIVE: ("naive aiohttp", None),
    "slack_sdk": ("slack_sdk", None),
    "twilio": ("twilio", None),
    "aiogram": ("aiogram", None),
    "httpx": ("httpx", None),
    "httpx, 1 at a time": ("httpx", 1),
    f"requests, {THREADS} threads": ("requests", THREADS),
}
"""The contender of each line, and its concurrency if that is not the common one."""

CPU_AIM, SPEED_AIM = 0.75, 1.5
"""The CPU time of `send_many`, of the floor's; that of naive code, of `send_many`'s: a sending process is never idle."""

COLUMNS = (
    Column("CPU time, of the floor", "times", 2),
    Column("CPU time, of send_many", "times", 2),
    Column("CPU time", "µs a message"),
    Column("speed", "messages/s"),
)


def run(options: Options) -> Findings:
    """Measure each contender on each loop."""
    with accepting_server() as server:
        found = [_loop(server.base_url, loop, options) for loop in options.loops]
    return Findings(
        tables=tuple(one for findings in found for one in findings.tables),
        aims=tuple(aim for findings in found for aim in findings.aims),
    )


def _loop(base_url: str, loop: str, options: Options) -> Findings:
    plan: dict[str, Contender] = {}
    for label, (key, size) in LINES.items():
        contender = build(key, Setup(base_url, size or options.concurrency, loop))
        if contender is not None and (loop == "plain" or key not in LOOPLESS):
            plan[label] = contender
    with started(plan):
        found = rounds(plan, slices=options.slices(SLICE_SECONDS), seconds=SLICE_SECONDS)
    table = Table(
        f"{loop} loop, {options.concurrency} messages in flight, {len(found[FLOOR])} rounds",
        COLUMNS,
        tuple(Row.of(label, *_values(taken, found)) for label, taken in found.items()),
        Chart("bars", "CPU time per message, as a multiple of aiohttp alone", bound=CPU_AIM, judged=(OURS,)),
    )
    return Findings((table,), _aims(found, loop))


def _values(taken: Sequence[Slice], found: Mapping[str, Sequence[Slice]]) -> tuple[Spread, ...]:
    return (
        cpu_ratio(taken, found[FLOOR]),
        cpu_ratio(taken, found[OURS]),
        Spread.of(one.cpu_us for one in taken),
        Spread.of(one.rate for one in taken),
    )


def _aims(found: Mapping[str, Sequence[Slice]], loop: str) -> tuple[Aim, ...]:
    ours = found[OURS]
    where = "" if loop == "plain" else f", {loop}"
    return (
        Aim(f"CPU time of send_many, of aiohttp alone{where}", cpu_ratio(ours, found[FLOOR]), CPU_AIM, unit="times"),
        Aim(
            f"CPU time of naive aiohttp code, of send_many{where}",
            cpu_ratio(found[NAIVE], ours),
            SPEED_AIM,
            at_least=True,
            unit="times",
        ),
    )
