"""What went wrong in a receiver: to the log, without a word of any event's content, and to the caller's hook."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable

from callbell_async.errors import ConfigurationError, SignatureError
from callbell_async.models.events import Event

__all__ = ["ErrorHook", "Reports", "check_plain"]

ErrorHook = Callable[[Exception, Event | None], object]
"""Takes what went wrong, and the event, where there is one. A plain function, called in the event loop."""

_logger = logging.getLogger("callbell_async.webhooks")


class Reports:
    """Tells of failures; never raises."""

    def __init__(self, on_error: ErrorHook | None) -> None:
        if on_error is not None:
            check_plain("on_error", on_error)
        self._on_error = on_error

    def refused(self, error: SignatureError) -> None:
        """Say in the log that a request was refused: anybody can send one, so that this is no matter for the hook."""
        _logger.warning("a webhook request was refused: %s", error)

    def failed(self, what: str, error: Exception, event: Event | None = None) -> None:
        """Tell that something failed, with an event or without."""
        _log(what, error, event)
        if self._on_error is None:
            return
        try:
            self._on_error(error, event)
        except Exception as raised:
            _log("the error hook raised", raised, event)


def check_plain(name: str, function: object) -> None:
    """Make sure that it is a function which is done when it returns; raises `ConfigurationError`."""
    # An object that is called like a function has its `__call__` in its class.
    forms = (function, getattr(type(function), "__call__", None))  # noqa: B004
    if not callable(function) or any(map(inspect.iscoroutinefunction, forms)):
        raise ConfigurationError(f"{name}={function!r}: must be a plain function, not a coroutine function")


def _log(what: str, error: Exception, event: Event | None) -> None:
    # Neither the exception's text nor the source lines of a whole traceback: both may quote the event.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    subject = "" if event is None else f" ({type(event).__name__}, key {event.key})"
    _logger.error("%s: %s%s%s", what, type(error).__name__, place, subject)
