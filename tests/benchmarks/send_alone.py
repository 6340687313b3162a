"""The CPU time of `send`, one message after the other, against `session.post` and `read`, in slices that take turns."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from tests.benchmarks.contenders import Contender, Setup
from tests.benchmarks.contenders.aiohttp_floor import Floor
from tests.benchmarks.contenders.ours import OneByOne
from tests.benchmarks.measure import Spread, paired, rounds
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import fast_server

BARE, OURS = "session.post and read", "send"

LINES: Mapping[str, type[Contender]] = {BARE: Floor, OURS: OneByOne}

AIM = 0.8


def run(*, loops: Sequence[str], seconds: float, slice_seconds: float) -> None:
    """Measure about `seconds` of each contender on each loop, and print the tables."""
    slices = max(3, round(seconds / slice_seconds))
    with fast_server() as server:
        for loop in loops:
            plan = {label: build(Setup(server.base_url, 1, loop)) for label, build in LINES.items()}
            with contextlib.ExitStack() as stack:
                for contender in plan.values():
                    contender.start()
                    stack.callback(contender.stop)
                found = rounds(plan, slices=slices, seconds=slice_seconds)
            rows = []
            # The last contender is this library.
            *_, last = plan
            for label, taken in found.items():
                ratio = paired(taken, found[BARE], lambda one: one.cpu_us)
                rows.append((label, f"{Spread.of(one.cpu_us for one in taken).median:.0f}", ratio.text(2)))
            show(f"{loop} loop: {slices} rounds, about {slice_seconds} s each, one message at a time", "")
            show(table(("contender", "CPU µs", "CPU / bare"), rows))
            ratio = paired(found[last], found[BARE], lambda one: one.cpu_us)
            show(f"aim: at most {AIM:g} times the CPU: {ratio.verdict(at_most=AIM)}", "")
