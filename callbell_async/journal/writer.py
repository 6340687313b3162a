"""Writing to a journal in batches, from one thread, for runs, events and `Journal` itself."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from callbell_async.asyncio_tools import SerialThread, wait_uncancelled
from callbell_async.errors import ConfigurationError, DuplicateMessageError, JournalError, Outcome
from callbell_async.guarded_observers import Observers
from callbell_async.journal.states import TRANSITIONS, State
from callbell_async.journal.store import (
    LATEST,
    Claim,
    ClaimRequest,
    JournalStore,
    Row,
    StatusReport,
    entry_from,
)
from callbell_async.models.journal import Confirmation
from callbell_async.models.receipts import MessageFailure
from callbell_async.models.results import SendResult
from callbell_async.observe import area_logger

__all__ = ["FLUSH_AFTER", "JournalWriter", "duplicate_error", "is_text", "still_unknown"]

T = TypeVar("T")

_log = area_logger("journal")

RESTART_AFTER = 1.0
"""The least number of seconds between two attempts to open a journal again that has failed."""
FLUSH_AFTER = 0.05
"""The most seconds for which a result waits to be written. Usually it is written together with the next claims."""
LONGEST_NAME = 500
"""The most characters of a uuid or a status that are stored; Callbell's have 36 at most."""


