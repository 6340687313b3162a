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
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Column, Findings, Row, Table
from tests.benchmarks.servers import ROOT, accepting_server

CHILD_SECONDS = 3600.0
COLUMNS = (
    Column("time", "s", 1),
    Column("speed", "messages/s"),
    Column("peak memory", "MB", 1),
    Column("size of the journal", "MB", 1),
)


def run(options: Options) -> Findings:
    """Measure a tenth of the messages, and all of them."""
    rows: list[Row] = []
    with accepting_server() as server:
        for size in (options.messages // 10, options.messages):
            with tempfile.TemporaryDirectory() as directory:
                rows += _campaign(server.base_url, Path(directory), size, options.concurrency)
    title = f"`callbell-async send-many FILE --journal JOURNAL`, {options.concurrency} in flight, without an effective rate limit"
    note = "The second run of each size finds all messages in the journal, and sends nothing."
    return Findings((Table(title, COLUMNS, tuple(rows), note=note),))


def _campaign(base_url: str, directory: Path, size: int, concurrency: int) -> Iterator[Row]:
    recipients, journal = directory / "recipients.csv", directory / "campaign.db"
    with recipients.open("w", encoding="utf-8") as file:
        file.write("to,name\n")
        file.writelines(f"{recipient(index)},customer {index}\n" for index in range(size))
    for label, accepted in ((f"{size:,}", size), (f"{size:,}, second run", 0)):
        command = [sys.executable, "-m", "tests.benchmarks.campaign_child", "send-many", str(recipients)]
        command += ["--text", "Hello {name}, your order is on its way!", "--journal", str(journal)]
        command += ["--rate", "1000000", "--concurrency", str(concurrency), "--json"]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"CALLBELL_TOKEN": TOKEN, "CALLBELL_BASE_URL": base_url},
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
        yield Row.of(label, seconds, size / seconds, int(peak[1]) / 1024, stored / 1e6)
