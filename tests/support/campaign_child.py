"""One run of a campaign in its own process, which a test can kill at any moment.

`python -m tests.support.campaign_child` reads one `ChildConfig` as JSON from each line of its standard input, and runs it in a fork.
A fork starts at once; a new interpreter would first import everything. For each run it prints:

1. the fork's process id; the fork starts when one more line is read;
2. the counts or the error, and the steps of the journal, unless the fork was killed;
3. the exit status of the fork.
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

__all__ = ["ChildConfig", "KillPoint", "campaign_messages"]


class KillPoint(NamedTuple):
    """Where a process kills itself: before or after the `occurrence`-th time that it takes a step, counted from 1."""

    when: str
    step: str
    occurrence: int = 1


class ChildConfig(NamedTuple):
    """One run of a campaign.

    Attributes:
        url: The base URL of the sandbox.
        journal: The journal's path, or `None` to send without a journal.
        seed: The seed of the messages.
        size: The number of messages; some are given twice.
        concurrency: The most requests in flight.
        kill_point: Where the process kills itself.
        skip_writes: Whether the journal grants every claim and writes no message.
        rate: The most requests a second, or `None` for no limit.
        file_limit: The most bytes in one file, as on a full disk.
    """

    url: str
    journal: str | None
    seed: int = 0
    size: int = 2000
    concurrency: int = 20
    kill_point: KillPoint | None = None
    skip_writes: bool = False
    rate: int | None = None
    file_limit: int | None = None


def campaign_messages(seed: int, size: int) -> list[Message]:
    """Return `size` messages with different texts; some have a key, some ten pairs of metadata, and some are given twice."""
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
    """Counts the statements of a process's journal, and kills the process at one of them."""

    def __init__(self, kill_point: KillPoint | None) -> None:
        self.taken: Counter[str] = Counter()
        self._kill_point = kill_point

    def before(self, step: str) -> None:
        self.taken[step] += 1
        self._kill_at("before", step)

    def after(self, step: str) -> None:
        self._kill_at("after", step)

    def _kill_at(self, when: str, step: str) -> None:
        if self._kill_point == KillPoint(when, step, self.taken[step]):
            os.kill(os.getpid(), signal.SIGKILL)


def _record_steps(steps: _Steps) -> None:
    """Record the steps of every SQLite connection."""
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
            # Two commits are different steps if the statements before them differ.
            step = f"{self._name}: {brief}" + (f", after {self._before}" if brief == "COMMIT" else "")
            self._before = brief
            steps.before(step)
            yield
            steps.after(step)

    sqlite3.connect = functools.partial(connect, factory=Connection)  # type: ignore[assignment]


async def _send(config: ChildConfig) -> dict[str, Any]:
    retry = RetryPolicy(wait_initial=0.0)
    journal = None if config.journal is None else Journal(config.journal)
    try:
        async with CallbellClient("sandbox", base_url=config.url, retry=retry, rate_limit=config.rate) as callbell:
            report = await callbell.send_many(
                campaign_messages(config.seed, config.size),
                concurrency=config.concurrency,
                journal=journal,
                shutdown_timeout=0.5,
            )
    except JournalError as error:
        return {"error": str(error)}
    return {"counts": dict(Counter(result.outcome.value for result in report.results))}


def _run_child(config: ChildConfig) -> None:
    steps = _Steps(config.kill_point)
    _record_steps(steps)
    if config.skip_writes:
        SQLiteStore._save = lambda self, rows: [row._replace(version=1) for row in rows]  # type: ignore[method-assign]
    if config.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (config.file_limit, config.file_limit))
    _write_line({**asyncio.run(_send(config)), "steps": steps.taken})


def _write_line(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _main() -> None:
    for line in sys.stdin:
        given = json.loads(line)
        config = ChildConfig(**{**given, "kill_point": given["kill_point"] and KillPoint(*given["kill_point"])})
        gate, opener = os.pipe()
        if not (process := os.fork()):
            status = 1
            try:
                os.read(gate, 1)
                _run_child(config)
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _write_line({"process": process})
        # The fork starts when the test knows its process id, and can kill it.
        sys.stdin.readline()
        os.write(opener, b"!")
        _write_line({"status": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])})
        os.close(gate)
        os.close(opener)


if __name__ == "__main__":
    _main()
