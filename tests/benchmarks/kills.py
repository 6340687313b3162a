"""The number of messages that a killed run leaves `UNKNOWN`, and of those among them that were never sent."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from statistics import median

from callbell_async import Outcome
from callbell_async.sandbox import Exchange, Fault, Sandbox
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Column, Findings, Row, Table
from tests.support.campaign_child import ChildConfig
from tests.support.campaign_process import CampaignLauncher, entries_of, text_of

RATE = 300
RESPONSE_SECONDS = 0.05
CONCURRENCY = 50
COLUMNS = (
    Column("UNKNOWN, median", "messages"),
    Column("UNKNOWN, most", "messages"),
    Column("of them not sent, median", "messages"),
    Column("of them not sent, most", "messages"),
)


def run(options: Options) -> Findings:
    """Kill runs at random moments of their first three seconds, and in their first burst."""
    kills = options.slices(0.5)
    rows = []
    for label, earliest, latest in (("any moment", 0.3, 3.0), ("first burst", 0.02, 0.3)):
        unknown, unsent = zip(*asyncio.run(_kill(kills, earliest, latest)), strict=True)
        rows.append(Row.of(label, *(function(values) for values in (unknown, unsent) for function in (median, max))))
    title = (
        f"{kills} kills each, {RATE} messages a second, responses after {RESPONSE_SECONDS * 1000:.0f} ms, "
        f"{CONCURRENCY} in flight"
    )
    return Findings((Table(title, COLUMNS, tuple(rows)),))


async def _kill(kills: int, earliest: float, latest: float) -> list[tuple[int, int]]:
    """Return the number of unknown messages after each kill, and the number of those that had not been sent."""
    chance, found = random.Random(1), []
    for number in range(kills):
        async with Sandbox(limit=None) as sandbox, CampaignLauncher() as launcher:
            first = asyncio.Event()

            async def respond_later(exchange: Exchange, first: asyncio.Event = first) -> None:
                first.set()
                response = exchange.execute()
                await asyncio.sleep(RESPONSE_SECONDS)
                await exchange.send(response)

            sandbox.inject(Fault("respond later", respond_later))
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory, "journal.db")
                config = ChildConfig(sandbox.url, str(path), seed=number, size=5000, concurrency=CONCURRENCY, rate=RATE)
                await launcher.begin(config)
                await first.wait()
                await asyncio.sleep(chance.uniform(earliest, latest))
                launcher.kill()
                await launcher.end()
                await sandbox.wait_disconnected()
                unknown = {text_of(one) for one in await entries_of(path) if one.outcome is Outcome.UNKNOWN}
            sent = {request.document["content"]["text"] for request in sandbox.requests if request.document}
            found.append((len(unknown), len(unknown - sent)))
    return found
