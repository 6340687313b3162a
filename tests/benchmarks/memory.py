"""The peak memory of every contender, each in a process of its own, and the memory of a long run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.benchmarks.contenders import LOOPLESS, Setup
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import ROOT, Server, fast_server

LINES = ("floor", "send_many", "send_many, async for", "send_many, journal", "naive aiohttp", "httpx", "requests")

THREADS = 16
CHILD_SECONDS = 900.0


def run(*, loops: Sequence[str], concurrency: int, messages: int) -> None:
    """Measure every contender with a tenth of `messages`, and then the growth of four of them up to `messages`."""
    with fast_server() as server:
        for number, loop in enumerate(loops):
            keys = [key for key in LINES if not (number and key in LOOPLESS)]
            show(*_side_by_side(server, loop, keys, concurrency, messages // 10), "")
        show(*_growing(server, concurrency, messages))


def _side_by_side(server: Server, loop: str, keys: Sequence[str], concurrency: int, messages: int) -> Iterator[str]:
    rows = []
    for key in keys:
        peaks = _child(key, Setup(server.base_url, THREADS if key in LOOPLESS else concurrency, loop), messages)
        if peaks:
            before, after = peaks["imported"], peaks["sent"]
            rows.append((key, _megabytes(before), _megabytes(after), _megabytes(after - before)))
        else:
            rows.append((key, "not installed", "", ""))
    yield f"{loop} loop: peak memory in MB, {messages} messages at concurrency {concurrency} (requests: {THREADS} threads)"
    yield table(("contender", "imported", "sent", "more"), rows)


def _growing(server: Server, concurrency: int, messages: int) -> Iterator[str]:
    setup = Setup(server.base_url, concurrency)
    sizes = [messages // 10, messages // 2, messages]
    rows = []
    for key in ("send_many, async for", "send_many, journal"):
        peaks = _child(key, setup, messages, marks=sizes)
        rows.append((f"{key}: one run", *(_megabytes(peaks[mark]) for mark in ("imported", *map(str, sizes)))))
    for key in ("send_many", "naive aiohttp"):
        runs = [_child(key, setup, size) for size in sizes]
        rows.append((f"{key}: a run each", *map(_megabytes, (runs[0]["imported"], *(peaks["sent"] for peaks in runs)))))
    yield f"plain loop: peak memory in MB after this number of messages from a generator, at concurrency {concurrency}"
    yield table(("contender", "imported", *map(str, sizes)), rows)


def _child(key: str, setup: Setup, messages: int, *, marks: Sequence[int] = ()) -> dict[str, int]:
    """Return the peaks in kilobytes of a contender in a process of its own; empty if its library is not installed."""
    command = [sys.executable, "-m", "tests.benchmarks.memory_child"]
    command += map(str, (key, setup.base_url, setup.concurrency, setup.loop, messages, *marks))
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=CHILD_SECONDS)
    peaks = json.loads(done.stdout)
    assert isinstance(peaks, dict)
    return peaks


def _megabytes(kilobytes: int) -> str:
    return f"{kilobytes / 1024:.1f}"
