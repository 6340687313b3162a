"""The applications of docs/how-to/scaling-out.md: how many messages a second four of their processes send under one limit of 300."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import aiohttp

from tests.benchmarks.measure import Options
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table, worst
from tests.benchmarks.servers import Server, strict_server
from tests.benchmarks.shared_rate import LIMIT, message_count
from tests.benchmarks.spread import Spread
from tests.support.example_workers import SCALING, example_environment, run_in_group
from tests.support.services import Service, postgres_server, redis_server

PROCESSES = 4
DELAY = 50.0
"""The longest response time in milliseconds."""

_DEFER_PROCRASTINATE = """
import asyncio, json, sys
from procrastinate_tasks import app, confirm, confirm_batch
rows, batch = json.load(sys.stdin), int(sys.argv[1])
async def defer():
    await app.open_async()
    if batch == 1:
        await confirm.batch_defer_async(*({"order": order, "phone": phone} for order, phone in rows))
    else:
        await confirm_batch.batch_defer_async(*({"rows": rows[start:start + batch]} for start in range(0, len(rows), batch)))
    await app.close_async()
asyncio.run(defer())
"""

_DEFER_TASKIQ = """
import asyncio, json, sys
from taskiq_tasks import broker, confirm
async def defer():
    await broker.startup()
    for order, phone in json.load(sys.stdin):
        await confirm.kiq(order, phone)
    await broker.shutdown()
asyncio.run(defer())
"""


class Bench:
    """The servers of one measurement, and its messages."""

    def __init__(self, stack: ExitStack, count: int) -> None:
        self._stack = stack
        self.rows = [[str(number), f"+4477009{number:05}"] for number in range(count)]
        self.callbell: Server = stack.enter_context(strict_server(delay=DELAY))
        postgres: Service = stack.enter_context(postgres_server())
        redis: Service = stack.enter_context(redis_server())
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._settings = {
            "CALLBELL_TOKEN": "a-test-token",
            "CALLBELL_BASE_URL": self.callbell.base_url,
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "RATE_LIMITER_URL": redis.url,
        }

    def start(self, *command: str) -> None:
        """Start workers, until the measurement ends."""
        self._stack.enter_context(run_in_group(*command, settings=self._settings, log=self._directory / "log"))

    def call(self, *command: str) -> None:
        """Run Python in the directory of the examples, with the messages as its input."""
        subprocess.run(
            [sys.executable, *command],
            cwd=SCALING,
            env=example_environment(self._settings),
            input=json.dumps(self.rows).encode(),
            stdout=subprocess.DEVNULL,
            check=True,
        )


def web(bench: Bench) -> None:
    """Requests to uvicorn, 200 at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    bench.start("-m", "uvicorn", "web:app", f"--workers={PROCESSES}", f"--port={port}", "--no-access-log")

    async def post_all() -> None:
        limit = asyncio.Semaphore(200)
        # Each over a new connection, so that all workers get some.
        headers = {"Connection": "close"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:

            async def post(order: str, phone: str) -> None:
                async with limit, session.post("/orders", json={"id": order, "phone": phone}) as response:
                    response.raise_for_status()

            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with session.get("/docs"):
                        break
                await asyncio.sleep(0.1)
            await asyncio.gather(*(post(order, phone) for order, phone in bench.rows))

    asyncio.run(post_all())


def procrastinate(bench: Bench, *, batch: int) -> None:
    """Jobs of procrastinate, for one message each or for a batch."""
    bench.call("-m", "procrastinate", "--app=procrastinate_tasks.app", "schema", "--apply")
    bench.call("-c", _DEFER_PROCRASTINATE, str(batch))
    for _ in range(PROCESSES):
        bench.start("procrastinate_worker.py")


def taskiq(bench: Bench) -> None:
    """Tasks of taskiq."""
    bench.call("-c", _DEFER_TASKIQ)
    bench.start("-m", "taskiq", "worker", "taskiq_tasks:broker", f"--workers={PROCESSES}", "--log-level=ERROR")


APPLICATIONS: dict[str, Callable[[Bench], None]] = {
    "uvicorn and FastAPI": web,
    "procrastinate, a job a message": partial(procrastinate, batch=1),
    "procrastinate, a job for 100": partial(procrastinate, batch=100),
    "taskiq": taskiq,
}


def run(options: Options) -> Findings:
    """Measure each application."""
    count = message_count(options)
    rows, fullest = [], []
    for name, application in APPLICATIONS.items():
        with ExitStack() as stack:
            bench = Bench(stack, count)
            application(bench)
            while (stats := bench.callbell.stats())["requests"] < count:
                time.sleep(0.2)
        arrivals = stats["arrivals"]
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        rows.append(Row.of(name, rate, rate / LIMIT, stats["fullest"], stats["refused"]))
        fullest.append(Aim(f"requests in the fullest second, {name}", Spread.of([stats["fullest"]]), LIMIT, digits=0))
    columns = (
        Column("rate", "messages/s"),
        Column("of the limit", "times", 2),
        Column("fullest second", "requests"),
        Column("refused", "requests"),
    )
    title = (
        f"{count} messages, {PROCESSES} processes, responses in 0 to {DELAY:.0f} ms, a limit of {LIMIT} in any second"
    )
    chart = Chart("bars", "messages per second", bound=LIMIT)
    return Findings((Table(title, columns, tuple(rows), chart),), (worst(fullest),))
