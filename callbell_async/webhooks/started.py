"""Coroutines without a task of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Started"]

T = TypeVar("T")


def _call(step: Callable[[Any], Any], value: Any) -> Any:
    return step(value)


class Started(Generic[T]):
    """A coroutine that has run in the current task until it first has to wait, or until its end. Await it for its result.

    What is needed only while something waits, such as a timeout, can then be left out where nothing does.

    Args:
        coroutine: the coroutine; an exception that it raises before it has to wait is raised here.
        run: calls each step of it, for example `Context.run`.

    Attributes:
        is_done: whether it has ended.
    """

    __slots__ = ("_coroutine", "_future", "_result", "_run", "is_done")

    def __init__(self, coroutine: Coroutine[Any, Any, T], *, run: Callable[..., Any] = _call) -> None:
        self._coroutine = coroutine
        self._run = run
        self._future: Any = None
        self._result: Any = None
        self.is_done = False
        self._step(coroutine.send, None)

    def __await__(self) -> Generator[Any, Any, T]:
        while not self.is_done:
            try:
                value = yield self._future
            except BaseException as error:
                self._step(self._coroutine.throw, error)
            else:
                self._step(self._coroutine.send, value)
        result: T = self._result
        return result

    def _step(self, step: Callable[[Any], Any], value: Any) -> None:
        try:
            self._future = self._run(step, value)
        except StopIteration as end:
            self.is_done, self._result = True, end.value
