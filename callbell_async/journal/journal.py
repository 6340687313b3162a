"""The journal as programs and runs use it: asyncio over the file's one thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from callbell_async.errors import ConfigurationError, DuplicateMessageError, JournalError, Outcome
from callbell_async.journal.store import (
    LATEST,
    RESEND,
    TRYING,
    Doubtful,
    Intent,
    Known,
    LeftOver,
    Row,
    Settled,
    Sighting,
    Store,
    Verdict,
)
from callbell_async.models.events import Event, MessageCreated, MessageStatusUpdated
from callbell_async.models.journal import JournalEntry
from callbell_async.models.message_status import MessageStatus
from callbell_async.models.receipts import MessageFailure
from callbell_async.models.results import SendResult
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA

__all__ = ["Journal", "JournalRun", "duplicate", "ended"]

T = TypeVar("T")

FLUSH_AFTER = 0.25
"""Seconds after which a result is written at the latest; mostly it goes along with the next intents."""

ENTRIES_AT_ONCE = 500


_STATES = {outcome: outcome.value for outcome in Outcome}


class Journal:
    """A file that knows, before a byte leaves, which message is about to be tried, and afterwards what came of it.

    ```python
    report = await callbell.send_many(messages, journal=Journal("spring.db"))
    ```

    One journal sends a message once, within a run, across runs and across crashes: what was `ACCEPTED`, or may have been (`UNKNOWN`),
    is not sent again; what was `REJECTED`, `NEVER_SENT` or not tried is tried by the next run with the same input. A message is known by its `key`,
    or else by all that would be sent for it. See docs/campaigns.md.

    - `path`: an SQLite file, made when it isn't there, readable by its owner only: it holds recipients and texts.
    - `key_in_metadata`: each message carries its key and the journal's `id` in its metadata, as `callbell_async_key` and
      `callbell_async_journal`, unless it has more than eight pairs of its own, so that a webhook event proves what became of it.
    - `risk_power_loss`: don't wait for the disk. Nothing is lost when the program is killed, but a power failure may then forget
      what was sent in the last moments, which would be sent twice.
    - `read_only`: for looking at a journal while another process sends with it.
    - `clock`: seconds since 1970, for the dates it notes down.

    Opened by `async with`, or by `send_many` for the length of a run. Raises `JournalError`: in use by another process, damaged, no journal, disk full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key_in_metadata: bool = True,
        risk_power_loss: bool = False,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not os.fspath(path) or os.fspath(path) == ":memory:":
            raise ConfigurationError("path: give a file's path; a journal in memory would not outlive a crash")
        self.path = Path(path)
        self.key_in_metadata = key_in_metadata
        self._risk_power_loss = risk_power_loss
        self._read_only = read_only
        self._clock = clock
        # Not wherever the program happens to be when it is opened again: that would be another journal, which knows nothing.
        self._file = self.path.absolute()
        self._users = self._runs = 0
        self._process = 0
        self._last_run: tuple[str, int] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._store: Store | None = None
        self._settled: list[Settled] = []
        self._sightings: list[Sighting] = []
        self._flushing: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._due = 0.0
        self._failure: JournalError | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {'closed' if self._store is None else 'open'}>"

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Open it, if it isn't open; each `open` wants its own `close`."""
        async with self._turn():
            if self._store is None:
                await self._open_store()
            self._check_process()
            self._users += 1
            if self._settled or self._sightings:
                # Noted in a loop that has ended since.
                self._flush_later()
        return self

    async def _open_store(self) -> None:
        if not 0 <= (now := self._clock()) <= LATEST:
            raise ConfigurationError(f"clock: must give seconds since 1970, not {now!r}")
        settled, self._settled = self._settled, []
        # What could not be written when it was open last, and is known all the same.
        left_over = None if self._last_run is None else LeftOver(*self._last_run, settled)
        thread = ThreadPoolExecutor(1, thread_name_prefix="callbell-journal")
        make = partial(
            Store,
            self._file,
            read_only=self._read_only,
            risk_power_loss=self._risk_power_loss,
            left_over=left_over,
        )
        opening = asyncio.get_running_loop().run_in_executor(thread, make)
        try:
            store = await asyncio.shield(opening)
        except BaseException:
            # When it was cancelled the thread opens it all the same, and would keep others out.
            await _let_go(opening)
            thread.shutdown(wait=False)
            self._settled[:0] = settled
            raise
        if self._last_run is None or self._last_run[0] != store.id:
            # The first, or another than before, which may know other messages by these keys.
            self._last_run, self._sightings = (store.id, 0), []
        self._store, self._thread, self._process, self._failure = store, thread, os.getpid(), None

    async def close(self) -> None:
        """Write what is not written yet and close the file, when the last who opened it closes it; harmless when it is closed."""
        if self._store is not None and self._process != os.getpid():
            # The parent's, which still uses it: what there is of it here is a copy that no thread serves.
            return
        # Whoever closes it once too often does not close it for a run.
        self._users = max(self._runs, self._users - 1)
        async with self._turn():
            # Somebody may have opened it while this one waited for its turn.
            if self._users or self._store is None:
                return
            try:
                if not self._read_only:
                    await self.flush()
            finally:
                store, thread = self._store, self._thread
                self._store = self._thread = None
                if self._flushing is not None and not isinstance(self._flushing, asyncio.Task):
                    self._flushing.cancel()
                    self._flushing = None
                if store is not None and thread is not None:
                    closing = asyncio.get_running_loop().run_in_executor(thread, store.close)
                    try:
                        await asyncio.shield(closing)
                    finally:
                        await ended(closing)
                        thread.shutdown(wait=False)

    async def open_for_run(self) -> None:
        """Open it for a run; it stays open until `close_after_run`, whoever else closes it meanwhile."""
        await self.open()
        self._runs += 1

    async def close_after_run(self) -> None:
        """Write what is not written yet, and close it if nobody else has opened it; raises `JournalError`."""
        self._runs -= 1
        try:
            await self.flush()
        finally:
            await self.close()

    def _turn(self) -> asyncio.Lock:
        """One opens or closes it at a time; loops may use it one after the other."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Both belong to the loop in which they were waited for, and that one has ended.
            self._loop, self._opening, self._flushing = loop, asyncio.Lock(), None
        return self._opening

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def id(self) -> str:
        """What tells it from every other journal; its messages carry it. Raises `JournalError` while it is not open."""
        return self._check_open()[0].id

    # --- what is asked of it ------------------------------------------------------------------------------------------

    async def counts(self) -> dict[Outcome, int]:
        """How many messages there are by outcome; what is under way is `UNKNOWN`, what was not tried `SKIPPED`."""
        await self._flush_if_open()
        found = await self._ask(lambda store: store.counts("state"))
        counts = dict.fromkeys(Outcome, 0)
        for state, count in found.items():
            counts[_outcome(str(state))] += count
        return counts

    async def funnel(self) -> dict[MessageStatus | str, int]:
        """How far the accepted messages are known to have come: their number by status, in the order of a message's life."""
        await self._flush_if_open()
        found = await self._ask(lambda store: store.counts("status", of_state=Outcome.ACCEPTED.value))
        funnel: dict[MessageStatus | str, int] = dict.fromkeys(MessageStatus, 0)
        for status, count in found.items():
            known = _status(status) or MessageStatus.ENQUEUED
            funnel[known] = funnel.get(known, 0) + count
        return funnel

    async def entries(self, *outcomes: Outcome) -> AsyncIterator[JournalEntry]:
        """What it knows of each message, or of those with these outcomes, in the order they were first tried; in constant memory."""
        await self._flush_if_open()
        states = [outcome.value for outcome in outcomes or Outcome]
        if Outcome.UNKNOWN in outcomes or not outcomes:
            states += (TRYING, RESEND)
        last = 0
        while rows := await self._ask(lambda store, after=last: store.rows(states, after=after, count=ENTRIES_AT_ONCE)):  # type: ignore[misc]
            for row in rows:
                yield _entry(row)
            last = rows[-1].id

    async def entry(self, key: str) -> JournalEntry | None:
        """What it knows of the message with this key, or `None`."""
        await self._flush_if_open()
        row = await self._ask(lambda store: store.with_key(key)) if _can_be_written(key) else None
        return None if row is None else _entry(row)

    async def has_uuid(self, uuid: str) -> bool:
        """Whether a message of this journal is known to be the one that Callbell calls so."""
        await self._flush_if_open()
        return _can_be_written(uuid) and await self._ask(lambda store: store.has_uuid(uuid))

    async def allow_resend(self, *keys: str) -> None:
        """Let the next run try the messages with these keys again, though they are `UNKNOWN`: they may then reach the customer twice.

        They stay `UNKNOWN` unless that attempt is accepted. Raises `JournalError`, and changes nothing, if one of them is not `UNKNOWN`.
        """
        await self._flush_if_open()
        wrong = [key for key in keys if not _can_be_written(key)] or await self._ask(lambda store: store.resend(keys))
        if wrong:
            raise JournalError(
                f"{self.path}: {len(wrong)} of {len(keys)} keys name no message whose outcome is unknown; nothing was changed"
            )

    async def notes(self) -> dict[str, str]:
        """What a program keeps beside the messages, by name."""
        return await self._ask(lambda store: store.notes())

    async def write_notes(self, notes: Mapping[str, str]) -> None:
        """Keep these notes as well; one of the same name is replaced. No place for a secret.

        Raises `ConfigurationError` for text that can't be written as UTF-8.
        """
        for name, text in notes.items():
            if not _can_be_written(f"{name}{text}"):
                raise ConfigurationError(
                    "notes: one holds half a character (a lone surrogate) that can't be written as UTF-8"
                )
        await self._ask(lambda store: store.write_notes(notes))

    # --- what is heard of messages afterwards -------------------------------------------------------------------------

    def handle_event(self, event: Event) -> None:
        """Take a webhook event: it proves that Callbell has the message whose key it carries, and says how far it is.

        Returns at once; it is written within a moment. For `receiver.observe(journal.handle_event)`. Events about other messages do no harm.
        Raises `JournalError` while the journal is not open, or can't be written.
        """
        match event:
            case MessageCreated(is_incoming=False):
                self.see(self._key_in(event.metadata), event.uuid, None)
            case MessageStatusUpdated():
                self.see(self._key_in(event.metadata), event.uuid, event.status, failure=event.failure)

    def _key_in(self, metadata: Mapping[str, str]) -> str | None:
        # Another journal may know another message by the same key.
        return metadata.get(KEY_IN_METADATA) if metadata.get(JOURNAL_IN_METADATA) == self.id else None

    def see(
        self,
        key: str | None,
        uuid: str | None,
        status: MessageStatus | str | None,
        *,
        failure: MessageFailure | None = None,
    ) -> None:
        """Note what was heard of a message: named by its key, which proves that Callbell has it, or by its uuid."""
        self._check_open()
        if self._read_only:
            raise JournalError(f"{self.path}: was opened for reading only")
        if self._failure is not None:
            raise self._failure
        if not _can_be_written(f"{key}{uuid}{status}"):
            # No message is called so, and nothing else could be written with it.
            return
        reason = None
        if failure is not None:
            # The integration's words may quote the number.
            reason = "not delivered" if failure.code is None else f"not delivered: {failure.code}"
        self._sightings.append(Sighting(key, uuid, None if status is None else str(status), self._clock(), reason))
        self._flush_soon()

    async def settle(self, event: Event) -> None:
        """The same as `observe`, and written when it returns."""
        self.handle_event(event)
        await self.flush()

    # --- what a run writes --------------------------------------------------------------------------------------------

    async def begin_run(self) -> JournalRun:
        """A new run, which tells its own messages from those of earlier runs."""
        number = await self._ask(lambda store: store.begin_run())
        self._last_run = (self.id, number)
        return JournalRun(self, number)

    def settled(self, number: int, result: SendResult, *, in_doubt: bool = False) -> None:
        """Note what became of the intent with this number; it is written with the next intents, or within a moment.

        `in_doubt`: an earlier attempt may have been accepted, and remains unknown unless this one was.
        """
        receipt, error = result.receipt, result.error
        uuid = status = None
        if receipt is not None:
            uuid, status = receipt.uuid, None if receipt.status is None else str(receipt.status)
        # Whatever a session or a limiter of the caller's says, it must not keep all else from being written.
        reason = None if error is None else str(error).encode(errors="replace").decode()
        state = _STATES[result.outcome]
        if in_doubt and result.outcome is not Outcome.ACCEPTED:
            # What this attempt has not brought there is still to be sent again, as somebody asked.
            state = Outcome.UNKNOWN.value if result.outcome is Outcome.UNKNOWN else RESEND
            reason = f"an earlier attempt may have been accepted; of this one: {reason or 'it was not tried'}"
        self._settled.append((number, state, result.attempts, self._clock(), uuid, status, reason))
        self._flush_soon()

    def start_record(self, run: int = 0, intents: Sequence[Intent] = ()) -> asyncio.Future[list[Verdict]]:
        """Begin to write all that was noted, and new intents; see `Store.record`. What it returns is no task, which others might cancel."""
        if self._failure is not None:
            raise self._failure
        store, thread = self._check_open()
        settled, sightings = self._settled, self._sightings
        self._settled, self._sightings = [], []

        def recorded(writing: asyncio.Future[list[Verdict]]) -> None:
            if not writing.cancelled() and isinstance(error := writing.exception(), JournalError):
                self._failure = error
                # Nothing of it was written; it may be when it is opened again.
                self._settled[:0] = settled
                self._sightings[:0] = sightings

        writing = asyncio.get_running_loop().run_in_executor(
            thread, lambda: store.record(settled, sightings, intents, run=run, now=self._clock())
        )
        writing.add_done_callback(recorded)
        return writing

    def start_look(self, run: int, keys: Sequence[str]) -> asyncio.Future[list[Doubtful | Known | None]]:
        """Begin to look up messages by their keys; see `Store.look`."""
        store, thread = self._check_open()
        return asyncio.get_running_loop().run_in_executor(thread, lambda: store.look(keys, run=run))

    async def record(self) -> None:
        """Write all that was noted before it returns, cancelled or not: a write that has not begun would be dropped."""
        writing = self.start_record()
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await ended(writing)
            raise

    async def flush(self) -> None:
        """Write all that was noted; raises `JournalError` if that fails, or failed before."""
        # Behind a write under way, whose failure would be nobody's otherwise.
        in_flight = isinstance(self._flushing, asyncio.Task)
        if self._settled or self._sightings or in_flight or self._failure is not None:
            await self.record()

    async def _flush_if_open(self) -> None:
        if self._store is not None and not self._read_only:
            await self.flush()

    def _flush_soon(self) -> None:
        if len(self._settled) + len(self._sightings) == 1:
            self._flush_later()

    def _flush_later(self) -> None:
        loop = asyncio.get_running_loop()
        # What waits in a loop that has ended will not come.
        self._turn()
        self._due = loop.time() + FLUSH_AFTER
        if self._flushing is None:
            self._flushing = loop.call_at(self._due, self._start_flush)

    def _start_flush(self) -> None:
        self._flushing = None
        if self._store is None or self._failure is not None or not (self._settled or self._sightings):
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            # What was noted first has gone along with intents meanwhile.
            self._flushing = loop.call_at(self._due, self._start_flush)
        else:
            self._flushing = loop.create_task(self._flush_alone())

    async def _flush_alone(self) -> None:
        try:
            await self.flush()
        except JournalError:
            # It is kept, and met by whoever records or closes next.
            pass
        finally:
            self._flushing = None
            if self._store is not None and (self._settled or self._sightings):
                # Noted while this was being written.
                self._flushing = asyncio.get_running_loop().call_at(self._due, self._start_flush)

    async def _ask(self, question: Callable[[Store], T]) -> T:
        store, thread = self._check_open()
        return await asyncio.get_running_loop().run_in_executor(thread, question, store)

    def _check_open(self) -> tuple[Store, ThreadPoolExecutor]:
        if self._store is None or self._thread is None:
            raise JournalError(f"{self.path}: is not open; use `async with journal:`")
        self._check_process()
        return self._store, self._thread

    def _check_process(self) -> None:
        # A fork has no copy of the file's thread, and would wait for it for ever.
        if self._process != os.getpid():
            raise JournalError(f"{self.path}: was opened before this process was forked; make another Journal in it")


