"""Runs with a journal over a server without a network, in a program that may be killed at any moment."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import attrs
import orjson
from multidict import CIMultiDict

from callbell_async import (
    ConnectError,
    ConnectionLostError,
    InvalidMessageError,
    Message,
    MessageCreated,
    Outcome,
    RetryPolicy,
    SendResult,
    TextMessage,
)
from callbell_async.bulk import SendRun
from callbell_async.http.options import TransportOptions
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.http.transport import Transport
from callbell_async.journal import Journal
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA, dump_keyed_message
from tests.support.fake_callbell import new_run, slow_response
from tests.support.virtual_disk import DiskLoop

__all__ = ["INVALID", "MAKES", "POOL", "Account", "Campaign", "Fate", "Fax", "Used", "expected", "key_of", "use"]


@attrs.frozen(kw_only=True)
class Fax(Message):
    """A kind of message that can't be sent, which is noticed when its body is built."""


def _text(number: int, **given: Any) -> TextMessage:
    return TextMessage(to="+31612345678", text=str(number), **given)


POOL: Sequence[Message] = (
    _text(0),
    _text(1),
    _text(2, key="two"),
    _text(3, key="two"),
    _text(4, metadata={f"pair {number}": "full" for number in range(10)}),
    _text(5, metadata={"batch": "spring"}),
    _text(6, key="1"),
    *(_text(number) for number in range(7, 20)),
)
"""Few messages, so that many are given again: two share a key, and one has no room for it in its metadata."""

INVALID: Sequence[Any] = (InvalidMessageError("to", "no recipient"), Fax(to="+31612345678", key="fax"))

MAKES: Sequence[Callable[[list[Any]], Any]] = (list, iter, slow_response)


def key_of(message: Message) -> str:
    """Return the key of a message in the journal."""
    return dump_keyed_message(message, journal=None)[0]


_KEYS = {str(getattr(message, "text", "")): key_of(message) for message in POOL}


@attrs.frozen(kw_only=True)
class Fate:
    """The behaviour of the network and the server for one request. Times are in seconds of virtual time.

    Attributes:
        connecting: The time before the body is written.
        leaving: The time in which the body is written.
        answering: The time from then to the response.
        connects: Whether there is a connection.
        arrives: Whether a written request arrives.
        answers: Whether the response arrives.
        late: If set, the request arrives this long after its sender has given up.
        status: The status of the response.
        sends_event: Whether an event about the message arrives before the response.
    """

    connecting: float = 0.0
    leaving: float = 0.0
    answering: float = 0.0
    connects: bool = True
    arrives: bool = True
    answers: bool = True
    late: float | None = None
    status: int = 200
    sends_event: bool = False

    @property
    def outcome(self) -> Outcome:
        """The outcome of such an attempt."""
        if not self.connects:
            return Outcome.NEVER_SENT
        if not (self.answers and self.arrives and self.late is None):
            return Outcome.UNKNOWN
        return Outcome.ACCEPTED if self.status == 200 else Outcome.REJECTED


def expected(fates: Sequence[Fate], attempts: int) -> Outcome:
    """Return the outcome of a message with these behaviours, the last of which repeats, computed without the code under test."""
    outcome = Outcome.NEVER_SENT
    for attempt in range(attempts):
        met = fates[min(attempt, len(fates) - 1)]
        if met.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
            return met.outcome
        if met.outcome is Outcome.REJECTED:
            outcome = met.outcome
            if met.status < 429:
                return outcome
    return outcome


class Account:
    """The messages that the server has accepted: the uuids of all copies, by key."""

    def __init__(self) -> None:
        self.copies: dict[str, list[str]] = defaultdict(list)

    def take(self, key: str) -> str:
        """Accept a copy, and return its uuid."""
        uuid = f"{key}-{len(self.copies[key])}"
        self.copies[key].append(uuid)
        return uuid


