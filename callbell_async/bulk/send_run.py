"""One run of `send_many`: its life, its workers, and what becomes of each message."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Generator, Iterable
from typing import Any

from callbell_async.bulk.journal_source import Intended, JournalSource
from callbell_async.bulk.result_queue import Channel
from callbell_async.bulk.source import MessageSource
from callbell_async.endpoints.messages import read_receipt, send_request
from callbell_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DuplicateMessageError,
    InvalidMessageError,
    JournalError,
    Outcome,
    PaymentRequiredError,
    TransportError,
)
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState
from callbell_async.journal import Journal
from callbell_async.models.messages import Message
from callbell_async.models.results import Item, SendReport, SendResult
from callbell_async.wire import dump_message

__all__ = ["DEFAULT_STOP_ON", "SendRun"]

DEFAULT_STOP_ON: tuple[type[BaseException], ...] = (AuthenticationError, PaymentRequiredError)
"""What stops a run: each further message would meet it too."""

_MOST_CANCELLATIONS = 10
"""After so many a run no longer waits for its workers: an `on_result` must be waiting for the run itself."""


_SENDABLE = (Message, Intended)


class SendRun:
    """One run of `send_many`, under way only while somebody awaits or iterates it; either, once.

    - `report = await run`: all results, in the order given.
    - `async for result in run`: results as they come, in constant memory; a slow consumer slows the sending.

    Whatever ends it early (cancellation, `break`, an input or an `on_result` that raises), the feeding stops, what is under way
    has the grace time to end, and what has not ended then is cut off: `UNKNOWN` if it had begun to leave, `NEVER_SENT` if not. No
    task outlives the run. `report` then holds what is known, with the rest of an input that has a length as `SKIPPED`. After `break`
    `await run.aclose()` waits for that end, and so does leaving the client's block. A second cancellation cuts the grace time short.

    With a journal, each message is written down before it is tried, and what the journal has already is `SKIPPED`, which never stops a run,
    whatever `stop_on` names; a journal that can't be written ends the run with `JournalError`.

    An input or an `on_result` that raises ends the run with that exception, after what is under way. An error of a kind in `stop_on`
    ends the sending: the input is read on, and each of its messages is `SKIPPED`, until it ends or keeps the run waiting for longer
    than the grace time.
    """

    def __init__(
        self,
        caller: Callable[[], RequestPipeline],
        messages: Iterable[Item] | AsyncIterable[Item],
        *,
        concurrency: int,
        journal: Journal | None,
        on_result: Callable[[SendResult], Any] | None,
        stop_on: tuple[type[BaseException], ...],
        shutdown_timeout: float,
        runs: set[SendRun],
    ) -> None:
        self._started = True  # until the arguments have been found good
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency!r}: must be a whole number, 1 or more")
        if not shutdown_timeout >= 0:
            raise ConfigurationError(f"shutdown_timeout={shutdown_timeout!r}: must be 0 seconds or more")
        # Both are used only when the first message has been sent: too late to find out then.
        if on_result is not None and not callable(on_result):
            raise ConfigurationError(f"on_result={on_result!r}: must be a function that takes a SendResult")
        try:
            isinstance(None, stop_on)
        except TypeError:
            raise ConfigurationError(f"stop_on={stop_on!r}: must be a tuple of exception classes") from None
        if not isinstance(journal, Journal | None):
            raise ConfigurationError(
                f'journal: must be a Journal, such as Journal("spring.db"), not {type(journal).__name__}'
            )
        feed = MessageSource(messages)
        self._journalled = None if journal is None else JournalSource(feed, journal, concurrency=concurrency)
        self._feed = self._journalled or feed
        self._concurrency = concurrency
        self._caller_source = caller
        self._on_result = on_result
        self._stop_on = stop_on
        self._shutdown_timeout = shutdown_timeout
        self._runs = runs
        self._workers: set[asyncio.Task[None]] = set()
        self._channel: Channel | None = None
        self._kept: dict[int, SendResult] | None = None
        self._counts: Counter[str] = Counter()
        self._duplicates = 0
        self._stopped_by: BaseException | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began_at = self._ended_at = 0.0
        self._ended = asyncio.Event()
        self._started = self._cut = self._closing = False

    def __repr__(self) -> str:
        state = "ended" if self._ended.is_set() else "under way" if self._started else "not awaited yet"
        return f"<{type(self).__name__} {state}, {self._counts.total()} results>"

    def __del__(self) -> None:
        if not self._started:
            warnings.warn(
                "send_many was neither awaited nor iterated: nothing was sent",
                RuntimeWarning,
                source=self,
                stacklevel=2,
            )

    # --- the two ways to consume it -----------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, SendReport]:
        return self._collect().__await__()

    def __aiter__(self) -> AsyncIterator[SendResult]:
        return self._iterate()

    async def _collect(self) -> SendReport:
        self._start(kept={})
        try:
            await asyncio.wait(self._workers)
        finally:
            await self._end()
        if self._failure is not None:
            raise self._failure
        return self.report

    async def _iterate(self) -> AsyncGenerator[SendResult, None]:
        channel = Channel(self._concurrency)
        self._start(channel=channel)
        try:
            while (result := await channel.get()) is not None:
                yield result
        finally:
            await self._end()
        if self._failure is not None:
            raise self._failure

    @property
    def report(self) -> SendReport:
        """What is known so far; complete once the run has ended, however it ended."""
        ended_at = self._ended_at if self._ended.is_set() or self._loop is None else self._loop.time()
        return SendReport(
            results=tuple(result for _, result in sorted((self._kept or {}).items())),
            elapsed=ended_at - self._began_at,
            duplicates=self._duplicates,
            **{outcome.value: self._counts[outcome.value] for outcome in Outcome},
        )

    async def aclose(self) -> None:
        """End the run as if it were cancelled, and return when nothing of it is under way; harmless when it has ended."""
        if self._workers and not self._ended.is_set():
            if not all(worker.done() for worker in self._workers):
                self._fail(ClientClosedError("the run was closed before it ended"))
            await self._end()
        # After `break` it is a task of Python's that closes the generator: let it end as well.
        await asyncio.sleep(0)

    # --- its life -----------------------------------------------------------------------------------------------------

    def _start(self, *, kept: dict[int, SendResult] | None = None, channel: Channel | None = None) -> None:
        if self._started:
            raise ConfigurationError("a run of send_many can be awaited or iterated once; call send_many again")
        self._started = True
        caller = self._caller_source()
        loop = self._loop = asyncio.get_running_loop()
        self._began_at = loop.time()
        self._kept = kept
        self._channel = channel
        self._runs.add(self)
        if self._journalled is not None:
            self._journalled.start()
        for _ in range(min(self._concurrency, self._feed.at_most or self._concurrency)):
            worker = loop.create_task(self._work(caller))
            self._workers.add(worker)
            if channel is not None:
                channel.add_writer(worker)

    async def _end(self) -> None:
        """Stop the feeding, give what is under way the grace time, cut off the rest; returns when no worker is left.

        A cancellation meanwhile cuts off at once, and a further one whatever `on_result` does about what was cut off.
        """
        self._feed.stop()
        if self._channel is not None:
            self._channel.unblock()
        cancellations: list[asyncio.CancelledError] = []
        while (in_flight := self._under_way()) and len(cancellations) < _MOST_CANCELLATIONS:
            before = len(cancellations)
            try:
                await asyncio.wait(in_flight, timeout=None if self._cut else self._shutdown_timeout)
            except asyncio.CancelledError as error:
                cancellations.append(error)
            if (late := self._under_way()) and (len(cancellations) > before or not self._cut):
                self._cut = True
                for worker in late:
                    worker.cancel()
        if not self._closing:
            self._closing = True
            try:
                await self._close(cancellations)
            finally:
                self._ended.set()
        while not self._ended.is_set():
            # Somebody else is at it.
            try:
                await self._ended.wait()
            except asyncio.CancelledError as error:
                cancellations.append(error)
        self._runs.discard(self)
        if cancellations:
            raise cancellations[-1]

    async def _close(self, cancellations: list[asyncio.CancelledError]) -> None:
        """Account for what was not handed out, and close the journal, cancelled or not: it waits for nothing but the disk."""
        journalled = self._journalled
        self._ended_at = asyncio.get_running_loop().time()
        if journalled is not None:
            await _uncancelled(journalled.halt, cancellations)
        for index, item in self._feed.rest():
            result = self._note(item, item if isinstance(item, SendResult) else self._skipped(index, item))
            self._keep(result)
            await self._report_skipped(result, cancellations)
        if journalled is not None:
            try:
                await _uncancelled(journalled.close, cancellations)
            except JournalError as error:
                self._failure = self._failure or error

    def _under_way(self) -> set[asyncio.Task[None]]:
        # Without the one whose on_result, or whose input, closes the run: it would wait for itself.
        in_flight = {worker for worker in self._workers if not worker.done()}
        if self._journalled is not None:
            in_flight |= self._journalled.in_flight()
        return in_flight - {asyncio.current_task()}

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._feed.stop()

    # --- the workers --------------------------------------------------------------------------------------------------

    async def _work(self, caller: RequestPipeline) -> None:
        """Send one message after the other; whatever the input or `on_result` raises ends the run, not just this worker."""
        feed = self._feed
        try:
            # An input that never waits is pulled without a coroutine.
            immediate = feed if isinstance(feed, MessageSource) and feed.immediate else None
            while (fed := await feed.next_async() if immediate is None else immediate.next()) is not None:
                index, item = fed
                if isinstance(item, _SENDABLE) and self._stopped_by is None and not feed.stopped:
                    result = await self._send(caller, index, item)
                else:
                    result = self._not_sent(index, item)
                if result.error is None:
                    await self._settle(item, result)
                    continue
                if self._stopped_by is None and self._is_fatal(result.error):
                    self._stopped_by = result.error
                    feed.hurry(self._shutdown_timeout)
                await self._settle(item, result)
                # It may have failed without waiting for anything: let the others have the loop, however long such an input is.
                await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            # Nobody has ended the run: it is the input's, or on_result's own.
            if not feed.stopped:
                self._fail(error)
            raise
        except Exception as error:
            self._fail(error)

    def _is_fatal(self, error: BaseException) -> bool:
        # What has been sent before is no reason not to go on, however wide `stop_on` is: a second run would never get anywhere.
        return isinstance(error, self._stop_on) and not isinstance(error, DuplicateMessageError)

    def _not_sent(self, index: int, item: Any) -> SendResult:
        if isinstance(item, SendResult):
            # The journal has it already, or it can't be written down.
            return item
        if self._stopped_by is not None or isinstance(item, _SENDABLE):
            return self._skipped(index, item)
        error = item
        if not isinstance(item, InvalidMessageError):
            error = InvalidMessageError(
                "message", f"must be a message such as TextMessage(...), not {type(item).__name__}"
            )
        return SendResult(index, item, Outcome.NEVER_SENT, error=error)

    def _skipped(self, index: int, item: Any) -> SendResult:
        message, key = (item.message, item.key) if isinstance(item, Intended) else (item, None)
        return SendResult(index, message, Outcome.SKIPPED, error=self._stopped_by, key=key)

    async def _send(self, caller: RequestPipeline, index: int, item: Message | Intended) -> SendResult:
        # Whatever is raised here, a limiter's or a session's own exception too, is about this message: the others go on.
        message, key = (item.message, item.key) if isinstance(item, Intended) else (item, None)
        try:
            call = CallState(send_request(item.body if isinstance(item, Intended) else dump_message(item)))
        except Exception as error:
            return SendResult(index, message, Outcome.NEVER_SENT, error=error)
        try:
            receipt = await caller.run(call, read_receipt, limit_queue_time=False)
        except Exception as error:
            return SendResult(index, message, call.outcome, error=error, attempts=call.attempts, key=key)
        except asyncio.CancelledError:
            result = SendResult(index, message, call.outcome, error=_cut_off(call), attempts=call.attempts, key=key)
            await self._settle(item, result)
            raise
        return SendResult(index, message, Outcome.ACCEPTED, receipt, None, call.attempts, key=key)

    async def _settle(self, item: Any, result: SendResult) -> None:
        result = self._note(item, result)
        self._keep(result)
        # Before on_result, which may raise: a result that is counted is given out as well.
        full = self._channel is not None and not self._channel.put(result)
        if self._on_result is not None:
            await self._report(result)
        if full and self._channel is not None:
            await self._channel.room()

    async def _report(self, result: SendResult) -> None:
        if self._on_result is not None:
            returned = self._on_result(result)
            if inspect.isawaitable(returned):
                await returned

    async def _report_skipped(self, result: SendResult, cancellations: list[asyncio.CancelledError]) -> None:
        """Call `on_result` after the workers have ended; after a second cancellation it is not waited for any more."""
        if self._on_result is None:
            return
        try:
            returned = self._on_result(result)
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error)
            return
        if not inspect.isawaitable(returned):
            return
        task = asyncio.ensure_future(returned)
        hurried = len(cancellations) > 1
        for attempt in range(_MOST_CANCELLATIONS):
            try:
                # It has begun before it is cancelled.
                await (asyncio.sleep(0) if hurried and not attempt else asyncio.wait({task}))
            except asyncio.CancelledError as error:
                cancellations.append(error)
            if task.done():
                break
            task.cancel()
        if task.done() and not task.cancelled() and (failure := task.exception()) is not None:
            self._fail(failure)

    def _note(self, item: Any, result: SendResult) -> SendResult:
        """Let the journal know; returns what is true of the message."""
        if self._journalled is None or not isinstance(item, Intended):
            return result
        return self._journalled.settle(item, result)

    def _keep(self, result: SendResult) -> None:
        self._counts[result.outcome.value] += 1
        if result.outcome is Outcome.SKIPPED and result.is_duplicate:
            self._duplicates += 1
        if self._kept is not None:
            self._kept[result.index] = result


def _cut_off(call: CallState) -> TransportError:
    error = TransportError(
        "the run was ended before this message was settled",
        method=call.request.method,
        path=call.request.path,
        outcome=call.outcome,
    )
    error.attempts = call.attempts
    return error


async def _uncancelled(
    work: Callable[[], Coroutine[Any, Any, None]], cancellations: list[asyncio.CancelledError]
) -> None:
    """Wait for `work` to its end, and note the cancellations meanwhile; begin it again if it is cancelled itself, with all other tasks."""
    while True:
        task = asyncio.ensure_future(work())
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancellations.append(error)
        if not task.cancelled():
            return task.result()
