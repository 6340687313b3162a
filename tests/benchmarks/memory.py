"""The peak memory of every contender, each in a process of its own, and the memory of a long run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.benchmarks.contenders import LOOPLESS, Setup
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import ROOT, accepting_server
from tests.benchmarks.spread import Spread

LINES = (
    "floor",
    "send_many",
    "send_many, async for",
    "send_many, journal",
    "naive aiohttp",
    "slack_sdk",
    "twilio",
    "aiogram",
    "httpx",
    "requests",
)
GROWING = ("send_many, async for", "send_many, journal")
"""The runs whose memory should not grow with the number of messages."""
JOURNAL_AIM_MB = 55.0
"""The peak of a run with a journal, however long."""

SHORT = 10_000
THREADS = 16
CHILD_SECONDS = 3600.0


def run(options: Options) -> Findings:
    """Measure every contender with a short run, and two of them with the longest."""
    with accepting_server() as server:
        beside = Table(
            f"peak memory after {min(SHORT, options.messages)} messages, {options.concurrency} in flight, plain loop "
            f"(requests: {THREADS} threads)",
            (Column("peak", "MB", 1), Column("before sending", "MB", 1), Column("more", "MB", 1)),
            tuple(_beside(server.base_url, options)),
            Chart("bars", "peak memory in MB"),
        )
        sizes, peaks = _growing(server.base_url, options)
    growing = Table(
        "peak memory in MB after this number of messages of one run, from a generator",
        tuple(Column(str(size), digits=1) for size in sizes),
        tuple(Row.of(key, *peaks[key]) for key in GROWING),
        Chart("lines", "peak memory in MB", "messages sent", bound=JOURNAL_AIM_MB, judged=("send_many, journal",)),
    )
    aim = Aim(
        f"peak memory of a run of {sizes[-1]:,} with a journal",
        Spread.of([peaks["send_many, journal"][-1]]),
        JOURNAL_AIM_MB,
        unit="MB",
        digits=1,
    )
    return Findings((beside, growing), (aim,))


def _beside(base_url: str, options: Options) -> Iterator[Row]:
    for key in LINES:
        setup = Setup(base_url, THREADS if key in LOOPLESS else options.concurrency)
        peaks = _child(key, setup, min(SHORT, options.messages))
        if peaks:
            yield Row.of(key, peaks["sent"], peaks["imported"], peaks["sent"] - peaks["imported"])


def _growing(base_url: str, options: Options) -> tuple[list[int], dict[str, list[float]]]:
    """Return the numbers of messages, and the peaks of each run at these."""
    sizes = [size for size in (10_000, 100_000, 300_000) if size < options.messages] + [options.messages]
    peaks = {key: _child(key, Setup(base_url, options.concurrency), options.messages, marks=sizes) for key in GROWING}
    return sizes, {key: [found[str(size)] for size in sizes] for key, found in peaks.items()}


def _child(key: str, setup: Setup, messages: int, *, marks: Sequence[int] = ()) -> dict[str, float]:
    """Return the peaks in megabytes of a contender in a process of its own; empty if its library is not installed."""
    command = [sys.executable, "-m", "tests.benchmarks.contender_child"]
    command += map(str, (key, setup.base_url, setup.concurrency, setup.loop, messages, *marks))
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=CHILD_SECONDS)
    return {mark: kilobytes / 1024 for mark, kilobytes in json.loads(done.stdout).items()}
