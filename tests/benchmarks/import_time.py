"""The CPU time of importing the client, against that of importing what it needs, in fresh interpreters that take turns."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from tests.benchmarks.measure import Slice, Spread, paired
from tests.benchmarks.report import show, table

NEEDED, OURS = "aiohttp, attrs, cattrs, orjson", "CallbellClient, TextMessage"

STATEMENTS: Mapping[str, str] = {
    NEEDED: f"import {NEEDED}",
    OURS: f"from callbell_async import {OURS}",
}

AIM = 1.4

SECONDS = 0.5
"""The approximate seconds of a round of both."""


def run(*, seconds: float) -> None:
    """Start fresh interpreters for about twice `seconds`, and print the table."""
    found: dict[str, list[Slice]] = {label: [] for label in STATEMENTS}
    with tempfile.TemporaryDirectory() as directory:
        # The bytecode is kept, as after an installation.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(max(3, round(seconds / SECONDS)) + 1):
            for label, statement in STATEMENTS.items():
                taken = _run(statement, environment)
                if number:
                    found[label].append(taken)
    rows = [
        (
            label,
            f"{Spread.of(one.cpu_us for one in taken).median / 1000:.0f}",
            paired(taken, found[NEEDED], lambda one: one.cpu).text(2),
        )
        for label, taken in found.items()
    ]
    show(table(("import", "CPU ms", "CPU / needed"), rows))
    ratio = paired(found[OURS], found[NEEDED], lambda one: one.cpu)
    show(f"aim: importing the client at most {AIM:g} times the CPU of what it needs: {ratio.verdict(at_most=AIM)}")


def _run(statement: str, environment: Mapping[str, str]) -> Slice:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Slice(1, cpu, cpu)