class JournalWriter:
    """One journal's store and its thread, and what waits to be written.

    Results and reports are collected, and written with the next claims or after `FLUSH_AFTER` seconds. Several users may have
    it open at the same time; loops may use it one after another.
    """

    def __init__(
        self,
        connect: Callable[[], JournalStore],
        *,
        name: str,
        read_only: bool,
        clock: Callable[[], float],
        observers: Observers | None = None,
    ) -> None:
        self._connect = connect
        self._name = name
        self._read_only = read_only
        self._clock = clock
        self._observers = observers
        self._now = 0.0
        self._users = self._runs = 0
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lifecycle = asyncio.Lock()
        self._thread: SerialThread | None = None
        self._store: JournalStore | None = None
        self._last_id: str | None = None
        self._results: list[Row] = []
        self._reports: list[StatusReport] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[Any] | None = None
        self._failure: JournalError | None = None
        self._restart_at = 0.0

    # --- open and close -----------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._store is not None

    @property
    def id(self) -> str:
        """The journal's id; raises `JournalError` if it is not open."""
        return self._open_store()[0].id

    async def open(self, *, for_run: bool = False) -> None:
        """Open the journal, if it is not open. Each `open` needs its `close`."""
        async with self._lifecycle_lock():
            if self._store is None:
                await self._start()
            self._check_process()
            if for_run and self._failure is not None:
                await self._restart()
            self._users += 1
            self._runs += for_run
            if self._results or self._reports:
                # Left from a failed write, or from a loop that has ended.
                self._schedule_flush()

    async def _start(self) -> None:
        if not 0 <= (now := self._clock()) <= LATEST:
            raise ConfigurationError(f"clock: must return seconds since 1970, not {now!r}")
        self._now = float(now)
        thread = SerialThread("callbell-journal")
        opening = asyncio.get_running_loop().run_in_executor(thread, self._connect)
        try:
            # The thread opens it even if this task is cancelled.
            cancelled = await wait_uncancelled(opening)
            store = opening.result()
            if cancelled is not None:
                store.close()
                raise cancelled
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread, self._process = thread, os.getpid()
        self._use(store)

    def _use(self, store: JournalStore) -> None:
        if self._last_id != store.id:
            # Another journal than before: it may have other messages under the same keys and ids.
            self._last_id, self._results, self._reports = store.id, [], []
        self._store, self._failure = store, None

    async def _restart(self) -> None:
        """Open the store again after a failure; raises the failure if that is too early or fails too. Needs the lock."""
        loop = asyncio.get_running_loop()
        if self._failure is None:
            return
        if loop.time() < self._restart_at:
            raise self._failure
        self._restart_at = loop.time() + RESTART_AFTER
        store, thread = self._open_store()

        def reopen() -> JournalStore:
            store.close()
            return self._connect()

        opening = loop.run_in_executor(thread, reopen)
        cancelled = await wait_uncancelled(opening)
        try:
            self._use(opening.result())
        except JournalError as error:
            self._failure = error
            raise
        if self._results or self._reports:
            self._schedule_flush()
        if cancelled is not None:
            raise cancelled

    async def close(self, *, for_run: bool = False) -> None:
        """Write everything, and close the journal if this was the last user; harmless when it is closed.

        Raises `JournalError` if something can't be written.
        """
        if self._store is not None and self._process != os.getpid():
            # It belongs to the parent process.
            return
        lock = self._lifecycle_lock()
        self._runs -= for_run
        # A user who closes it once too often does not close it for a run.
        self._users = max(self._runs, self._users - 1)
        try:
            if for_run:
                await self.flush()
        finally:
            async with lock:
                # Somebody may have opened it while this one waited for the lock.
                if not self._users and self._store is not None:
                    await self._stop()

    async def _stop(self) -> None:
        try:
            if not self._read_only:
                await self.flush()
        finally:
            store, thread = self._open_store()
            self._store = self._thread = None
            self._cancel_timer()
            closing = asyncio.get_running_loop().run_in_executor(thread, store.close)
            try:
                await asyncio.shield(closing)
            finally:
                await wait_uncancelled(closing)
                thread.shutdown(wait=False)

    def _lifecycle_lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            is_in_use = self._lifecycle.locked() or (self._store is not None and self._process == os.getpid())
            if is_in_use and self._loop is not None and self._loop.is_running():
                raise ConfigurationError(
                    f"{self._name}: is in use on another event loop, in another thread; make all calls on one event loop, or, with"
                    " PostgreSQL, give each loop a Journal of its own"
                )
            # A lock and a timer belong to their loop, and that one has ended.
            self._loop, self._lifecycle, self._timer, self._writing = loop, asyncio.Lock(), None, None
            self._restart_at = 0.0
        return self._lifecycle

    def _open_store(self) -> tuple[JournalStore, SerialThread]:
        if self._store is None or self._thread is None:
            raise JournalError(f"{self._name}: is not open; use `async with journal:`")
        self._check_process()
        return self._store, self._thread

    def _check_process(self) -> None:
        # A forked process has no copy of the thread, and would wait for it without end.
        if self._process != os.getpid():
            raise JournalError(f"{self._name}: was opened before this process was forked; create another Journal in it")

    # --- read ---------------------------------------------------------------------------------------------------------

    async def call(self, function: Callable[[JournalStore], T]) -> T:
        """Call a function with the store, in its thread."""
        store, thread = self._open_store()
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, function, store)
        except JournalError:
            if self._store is store and self._failure is None:
                self._failure = store.failure
            raise

    async def call_flushed(self, function: Callable[[JournalStore], T]) -> T:
        """Do the same after everything is written."""
        if self._store is not None and not self._read_only:
            await self.flush()
        return await self.call(function)

    async def has_uuid(self, uuid: str) -> bool:
        """Return whether a message of this journal has Callbell's uuid."""
        return is_text(uuid) and await self.call_flushed(lambda store: store.with_uuid(uuid)) is not None

    # --- write --------------------------------------------------------------------------------------------------------

    async def begin_run(self) -> int:
        """Return the number of a new run, which distinguishes its messages from those of earlier runs."""
        return await self.call(lambda store: store.begin_run())

    async def reopen(self) -> None:
        """Open a journal that has failed again; raises the failure if that is too early or fails too."""
        self._check_process()
        if self._failure is not None:
            async with self._lifecycle_lock():
                await self._restart()

    def claim(self, requests: Sequence[ClaimRequest] = (), *, run: int | None = None) -> asyncio.Future[list[Claim]]:
        """Start to write claims, with everything that waits to be written. Not a task, which others could cancel.

        Without a `run` they are claims of single messages.
        """
        if self._failure is not None:
            raise self._failure
        store, thread = self._open_store()
        results, reports = self._results, self._reports
        self._results, self._reports = [], []
        self._cancel_timer()

        loop = asyncio.get_running_loop()
        started = loop.time()

        def written(writing: asyncio.Future[list[Claim]]) -> None:
            if writing.cancelled():
                return
            if (error := writing.exception()) is None:
                self._report(len(results) + len(reports) + len(requests), loop.time() - started)
            else:
                # Also when the memory was exhausted, which is not an error of the store's own.
                self._failure = error if isinstance(error, JournalError) else store.failure
                # It may be written when the journal is opened again.
                self._results[:0], self._reports[:0] = results, reports

        now = self.now()
        writing = loop.run_in_executor(thread, lambda: store.record(results, reports, requests, run=run, now=now))
        writing.add_done_callback(written)
        self._writing = writing
        return writing

    def _report(self, entries: int, seconds: float) -> None:
        """Report a batch that was written to the log and to the observers."""
        if not entries:
            return
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"callbell.entries": entries, "callbell.duration": seconds}
            _log.debug("a journal has written a batch of %d entries in %.3f s", entries, seconds, extra=fields)
        if self._observers is not None:
            self._observers.notify("journal_written", entries, seconds)

    def find(self, keys: Sequence[str]) -> asyncio.Future[list[Row | None]]:
        """Start to look up messages that will not be sent."""
        store, thread = self._open_store()
        return asyncio.get_running_loop().run_in_executor(thread, store.find, keys)

    def record_result(self, claim: Claim, result: SendResult) -> SendResult:
        """Record the result of a claimed message, and return what is true of the message.

        After `allow_resend` the first attempt stays in doubt: only `ACCEPTED` makes the message accepted.
        """
        row, receipt, error = claim.row, result.receipt, result.error
        state = TRANSITIONS[row.state, result.outcome]
        reason = None if error is None else _cleaned(str(error))
        # A text that a store can't hold must not keep other results from being written.
        uuid, status = (None, None) if receipt is None else _storable(receipt.uuid, receipt.status)
        if row.state is State.RESENDING and state is not State.ACCEPTED:
            reason = f"an earlier attempt may have been accepted; this one: {reason or 'was not made'}"
            result = still_unknown(result)
        self._results.append(
            row._replace(
                state=state,
                attempts=result.attempts,
                finished_at=self.now(),
                uuid=uuid,
                status=status,
                reason=reason,
                confirmed_by="response" if state is State.ACCEPTED else None,
            )
        )
        if self._timer is None or self._loop is not asyncio.get_running_loop():
            self._schedule_flush()
        return result

    def record_report(
        self,
        key: str | None,
        uuid: str | None,
        status: str | None = None,
        *,
        failure: MessageFailure | None = None,
        confirmed_by: Confirmation = "event",
    ) -> None:
        """Record that Callbell has the message with this key, or with this uuid, and its status."""
        self._open_store()
        if self._read_only:
            raise JournalError(f"{self._name}: was opened for reading only")
        if self._failure is not None:
            raise self._failure
        reason = None
        if failure is not None:
            # Its text may quote the number.
            reason = "not delivered" if failure.code is None else _cleaned(f"not delivered: {failure.code}")
        stored_uuid, stored_status = _storable(uuid, status)
        # No message has another name, and nothing else could be written together with it.
        if is_text(f"{key}") and stored_uuid == uuid:
            # First, because it refuses another event loop.
            self._schedule_flush()
            self._reports.append(StatusReport(key, uuid, stored_status, self.now(), reason, confirmed_by))

    async def flush(self) -> None:
        """Write everything before it returns, cancelled or not; raises `JournalError` if that fails, or has failed before."""
        # Two threads at once could lose a result.
        self._lifecycle_lock()
        # Behind a write that has begun, whose failure nobody else would see.
        is_writing = self._writing is not None and not self._writing.done()
        if not (self._results or self._reports or is_writing or self._failure is not None):
            return
        writing = self.claim()
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await wait_uncancelled(writing)
            raise

    def now(self) -> float:
        """Return the time. While the clock is invalid, return the last valid time: another would make the journal unreadable."""
        now = self._clock()
        if 0 <= now <= LATEST:
            self._now = float(now)
        return self._now

    def _schedule_flush(self) -> None:
        self._lifecycle_lock()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self._flush_now)

    def _flush_now(self) -> None:
        self._timer = None
        # A failure is kept, and raised by the next claim, flush or close.
        if self._store is not None and self._failure is None and (self._results or self._reports):
            self.claim()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def is_text(text: str) -> bool:
    """Return whether a string can be stored: not one with a lone surrogate or a NUL."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _storable(uuid: str | None, status: str | None) -> list[str | None]:
    """Return a uuid and a status of Callbell's; `None` for one that a store can't hold, or can't put into an index."""
    names: list[str | None] = []
    for name in (uuid, status):
        is_storable = name is not None and len(name) <= LONGEST_NAME and name.isprintable()
        names.append(str(name) if is_storable else None)
    return names


