"""A campaign as a user runs it: a CSV file, the command line and a journal; then the same again, when all messages are accepted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.contenders.base import TOKEN, recipient
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import ROOT, Server, fast_server

CHILD_SECONDS = 3600.0


def run(*, messages: int, concurrency: int) -> None:
    """Measure time, peak memory and the size of the journal, for a tenth of `messages` and for all of them."""
    rows: list[tuple[str, ...]] = []
    with fast_server() as server:
        for size in (messages // 10, messages):
            with tempfile.TemporaryDirectory() as directory:
                rows += _campaign(server, Path(directory), size, concurrency)
    show(
        f"`callbell-async send-many FILE --journal JOURNAL` at concurrency {concurrency}, without an effective rate limit",
        "",
    )
    show(table(("messages", "seconds", "messages/s", "peak MB", "journal MB"), rows))
    show("", "the second run of each size finds all messages in the journal, and sends nothing")


def _campaign(server: Server, directory: Path, size: int, concurrency: int) -> Iterator[tuple[str, ...]]:
    recipients, journal = directory / "recipients.csv", directory / "campaign.db"
    with recipients.open("w", encoding="utf-8") as file:
        file.write("to,name\n")
        file.writelines(f"{recipient(index)},customer {index}\n" for index in range(size))
    for label, accepted in ((f"{size}", size), (f"{size}, again", 0)):
        command = [sys.executable, "-m", "tests.benchmarks.million_child", "send-many", str(recipients)]
        command += ["--text", "Hello {name}, your order is on its way!", "--journal", str(journal)]
        command += ["--rate", "1000000", "--concurrency", str(concurrency), "--json"]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"CALLBELL_TOKEN": TOKEN, "CALLBELL_BASE_URL": server.base_url},
            check=True,
            capture_output=True,
            timeout=CHILD_SECONDS,
        )
        seconds = time.perf_counter() - began
        counts = json.loads(done.stdout.splitlines()[-1])
        peak = re.search(rb"peak: (\d+) KB", done.stderr)
        if counts["accepted"] != accepted or peak is None:
            raise AssertionError(f"{counts}, but {accepted} should be accepted")
        stored = sum(file.stat().st_size for file in directory.glob("campaign.db*"))
        yield (label, f"{seconds:.1f}", f"{size / seconds:.0f}", f"{int(peak[1]) / 1024:.1f}", f"{stored / 1e6:.1f}")
