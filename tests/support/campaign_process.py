"""Starts and kills the processes of a campaign, and checks its journal against the sandbox."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import orjson

from callbell_async import Journal, JournalEntry, Message, Outcome
from callbell_async.sandbox import Exchange, Fault, SandboxMessage, faults
from tests.support.campaign_child import ChildConfig

__all__ = ["CampaignLauncher", "ProcessExit", "entries_of", "journal_violations", "kill_fault", "text_of"]


@attrs.frozen(kw_only=True)
class ProcessExit:
    """The end of a process.

    Attributes:
        killed: Whether it was killed.
        output: The last JSON object that it printed; empty if it was killed.
    """

    killed: bool
    output: dict[str, Any]


class _ForkServer:
    """A process that has imported the package, and forks the processes of campaigns. It ends when its input does."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.campaign_child"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def write(self, line: bytes) -> None:
        """Write a line."""
        self._input.write(line + b"\n")
        self._input.flush()

    async def read(self) -> dict[str, Any]:
        """Return the next object that it or its fork writes."""
        found: dict[str, Any] = json.loads(await asyncio.to_thread(self._output.readline))
        return found

    def end(self) -> None:
        """Let it end, and wait for its end."""
        self._input.close()
        self._process.wait()
        self._output.close()


_idle: list[_ForkServer] = []
"""The fork servers that the next launchers use: each takes as long to start as many campaigns take to run."""


@atexit.register
def _end_fork_servers() -> None:
    for server in _idle:
        server.end()


class CampaignLauncher:
    """Starts the processes of a campaign, one at a time. At the end of its `async with` block it kills a process that still runs."""

    def __init__(self) -> None:
        self.process: int | None = None
        # Whether the fork server waits for the next order: it has written all that it will write.
        self._waiting = True

    async def __aenter__(self) -> Self:
        self._server = _idle.pop() if _idle else _ForkServer()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        if self._waiting:
            _idle.append(self._server)
        else:
            await asyncio.to_thread(self._server.end)

    async def begin(self, config: ChildConfig) -> None:
        """Start a process, and return when it runs."""
        self._waiting = False
        self._server.write(json.dumps(config._asdict()).encode())
        self.process = int((await self._server.read())["process"])
        self._server.write(b"")

    async def end(self) -> ProcessExit:
        """Wait for the end of the process."""
        output: dict[str, Any] = {}
        while "status" not in (line := await self._server.read()):
            output = line
        self.process = None
        self._waiting = True
        assert line["status"] in (0, -signal.SIGKILL), "the campaign's process failed; its traceback is in stderr"
        return ProcessExit(killed=line["status"] != 0, output=output)

    async def run(self, config: ChildConfig) -> ProcessExit:
        """Start a process, and wait for its end."""
        await self.begin(config)
        return await self.end()

    def kill(self) -> None:
        """Kill the process, if one runs."""
        if self.process is not None:
            # It may have ended a moment before.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)


def kill_fault(kill: Callable[[], None], moment: str) -> Fault:
    """Return a fault that kills the client at a moment of a request: `begun`, `read`, `accepted`, `half responded` or `responded`."""

    async def act(exchange: Exchange) -> None:
        if moment in ("begun", "read"):
            kill()
        elif moment == "accepted":
            exchange.execute()
            kill()
        elif moment == "half responded":
            await faults.truncated_response().act(exchange)
            kill()
        else:
            await exchange.send(exchange.execute())
            kill()
        exchange.close()

    return Fault(f"kill when {moment}", act, before_reading=moment == "begun")


def text_of(message: Message | SandboxMessage | JournalEntry) -> str:
    """Return a message's text, which identifies it within a campaign."""
    if isinstance(message, SandboxMessage):
        return str(message.body["content"]["text"])
    if isinstance(message, JournalEntry):
        return str(orjson.loads(message.message_body)["content"]["text"])
    return str(getattr(message, "text"))  # noqa: B009 - a campaign's messages all have one


async def entries_of(path: Path) -> list[JournalEntry]:
    """Return all entries of a journal, opened for reading only."""
    async with Journal(path, read_only=True) as journal:
        return [entry async for entry in journal.entries()]


def journal_violations(
    given: Iterable[Message], accepted: Sequence[SandboxMessage], entries: Iterable[JournalEntry] | None
) -> list[str]:
    """Return each broken promise: copies, lost messages, and wrong entries. `entries` is `None` for a run without a journal."""
    found = []
    copies = Counter(map(text_of, accepted))
    texts = {text_of(message) for message in given}
    found += [f"{count} copies of {text!r}" for text, count in copies.items() if count > 1]
    found += [f"{text!r} was not given" for text in copies if text not in texts]
    if entries is None:
        return found + [f"{text!r} is lost" for text in texts if text not in copies]
    uuids = {text_of(message): message.uuid for message in accepted}
    known: dict[str, JournalEntry] = {}
    for entry in entries:
        text = text_of(entry)
        if text in known:
            found.append(f"{text!r} has two entries")
        known[text] = entry
        if entry.in_flight or entry.outcome is Outcome.SKIPPED:
            found.append(f"{text!r} has no final outcome")
        if entry.outcome is Outcome.ACCEPTED and entry.uuid != uuids.get(text):
            found.append(f"{text!r} is ACCEPTED, but not by the server")
        if entry.outcome in (Outcome.REJECTED, Outcome.NEVER_SENT) and text in uuids:
            found.append(f"{text!r} is {entry.outcome.name}, but the server has it")
    found += [f"{text!r} is not in the journal" for text in texts if text not in known]
    found += [f"{text!r} is in the journal, but was not given" for text in known if text not in texts]
    return found
