"""The input of a journalled run: what is handed out has been written down before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from callbell_async.bulk.source import MessageSource
from callbell_async.errors import JournalError, Outcome
from callbell_async.journal import Doubtful, Intent, Journal, JournalRun, Known, Verdict, duplicate, ended
from callbell_async.models.messages import Message
from callbell_async.models.results import SendResult
from callbell_async.wire import dump_keyed_message

__all__ = ["Intended", "JournalSource", "group_size"]

MOST_IN_GROUP = 500
FEWEST_IN_GROUP = 10


@attrs.define(eq=False)
class Intended:
    """A message that is written down and may be tried: its key, its body with what the journal adds, and its number in the journal.

    `in_doubt`: an earlier attempt may have been accepted.
    """

    message: Message
    # A traceback may show local variables.
    key: str = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    number: int
    in_doubt: bool = False

    def truth(self, result: SendResult) -> SendResult:
        """What is true of the message when this attempt came out so: an earlier one that is in doubt remains so, unless this one was accepted."""
        if not self.in_doubt or result.outcome is Outcome.ACCEPTED:
            return result
        untried = JournalError("was not tried again; an earlier attempt may have been accepted")
        return attrs.evolve(result, outcome=Outcome.UNKNOWN, error=result.error or untried)


def group_size(size: int, *, seconds: float, starved: bool) -> int:
    """How many messages to write down at once, after so many took so long to be sent: what lasts about a tenth of a second.

    The fewer, the less is left in doubt by a crash; the more, the cheaper it is: workers that were `starved` waited for the disk itself. Otherwise it
    grows slowly: what is sent at once, before the rate limit begins to bind, must not make it large for what comes after.
    """
    if starved:
        return min(size * 2, MOST_IN_GROUP)
    if seconds < 0.05:
        return min(size + size // 5 + 5, MOST_IN_GROUP)
    return max(size // 2, min(size, FEWEST_IN_GROUP)) if seconds > 0.2 else size


class JournalSource:
    """A feed whose messages are written down in groups, a little ahead of the workers, so that these seldom wait for the disk.

    It hands out `Intended` messages, `SendResult`s of those that must not be tried, and what is no message as it came. At most one and a
    half groups are written down and not yet handed out: so many can be `UNKNOWN` after a crash without having been tried.
    """

    def __init__(self, feed: MessageSource, journal: Journal, *, concurrency: int) -> None:
        self._feed = feed
        self._journal = journal
        self._run: JournalRun | None = None
        self._group = min(concurrency, MOST_IN_GROUP)
        self._handed_out = 0
        # Pulled from the input; then written down, or found not to be tried.
        self._pulled: deque[tuple[int, Any]] = deque()
        self._ready: deque[tuple[int, Any]] = deque()
        self._room, self._change = asyncio.Event(), asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._pulling: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._hurried = self._halting = self._opened = False

    @property
    def size_hint(self) -> int | None:
        """How many messages there are, if that is known, but 1 at least."""
        return self._feed.size_hint

    @property
    def stopped(self) -> bool:
        """Whether nothing more is handed out."""
        return self._feed.stopped

    def start(self) -> None:
        """Begin to pull and to write; wants `stop_writing` and `close`."""
        loop = asyncio.get_running_loop()
        self._pulling = loop.create_task(self._pull())
        self._pulling.add_done_callback(self._ended)
        self._writing = loop.create_task(self._write(self._pulling))
        self._writing.add_done_callback(self._ended)

    async def get(self) -> tuple[int, Any] | None:
        """The next with its index, or `None` when there is none or the feeding has stopped; raises what the input or the journal raises."""
        while not self._feed.stopped:
            if self._ready:
                if len(self._ready) == self._group // 2 + 1:
                    self._room.set()
                fed = self._ready.popleft()
                # What is passed over says nothing of how fast messages are sent.
                self._handed_out += isinstance(fed[1], Intended)
                return fed
            if self._writing is None or self._writing.done():
                self._raise_failure()
                return None
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            self._change.set()
            await waiting
        return None

    def settle(self, item: Intended, result: SendResult) -> SendResult:
        """Note what became of an intended message; returns what is true of it."""
        if self._run is not None:
            self._run.settle(item.number, result, in_doubt=item.in_doubt)
        return item.truth(result)

    def stop(self) -> None:
        """Hand out nothing more, even if the input is being waited for."""
        self._feed.stop()
        self._room.set()
        self._wake(len(self._waiting))

    def in_flight(self) -> set[asyncio.Task[None]]:
        """What still waits for the input; it ends after `stop`, unless the input won't."""
        return set() if self._pulling is None or self._pulling.done() else {self._pulling}

    def drain(self, timeout: float) -> None:
        """From now on nothing is tried, and so only looked up, not written down; stop when the input has to be waited for longer than so many seconds."""
        self._hurried = True
        self._feed.drain(timeout)

    async def stop_writing(self) -> None:
        """Stop writing; a group that is being written is finished, because `remaining` must know what is written down."""
        self._halting = True
        self._change.set()
        if self._writing is not None:
            await asyncio.wait({self._writing})

    def remaining(self) -> Iterable[tuple[int, Any]]:
        """What was pulled and not handed out, and what was not pulled of an input that has a length."""
        for waiting in (self._ready, self._pulled):
            while waiting:
                yield waiting.popleft()
        yield from self._feed.remaining()

    async def close(self) -> None:
        """Write what is not written, and close the journal if the run opened it; raises `JournalError`."""
        if self._opened:
            self._opened = False
            await self._journal.close_after_run()

    async def _pull(self) -> None:
        feed = self._feed
        while True:
            while not feed.stopped and (len(self._pulled) >= self._group or len(self._ready) > self._group // 2):
                self._room.clear()
                await self._room.wait()
            fed = feed.get_nowait() if feed.immediate else await feed.get()
            if fed is None:
                return
            self._pulled.append(fed)
            self._change.set()

    async def _write(self, pulling: asyncio.Task[None]) -> None:
        await self._journal.open_for_run()
        self._opened = True
        self._run = await self._journal.begin_run()
        loop = asyncio.get_running_loop()
        sized_at = loop.time()
        begun = starved = False
        while not self._halting:
            full = len(self._pulled) >= self._group
            if self._pulled and (full or self._waiting or pulling.done()):
                if not self._handed_out:
                    sized_at = loop.time()
                if full and self._handed_out >= self._group:
                    self._group = group_size(self._group, seconds=loop.time() - sized_at, starved=starved)
                    self._handed_out, sized_at = 0, loop.time()
                group = tuple(self._pulled)
                await self._intend(self._run, group)
                # Who waited for the first group had nothing to do before.
                begun, starved = True, begun and full and bool(self._waiting)
                self._wake(len(group))
            elif pulling.done():
                return
            else:
                self._change.clear()
                await self._change.wait()

    async def _intend(self, run: JournalRun, group: Sequence[tuple[int, Any]]) -> None:
        """Write a group down, and make it ready to be handed out; cancelled or not, what is written down is made ready.

        Of what is not going to be tried is only looked up what is known of it.
        """
        handed = list(group)
        intents: list[Intent] = []
        places: list[int] = []
        hurried = self._hurried
        mark = self._journal.id if self._journal.key_in_metadata else None
        for place, (index, item) in enumerate(group):
            if isinstance(item, Message):
                try:
                    key, body = dump_keyed_message(item, journal=mark)
                except Exception as error:
                    # About this message only, as without a journal.
                    if not hurried:
                        handed[place] = (index, SendResult(index, item, Outcome.NEVER_SENT, error=error, key=item.key))
                else:
                    intents.append((key, body, index))
                    places.append(place)
        cancelled = None
        if intents:
            writing: asyncio.Future[Any] = run.look([key for key, _, _ in intents]) if hurried else run.intend(intents)
            cancelled = await ended(writing)
            for place, intent, verdict in zip(places, intents, writing.result(), strict=True):
                handed[place] = (intent[2], _written(handed[place][1], intent, verdict, tried=not hurried))
        for _ in group:
            self._pulled.popleft()
        self._ready.extend(handed)
        self._room.set()
        if cancelled is not None:
            raise cancelled

    def _raise_failure(self) -> None:
        """Raise what the input or the journal raised, if anything."""
        for task in (self._writing, self._pulling):
            if task is not None and task.done():
                task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            # `get` raises it, unless the run has ended for another reason: then it counts as seen.
            task.exception()
        self._change.set()
        if task is self._writing:
            self._wake(len(self._waiting))

    def _wake(self, count: int) -> None:
        while self._waiting and count:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                count -= 1


def _written(
    message: Message, intent: Intent, verdict: Verdict | None, *, tried: bool
) -> Intended | SendResult | Message:
    """What a message is handed out as when it was to be written down, or only to be looked up."""
    key, body, index = intent
    if isinstance(verdict, Known):
        error = duplicate(verdict)
        return SendResult(index, message, Outcome.SKIPPED, error.entry.receipt, error, key=key)
    if verdict is None:
        return message
    if not isinstance(verdict, Doubtful):
        return Intended(message, key, body, verdict)
    intended = Intended(message, key, body, verdict.number, in_doubt=True)
    return intended if tried else intended.truth(SendResult(index, message, Outcome.SKIPPED, key=key))
