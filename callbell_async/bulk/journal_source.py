"""The input of a run with a journal: each message is claimed before a worker gets it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from callbell_async.asyncio_tools import wait_uncancelled
from callbell_async.bulk.source import MessageSource
from callbell_async.errors import Outcome
from callbell_async.http.requests import Countdown
from callbell_async.journal import (
    BATCH_SIZE,
    MOST_AHEAD,
    Claim,
    ClaimRequest,
    Journal,
    Row,
    State,
    StateEvent,
    duplicate_error,
    next_state,
    still_unknown,
    writer_of,
)
from callbell_async.models.messages import Message
from callbell_async.models.results import SendResult
from callbell_async.wire import dump_keyed_message

__all__ = ["ClaimedMessage", "JournalSource"]


class ClaimedMessage(NamedTuple):
    """A message that the journal lets this run send."""

    message: Message
    claim: Claim

    def __repr__(self) -> str:
        # A traceback may show local variables, and the claim's row holds the recipient and the text.
        return f"<{type(self).__name__} {self.message!r}>"


class JournalSource:
    """A source whose messages are claimed in batches, a little before the workers need them.

    It returns a `ClaimedMessage` for a message that this run sends, a `SendResult` for one that it must not send, and anything
    that is not a message as it is. Claims follow what is in flight: a batch is claimed only when earlier messages have started, so
    that messages which wait for the rate limiter hold the others back.

    Attributes:
        ahead: Counts the items that are claimed, or need no claim, and have neither started nor a result.
    """

    def __init__(self, source: MessageSource, journal: Journal) -> None:
        self._source = source
        self._journal = journal
        self._writer = writer_of(journal)
        self._run = 0
        # Read from the input; then claimed, or found to be duplicates.
        self._read: deque[tuple[int, Any]] = deque()
        self._ready: deque[tuple[int, Any]] = deque()
        # Set when the reader may read on, and when there may be something to claim.
        self._space, self._wakeup = asyncio.Event(), asyncio.Event()
        self.ahead = Countdown(mark=MOST_AHEAD - BATCH_SIZE, on_mark=self._wakeup.set)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._claiming: asyncio.Task[None] | None = None
        self._draining = self._stopping = self._opened = False

    def start(self) -> asyncio.Task[None]:
        """Start to read and to claim; needs `stop_writing` and `close`.

        Returns the task that reads the input; it ends after `stop`, unless the input is waited for and does not end.
        """
        loop = asyncio.get_running_loop()
        self._reading = loop.create_task(self._read_loop())
        self._reading.add_done_callback(self._ended)
        self._claiming = loop.create_task(self._claim_loop(self._reading))
        self._claiming.add_done_callback(self._ended)
        return self._reading

    async def get(self) -> tuple[int, Any] | None:
        """Return the next item with its index, or `None` at the end; raises what the input or the journal raises."""
        while not self._source.stopped:
            if self._ready:
                return self._ready.popleft()
            if self._claiming is None or self._claiming.done():
                self._raise_failure()
                return None
            if not self._waiting:
                # A batch that is not full is claimed when a worker waits for it.
                self._wakeup.set()
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        return None

    def record_result(self, item: Any, result: SendResult) -> SendResult:
        """Record the result of an item that `get` or `remaining` has returned, and return what is true of the message."""
        if not result.attempts:
            self.ahead.step()
        return self._writer.record_result(item.claim, result) if isinstance(item, ClaimedMessage) else result

    def stop(self) -> None:
        """Return nothing more, even if the input is being waited for."""
        self._source.stop()
        self._space.set()
        self._wake(len(self._waiting))

    def drain(self, timeout: float) -> None:
        """After this call, look messages up instead of claiming them, and stop when the input takes more than `timeout` seconds."""
        self._draining = True
        self._source.drain(timeout)

    async def stop_writing(self) -> None:
        """Stop claiming; a claim that is being written is finished, because `remaining` must return its messages."""
        self._stopping = True
        self._wakeup.set()
        if self._claiming is not None:
            await asyncio.wait({self._claiming})

    def remaining(self) -> Iterable[tuple[int, Any]]:
        """Yield what was read and not returned, and the unread rest of an input that has a length."""
        for waiting in (self._ready, self._read):
            while waiting:
                yield waiting.popleft()
        yield from self._source.remaining()

    async def close(self) -> None:
        """Write everything, and close the journal if the run opened it; raises `JournalError`."""
        if self._opened:
            self._opened = False
            await self._writer.close(for_run=True)

    async def _read_loop(self) -> None:
        source, read = self._source, self._read
        while True:
            while not source.stopped and len(read) >= BATCH_SIZE:
                self._space.clear()
                await self._space.wait()
            if source.immediate:
                if not source.read_into(read, BATCH_SIZE - len(read)):
                    return
            elif (item := await source.get()) is not None:
                read.append(item)
            else:
                return
            self._wakeup.set()

    async def _claim_loop(self, reading: asyncio.Task[None]) -> None:
        await self._writer.open(for_run=True)
        self._opened = True
        self._run = await self._writer.begin_run()
        while not self._stopping:
            read = len(self._read)
            is_batch = read >= BATCH_SIZE or bool(read and (self._waiting or reading.done()))
            if is_batch and self.ahead.count <= self.ahead.mark:
                await self._claim(tuple(self._read))
                self._wake(read)
            elif reading.done() and not read:
                return
            else:
                self._wakeup.clear()
                await self._wakeup.wait()

    async def _claim(self, batch: Sequence[tuple[int, Any]]) -> None:
        """Claim a batch and make it ready, cancelled or not; after `drain` only look it up."""
        items = list(batch)
        requests: list[ClaimRequest] = []
        positions: list[int] = []
        draining = self._draining
        journal_id = self._journal.id if self._journal.key_in_metadata else None
        for position, (index, item) in enumerate(batch):
            if isinstance(item, Message):
                try:
                    key, body = dump_keyed_message(item, journal=journal_id)
                except Exception as error:
                    # About this message only, as without a journal.
                    if not draining:
                        result = SendResult(index, item, Outcome.NEVER_SENT, error=error, key=item.key)
                        items[position] = index, result
                else:
                    requests.append(ClaimRequest(key, body, index))
                    positions.append(position)
        cancelled = None
        if requests:
            writing: asyncio.Future[Any]
            if draining:
                writing = self._writer.find([request.key for request in requests])
            else:
                writing = self._writer.claim(requests, run=self._run)
            cancelled = await wait_uncancelled(writing)
            found: Any
            for position, found in zip(positions, writing.result(), strict=True):
                index, message = items[position]
                if draining:
                    item = self._found(index, message, found)
                elif found.granted:
                    item = ClaimedMessage(message, found)
                else:
                    item = self._duplicate(index, message, found.row)
                items[position] = index, item
        for _ in batch:
            self._read.popleft()
        self._ready.extend(items)
        self.ahead.count += len(items)
        self._space.set()
        if cancelled is not None:
            raise cancelled

    def _found(self, index: int, message: Message, row: Row | None) -> SendResult | Message:
        if row is None:
            return message
        state = next_state(row.state, StateEvent.CLAIM)
        if state is None or row.run == self._run:
            return self._duplicate(index, message, row)
        if state is State.RESENDING:
            return still_unknown(SendResult(index, message, Outcome.SKIPPED, key=row.key))
        return message

    def _duplicate(self, index: int, message: Message, row: Row) -> SendResult:
        error = duplicate_error(row, this_run=row.run == self._run)
        return SendResult(index, message, Outcome.SKIPPED, error.entry.receipt, error, key=row.key)

    def _raise_failure(self) -> None:
        for task in (self._claiming, self._reading):
            if task is not None and task.done():
                task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            # `get` raises it, unless the run has ended for another reason: then it counts as seen.
            task.exception()
        self._wakeup.set()
        if task is self._claiming:
            self._wake(len(self._waiting))

    def _wake(self, count: int) -> None:
        while self._waiting and count:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                count -= 1
