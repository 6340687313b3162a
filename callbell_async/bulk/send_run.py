"""One run of `send_many`, as its caller uses it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection, Generator, Iterable
from typing import Any

from callbell_async.arguments import check_count, check_seconds
from callbell_async.asyncio_tools import CancellationShield
from callbell_async.bulk.pool_size import FIRST_WORKERS
from callbell_async.bulk.run_output import ResultQueue, RunWatch
from callbell_async.bulk.source import MessageSource
from callbell_async.bulk.stop_rules import StopRules
from callbell_async.bulk.worker_pool import WorkerPool
from callbell_async.errors import ClientClosedError, ConfigurationError, Outcome
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.journal import Journal
from callbell_async.models.results import Item, SendReport, SendResult
from callbell_async.recipients.opt_outs import OptOutList

__all__ = ["SendRun"]


class SendRun:
    """One run of `send_many`. It sends only while it is awaited or iterated; use one of the two, once.

    - `report = await run` returns all results in the order of the input.
    - `async for result in run` yields results as they come, in constant memory. A slow consumer slows the sending.

    However the run ends, every message that was read from the input has one result, and so has the rest of an input
    with a length. No task outlives the run. `docs/how-to/sending-many.md` has a table of the ways in which a run ends.

    A run that is cancelled or closed starts no further attempt. Requests in flight have `shutdown_timeout` seconds; then
    they are cancelled, with the outcome `UNKNOWN` if they were partly or completely written, and `NEVER_SENT` if not.
    A second cancellation cuts that time short, and a third one stops waiting for `on_result`. Cancel scopes of anyio deliver one
    cancellation again and again; that counts once.

    Attributes:
        report: The report so far; complete when the run has ended.
        stop_error: The error that stopped the run, or `None`.
        paused_for: The seconds since the run paused because of an outage, or `None`.
    """

    def __init__(
        self,
        pipeline: Callable[[], RequestPipeline],
        messages: Iterable[Item] | AsyncIterable[Item],
        *,
        concurrency: int | None,
        journal: Journal | None,
        on_result: Callable[[SendResult], Any] | None,
        stop_on: tuple[type[BaseException], ...],
        shutdown_timeout: float,
        outage_timeout: float,
        runs: set[SendRun],
        exclude: OptOutList | Collection[str] | None = None,
    ) -> None:
        self._started = True  # Until the arguments are checked: no warning from `__del__`.
        if concurrency is not None:
            check_count("concurrency", concurrency)
        check_seconds("shutdown_timeout", shutdown_timeout, endless=True)
        check_seconds("outage_timeout", outage_timeout, endless=True)
        # These are first used after a message was sent, which is too late for an error.
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
        source = MessageSource(messages)
        self._watch = RunWatch(messages=source.length, has_journal=journal is not None)
        self._pool = WorkerPool(
            source,
            journal=journal,
            concurrency=concurrency,
            on_result=on_result,
            rules=StopRules(stop_on),
            outage_timeout=outage_timeout,
            shutdown_timeout=shutdown_timeout,
            watch=self._watch,
            exclude=exclude if exclude is None or isinstance(exclude, OptOutList) else OptOutList(exclude),
        )
        self._pipeline = pipeline
        self._queue_size = concurrency or FIRST_WORKERS
        self._runs = runs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started_at = 0.0
        self._shutdown: asyncio.Task[None] | None = None
        self._started = False

    def __repr__(self) -> str:
        state = "ended" if self._has_ended else "running" if self._started else "not awaited yet"
        return f"<{type(self).__name__} {state}, {self._pool.counts.total()} results>"

    def __del__(self) -> None:
        if not self._started:
            warnings.warn(
                "send_many was neither awaited nor iterated: nothing was sent",
                RuntimeWarning,
                source=self,
                stacklevel=2,
            )

    def __await__(self) -> Generator[Any, None, SendReport]:
        return self._collect().__await__()

    def __aiter__(self) -> AsyncIterator[SendResult]:
        return self._iterate()

    @property
    def report(self) -> SendReport:
        """The report so far; complete when the run has ended. Its `results` are empty if the run is iterated."""
        pool = self._pool
        results = pool.results or {}
        ended_at = pool.ended_at if self._has_ended or self._loop is None else self._loop.time()
        return SendReport(
            results=tuple(map(results.__getitem__, sorted(results))),
            elapsed=ended_at - self._started_at,
            duplicates=pool.duplicates,
            opted_out=pool.opted_out,
            **{outcome.value: pool.counts[outcome.value] for outcome in Outcome},
        )

    @property
    def stop_error(self) -> BaseException | None:
        """The error that stopped the run, so that the rest of the input is `SKIPPED`; `None` if none did."""
        return self._pool.stop_error

    @property
    def paused_for(self) -> float | None:
        """The seconds since the run paused because of an outage; `None` while it sends."""
        since = self._pool.gate.paused_since
        return None if since is None or self._loop is None else self._loop.time() - since

    async def aclose(self) -> None:
        """End the run as a cancellation does, and return when it has ended. Has no effect on a run that has ended."""
        pool = self._pool
        if pool.is_reporting_here:
            return
        if self._loop is not None and not self._has_ended:
            if not all(task.done() for task in pool.tasks):
                pool.fail(ClientClosedError("the run was closed before it ended"))
            await self._end()
        # After `break`, a task of Python's closes the generator. Let it end, too.
        await asyncio.sleep(0)

    async def _collect(self) -> SendReport:
        self._start(results={})
        cancelled = None
        try:
            await self._pool.wait()
        except asyncio.CancelledError as error:
            cancelled = error
        await self._end(cancelled)
        self._raise_failure()
        return self.report

    async def _iterate(self) -> AsyncGenerator[SendResult, None]:
        queue = ResultQueue(self._queue_size)
        self._start(queue=queue)
        cancelled = None
        try:
            while (result := await queue.get()) is not None:
                yield result
        except asyncio.CancelledError as error:
            cancelled = error
        finally:
            await self._end(cancelled)
        self._raise_failure()

    def _start(self, *, results: dict[int, SendResult] | None = None, queue: ResultQueue | None = None) -> None:
        if self._started:
            raise ConfigurationError("a run of send_many can be awaited or iterated once; call send_many again")
        self._started = True
        pipeline = self._pipeline()
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._runs.add(self)
        self._watch.started(pipeline.observers)
        self._pool.start(pipeline, results=results, queue=queue)

    @property
    def _has_ended(self) -> bool:
        return self._shutdown is not None and self._shutdown.done() and not self._shutdown.cancelled()

    async def _end(self, cancelled: asyncio.CancelledError | None = None) -> None:
        """Wait until the run has ended, and raise the cancellation that ended it, or the last one meanwhile.

        The end has a task of its own, which no cancel scope around the caller's task can cancel.
        """
        pool = self._pool
        pool.leave(asyncio.current_task())
        shield = CancellationShield(cancelled)
        while not self._has_ended:
            if self._shutdown is None or self._shutdown.cancelled():
                # It is cancelled if all tasks of the loop were cancelled before it began.
                self._shutdown = asyncio.ensure_future(pool.shut_down())
            await shield.wait(self._shutdown, pool.hurry)
        self._runs.discard(self)
        self._watch.ended(
            pool.counts,
            duplicates=pool.duplicates,
            seconds=pool.ended_at - self._started_at,
            error=pool.stop_error or pool.failure or cancelled,
        )
        if self._shutdown is not None:
            self._shutdown.result()
        if (error := shield.error or cancelled) is not None:
            if pool.failure is not None and error is not pool.failure:
                error.__cause__ = pool.failure
            raise error

    def _raise_failure(self) -> None:
        if self._pool.failure is not None:
            raise self._pool.failure
