"""Runs coroutines round by round of their event loop, on a virtual clock, to cancel them at every point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import attrs

from tests.support.clock import VirtualTimeLoop, _JumpingSelector

__all__ = ["Driven", "drive", "every_await"]


class _SteppingSelector(_JumpingSelector):
    """A selector that calls `step` once a round, and lets no time pass if that gave the loop something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.step: Callable[[], bool] | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        """Run one round."""
        return super().select(0 if self.step is not None and self.step() else timeout)


class _SteppingLoop(VirtualTimeLoop):
    def __init__(self) -> None:
        self._virtual_clock = self.selector = _SteppingSelector()
        asyncio.SelectorEventLoop.__init__(self, self.selector)


@attrs.frozen
class Driven:
    """The end of a run: the number of `rounds`, its `error`, and the tasks `left` one round later and `stayed` two later.

    `cancelled` is whether a cancellation came before the end. `complaints` are the calls of the loop's exception handler.
    """

    rounds: int
    cancelled: bool
    error: BaseException | None
    left: int
    stayed: int
    complaints: tuple[dict[str, Any], ...]


def drive(main: Callable[[], Coroutine[Any, Any, object]], *, cancel_at: Callable[[int], bool]) -> Driven:
    """Run `main` on its own loop, and cancel it at the beginning of each round for which `cancel_at` is true."""
    complaints: list[dict[str, Any]] = []
    rounds = 0
    cancelled = False

    with asyncio.Runner(loop_factory=_SteppingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, _SteppingLoop)
        loop.set_exception_handler(lambda _, context: complaints.append(context))

        async def driven() -> tuple[BaseException | None, int, int]:
            task = asyncio.create_task(main())
            driver = asyncio.current_task()
            left = 0

            def count(_: object) -> None:
                nonlocal left
                left = len(asyncio.all_tasks() - {driver})

            task.add_done_callback(count)

            def cancel() -> None:
                nonlocal cancelled
                cancelled = task.cancel() or cancelled

            def step() -> bool:
                nonlocal rounds
                rounds += not task.done()
                due = not task.done() and cancel_at(rounds)
                if due:
                    loop.call_soon(cancel)
                return due

            loop.selector.step = step
            await asyncio.wait({task})
            loop.selector.step = None
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            return error, left, len(asyncio.all_tasks() - {driver})

        error, left, stayed = runner.run(driven())
    return Driven(rounds, cancelled, error, left, stayed, tuple(complaints))


def every_await(main: Callable[[], Coroutine[Any, Any, object]]) -> Iterator[int]:
    """Yield the numbers of all rounds that `main` takes without a cancellation; it must end without an error."""
    whole = drive(main, cancel_at=lambda _: False)
    assert whole.error is None, whole.error
    yield from range(1, whole.rounds + 1)
