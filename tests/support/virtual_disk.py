"""Virtual time for code with a thread: a job of an executor runs at once, and its virtual duration is set by the test."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from tests.support.clock import VirtualTimeLoop, _JumpingSelector

__all__ = ["DiskLoop", "on_disk"]

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class _RoundSelector(_JumpingSelector):
    """Calls `at_round` once in each round of the loop; no time passes if that call gave the loop something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.at_round: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[Any]:
        """Select without advancing the time if `at_round` returned `True`."""
        return super().select(0 if self.at_round() else timeout)


class DiskLoop(VirtualTimeLoop):
    """A loop with virtual time for code that uses a thread for the disk. The order of events is the same in each run.

    A job of an executor runs in its thread while the loop waits. Its future is done after `seconds(number)` of virtual time; the jobs are counted from 1.

    Attributes:
        seconds: Returns the duration of a job, by its number.
        at_job: Is called with the number of a job and the job, and must call the job.
        jobs: The number of jobs so far.
    """

    def __init__(self) -> None:
        self._virtual_clock = self._rounds = _RoundSelector()
        asyncio.SelectorEventLoop.__init__(self, self._rounds)
        self.seconds: Callable[[int], float] = lambda number: 0.001
        self.at_job: Callable[[int, Callable[[], None]], None] = lambda number, job: job()
        self.jobs = 0

    def at_round(self, call: Callable[[], bool]) -> None:
        """Set the function that is called between two rounds; it returns whether it gave the loop something to do."""
        self._rounds.at_round = call

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run the job now, and set its result after its virtual duration."""
        assert executor is not None
        self.jobs += 1
        future: asyncio.Future[T] = self.create_future()
        started: list[Future[T]] = []

        def run_job() -> None:
            started.append(executor.submit(func, *args))
            started[0].exception()

        self.at_job(self.jobs, run_job)
        (job,) = started

        def set_done() -> None:
            if future.done():
                return
            error = job.exception()
            if error is None:
                future.set_result(job.result())
            else:
                future.set_exception(error)

        self.call_later(self.seconds(self.jobs), set_done)
        return future


def on_disk(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a `DiskLoop`. The test also fails for an exception that the loop's handler receives."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        errors: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: errors.append(context))
            runner.run(test(*args, **kwargs))
        assert not errors, errors

    return run
