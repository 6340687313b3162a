"""The applications of docs/how-to/scaling-out.md on real servers: one worker is killed in mid-job, and no message is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from redis.asyncio import Redis

from callbell_async import Journal, Outcome
from tests.support.exactly_once import unknown_messages
from tests.support.example_workers import SCALING, example_environment, load_example, run_in_group
from tests.support.gated_server import GatedServer, socket_owners
from tests.support.services import Service, need_package

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the worker of a connection in /proc"),
]

COUNT = 240
FREE = 60
"""The number of requests that get their responses before the worker is killed."""


def phone(number: int) -> str:
    """Return an invented telephone number."""
    return f"+4477009{number:05}"


def texts(orders: Collection[str]) -> set[str]:
    """Return the texts of the confirmations of these orders."""
    return {f"We have your order {order}." for order in orders}


@pytest.fixture
async def server() -> AsyncIterator[GatedServer]:
    """A strict server that holds its responses."""
    async with GatedServer(free=FREE) as server:
        yield server


@pytest.fixture
async def settings(server: GatedServer, postgres_service: Service) -> dict[str, str]:
    """The environment of the examples: an empty database, and the server."""
    database = f"db_{secrets.token_hex(4)}"
    async with await psycopg.AsyncConnection.connect(postgres_service.url, autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {database}".encode())
    url = postgres_service.url.rpartition("/")[0] + f"/{database}"
    return {
        "CALLBELL_TOKEN": "a-test-token",
        "CALLBELL_BASE_URL": server.base_url,
        "DATABASE_URL": url,
        "RATE_LIMITER_URL": url,
    }


async def run_example(settings: dict[str, str], *command: str) -> None:
    """Run Python in the directory of the examples."""
    environment = example_environment(settings)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=SCALING, env=environment)
    assert await process.wait() == 0


async def kill_a_worker(server: GatedServer, settings: dict[str, str]) -> set[str]:
    """Kill a worker while some of its requests are in flight, then let all others have their responses; returns the texts of its messages."""
    journal = Journal.connect(settings["DATABASE_URL"], name="orders", read_only=True)
    async with asyncio.timeout(60):
        await server.seen_held(30)
        async with journal:
            # A worker that is killed between a response and the commit of its result leaves a message `UNKNOWN` whose job was done.
            while (await journal.counts())[Outcome.ACCEPTED] < FREE:  # noqa: ASYNC110 - another process commits them
                await asyncio.sleep(0.02)
    held, owners = dict(server.held), socket_owners(server.base_url)
    victim = owners[next(iter(held.values()))]
    lost = {text for text, port in held.items() if owners[port] == victim}
    os.kill(victim, signal.SIGKILL)
    server.release()
    return lost


async def documented_unknown_messages(url: str) -> list[str]:
    """Return the result of the function that the page shows for it."""
    page = (SCALING.parents[1] / "how-to" / "scaling-out.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    namespace: dict[str, Any] = {}
    exec(found[1], namespace)
    keys: list[str] = await namespace["unknown_messages"](url)
    return keys


async def check(server: GatedServer, settings: dict[str, str], expected: set[str], lost: set[str]) -> set[str]:
    """Compare the server with the journal, and return the texts of `UNKNOWN` messages: all that the killed worker was sending are among them."""
    async with Journal.connect(settings["DATABASE_URL"], name="orders", read_only=True) as journal, asyncio.timeout(30):
        entries = [entry async for entry in journal.entries()]
        while any(entry.in_flight for entry in entries):
            # The results of the last messages are written within 0.05 s.
            await asyncio.sleep(0.05)
            entries = [entry async for entry in journal.entries()]
    unknown = unknown_messages(expected, server.accepted, entries)
    keys = await documented_unknown_messages(settings["DATABASE_URL"])
    assert {f"We have your order {key.removeprefix('confirm-')}." for key in keys} == unknown
    assert lost
    assert lost <= unknown
    assert server.refused == 0
    return unknown


# --- uvicorn ----------------------------------------------------------------------------------------------------------


async def test_a_web_application(server: GatedServer, settings: dict[str, str], tmp_path: Path) -> None:
    """Uvicorn with four workers, one is killed, and clients repeat their requests: each order is confirmed once or reported as `UNKNOWN`."""
    need_package("fastapi")
    need_package("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = ("-m", "uvicorn", "web:app", "--workers=4", f"--port={port}", "--no-access-log")
    with run_in_group(*command, settings=settings, log=tmp_path / "log"):
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            limit = asyncio.Semaphore(80)

            async def confirm(order: int) -> int:
                """Repeat the request until it has a definite response."""
                async with limit:
                    while True:
                        try:
                            body = {"id": str(order), "phone": phone(order)}
                            # Each over a new connection, so that all workers get some.
                            async with session.post("/orders", json=body, headers={"Connection": "close"}) as response:
                                if response.status != 503:
                                    return response.status
                        except aiohttp.ClientError:
                            await asyncio.sleep(0.05)

            calls = [asyncio.ensure_future(confirm(order)) for order in range(COUNT)]
            lost = await kill_a_worker(server, settings)
            statuses = await asyncio.gather(*calls)
            unknown = await check(server, settings, texts([str(order) for order in range(COUNT)]), lost)
    assert sorted(set(statuses)) == [200, 409]
    assert texts([str(order) for order, status in enumerate(statuses) if status == 409]) == unknown


# --- procrastinate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 20], ids=["one per message", "one per batch"])
async def test_procrastinate(
    server: GatedServer, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Three workers on PostgreSQL, one is killed: its jobs are run again, and only those with `UNKNOWN` messages fail."""
    need_package("procrastinate")
    settings |= {"STALLED_AFTER": "2", "STALLED_CRON": "* * * * * *"}
    await run_example(settings, "-m", "procrastinate", "--app=procrastinate_tasks.app", "schema", "--apply")
    await run_example(settings, "create_jobs.py")
    example: Any = load_example("procrastinate_tasks", settings, monkeypatch)
    orders = [str(order) for order in range(COUNT)]
    async with example.app.open_async():
        if batch == 1:
            jobs = [{"order": order, "phone": phone(int(order))} for order in orders]
            await example.confirm.batch_defer_async(*jobs)
        else:
            rows = [[order, phone(int(order))] for order in orders]
            parts = [{"rows": rows[start : start + batch]} for start in range(0, COUNT, batch)]
            await example.confirm_batch.batch_defer_async(*parts)
        with ExitStack() as stack:
            for number in range(3):
                log = tmp_path / str(number)
                stack.enter_context(run_in_group("procrastinate_worker.py", settings=settings, log=log))
            lost = await kill_a_worker(server, settings)

            async def sending(*statuses: str) -> list[Any]:
                """Return the jobs with these statuses that send messages. The periodic ones may end with their worker."""
                jobs = await example.app.job_manager.list_jobs_async()
                return [job for job in jobs if job.status in statuses and "stalled" not in job.task_name]

            async with asyncio.timeout(60):
                while await sending("todo", "doing"):  # noqa: ASYNC110 - it is nobody's event
                    await asyncio.sleep(0.05)
            unknown = await check(server, settings, texts([*orders, "1234", "1235", "1236"]), lost)
        failed = await sending("failed")
    in_failed = [texts([row[0] for row in rows_of(job.task_kwargs)]) for job in failed]
    assert unknown <= set().union(*in_failed)
    assert all(found & unknown for found in in_failed)
    if batch == 1:
        # In flight, and claimed ahead of their requests.
        assert len(unknown) <= 50 + 85


