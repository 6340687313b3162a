"""A campaign in a process of its own, which can be killed at any moment.

`python -m tests.support.campaign_child` reads orders from its input, one JSON object a line, and carries each out in a fork of its own: a fork
is there at once, where a new interpreter would first import everything. For each it says the fork's process id, lets it begin
when it reads a line more, and says what came of the campaign and which steps its journal took, unless it was killed, and how the process ended.
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
    """When to die: before or after the `occurrence`-th time that a process comes to a step, counted from 1."""

    when: str
    step: str
    occurrence: int = 1


class Order(NamedTuple):
    """One life of a campaign.

    - `size`: how many messages there are, some of which are given twice.
    - `journal`: its path, or `None` to send without one.
    - `forgetful`: the journal writes no message, and lets each be sent.
    - `rate`: requests a second, or `None` for no limit.
    - `file_limit`: bytes beyond which no file may grow, as on a full disk.
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
    """So many messages, each with a text of its own; some have keys, some ten pairs of metadata, and some are given again later."""
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
    """The statements of a process's journal, counted; at one of them it may end."""

    def __init__(self, moment: Moment | None) -> None:
        self.taken: Counter[str] = Counter()
        self._moment = moment

    def begin(self, step: str) -> None:
        self.taken[step] += 1
        self._meet("before", step)

    def end(self, step: str) -> None:
        self._meet("after", step)

    def _meet(self, when: str, step: str) -> None:
        if self._moment == Moment(when, step, self.taken[step]):
            os.kill(os.getpid(), signal.SIGKILL)


def _tell_steps(steps: _Steps) -> None:
    """Let every connection to SQLite tell its steps."""
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
            # What is committed makes the difference.
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


def _carry_out(order: Order) -> None:
    steps = _Steps(order.moment)
    _tell_steps(steps)
    if order.forgetful:
        SQLiteStore._save = lambda self, rows: [row._replace(version=1) for row in rows]  # type: ignore[method-assign]
    if order.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_limit, order.file_limit))
    _say({**asyncio.run(_send(order)), "steps": steps.taken})


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
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
                _carry_out(order)
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _say({"process": process})
        # It begins when the one who may want to kill it knows its id.
        sys.stdin.readline()
        os.write(key, b"!")
        _say({"status": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])})
        os.close(gate)
        os.close(key)


if __name__ == "__main__":
    _main()
