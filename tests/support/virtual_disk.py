"""A virtual clock beside a real thread: a job of an executor runs at once, and takes the virtual time that the test defines."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from tests.support.clock import VirtualTimeLoop, _JumpingSelector

__all__ = ["DiskLoop", "on_disk"]

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class _RoundSelector(_JumpingSelector):
    """A selector that calls `at_round` once a round, and lets no time pass if that gave the loop something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.at_round: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[Any]:
        """Run one round."""
        return super().select(0 if self.at_round() else timeout)


class DiskLoop(VirtualTimeLoop):
    """Virtual time for code that uses a thread for the disk: events have the same order in each run.

    The loop waits while a thread runs a job. The result of the job arrives after some virtual time.

    Attributes:
        seconds: Returns the virtual seconds that a job takes, from its number (from 1).
        at_job: Called with the number of each job and a function that runs it; it must call that function.
        jobs: The number of jobs so far.
    """

    def __init__(self) -> None:
        self._virtual_clock = self._rounds = _RoundSelector()
        asyncio.SelectorEventLoop.__init__(self, self._rounds)
        self.seconds: Callable[[int], float] = lambda number: 0.001
        self.at_job: Callable[[int, Callable[[], None]], None] = lambda number, job: job()
        self.jobs = 0

    def at_round(self, call: Callable[[], bool]) -> None:
        """Call a function between two rounds; it returns whether it gave the loop something to do."""
        self._rounds.at_round = call

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run the job now, and set its result later."""
        assert executor is not None
        self.jobs += 1
        done: asyncio.Future[T] = self.create_future()
        job = None

        def run_job() -> None:
            nonlocal job
            job = executor.submit(func, *args)
            job.exception()

        self.at_job(self.jobs, run_job)
        assert job is not None

        def set_result() -> None:
            if done.done():
                return
            error = job.exception()
            if error is None:
                done.set_result(job.result())
            else:
                done.set_exception(error)

        self.call_later(self.seconds(self.jobs), set_result)
        return done


def on_disk(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a `DiskLoop`. It also fails if the loop reports an unhandled exception."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        complaints: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            runner.run(test(*args, **kwargs))
        assert not complaints, complaints

    return run