class JournalRun:
    """One run's part in a journal."""

    def __init__(self, journal: Journal, number: int) -> None:
        self._journal = journal
        self._number = number

    def intend(self, intents: Sequence[Intent]) -> asyncio.Future[list[Verdict]]:
        """Begin to write down what is about to be tried; for each message its number, or why it must not be tried."""
        return self._journal.start_record(self._number, intents)

    def look(self, keys: Sequence[str]) -> asyncio.Future[list[Doubtful | Known | None]]:
        """Begin to look up what is not going to be tried; see `Store.look`."""
        return self._journal.start_look(self._number, keys)

    def settle(self, number: int, result: SendResult, *, in_doubt: bool = False) -> None:
        """What became of it; see `Journal.settled`."""
        self._journal.settled(number, result, in_doubt=in_doubt)


async def ended(work: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for it, cancelled or not: it waits for nothing but the disk. The last cancellation meanwhile, for who must not lose it."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


async def _let_go(opening: asyncio.Future[Store]) -> None:
    await ended(opening)
    if opening.exception() is None:
        opening.result().close()


def _can_be_written(text: str) -> bool:
    """Whether it is UTF-8: half a character (a lone surrogate) is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def duplicate(known: Known) -> DuplicateMessageError:
    """The error that says why a message must not be tried."""
    entry = _entry(known.row)
    if known.this_run:
        text = f"given twice: the first is message {entry.index} of this run (counted from 0)"
    elif entry.outcome is Outcome.ACCEPTED:
        text = f"already accepted, tried on {entry.tried_at:%Y-%m-%d %H:%M:%S} UTC"
    else:
        text = f"may have been accepted already, tried on {entry.tried_at:%Y-%m-%d %H:%M:%S} UTC; reconcile the journal"
    return DuplicateMessageError(text, key=entry.key, entry=entry, first_index=entry.index if known.this_run else None)


def _entry(row: Row) -> JournalEntry:
    return JournalEntry(
        key=row.key,
        message_body=row.body,
        outcome=_outcome(row.state),
        index=row.place,
        uuid=row.uuid,
        status=_status(row.status),
        attempts=row.attempts,
        tried_at=datetime.fromtimestamp(row.tried_at, UTC),
        settled_at=None if row.settled_at is None else datetime.fromtimestamp(row.settled_at, UTC),
        reason=row.reason,
        in_flight=row.state == TRYING,
        resent=bool(row.resent),
    )


def _outcome(state: str) -> Outcome:
    return Outcome.UNKNOWN if state in (TRYING, RESEND) else Outcome(state)


def _status(status: str | None) -> MessageStatus | str | None:
    try:
        return None if status is None else MessageStatus(status)
    except ValueError:
        return status
