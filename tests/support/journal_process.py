"""A process of a campaign whose journal others share: `python -m tests.support.journal_process`.

It reads one JSON object from its input, sends the messages, and writes the counts by outcome, or the error of the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from callbell_async import CallbellClient, Journal, JournalError, RetryPolicy, TextMessage

__all__ = ["JournalProcess", "messages"]


def messages(count: int) -> Iterator[TextMessage]:
    """Yield messages, each with a text of its own."""
    for number in range(count):
        yield TextMessage(to=f"+4477009{number:05}", text=f"Message {number}")


class JournalProcess:
    """Starts the process, and ends it with the block."""

    def __init__(self, **order: Any) -> None:
        self._order = order
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.journal_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._order).encode())
        self._process.stdin.write_eof()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        assert self._process is not None
        await self._process.communicate()

    def kill(self) -> None:
        """Kill the process, if it is running."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> dict[str, Any]:
        """Wait for the end, and return what the process has written; empty if it was killed."""
        assert self._process is not None
        written, _ = await self._process.communicate()
        found: dict[str, Any] = json.loads(written) if written else {}
        return found


async def _send(order: dict[str, Any]) -> dict[str, Any]:
    journal = Journal.connect(order["journal"], name=order["name"])
    client = CallbellClient(
        order["token"], base_url=order["url"], rate_limit=order.get("rate"), retry=RetryPolicy(attempts=1)
    )
    try:
        async with client as callbell:
            report = await callbell.send_many(messages(order["count"]), concurrency=20, journal=journal)
    except JournalError as error:
        return {"error": str(error)}
    return dict(Counter(result.outcome.value for result in report.results))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_send(json.load(sys.stdin)))))
