"""The CPU of a webhook event: `add_webhook_route` beside a bare aiohttp handler that checks the HMAC and parses the JSON."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from callbell_async.webhooks import sign
from tests.benchmarks.measure import Slice, Spread
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import ROOT, Server
from tests.benchmarks.webhook_serve import CONNECTIONS, SECRET

KINDS = ("bare", "route")
EVENTS = ROOT / "tests" / "fixtures" / "events"


def run(*, loops: Sequence[str], rounds: int, events: int) -> None:
    """Measure both on each loop, in turns, with each event a new one."""
    for loop in loops:
        for name in ("message_created", "message_status_updated"):
            document = json.loads(Path(EVENTS, f"{name}.json").read_bytes())
            with contextlib.ExitStack() as stack:
                servers = {kind: stack.enter_context(_server(kind, loop)) for kind in KINDS}
                found = _measure(servers, document, rounds, events)
            rows = [
                (kind, f"{Spread.of(taken.cpu_us for taken in found[kind]).median:.1f}", _ratio(found, kind))
                for kind in KINDS
            ]
            show(f"{name}, {loop} loop: {rounds} rounds of {events} events over {CONNECTIONS} connections", "")
            show(table(("", "server's CPU us", "of bare"), rows), "")


def _ratio(found: dict[str, list[Slice]], kind: str) -> str:
    pairs = zip(found[kind], found["bare"], strict=True)
    return Spread.of(one.cpu / other.cpu for one, other in pairs).text(2)


def _measure(
    servers: dict[str, Server], document: dict[str, object], rounds: int, events: int
) -> dict[str, list[Slice]]:
    """Return the slices of each server; the first round is dropped."""
    number = itertools.count()
    order, kinds = random.Random(1), list(KINDS)
    found: dict[str, list[Slice]] = {kind: [] for kind in KINDS}
    for turn in range(rounds + 1):
        order.shuffle(kinds)
        for kind in kinds:
            requests = [_request(document, next(number)) for _ in range(events)]
            before = servers[kind].cpu_seconds()
            asyncio.run(_deliver(servers[kind].port, requests))
            if turn:
                found[kind].append(Slice(events, servers[kind].cpu_seconds() - before, 1.0))
    return found


def _request(document: dict[str, object], number: int) -> bytes:
    payload = document["payload"]
    assert isinstance(payload, dict)
    body = json.dumps({**document, "payload": {**payload, "uuid": f"{number:032x}"}}).encode()
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
