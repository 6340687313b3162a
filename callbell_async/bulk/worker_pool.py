"""The workers of a run: what they send, how they stop, and how they end."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

from callbell_async.asyncio_tools import run_uncancelled
from callbell_async.bulk.journal_source import ClaimedMessage, JournalSource
from callbell_async.bulk.outage import OutageGate
from callbell_async.bulk.pool_size import PoolGrowth, worker_range
from callbell_async.bulk.run_output import ResultQueue, RunWatch
from callbell_async.bulk.source import MessageSource
from callbell_async.bulk.stop_rules import ENDS_THE_PROGRAM, StopRules, cancelled_error
from callbell_async.endpoints.messages import read_receipt, send_request
from callbell_async.errors import InvalidMessageError, JournalError, OptedOutError, Outcome
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState, Countdown
from callbell_async.journal import Journal
from callbell_async.models.messages import Message
from callbell_async.models.results import SendResult
from callbell_async.recipients.opt_outs import OptOutList
from callbell_async.wire import dump_message

__all__ = ["WorkerPool"]

_MAX_CANCELLATIONS = 10
"""A task that survives this number of cancellations is not waited for: an `on_result` may be waiting for the run itself."""

_RESULTS_PER_ROUND = 100
"""The number of `SKIPPED` results after which other tasks get a round of the event loop."""

_reporting: ContextVar[WorkerPool | None] = ContextVar("_reporting", default=None)
"""The pool whose end calls `on_result`: that call, and tasks that it starts, must not wait for the end."""

_SENDABLE = (Message, ClaimedMessage)


class _Worker:
    """One worker: its task, and the call that it makes, if any. A `released` worker gives up its call and continues."""

    __slots__ = ("call", "released", "task")

    def __init__(self) -> None:
        self.call: CallState | None = None
        self.released = False
        self.task: asyncio.Task[None] | None = None


class WorkerPool:
    """The workers of one run, and what they have in common.

    Args:
        source: The input.
        journal: Records every message, if given.
        concurrency: The number of workers; fewer if the input has fewer messages. With `None` the pool grows
            from `FIRST_WORKERS` to `MAX_WORKERS` as needed.
        on_result: Called with each result.
        rules: Decides which error stops the run.
        outage_timeout: The seconds that the run pauses at the most while Callbell can't be reached.
        shutdown_timeout: The seconds that requests in flight have when the run is cancelled.
        watch: Reports the run.
        exclude: The recipients that get nothing.

    Attributes:
        counts: The number of results by outcome.
        duplicates: The number of `SKIPPED` results that are duplicates.
        opted_out: The number of `SKIPPED` results whose recipients are excluded.
        results: The results by index, if they are kept.
        stop_error: The error that stopped the run.
        failure: The exception that the run raises at its end.
        gate: Controls the attempts of the run.
        ended_at: The loop's time when the last worker ended.
        tasks: The workers' tasks.
    """

    def __init__(
        self,
        source: MessageSource,
        *,
        journal: Journal | None,
        concurrency: int | None,
        on_result: Callable[[SendResult], Any] | None,
        rules: StopRules,
        outage_timeout: float,
        shutdown_timeout: float,
        watch: RunWatch,
        exclude: OptOutList | None = None,
    ) -> None:
        self._input = source
        self._journal_source = None if journal is None else JournalSource(source, journal)
        self._source = self._journal_source or source
        self._concurrency = concurrency
        self._on_result = on_result
        self._rules = rules
        self._watch = watch
        self._exclude = exclude
        self._shutdown_timeout = shutdown_timeout
        self._queue: ResultQueue | None = None
        self._workers: list[_Worker] = []
        self._idle_workers = Countdown()
        self._countdowns: tuple[Countdown, ...] = (self._idle_workers,)
        if self._journal_source is not None:
            self._countdowns += (self._journal_source.ahead,)
        self._growth: PoolGrowth | None = None
        # The tasks that the end of the run waits for: the workers, and the reader of a journalled run.
        self._busy: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._shutdown: asyncio.Task[Any] | None = None
        self._hurries = 0
        self._cancelled = self._impatient = False
        self._further_failures = 0
        self.counts: Counter[str] = Counter()
        self.duplicates = self.opted_out = 0
        self.results: dict[int, SendResult] | None = None
        self.stop_error: BaseException | None = None
        self.failure: BaseException | None = None
        self.gate = OutageGate(outage_timeout, self.stop, watch)
        self.ended_at = 0.0
        self.tasks: set[asyncio.Task[None]] = set()

    def start(
        self, pipeline: RequestPipeline, *, results: dict[int, SendResult] | None, queue: ResultQueue | None
    ) -> None:
        """Start the workers. Results are kept in `results`, and put into `queue`."""
        self.results = results
        self._queue = queue
        self._idle = asyncio.get_running_loop().create_future()
        if self._journal_source is not None:
            reader = self._journal_source.start()
            self._busy.add(reader)
            reader.add_done_callback(self.do_not_wait_for)
        self._growth = PoolGrowth(
            self._idle_workers,
            add_worker=lambda: self._add_worker(pipeline),
            may_add=self._may_add_worker,
            results=self.counts.total,
        )
        self._growth.start(
            *worker_range(
                self._concurrency,
                messages=self._input.length,
                connections=pipeline.max_connections,
                has_rate_limit=pipeline.has_rate_limit,
            )
        )

    async def wait(self) -> None:
        """Wait until all workers have ended, those that are added meanwhile too."""
        while running := [task for task in self.tasks if not task.done()]:
            await asyncio.wait(running)

    @property
    def is_reporting_here(self) -> bool:
        """Whether the current task is an `on_result` that the end of this run waits for, or was started by one."""
        return _reporting.get() is self

    # --- stopping and ending ------------------------------------------------------------------------------------------

    def stop(self, error: BaseException) -> None:
        """Start no further attempt: requests in flight end, and every other message of the input is `SKIPPED` with this error."""
        if self.stop_error is None:
            self.stop_error = error
            self._watch.stopped(error)
            self._source.drain(self._shutdown_timeout)
            self._end_attempts()

    def fail(self, error: BaseException) -> None:
        """End the run with this exception; of several, the first counts."""
        if self.failure is None:
            self.failure = error
        elif error is not self.failure:
            self._further_failures += 1
        self._source.stop()
        self._end_attempts()

    def shorten_end(self) -> None:
        """Cut the end short: first the time of requests in flight, then `on_result`."""
        self._hurries += 1
        if self._shutdown is not None:
            self._shutdown.cancel()

    def do_not_wait_for(self, task: asyncio.Task[Any] | None) -> None:
        """Do not wait for this task at the end of the run: it has ended, or waits for that end itself."""
        if task is not None:
            self._busy.discard(task)
        if not self._busy and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def shut_down(self) -> None:
        """End the run; returns when no worker is left and every message is accounted for.

        Runs in a task of its own. Each cancellation of that task cuts the end short, as `shorten_end` does.
        """
        self._shutdown = asyncio.current_task()
        self._source.stop()
        if self._growth is not None:
            self._growth.stop()
        if self._queue is not None:
            self._queue.unblock()
        self._end_attempts()
        await self._end_workers()
        self.ended_at = asyncio.get_running_loop().time()
        journal_source = self._journal_source
        if journal_source is not None:
            await run_uncancelled(journal_source.stop_writing)
        try:
            await self._report_remaining()
        finally:
            # Also if `on_result` ends the program.
            if journal_source is not None:
                try:
                    await run_uncancelled(journal_source.close)
                except JournalError as error:
                    self.fail(error)
        if self.failure is not None and self._further_failures:
            self.failure.add_note(f"{self._further_failures} further exceptions ended the run after this one")

    def _end_attempts(self) -> None:
        """Start no further attempt, and release the workers whose message waits for one."""
        self.gate.end()
        current = asyncio.current_task()
        for worker in self._workers:
            # A worker whose own failure stops the run ends its call itself.
            if worker.call is not None and not worker.call.in_flight and worker.task not in (None, current):
                worker.released = True
                worker.task.cancel()

    async def _end_workers(self) -> None:
        """Wait for the workers; cancel them when their time is over, and again with each cancellation."""
        idle = self._idle
        cancellations = 0
        while idle is not None and self._busy and cancellations < _MAX_CANCELLATIONS:
            before = cancellations
            try:
                timeout = None if self._cancelled else 0.0 if self._hurries else self._shutdown_timeout
                await asyncio.wait({idle}, timeout=timeout)
            except asyncio.CancelledError:
                cancellations += 1
            if self._busy and (cancellations > before or not self._cancelled):
                self._cancelled = True
                for task in self._busy:
                    task.cancel()
        self._impatient = cancellations > 1

    async def _report_remaining(self) -> None:
        """Count the messages that no worker got, and call `on_result` for each, for as many at once as there were workers."""
        _reporting.set(self)
        calls: set[asyncio.Future[Any]] = set()
        for count, (index, item) in enumerate(self._source.remaining(), 1):
            result = item if isinstance(item, SendResult) else self._skipped(index, item)
            if self._journal_source is not None:
                result = self._journal_source.record_result(item, result)
            self._count(result)
            if (call := self._call_on_result(result)) is not None:
                calls.add(call)
                if len(calls) >= len(self._workers):
                    await self._wait_for_calls(calls, asyncio.FIRST_COMPLETED)
            elif count % _RESULTS_PER_ROUND == 0:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    self._impatient = True
        await self._wait_for_calls(calls, asyncio.ALL_COMPLETED)

    def _call_on_result(self, result: SendResult) -> asyncio.Future[Any] | None:
        if self._on_result is None:
            return None
        try:
            returned = self._on_result(result)
        except ENDS_THE_PROGRAM:
            raise
        except BaseException as error:
            self.fail(error)
            return None
        return asyncio.ensure_future(returned) if inspect.isawaitable(returned) else None

    async def _wait_for_calls(self, calls: set[asyncio.Future[Any]], return_when: str) -> None:
        """Wait for one or all of the calls of `on_result`. After a cancellation each call begins, and is then cancelled."""
        for attempt in range(_MAX_CANCELLATIONS):
            if not calls:
                return
            try:
                if self._impatient and not attempt:
                    await asyncio.sleep(0)
                else:
                    await asyncio.wait(calls, return_when=return_when)
            except asyncio.CancelledError:
                self._impatient = True
            for call in [call for call in calls if call.done()]:
                calls.discard(call)
                if not call.cancelled() and (error := call.exception()) is not None:
                    self.fail(error)
            if not self._impatient:
                return
            return_when = asyncio.ALL_COMPLETED
            for call in calls:
                call.cancel()
        calls.clear()

    # --- the workers --------------------------------------------------------------------------------------------------

    def _add_worker(self, pipeline: RequestPipeline) -> None:
        worker = _Worker()
        worker.task = task = asyncio.get_running_loop().create_task(self._work(worker, pipeline))
        self._workers.append(worker)
        self.tasks.add(task)
        if self._queue is not None:
            self._queue.add_writer(task)
        self._busy.add(task)
        task.add_done_callback(self._worker_ended)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        # Raised by the input, by a request or by `on_result`, and no `Exception`, as the error of `pytest.fail`.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ENDS_THE_PROGRAM):
            self.fail(error)
        self.do_not_wait_for(task)

    def _may_add_worker(self) -> bool:
        # While Callbell can't be reached, more workers would only use up more messages.
        return not (self.gate.closed or self.gate.failures or self._input.stopped)

    async def _work(self, worker: _Worker, pipeline: RequestPipeline) -> None:
        """Send one message after the other. An exception of the input or of `on_result` ends the run, not only this worker."""
        source = self._input
        # An input that never waits is read without a coroutine.
        immediate = self._journal_source is None and source.immediate
        try:
            while (given := source.get_nowait() if immediate else await self._source.get()) is not None:
                index, item = given
                may_send = self.stop_error is None and not source.stopped
                may_send = may_send and (self._exclude is None or not self._is_excluded(item))
                if may_send and isinstance(item, _SENDABLE):
                    result = await self._send(worker, pipeline, index, item)
                else:
                    result = self._not_sent(index, item)
                if result.error is None:
                    await self._finish(item, result)
                    continue
                if self.stop_error is None and self._rules.stops(result.error, accepted=self.counts["accepted"]):
                    self.stop(result.error)
                await self._finish(item, result)
                # Nothing may have been waited for: let other tasks run, however long such an input is.
                await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            # If the run has not ended, the input or `on_result` raised it.
            if not source.stopped:
                self.fail(error)
            raise
        except Exception as error:
            self.fail(error)

    def _not_sent(self, index: int, item: Any) -> SendResult:
        if isinstance(item, SendResult):
            # A duplicate, or a message that can't be journalled.
            return item
        if self.stop_error is not None or isinstance(item, _SENDABLE):
            return self._skipped(index, item)
        error = item
        if not isinstance(item, InvalidMessageError):
            error = InvalidMessageError(
                "message", f"must be a message such as TextMessage(...), not {type(item).__name__}"
            )
        return SendResult(index, item, Outcome.NEVER_SENT, error=error)

    def _skipped(self, index: int, item: Any) -> SendResult:
        message, key = (item.message, item.claim.row.key) if isinstance(item, ClaimedMessage) else (item, None)
        error = OptedOutError() if self._is_excluded(item) else self.stop_error
        return SendResult(index, message, Outcome.SKIPPED, error=error, key=key)

    def _is_excluded(self, item: Any) -> bool:
        message = item.message if isinstance(item, ClaimedMessage) else item
        return self._exclude is not None and isinstance(message, Message) and self._exclude.excludes(message)

    async def _send(
        self, worker: _Worker, pipeline: RequestPipeline, index: int, item: Message | ClaimedMessage
    ) -> SendResult:
        # Any exception here, also one of a limiter or a session, concerns this message only.
        # The claim is in no local variable of its own: a traceback would show the message.
        message, key = (item.message, item.claim.row.key) if isinstance(item, ClaimedMessage) else (item, None)
        try:
            call = CallState(
                send_request(item.claim.row.body if isinstance(item, ClaimedMessage) else dump_message(item))
            )
        except Exception as error:
            return SendResult(index, message, Outcome.NEVER_SENT, error=error, key=key)
        call.countdowns = self._countdowns
        call.index = index
        if self._exclude is not None:
            call.check = partial(self._exclude.check, message)
        worker.call = call
        try:
            try:
                receipt = await pipeline.run(call, read_receipt, limit_queue_time=False, gate=self.gate)
            finally:
                worker.call = None
                if call.attempts:
                    self._idle_workers.count += 1
        except Exception as error:
            self.gate.finished(call)
            is_skipped = isinstance(error, OptedOutError) and call.outcome is not Outcome.UNKNOWN
            outcome = Outcome.SKIPPED if is_skipped else call.outcome
            return SendResult(index, message, outcome, error=error, attempts=call.attempts, key=key)
        except asyncio.CancelledError:
            if worker.released and not call.attempts:
                result = self._skipped(index, item)
            else:
                cut_off = cancelled_error(call, self.stop_error)
                result = SendResult(index, message, call.outcome, error=cut_off, attempts=call.attempts, key=key)
            if worker.released and worker.task is not None:
                worker.released = False
                worker.task.uncancel()
                return result
            await self._finish(item, result)
            raise
        except BaseException as error:
            # One outside `Exception` ends the run; its message has a result, as every other one.
            if not isinstance(error, (*ENDS_THE_PROGRAM, GeneratorExit)):
                await self._finish(item, SendResult(index, message, call.outcome, None, error, call.attempts, key=key))
            raise
        return SendResult(index, message, Outcome.ACCEPTED, receipt, None, call.attempts, key=key)

    async def _finish(self, item: Any, result: SendResult) -> None:
        if self._journal_source is not None:
            result = self._journal_source.record_result(item, result)
        self._count(result)
        # Before `on_result`, which may raise: the consumer gets every result that is counted.
        full = self._queue is not None and not self._queue.put(result)
        if self._on_result is not None:
            returned = self._on_result(result)
            if inspect.isawaitable(returned):
                await returned
        if full and self._queue is not None:
            await self._queue.wait_for_space()

    def _count(self, result: SendResult) -> None:
        self.counts[result.outcome.value] += 1
        if result.outcome is Outcome.SKIPPED:
            self.duplicates += result.is_duplicate
            self.opted_out += result.is_opted_out
        if self.results is not None:
            self.results[result.index] = result
        if (observers := self._watch.message_observers) is not None:
            observers.message_ended(self._watch.info, result.index, result.outcome, result.attempts)
