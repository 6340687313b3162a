"""The reports of a call to the log and to the observers."""

from __future__ import annotations

import functools
from urllib.parse import unquote

from callbell_async.errors import Outcome
from callbell_async.http.requests import CallState
from callbell_async.observe import CallInfo, RequestInfo, area_logger
from callbell_async.redaction import mask_path

__all__ = ["log_attempt", "log_pause", "log_retry", "request_info", "route_of"]

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


def route_of(path: str) -> str:
    """Return a path without its query, and with `{}` for each part that is not a word of Callbell's API."""
    parts = path.partition("?")[0].split("/")
    return "/".join(part if not part or unquote(part) in _WORDS else "{}" for part in parts)


@functools.lru_cache(maxsize=64)
def request_info(method: str, path: str, base_url: str) -> RequestInfo:
    """Return a request as observers see it."""
    return RequestInfo(method, mask_path(path), route_of(path), base_url)


def log_attempt(
    info: CallInfo, number: int, outcome: Outcome, status: int | None, error: BaseException | None, seconds: float
) -> None:
    """Log the end of an attempt."""
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
        type(error).__name__ if status is None else status,
        outcome.value,
        seconds,
        extra=fields,
    )


def log_retry(call: CallState, error: Exception, wait: float) -> None:
    """Log that a failed attempt is followed by another one."""
    method, path = call.request.method, mask_path(call.request.path)
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