def rows_of(arguments: dict[str, Any]) -> list[list[str]]:
    """Return the rows of a job of either kind."""
    return arguments["rows"] if "rows" in arguments else [[arguments["order"], arguments["phone"]]]


# --- taskiq -----------------------------------------------------------------------------------------------------------


async def test_taskiq(
    server: GatedServer,
    settings: dict[str, str],
    own_redis: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three workers on Redis, one is killed: its tasks are delivered again, and `UNKNOWN` ones are not sent again."""
    need_package("taskiq")
    need_package("taskiq_redis")
    settings |= {"REDIS_URL": own_redis.url, "RATE_LIMITER_URL": own_redis.url, "IDLE_SECONDS": "2"}
    example: Any = load_example("taskiq_tasks", settings, monkeypatch)
    await run_example(settings, "create_tasks.py")
    await example.broker.startup()
    try:
        orders = [str(order) for order in range(COUNT)]
        for order in orders:
            await example.confirm.kiq(order, phone(int(order)))
    finally:
        await example.broker.shutdown()
    worker = ("-m", "taskiq", "worker", "taskiq_tasks:broker", "--workers=3", "--max-async-tasks=40")
    scheduler = ("-m", "taskiq", "scheduler", "taskiq_tasks:scheduler")
    with (
        run_in_group(*worker, settings=settings, log=tmp_path / "worker"),
        run_in_group(*scheduler, settings=settings, log=tmp_path / "scheduler"),
    ):
        lost = await kill_a_worker(server, settings)
        journal = Journal.connect(settings["DATABASE_URL"], name="orders", read_only=True)
        async with Redis.from_url(own_redis.url) as redis, journal, asyncio.timeout(60):
            while True:
                (group,) = await redis.xinfo_groups("callbell")
                # A message may be `UNKNOWN` that did not reach the server, so that its requests can't be counted.
                if group["pending"] == group["lag"] == 0 and sum((await journal.counts()).values()) == COUNT + 2:
                    break
                await asyncio.sleep(0.05)
        unknown = await check(server, settings, texts([*orders, "1234", "1235"]), lost)
    log = (tmp_path / "worker").read_text()
    # Each of them was delivered again, and refused.
    assert log.count("DuplicateMessageError: ") >= len(unknown)
