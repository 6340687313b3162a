"""Observers that record their moments, or raise at each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from callbell_async import Observer
from callbell_async.observe import MOMENTS

__all__ = ["Moments", "RaisingObserver", "RecordingObserver"]

Moments = list[tuple[str, dict[str, Any]]]


def _overriding(name: str, act: Callable[[Any, str, dict[str, Any]], None]) -> type[Observer]:
    """Return a subclass of `Observer` whose every method calls `act` with its name and its arguments by name."""

    def method(moment: str) -> Callable[..., None]:
        signature = inspect.signature(getattr(Observer, moment))

        def call(self: Observer, *arguments: Any) -> None:
            # Raises `TypeError` for arguments that do not fit the method.
            named = dict(signature.bind(self, *arguments).arguments)
            del named["self"]
            act(self, moment, named)

        return call

    return type(name, (Observer,), {moment: method(moment) for moment in MOMENTS})


class RecordingObserver(_overriding("_Recording", lambda self, moment, named: self.moments.append((moment, named)))):  # type: ignore[misc]
    """Records the moments in `moments`, each with its arguments by name."""

    def __init__(self) -> None:
        self.moments: Moments = []

    @property
    def names(self) -> list[str]:
        """The names of the moments, in order."""
        return [name for name, _ in self.moments]

    def of(self, moment: str) -> list[dict[str, Any]]:
        """Return the arguments of each moment with this name."""
        return [named for name, named in self.moments if name == moment]


def _raise(observer: Any, moment: str, named: dict[str, Any]) -> None:
    raise observer.error


class RaisingObserver(_overriding("_Raising", _raise)):  # type: ignore[misc]
    """Raises an exception at each moment."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
