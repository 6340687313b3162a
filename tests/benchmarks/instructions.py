"""The instructions per message, which do not depend on the load of the machine: `perf stat` where it counts them, or callgrind."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.benchmarks.contenders import Setup
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import ROOT, accepting_server
from tests.benchmarks.spread import Spread

LINES = ("floor", "send_many", "send_many, journal", "send, one by one", "naive aiohttp")
FEW, MANY = 300, 1_500
"""The messages of two runs. Their difference has no import, no start and no end in it."""
AIM = 0.75
CHILD_SECONDS = 600.0

Counter = Callable[[Sequence[str]], int]
"""Runs a command, and returns the number of its instructions."""


def run(options: Options) -> Findings:
    """Count the instructions of each contender on each loop; nothing if no counter is installed."""
    found = counter()
    if found is None:
        return Findings((Table("no counter of instructions is installed: perf or valgrind", (), ()),))
    name, count = found
    rows, aims = [], []
    with accepting_server() as server:
        for loop in options.loops:
            setup = Setup(server.base_url, options.concurrency, loop)
            per_message = {key: _per_message(count, key, setup) for key in LINES}
            for key, value in per_message.items():
                rows.append(Row.of(f"{key}, {loop}", value / per_message["floor"], value / 1000))
            aims.append(
                Aim(
                    f"instructions of send_many, of aiohttp alone, {loop}",
                    Spread.of([per_message["send_many"] / per_message["floor"]]),
                    AIM,
                    unit="times",
                )
            )
    table = Table(
        f"instructions per message, by {name}, {options.concurrency} in flight",
        (Column("instructions, of the floor", "times", 2), Column("instructions", "thousands")),
        tuple(rows),
        Chart(
            "bars",
            "instructions per message, as a multiple of aiohttp alone",
            bound=AIM,
            judged=tuple(f"send_many, {loop}" for loop in options.loops),
        ),
    )
    return Findings((table,), tuple(aims))


def counter() -> tuple[str, Counter] | None:
    """Return the name of a tool that counts instructions here, and the function that runs a command under it."""
    if shutil.which("perf"):
        try:
            _perf(["true"])
        except (ValueError, subprocess.CalledProcessError):
            pass
        else:
            return "perf stat", _perf
    return ("callgrind", _callgrind) if shutil.which("valgrind") else None


def _perf(command: Sequence[str]) -> int:
    done = _output(["perf", "stat", "-x,", "-e", "instructions:u", *command])
    # Without the counter there is `<not supported>` in place of the number.
    return int(done.rsplit("\n", 2)[-2].split(",")[0])


def _callgrind(command: Sequence[str]) -> int:
    done = _output(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command])
    collected = re.search(r"Collected : (\d+)", done)
    if collected is None:
        raise AssertionError(f"callgrind reported no instructions:\n{done}")
    return int(collected[1])


def _output(command: Sequence[str]) -> str:
    """Return what a command writes to standard error."""
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=CHILD_SECONDS)
    return done.stderr


def _per_message(count: Counter, key: str, setup: Setup) -> float:
    few, many = (count(_command(key, setup, messages)) for messages in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _command(key: str, setup: Setup, messages: int) -> list[str]:
    arguments = map(str, (key, setup.base_url, setup.concurrency, setup.loop, messages))
    return [sys.executable, "-m", "tests.benchmarks.contender_child", *arguments]
