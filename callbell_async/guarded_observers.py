"""Calls the observers of a client, a journal or a webhook receiver, and keeps their exceptions away from it."""

from __future__ import annotations

import inspect
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from callbell_async.errors import ConfigurationError, Outcome
from callbell_async.observe import CALL_MOMENTS, MOMENTS, AttemptInfo, CallInfo, Observer, RunInfo, area_logger

__all__ = ["Observers", "observers_from"]

_log = area_logger("observe")

# A member of an enumeration is looked up slowly.
_ACCEPTED = Outcome.ACCEPTED

_FIRST_ACCEPTED = AttemptInfo(1, _ACCEPTED, 200, None)
"""The end of nearly every attempt."""


class _Guarded:
    """An observer, and whether an exception of it was reported."""

    __slots__ = ("observer", "reported")

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.reported = False

    def overrides(self, moment: str) -> bool:
        """Return whether the observer has a method of its own for a moment."""
        own = getattr(self.observer, "__dict__", ())
        return moment in own or getattr(type(self.observer), moment) is not getattr(Observer, moment)

    def report(self, error: BaseException) -> None:
        """Log the first exception of the observer."""
        if self.reported:
            return
        self.reported = True
        name = type(self.observer).__qualname__
        # Neither the exception's text nor source lines: both may quote what the observer holds.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        _log.warning(
            "the observer %s raised %s in %s:%s; its further exceptions are not reported",
            name,
            type(error).__name__,
            frame.filename,
            frame.lineno,
            extra={"callbell.observer": name, "error.type": type(error).__name__},
        )


class Observers:
    """Calls several observers at each moment, each of them once, and keeps their exceptions away from the caller.

    The moments of every message have methods of their own: `notify` takes twice as long.

    Attributes:
        see_calls: Whether one of them overrides a moment of a call.
        see_call_start: Whether one of them overrides `call_started`.
        see_attempt_start: Whether one of them overrides `attempt_started`.
        see_messages: Whether one of them overrides `message_ended`.
    """

    def __init__(self, guarded: Sequence[_Guarded]) -> None:
        # One that is given twice, such as to a client and to a derived one, would count everything twice, and start two spans for a call.
        unique: dict[int, _Guarded] = {}
        for one in guarded:
            unique.setdefault(id(one.observer), one)
        self._guarded = tuple(unique.values())
        self._methods = {moment: self._methods_of(moment) for moment in MOMENTS}
        self._call_started = self._methods["call_started"]
        self._attempt_started = self._methods["attempt_started"]
        self._attempt_ended = self._methods["attempt_ended"]
        self._call_ended = self._methods["call_ended"]
        self._message_ended = self._methods["message_ended"]
        self.see_calls = any(self._methods[moment] for moment in CALL_MOMENTS)
        self.see_call_start = bool(self._call_started)
        self.see_attempt_start = bool(self._attempt_started)
        self.see_messages = bool(self._message_ended)

    def _methods_of(self, moment: str) -> tuple[tuple[_Guarded, Callable[..., None]], ...]:
        return tuple((one, getattr(one.observer, moment)) for one in self._guarded if one.overrides(moment))

    def notify(self, moment: str, *arguments: Any) -> None:
        """Call the method with this name of each observer that overrides it."""
        for guarded, method in self._methods[moment]:
            try:
                method(*arguments)
            except (Exception, CancelledError) as error:
                guarded.report(error)

    def call_started(self, call: CallInfo) -> None:
        """Do the same as `notify("call_started", ...)`."""
        for guarded, method in self._call_started:
            try:
                method(call)
            except (Exception, CancelledError) as error:
                guarded.report(error)

    def attempt_started(self, call: CallInfo, number: int) -> None:
        """Do the same as `notify("attempt_started", ...)`."""
        for guarded, method in self._attempt_started:
            try:
                method(call, number)
            except (Exception, CancelledError) as error:
                guarded.report(error)

    def call_accepted(self, call: CallInfo, attempts: int, status: int, seconds: float) -> None:
        """Do the same as `notify("attempt_ended", ...)` and `notify("call_ended", ...)`, after an attempt that was accepted."""
        if self._attempt_ended:
            if attempts == 1 and status == 200:
                attempt = _FIRST_ACCEPTED
            else:
                attempt = AttemptInfo(attempts, _ACCEPTED, status, None)
            for guarded, method in self._attempt_ended:
                try:
                    method(call, attempt, seconds)
                except (Exception, CancelledError) as error:
                    guarded.report(error)
        for guarded, method in self._call_ended:
            try:
                method(call, _ACCEPTED, attempts, None)
            except (Exception, CancelledError) as error:
                guarded.report(error)

    def message_ended(self, run: RunInfo, index: int, outcome: Outcome, attempts: int) -> None:
        """Do the same as `notify("message_ended", ...)`."""
        for guarded, method in self._message_ended:
            try:
                method(run, index, outcome, attempts)
            except (Exception, CancelledError) as error:
                guarded.report(error)

    def plus(self, others: Observers | None) -> Observers:
        """Return these observers and others."""
        return self if others is None else Observers((*self._guarded, *others._guarded))


def observers_from(value: object) -> Observers | None:
    """Return the observers of an argument `observer`: one, a sequence, or `None`; raises `ConfigurationError` for anything else."""
    if value is None:
        return None
    found: list[Any] = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    for observer in found:
        if not isinstance(observer, Observer):
            name = f"the class {observer.__name__}" if isinstance(observer, type) else type(observer).__name__
            raise ConfigurationError(
                f"observer: must be an Observer or a sequence of them, not {name}; subclass Observer"
            )
        for moment in MOMENTS:
            if inspect.iscoroutinefunction(getattr(observer, moment)):
                raise ConfigurationError(
                    f"observer: {type(observer).__name__}.{moment} must be a plain function, not a coroutine function"
                )
    return Observers([_Guarded(observer) for observer in found]) if found else None