class _Line(Transport):
    """The connection of a program to the server; after a `cut`, no request leaves."""

    def __init__(self, account: Account, fate: Callable[[str, int], Fate], journal: Journal) -> None:
        options = TransportOptions(
            base_url="https://callbell.invalid",
            headers=CIMultiDict({"Authorization": "Bearer a-test-token"}),
            timeout=None,
            connect_timeout=None,
            max_connections=1,
        )
        super().__init__(options)
        self._account = account
        self._describe = fate
        self._journal = journal
        self.cut = False
        self.tried: set[str] = set()
        self.proved: set[str] = set()

    async def exchange(self, call: CallState) -> Response:
        """Behave as defined for this attempt."""
        text = orjson.loads(call.request.body or b"")["content"]["text"]
        fate, key = self._describe(text, call.attempts), _KEYS[text]
        request = {"method": call.request.method, "path": call.request.path}
        if not self.cut:
            self.tried.add(key)
        await asyncio.sleep(fate.connecting)
        if self.cut or not fate.connects:
            raise ConnectError("no connection", outcome=Outcome.NEVER_SENT, **request)
        call.written = True
        uuid = ""
        try:
            await asyncio.sleep(fate.leaving)
        finally:
            # A written request arrives, even if nobody waits for it.
            if fate.late is not None:
                asyncio.get_running_loop().call_later(fate.late, self._arrive, key, fate)
            elif fate.arrives:
                uuid = self._arrive(key, fate)
        await asyncio.sleep(fate.answering)
        if fate.outcome is Outcome.UNKNOWN:
            raise ConnectionLostError("the connection broke", outcome=Outcome.UNKNOWN, **request)
        body = {"message": {"uuid": uuid, "status": "enqueued"}} if fate.status == 200 else {"error": "no"}
        return Response(fate.status, CIMultiDict(), orjson.dumps(body))

    def _arrive(self, key: str, fate: Fate) -> str:
        if fate.status != 200:
            return ""
        uuid = self._account.take(key)
        if fate.sends_event and fate.late is None and not self.cut:
            self.proved.add(key)
            metadata = {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: self._journal.id}
            self._journal.handle_event(MessageCreated(key=uuid, uuid=uuid, status="sent", metadata=metadata))
        return uuid


@attrs.frozen(kw_only=True)
class Campaign:
    """A run: its input, the behaviour for each text and attempt, and its end.

    `ends` is `None` (by itself), `"break"` (after `at` results), `"cancel"` or `"crash"` (after `at` rounds of the loop), or
    `"torn"` (killed during the disk job with the number `at`, when `part` of its bytes was written).
    """

    items: list[Any]
    fates: dict[str, list[Fate]]
    make: Callable[[list[Any]], Any] = list
    concurrency: int = 2
    attempts: int = 1
    iterated: bool = False
    kept_open: bool = False
    key_in_metadata: bool = True
    disk: float = 0.001
    shutdown_timeout: float = 60.0
    ends: str | None = None
    at: int = 0
    part: float = 0.0

    def fate(self, text: str, attempt: int) -> Fate:
        """Return the behaviour for an attempt; the last one repeats."""
        met = self.fates.get(text) or [Fate()]
        return met[min(attempt, len(met)) - 1]

    def expected(self, message: Any) -> Outcome:
        """Return the outcome of a message that is attempted."""
        return expected(self.fates.get(message.text) or [Fate()], self.attempts)

    def stops(self, message: Any) -> bool:
        """Return whether a message that is attempted stops the run with a 402."""
        met = [self.fate(message.text, attempt) for attempt in range(1, self.attempts + 1)]
        return any(fate.connects and fate.status == 402 for fate in met)


@attrs.define
class Used:
    """The end of a run.

    Attributes:
        path: The journal's file; after a crash, the file that was left.
        results: The results that were reported, by index.
        tried: The keys of all messages that were attempted.
        proved: The keys of the messages for which an event arrived.
        crashed: Whether the program was killed.
        early: Whether the run ended before its input.
    """

    path: Path
    results: dict[int, SendResult] = attrs.field(factory=dict)
    tried: set[str] = attrs.field(factory=set)
    proved: set[str] = attrs.field(factory=set)
    crashed: bool = False
    early: bool = False


def _files(path: Path) -> dict[str, bytes]:
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-lock")]
    return {file.name.removeprefix(path.name): file.read_bytes() for file in files if file.exists()}


def _left_behind(path: Path, before: dict[str, bytes], part: float) -> None:
    """Write the files that a kill leaves during a job, when this part of the bytes that it appends to the log was written."""
    after = _files(path)
    if before.get("") != after.get("") or "-wal" not in after:
        # It wrote to the database itself, or nothing: all or nothing is left.
        left = after if part > 0.5 else before
    else:
        log, old = after["-wal"], before.get("-wal", b"")
        written = int(len(log) * part)
        left = {**(after if part == 1.0 else before), "-wal": log[:written] + old[written:]}
    for end, content in left.items():
        path.with_name(f"{path.name}+{end}").write_bytes(content)
    if "" in left and "-lock" in left:
        # The number of the file changes, because this is a copy.
        lock, number = path.with_name(f"{path.name}+-lock"), path.with_name(f"{path.name}+").stat().st_ino
        lock.write_bytes(re.sub(rb"file +\d+", b"file %20d" % number, left["-lock"]))


