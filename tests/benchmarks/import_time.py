"""The CPU time of importing the client, against that of importing what it needs, in fresh interpreters that take turns."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from tests.benchmarks.measure import Options, Slice, cpu_ratio
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table
from tests.benchmarks.spread import Spread

NEEDED, OURS = "aiohttp, attrs, cattrs, orjson", "CallbellClient, TextMessage"

STATEMENTS: Mapping[str, str] = {
    NEEDED: f"import {NEEDED}",
    OURS: f"from callbell_async import {OURS}",
}

AIM = 1.4

ROUND_SECONDS = 0.5
"""The approximate seconds of a round of both."""


def run(options: Options) -> Findings:
    """Start fresh interpreters, in turns."""
    found: dict[str, list[Slice]] = {label: [] for label in STATEMENTS}
    with tempfile.TemporaryDirectory() as directory:
        # The bytecode is kept, as after an installation.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(options.slices(ROUND_SECONDS) + 1):
            for label, statement in STATEMENTS.items():
                taken = _run(statement, environment)
                if number:
                    found[label].append(taken)
    rows = [
        Row.of(label, cpu_ratio(taken, found[NEEDED]), Spread.of(one.cpu * 1000 for one in taken))
        for label, taken in found.items()
    ]
    columns = (Column("CPU time, of the first row", "times", 2), Column("CPU time", "ms"))
    chart = Chart(
        "bars", "CPU time of the import, as a multiple of that of the dependencies", bound=AIM, judged=(OURS,)
    )
    ratio = cpu_ratio(found[OURS], found[NEEDED])
    aim = Aim("CPU time of the import, of that of the dependencies", ratio, AIM, unit="times")
    return Findings((Table("import in a fresh interpreter", columns, tuple(rows), chart),), (aim,))


def _run(statement: str, environment: Mapping[str, str]) -> Slice:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Slice(1, cpu, cpu)