def _cleaned(reason: str) -> str:
    """Return a reason with question marks for what a store can't hold."""
    return reason.encode(errors="replace").decode().replace("\0", "?")


def still_unknown(result: SendResult) -> SendResult:
    """Return the result of a message that was not accepted now, and may have been accepted before."""
    error = result.error or JournalError("was not sent again; an earlier attempt may have been accepted")
    return attrs.evolve(result, outcome=Outcome.UNKNOWN, error=error)


def duplicate_error(row: Row, *, this_run: bool) -> DuplicateMessageError:
    """Return the error that gives the reason why a message is not sent."""
    entry = entry_from(row)
    sent_on = f"{entry.tried_at:%Y-%m-%d %H:%M:%S} UTC"
    if this_run:
        text = f"given twice: the first is message {entry.index} of this run (counted from 0)"
    elif entry.outcome is Outcome.ACCEPTED:
        text = f"already accepted, sent on {sent_on}"
    elif entry.in_flight:
        text = f"is being sent by another run or call, since {sent_on}; try again when that has ended"
    elif entry.outcome is Outcome.UNKNOWN:
        text = f"may have been accepted already, sent on {sent_on}; reconcile the journal"
    else:
        text = f"was {entry.outcome.value} a moment ago by another run or call"
    return DuplicateMessageError(text, key=entry.key, entry=entry, first_index=entry.index if this_run else None)
