"""The options of a receiver, and its reports of errors."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

from callbell_async.errors import ConfigurationError, SignatureError
from callbell_async.models.events import Event
from callbell_async.observe import Observer, area_logger

__all__ = ["ErrorHook", "ErrorReporter", "Handler", "ReceiverOptions", "check_handler", "check_sync_function"]

Handler = Callable[[Event], object]
"""Takes an event: a coroutine function, or a plain function that does not block."""

ErrorHook = Callable[[Exception, Event | None], object]
"""Takes an error, and its event if there is one: a plain function, called in the event loop."""

_log = area_logger("webhooks")


class ReceiverOptions(TypedDict, total=False):
    """The options of `WebhookReceiver` besides the handler and the secrets; its docstring has their meanings and defaults."""

    unsigned: bool
    respond_after: Literal["enqueue", "handler"]
    queue_size: int
    max_queue_bytes: int
    concurrency: int
    max_body: int
    read_timeout: float
    dedupe_size: int
    dedupe_seconds: float
    on_error: ErrorHook | None
    tolerance: float
    drain_timeout: float
    clock: Callable[[], float]
    observer: Observer | Sequence[Observer] | None


def check_handler(handler: object) -> None:
    """Refuse a value that can't be called with an event."""
    if not callable(handler):
        raise ConfigurationError(f"handler={handler!r}: must be a function that takes an event")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        # Python does not know the parameters of some functions that are written in C.
        return
    try:
        signature.bind(object())
    except TypeError as error:
        raise ConfigurationError(f"handler={handler!r}: must take an event as its only argument: {error}") from None


def check_sync_function(name: str, function: object) -> None:
    """Refuse a value that is not a plain function."""
    # A callable object has its `__call__` in its class.
    forms = (function, getattr(type(function), "__call__", None))  # noqa: B004
    if not callable(function) or any(map(inspect.iscoroutinefunction, forms)):
        raise ConfigurationError(f"{name}={function!r}: must be a plain function, not a coroutine function")


class ErrorReporter:
    """Reports errors to the log, without any content of an event, and to the user's hook; it never raises."""

    def __init__(self, on_error: ErrorHook | None) -> None:
        if on_error is not None:
            check_sync_function("on_error", on_error)
        self._on_error = on_error

    def log_refusal(self, reason: SignatureError | str) -> None:
        """Log a refused request. The hook is not called, because anybody can send such a request."""
        _log.warning("a webhook request was refused: %s", reason, extra={"callbell.reason": str(reason)})

    def report(self, what: str, error: Exception, event: Event | None = None) -> None:
        """Log an error and pass it to the hook."""
        _log_error(what, error, event)
        if self._on_error is None:
            return
        try:
            self._on_error(error, event)
        except Exception as raised:
            _log_error("the error hook raised", raised, event)


def _log_error(what: str, error: Exception, event: Event | None) -> None:
    # Neither the exception's text nor the traceback's source lines: both may quote the event.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    subject = "" if event is None else f" ({type(event).__name__}, key {event.key})"
    fields = {"error.type": type(error).__name__}
    if event is not None:
        fields["callbell.event.type"] = type(event).__name__
    _log.error("%s: %s%s%s", what, type(error).__name__, place, subject, extra=fields)
