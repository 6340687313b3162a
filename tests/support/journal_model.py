"""Runs with a journal and a modelled server, without a network, in a program that may crash at any moment."""

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
from tests.support.fake_callbell import async_input, new_run
from tests.support.virtual_disk import DiskLoop

__all__ = [
    "INVALID",
    "MAKES",
    "POOL",
    "AcceptedMessages",
    "ModelRun",
    "RunRecord",
    "ServerBehaviour",
    "UnsendableMessage",
    "expected",
    "key_of",
    "perform",
]


@attrs.frozen(kw_only=True)
class UnsendableMessage(Message):
    """A message of a kind that can't be sent; the library finds that when it writes the body."""


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
"""The messages of all runs; few, so that many are given again. Two have one key, and one has no room for the key in its metadata."""

INVALID: Sequence[Any] = (InvalidMessageError("to", "no recipient"), UnsendableMessage(to="+31612345678", key="fax"))

MAKES: Sequence[Callable[[list[Any]], Any]] = (list, iter, async_input)


def key_of(message: Message) -> str:
    """Return the message's key in a journal."""
    return dump_keyed_message(message, journal=None)[0]


_KEYS = {str(getattr(message, "text", "")): key_of(message) for message in POOL}


@attrs.frozen(kw_only=True)
class ServerBehaviour:
    """The server's behaviour for one request.

    Attributes:
        connecting: The seconds of virtual time before the body is written.
        leaving: The seconds in which it is written.
        response_time: The seconds from then to the response.
        connects: Whether there is a connection.
        arrives: Whether a request that was written arrives.
        responds: Whether the response arrives.
        late: If set, the request arrives this number of seconds after it was written or cancelled, and gets no response.
        status: The status of the response.
        sends_event: Whether an event about the message comes before the response.
    """

    connecting: float = 0.0
    leaving: float = 0.0
    response_time: float = 0.0
    connects: bool = True
    arrives: bool = True
    responds: bool = True
    late: float | None = None
    status: int = 200
    sends_event: bool = False

    @property
    def outcome(self) -> Outcome:
        """The outcome of an attempt that meets this behaviour."""
        if not self.connects:
            return Outcome.NEVER_SENT
        if not (self.responds and self.arrives and self.late is None):
            return Outcome.UNKNOWN
        return Outcome.ACCEPTED if self.status == 200 else Outcome.REJECTED


def expected(behaviours: Sequence[ServerBehaviour], attempts: int) -> Outcome:
    """Return the outcome of a message from the behaviour for each attempt; the last one repeats. It uses none of the code that sends."""
    outcome = Outcome.NEVER_SENT
    for attempt in range(attempts):
        behaviour = behaviours[min(attempt, len(behaviours) - 1)]
        if behaviour.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
            return behaviour.outcome
        if behaviour.outcome is Outcome.REJECTED:
            outcome = behaviour.outcome
            if behaviour.status < 429:
                return outcome
    return outcome


class AcceptedMessages:
    """The messages that the server accepted.

    Attributes:
        copies: The uuids of all accepted copies, by the message's key.
    """

    def __init__(self) -> None:
        self.copies: dict[str, list[str]] = defaultdict(list)

    def accept(self, key: str) -> str:
        """Accept one more copy, and return its uuid."""
        uuid = f"{key}-{len(self.copies[key])}"
        self.copies[key].append(uuid)
        return uuid


class _ModelTransport(Transport):
    """A program's transport to the server. Once it is `disconnected`, no request leaves."""

    def __init__(
        self, accepted: AcceptedMessages, behaviour: Callable[[str, int], ServerBehaviour], journal: Journal
    ) -> None:
        options = TransportOptions(
            base_url="https://callbell.invalid",
            headers=CIMultiDict({"Authorization": "Bearer a-test-token"}),
            timeout=None,
            connect_timeout=None,
            max_connections=1,
        )
        super().__init__(options)
        self._accepted = accepted
        self._behaviour = behaviour
        self._journal = journal
        self.disconnected = False
        self.attempted: set[str] = set()
        self.confirmed: set[str] = set()

    async def exchange(self, call: CallState) -> Response:
        """Behave as the test defines it for this attempt."""
        text = orjson.loads(call.request.body or b"")["content"]["text"]
        behaviour, key = self._behaviour(text, call.attempts), _KEYS[text]
        request = {"method": call.request.method, "path": call.request.path}
        if not self.disconnected:
            self.attempted.add(key)
        await asyncio.sleep(behaviour.connecting)
        if self.disconnected or not behaviour.connects:
            raise ConnectError("no connection", outcome=Outcome.NEVER_SENT, **request)
        call.written = True
        uuid = ""
        try:
            await asyncio.sleep(behaviour.leaving)
        finally:
            # A request that was written arrives, also if its sender no longer waits.
            if behaviour.late is not None:
                asyncio.get_running_loop().call_later(behaviour.late, self._arrive, key, behaviour)
            elif behaviour.arrives:
                uuid = self._arrive(key, behaviour)
        await asyncio.sleep(behaviour.response_time)
        if behaviour.outcome is Outcome.UNKNOWN:
            raise ConnectionLostError("the connection broke", outcome=Outcome.UNKNOWN, **request)
        body = {"message": {"uuid": uuid, "status": "enqueued"}} if behaviour.status == 200 else {"error": "no"}
        return Response(behaviour.status, CIMultiDict(), orjson.dumps(body))

    def _arrive(self, key: str, behaviour: ServerBehaviour) -> str:
        if behaviour.status != 200:
            return ""
        uuid = self._accepted.accept(key)
        if behaviour.sends_event and behaviour.late is None and not self.disconnected:
            self.confirmed.add(key)
            metadata = {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: self._journal.id}
            self._journal.handle_event(MessageCreated(key=uuid, uuid=uuid, status="sent", metadata=metadata))
        return uuid


