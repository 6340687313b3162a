"""A virtual clock beside a real thread: what is given to an executor is done at once, and takes as long as the test says."""

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
    """Asked once a round; calls `at_round`, and lets no time go by when that has given the loop something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.at_round: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[Any]:
        """One round."""
        return super().select(0 if self.at_round() else timeout)


class DiskLoop(VirtualTimeLoop):
    """Virtual time for code that has a thread of its own for the disk: the same order of events each time.

    A job of an executor is done by its thread while the loop stands still, and is told after `seconds` of virtual time, or by `seconds(number)`,
    which counts from 1. `at_job` is called with each job's number and the job, and does it. `at_round` is called between two rounds, and
    says whether it gave the loop something to do.
    """

    def __init__(self) -> None:
        self._virtual_clock = self._rounds = _RoundSelector()
        asyncio.SelectorEventLoop.__init__(self, self._rounds)
        self.seconds: Callable[[int], float] = lambda number: 0.001
        self.at_job: Callable[[int, Callable[[], None]], None] = lambda number, job: job()
        self.jobs = 0

    def at_round(self, call: Callable[[], bool]) -> None:
        """Call this between two rounds from now on."""
        self._rounds.at_round = call

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Have it done now, and told later."""
        assert executor is not None
        self.jobs += 1
        told: asyncio.Future[T] = self.create_future()
        job = None

        def do() -> None:
            nonlocal job
            job = executor.submit(func, *args)
            job.exception()

        self.at_job(self.jobs, do)
        assert job is not None

        def tell() -> None:
            if told.done():
                return
            error = job.exception()
            if error is None:
                told.set_result(job.result())
            else:
                told.set_exception(error)

        self.call_later(self.seconds(self.jobs), tell)
        return told


def on_disk(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a `DiskLoop`; it fails for what nobody has caught as well."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        complaints: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            runner.run(test(*args, **kwargs))
        assert not complaints, complaints

    return run
