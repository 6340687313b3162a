"""The CPU of a webhook event, beside a bare handler that checks the HMAC and parses the JSON: in aiohttp, and in Starlette under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib.util
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from callbell_async.webhooks import sign
from tests.benchmarks.measure import Options, Slice, Spread, cpu_ratio
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table, worst
from tests.benchmarks.servers import ROOT, Server
from tests.benchmarks.webhook_serve import SECRET

PAIRS = (("bare aiohttp", "add_webhook_route", 1.6), ("bare Starlette", "WebhookApp", 1.25))
"""Each with the aim for the ratio of their CPU."""

CONNECTIONS = 8
EVENTS = 1_000
ROUND_SECONDS = 0.5
"""The approximate seconds of a round of a pair."""

COLUMNS = (
    Column("CPU time, of the bare handler", "times", 2),
    Column("CPU time", "µs an event"),
    Column("speed of one core", "events/s"),
    Column("bare handler", "µs an event"),
)
CHART = Chart("bars", "CPU time of an event, as a multiple of a bare handler")
CAUSES = {"message_created, all parts": "it becomes 13 models with 80 fields, which no real message has together"}

_EVENTS = ROOT / "tests" / "fixtures" / "events"
_RARE_PARTS = ("messageLocation", "messageContactCard", "messageReplyButton", "messageInteractiveList")


def run(options: Options) -> Findings:
    """Measure each pair on each loop, in turns, with each event a new one."""
    rounds, events = options.slices(ROUND_SECONDS), min(EVENTS, options.messages)
    parser = "httptools" if importlib.util.find_spec("httptools") else "h11"
    tables: list[Table] = []
    aims: dict[tuple[str, str], list[Aim]] = {}
    for loop in options.loops:
        rows = []
        for name, document in _documents().items():
            for bare, typed, bound in PAIRS:
                found = _measure((bare, typed), document, loop=loop, rounds=rounds, events=events)
                ratio = cpu_ratio(found[typed], found[bare])
                rows.append(
                    Row.of(f"{typed}: {name}", ratio, *_cpu_and_rate(found[typed]), _cpu_and_rate(found[bare])[0])
                )
                what = f"CPU time of {typed}, of {bare}: {name}, {loop}"
                aims.setdefault((typed, name), []).append(
                    Aim(what, ratio, bound, unit="times", cause=CAUSES.get(name, ""))
                )
        title = f"{loop} loop, {rounds} rounds of {events} events over {CONNECTIONS} connections, uvicorn with {parser}"
        tables.append(Table(title, COLUMNS, tuple(rows), CHART))
    return Findings(tuple(tables), tuple(map(worst, aims.values())))


def _documents() -> dict[str, dict[str, Any]]:
    """Return the events: as documented, and a message without the parts that no real message has together."""
    created, updated = (
        json.loads(Path(_EVENTS, f"{name}.json").read_bytes()) for name in ("message_created", "message_status_updated")
    )
    text = copy.deepcopy(created)
    for part in _RARE_PARTS:
        del text["payload"][part]
    return {"message_created, a text": text, "message_created, all parts": created, "message_status_updated": updated}


def _cpu_and_rate(slices: list[Slice]) -> tuple[Spread, Spread]:
    """Return the CPU microseconds for an event, and the events a second that one core can take."""
    return Spread.of(taken.cpu_us for taken in slices), Spread.of(1e6 / taken.cpu_us for taken in slices)


def _measure(
    pair: Sequence[str], document: dict[str, Any], *, loop: str, rounds: int, events: int
) -> dict[str, list[Slice]]:
    """Return the slices of each server; the first round is dropped."""
    number = itertools.count()
    order, kinds = random.Random(1), list(pair)
    found: dict[str, list[Slice]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        servers = {kind: stack.enter_context(_server(kind, loop)) for kind in kinds}
        for turn in range(rounds + 1):
            order.shuffle(kinds)
            for kind in kinds:
                requests = [_request(document, next(number)) for _ in range(events)]
                before, began = servers[kind].cpu_seconds(), time.perf_counter()
                asyncio.run(_deliver(servers[kind].port, requests))
                if turn:
                    wall = time.perf_counter() - began
                    found[kind].append(Slice(events, servers[kind].cpu_seconds() - before, wall))
    return found


def _request(document: dict[str, Any], number: int) -> bytes:
    body = json.dumps({**document, "payload": {**document["payload"], "uuid": f"{number:032x}"}}).encode()
    head = f"POST /hook HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}X-Callbell-Signature: {sign(body, SECRET)}\r\n\r\n".encode() + body


async def _deliver(port: int, requests: list[bytes]) -> None:
    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while requests:
            writer.write(requests.pop())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise AssertionError(f"an event was refused: {head[:40]!r}")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


@contextlib.contextmanager
def _server(kind: str, loop: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.benchmarks.webhook_serve", kind, loop]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Server(kind, int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.communicate()