@attrs.frozen(kw_only=True)
class ModelRun:
    """One run: its input, the server's behaviour, and its end.

    Attributes:
        items: The input.
        behaviours: The server's behaviour by text, one for each attempt; the last one repeats.
        make: Makes the iterable of the run from the items.
        concurrency: The most requests in flight.
        attempts: The most attempts for one message.
        iterated: Whether the run is used with `async for`; otherwise it is awaited.
        kept_open: Whether the journal is open before the run.
        key_in_metadata: The journal's option.
        disk: The seconds of virtual time that one job for the disk takes.
        shutdown_timeout: The run's option.
        ending: `None` at the end of the input; `"break"` after `at` results; `"cancel"` or `"crash"` after `at` rounds of the loop;
            `"torn"` in the `at`-th job for the disk, when `part` of its bytes were written.
        at: See `ending`.
        part: See `ending`.
    """

    items: list[Any]
    behaviours: dict[str, list[ServerBehaviour]]
    make: Callable[[list[Any]], Any] = list
    concurrency: int = 2
    attempts: int = 1
    iterated: bool = False
    kept_open: bool = False
    key_in_metadata: bool = True
    disk: float = 0.001
    shutdown_timeout: float = 60.0
    ending: str | None = None
    at: int = 0
    part: float = 0.0

    def behaviour(self, text: str, attempt: int) -> ServerBehaviour:
        """Return the behaviour for an attempt, counted from 1."""
        behaviours = self.behaviours.get(text) or [ServerBehaviour()]
        return behaviours[min(attempt, len(behaviours)) - 1]

    def expected(self, message: Any) -> Outcome:
        """Return the outcome of a message that is sent."""
        return expected(self.behaviours.get(message.text) or [ServerBehaviour()], self.attempts)


@attrs.define
class RunRecord:
    """The observations about one run after its end.

    Attributes:
        path: The journal's file; after a crash, the copy of it that the crash left.
        results: The results of the run, by index.
        attempted: The keys of the messages for which an attempt started.
        confirmed: The keys of the messages for which an event came.
        crashed: Whether the program was killed.
        early: Whether the run ended before its input.
    """

    path: Path
    results: dict[int, SendResult] = attrs.field(factory=dict)
    attempted: set[str] = attrs.field(factory=set)
    confirmed: set[str] = attrs.field(factory=set)
    crashed: bool = False
    early: bool = False


def _files(path: Path) -> dict[str, bytes]:
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-lock")]
    return {file.name.removeprefix(path.name): file.read_bytes() for file in files if file.exists()}


def _copy_files(path: Path, before: dict[str, bytes], part: float) -> None:
    """Copy the files as they are on the disk if the program was killed when a job had written this part of its bytes to the log."""
    after = _files(path)
    if before.get("") != after.get("") or "-wal" not in after:
        # The job wrote the database itself or nothing; the copy has all of that or nothing.
        left = after if part > 0.5 else before
    else:
        log, old = after["-wal"], before.get("-wal", b"")
        written = int(len(log) * part)
        left = {**(after if part == 1.0 else before), "-wal": log[:written] + old[written:]}
    for end, content in left.items():
        path.with_name(f"{path.name}+{end}").write_bytes(content)
    if "" in left and "-lock" in left:
        # A kill does not change the number of the file, and a copy has another number.
        lock, number = path.with_name(f"{path.name}+-lock"), path.with_name(f"{path.name}+").stat().st_ino
        lock.write_bytes(re.sub(rb"file +\d+", b"file %20d" % number, left["-lock"]))


