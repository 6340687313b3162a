"""A campaign in a process of its own, which can be killed at any moment.

`python -m tests.support.campaign_child` reads orders from its input, one JSON object on each line, and runs each in a fork: a new interpreter
would have to import everything again. For each order it prints the process id of the fork, and starts it after one more line of input. Then
it prints the result of the campaign with the steps of its journal, unless the process was killed, and the exit status of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import re
import resource
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from callbell_async import CallbellClient, Journal, JournalError, Message, RetryPolicy, TextMessage
from callbell_async.journal.sqlite import SQLiteStore

__all__ = ["Moment", "Order", "campaign"]


class Moment(NamedTuple):
    """The moment of the kill: before or after the `occurrence`-th time (from 1) that a process comes to a step."""

    when: str
    step: str
    occurrence: int = 1


class Order(NamedTuple):
    """One process of a campaign.

    Attributes:
        url: The base URL of the server.
        journal: The path of the journal, or `None` to send without one.
        seed: The seed of the messages.
        size: The number of messages, some of which are given twice.
        concurrency: The most messages in flight.
        moment: The moment at which the process is killed.
        forgetful: Whether the journal writes no message, so that each is sent again.
        rate: The most requests per second, or `None` for no limit.
        file_limit: The largest size of a file in bytes, as on a full disk.
    """

    url: str
    journal: str | None
    seed: int = 0
    size: int = 2000
    concurrency: int = 20
    moment: Moment | None = None
    forgetful: bool = False
    rate: int | None = None
    file_limit: int | None = None


def campaign(seed: int, size: int) -> list[Message]:
    """Return messages with different texts: some have keys, some have ten pairs of metadata, and some are given again later."""
    chance = random.Random(seed)
    messages: list[Message] = []
    for number in range(size):
        kind = chance.random()
        messages.append(
            TextMessage(
                to=f"+3161{chance.randrange(10**7):07}",
                text=f"Campaign {seed}, message {number}",
                key=f"order {seed}/{number}" if kind < 0.2 else None,
                metadata={f"name{pair}": "value" for pair in range(10)} if kind > 0.9 else {},
            )
        )
    for _ in range(size // 25):
        first = chance.randrange(len(messages))
        messages.insert(chance.randint(first + 1, len(messages)), messages[first])
    return messages


class _Steps:
    """Counts the statements of a journal, and kills the process at one of them."""

    def __init__(self, moment: Moment | None) -> None:
        self.taken: Counter[str] = Counter()
        self._moment = moment

    def begin(self, step: str) -> None:
        self.taken[step] += 1
        self._check("before", step)

    def end(self, step: str) -> None:
        self._check("after", step)

    def _check(self, when: str, step: str) -> None:
        if self._moment == Moment(when, step, self.taken[step]):
            os.kill(os.getpid(), signal.SIGKILL)


def _count_steps(steps: _Steps) -> None:
    """Make every connection to SQLite count its steps."""
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(database, *arguments, **options)
            self._name = re.sub(r"\?.*", "", str(database)).rpartition("/")[2]
            self._before = ""

        def execute(self, query: str, *arguments: Any) -> sqlite3.Cursor:
            with self._step(query):
                return super().execute(query, *arguments)

        def executemany(self, query: str, rows: Any) -> sqlite3.Cursor:
            with self._step(query):
                return super().executemany(query, rows)

        def executescript(self, query: str) -> sqlite3.Cursor:
            with self._step(query):
                return super().executescript(query)

        def close(self) -> None:
            with self._step("close"):
                super().close()

        @contextlib.contextmanager
        def _step(self, query: str) -> Iterator[None]:
            brief = " ".join(query.split()[:6])
            # Commits are distinguished by the statement before them.
            step = f"{self._name}: {brief}" + (f", after {self._before}" if brief == "COMMIT" else "")
            self._before = brief
            steps.begin(step)
            yield
            steps.end(step)

    sqlite3.connect = functools.partial(connect, factory=Connection)  # type: ignore[assignment]


async def _send(order: Order) -> dict[str, Any]:
    retry = RetryPolicy(wait_initial=0.0)
    journal = None if order.journal is None else Journal(order.journal)
    try:
        async with CallbellClient("sandbox", base_url=order.url, retry=retry, rate_limit=order.rate) as callbell:
            report = await callbell.send_many(
                campaign(order.seed, order.size), concurrency=order.concurrency, journal=journal, shutdown_timeout=0.5
            )
    except JournalError as error:
        return {"error": str(error)}
    return {"counts": dict(Counter(result.outcome.value for result in report.results))}


def _run(order: Order) -> None:
    steps = _Steps(order.moment)
    _count_steps(steps)
    if order.forgetful:
        SQLiteStore._save = lambda self, rows: [row._replace(version=1) for row in rows]  # type: ignore[method-assign]
    if order.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_limit, order.file_limit))
    _print({**asyncio.run(_send(order)), "steps": steps.taken})


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _main() -> None:
    for line in sys.stdin:
        given = json.loads(line)
        order = Order(**{**given, "moment": given["moment"] and Moment(*given["moment"])})
        gate, key = os.pipe()
        if not (process := os.fork()):
            status = 1
            try:
                os.read(gate, 1)
                _run(order)
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _print({"process": process})
        # It starts when the test, which may kill it, knows its id.
        sys.stdin.readline()
        os.write(key, b"!")
        _print({"status": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])})
        os.close(gate)
        os.close(key)


if __name__ == "__main__":
    _main()