def use(
    campaigns: Sequence[Campaign], account: Account, path: Path, journal_class: Callable[..., Journal] = Journal
) -> list[Used]:
    """Run campaigns to their end or to a crash, in a new loop, and return when late requests have arrived.

    Several campaigns use one journal at the same time, and none of them ends early.
    """
    with asyncio.Runner(loop_factory=DiskLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, DiskLoop)
        errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: errors.append(context))
        journal = journal_class(path, key_in_metadata=campaigns[0].key_in_metadata, risk_power_loss=True)

        async def main() -> list[Used]:
            programs = [_Program(campaign, account, journal, loop) for campaign in campaigns]
            used = await asyncio.gather(*(program.main() for program in programs))
            await asyncio.sleep(0)
            assert used[0].crashed or len(asyncio.all_tasks()) == 1
            return used

        used = runner.run(main())
    assert not errors, errors
    return used


class _Program:
    """One program with one run."""

    def __init__(
        self,
        campaign: Campaign,
        account: Account,
        journal: Journal,
        loop: DiskLoop,
    ) -> None:
        self._campaign = campaign
        assert journal.path is not None
        self._path = path = journal.path
        self._loop = loop
        self._journal = journal
        self._line = _Line(account, campaign.fate, self._journal)
        self._run: SendRun | None = None
        self._used = Used(path)
        self._rounds = 0
        self._task: asyncio.Task[None] | None = None
        loop.seconds = lambda number: campaign.disk
        loop.at_job = self._at_job
        loop.at_round(self._at_round)

    async def main(self) -> Used:
        """Run to the end, and wait for late requests."""
        self._task = asyncio.create_task(self._use())
        await asyncio.wait({self._task})
        used = self._used
        if not used.crashed and not self._task.cancelled():
            self._task.result()
        await asyncio.sleep(5.0)
        if not used.crashed:
            used.tried, used.proved = self._line.tried, self._line.proved
            if self._run is not None and not self._campaign.iterated:
                self._check_report(self._run)
        return used

    async def _use(self) -> None:
        async with AsyncExitStack() as stack:
            if self._campaign.kept_open:
                await stack.enter_async_context(self._journal)
            run = self._run = self._begin()
            if self._campaign.iterated:
                await self._iterate(run)
            else:
                await run

    def _begin(self) -> SendRun:
        campaign = self._campaign
        return new_run(
            self._line,
            campaign.make(campaign.items),
            concurrency=campaign.concurrency,
            retry=RetryPolicy(attempts=campaign.attempts),
            journal=self._journal,
            on_result=self._report,
            shutdown_timeout=campaign.shutdown_timeout,
        )

    async def _iterate(self, run: SendRun) -> None:
        count = 0
        given = aiter(run)
        async with aclosing(given) as given:  # type: ignore[type-var]
            async for result in given:
                count += 1
                assert self._used.crashed or self._used.results[result.index] is result
                if self._campaign.ends == "break" and count >= self._campaign.at:
                    self._used.early = True
                    break
            else:
                assert self._used.crashed or count == len(self._used.results)

    def _check_report(self, run: SendRun) -> None:
        """Check that the report has the results that were reported, and those that no worker got."""
        for result in run.report.results:
            reported = self._used.results.setdefault(result.index, result)
            assert reported is result

    def _report(self, result: SendResult) -> None:
        if not self._used.crashed:
            assert result.index not in self._used.results
            self._used.results[result.index] = result

    def _at_round(self) -> bool:
        task = self._task
        if task is None or task.done() or self._used.crashed:
            return False
        self._rounds += 1
        if self._campaign.ends not in ("cancel", "crash") or self._rounds != self._campaign.at:
            return False
        if self._campaign.ends == "crash":
            self._crash(_files(self._path), 1.0)
        self._cancel(task)
        return True

    def _at_job(self, number: int, job: Callable[[], None]) -> None:
        if self._campaign.ends != "torn" or number != self._campaign.at or self._used.crashed:
            job()
            return
        before = _files(self._path)
        job()
        self._crash(before, self._campaign.part)
        assert self._task is not None
        self._cancel(self._task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self._used.early = True
        self._loop.call_soon(task.cancel)

    def _crash(self, before: dict[str, bytes], part: float) -> None:
        """Kill the program: it continues in this process, without a connection and with a file that no test reads."""
        _left_behind(self._path, before, part)
        used = self._used
        used.crashed = used.early = True
        used.path = self._path.with_name(self._path.name + "+")
        used.tried, used.proved = set(self._line.tried), set(self._line.proved)
        self._line.cut = True