def perform(
    runs: Sequence[ModelRun], accepted: AcceptedMessages, path: Path, journal_class: Callable[..., Journal] = Journal
) -> list[RunRecord]:
    """Perform runs in a new loop until they end or their program crashes; late requests arrive before this returns.

    Several runs use one journal at the same time, and end with their input.
    """
    with asyncio.Runner(loop_factory=DiskLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, DiskLoop)
        errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: errors.append(context))
        journal = journal_class(path, key_in_metadata=runs[0].key_in_metadata, risk_power_loss=True)

        async def main() -> list[RunRecord]:
            programs = [_Program(run, accepted, journal, loop) for run in runs]
            records = await asyncio.gather(*(program.main() for program in programs))
            await asyncio.sleep(0)
            assert records[0].crashed or len(asyncio.all_tasks()) == 1
            return records

        records = runner.run(main())
    assert not errors, errors
    return records


class _Program:
    """One run, and the program that performs it."""

    def __init__(
        self,
        run: ModelRun,
        accepted: AcceptedMessages,
        journal: Journal,
        loop: DiskLoop,
    ) -> None:
        self._model = run
        assert journal.path is not None
        self._path = path = journal.path
        self._loop = loop
        self._journal = journal
        self._transport = _ModelTransport(accepted, run.behaviour, self._journal)
        self._run: SendRun | None = None
        self._record = RunRecord(path)
        self._rounds = 0
        self._task: asyncio.Task[None] | None = None
        loop.seconds = lambda number: run.disk
        loop.at_job = self._at_job
        loop.at_round(self._at_round)

    async def main(self) -> RunRecord:
        """Perform the run, and wait for late requests."""
        self._task = asyncio.create_task(self._perform())
        await asyncio.wait({self._task})
        record = self._record
        if not record.crashed and not self._task.cancelled():
            self._task.result()
        await asyncio.sleep(5.0)
        if not record.crashed:
            record.attempted, record.confirmed = self._transport.attempted, self._transport.confirmed
            if self._run is not None and not self._model.iterated:
                self._check_report(self._run)
        return record

    async def _perform(self) -> None:
        async with AsyncExitStack() as stack:
            if self._model.kept_open:
                await stack.enter_async_context(self._journal)
            run = self._run = self._new_run()
            if self._model.iterated:
                await self._iterate(run)
            else:
                await run

    def _new_run(self) -> SendRun:
        run = self._model
        return new_run(
            self._transport,
            run.make(run.items),
            concurrency=run.concurrency,
            retry=RetryPolicy(attempts=run.attempts),
            journal=self._journal,
            on_result=self._on_result,
            shutdown_timeout=run.shutdown_timeout,
        )

    async def _iterate(self, run: SendRun) -> None:
        count = 0
        given = aiter(run)
        async with aclosing(given) as given:  # type: ignore[type-var]
            async for result in given:
                count += 1
                assert self._record.crashed or self._record.results[result.index] is result
                if self._model.ending == "break" and count >= self._model.at:
                    self._record.early = True
                    break
            else:
                assert self._record.crashed or count == len(self._record.results)

    def _check_report(self, run: SendRun) -> None:
        """Check that the report has the results that `on_result` received; add those of messages that no worker got."""
        for result in run.report.results:
            known = self._record.results.setdefault(result.index, result)
            assert known is result

    def _on_result(self, result: SendResult) -> None:
        if not self._record.crashed:
            assert result.index not in self._record.results
            self._record.results[result.index] = result

    def _at_round(self) -> bool:
        task = self._task
        if task is None or task.done() or self._record.crashed:
            return False
        self._rounds += 1
        if self._model.ending not in ("cancel", "crash") or self._rounds != self._model.at:
            return False
        if self._model.ending == "crash":
            self._crash(_files(self._path), 1.0)
        self._cancel(task)
        return True

    def _at_job(self, number: int, job: Callable[[], None]) -> None:
        if self._model.ending != "torn" or number != self._model.at or self._record.crashed:
            job()
            return
        before = _files(self._path)
        job()
        self._crash(before, self._model.part)
        assert self._task is not None
        self._cancel(self._task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self._record.early = True
        self._loop.call_soon(task.cancel)

    def _crash(self, before: dict[str, bytes], part: float) -> None:
        """Copy the files, and disconnect: the program continues without effect, because the test reads only the copies."""
        _copy_files(self._path, before, part)
        record = self._record
        record.crashed = record.early = True
        record.path = self._path.with_name(self._path.name + "+")
        record.attempted, record.confirmed = set(self._transport.attempted), set(self._transport.confirmed)
        self._transport.disconnected = True
