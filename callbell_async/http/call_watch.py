"""What one call reports to the log and to the observers."""

from __future__ import annotations

import asyncio
import functools
import logging
from urllib.parse import unquote

from callbell_async.errors import Outcome
from callbell_async.http.requests import CallState
from callbell_async.logs import area_logger
from callbell_async.observe import AttemptInfo, CallInfo, Observers, RunInfo
from callbell_async.redaction import mask_path

__all__ = ["CallWatch", "log_pause", "log_retry", "route_of"]

_log = area_logger("http")

_WORDS = frozenset(
    [
        "auth",
        "bot",
        "bsuid",
        "channels",
        "close",
        "contacts",
        "conversation",
        "custom_statuses",
        "events",
        "funnels",
        "me",
        "members",
        "messages",
        "note",
        "open",
        "phone",
        "plan",
        "send",
        "status",
        "subscribe",
        "teams",
        "templates",
        "unsubscribe",
        "users",
        "webhooks",
    ]
)
"""The words in the paths of Callbell's API; every other part of a path is a value."""

shown_path = functools.lru_cache(maxsize=64)(mask_path)
"""`mask_path`, which nearly always gets the same path: that of a message."""


@functools.lru_cache(maxsize=64)
def route_of(path: str) -> str:
    """Return a path without its query, and with `{}` for each part that is not a word of Callbell's API."""
    parts = path.partition("?")[0].split("/")
    return "/".join(part if not part or unquote(part) in _WORDS else "{}" for part in parts)


class CallWatch:
    """Reports the moments of one call. It exists only if there are observers, or if attempts are logged."""

    __slots__ = ("_call", "_info", "_number", "_observers", "_started_at", "_time")

    def __init__(self, call: CallState, observers: Observers | None, *, base_url: str, run: RunInfo | None) -> None:
        self._call = call
        self._observers = observers
        self._number = 0
        self._started_at = 0.0
        self._time = asyncio.get_running_loop().time
        request = call.request
        self._info = CallInfo(
            request.method, shown_path(request.path), route_of(request.path), base_url, run, call.index
        )

    def started(self) -> None:
        """The call begins."""
        self._notify("call_started")

    def waiting_started(self) -> None:
        """The call begins to wait for its slot."""
        self._notify("waiting_started")

    def waiting_ended(self, seconds: float) -> None:
        """The call does not wait any more."""
        self._notify("waiting_ended", seconds)

    def attempt_started(self, number: int) -> None:
        """An attempt begins."""
        self._number = number
        self._notify("attempt_started", number)
        self._started_at = self._time()

    def attempt_ended(self, outcome: Outcome, status: int | None, error: BaseException | None) -> None:
        """The attempt has ended, with a response or an exception."""
        seconds = self._time() - self._started_at
        number, self._number = self._number, 0
        name = None if error is None else type(error).__name__
        info = self._info
        self._notify("attempt_ended", AttemptInfo(number, outcome, status, name, seconds))
        if _log.isEnabledFor(logging.DEBUG):
            fields = _fields(info.method, info.path, number, error)
            fields["callbell.outcome"] = outcome.value
            fields["http.client.request.duration"] = seconds
            if status is not None:
                fields["http.response.status_code"] = status
            _log.debug(
                "%s %s: attempt %d: %s, %s, in %.3f s",
                info.method,
                info.path,
                number,
                name if status is None else status,
                outcome.value,
                seconds,
                extra=fields,
            )

    def retry_scheduled(self, wait: float) -> None:
        """Another attempt follows."""
        self._notify("retry_scheduled", self._call.attempts, wait)

    def client_paused(self, seconds: float) -> None:
        """The whole client pauses, for that number of seconds longer than before."""
        self._notify("client_paused", seconds)

    def ended(self, error: BaseException | None) -> None:
        """The call has ended, and so has its attempt, if one was cut off."""
        call = self._call
        if self._number:
            # Cancelled, or ended by an exception that is not one of this library's.
            self.attempt_ended(Outcome.UNKNOWN if call.written else Outcome.NEVER_SENT, None, error)
        self._notify("call_ended", call.outcome, call.attempts, None if error is None else type(error).__name__)

    def _notify(self, moment: str, *arguments: object) -> None:
        if self._observers is not None:
            self._observers.notify(moment, self._info, *arguments)


def log_retry(call: CallState, error: Exception, wait: float) -> None:
    """Log that a failed attempt is followed by another one."""
    method, path = call.request.method, shown_path(call.request.path)
    _log.info(
        "%s %s: attempt %d failed (%s), next in %.3f s",
        method,
        path,
        call.attempts,
        type(error).__name__,
        wait,
        extra={**_fields(method, path, call.attempts, error), "callbell.wait": wait},
    )


def log_pause(seconds: float) -> None:
    """Log that the whole client pauses for that number of seconds."""
    _log.warning(
        "Callbell responded with 429: the client pauses for %.3f s",
        seconds,
        extra={"callbell.wait": seconds, "http.response.status_code": 429},
    )


def _fields(method: str, path: str, attempt: int, error: BaseException | None) -> dict[str, object]:
    fields: dict[str, object] = {"http.request.method": method, "url.path": path, "callbell.attempt": attempt}
    if error is not None:
        fields["error.type"] = type(error).__name__
    return fields
