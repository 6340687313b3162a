"""An HTTP request as a value, and the state of the call that makes it; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from callbell_async.errors import CallbellError, ConfigurationError, Outcome
from callbell_async.observe import CallInfo
from callbell_async.redaction import mask_path

__all__ = ["CallState", "Countdown", "Request", "build_path", "build_query"]

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2. Callbell's POST and PATCH have no idempotency key."""


def byte_count(body: bytes | None) -> str:
    """Return what the repr of a request or a response shows of its body: a traceback may show local variables."""
    return "None" if body is None else f"<{len(body)} bytes>"


@attrs.frozen
class Request:
    """A request that can be sent any number of times.

    `path` is percent-encoded, begins with a slash and includes the query.
    """

    method: str
    path: str = attrs.field(repr=mask_path)
    body: bytes | None = attrs.field(default=None, repr=byte_count)

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice has the same effect as sending it once."""
        return self.method in IDEMPOTENT_METHODS


_SEVERITY = (Outcome.NEVER_SENT, Outcome.REJECTED, Outcome.UNKNOWN)


class Countdown:
    """Counts what waits for the start of a call, such as the idle workers of a run.

    Attributes:
        count: The present number.
        mark: The number at which `on_mark` is called.
        on_mark: Called when the number falls to `mark`; `None` if nothing follows from that.
    """

    __slots__ = ("count", "mark", "on_mark")

    def __init__(self, *, mark: int = 0, on_mark: Callable[[], None] | None = None) -> None:
        self.count = 0
        self.mark = mark
        self.on_mark = on_mark

    def step(self) -> None:
        """Count one less."""
        self.count -= 1
        if self.count == self.mark and self.on_mark is not None:
            self.on_mark()


class CallState:
    """One call and its outcome so far: the only state that changes while a request is attempted.

    `attempts` is the number of attempts started. `in_flight` is whether one has started and has not
    ended, and `written` whether it has begun to write its body. `on_written`, if any, is called by
    `mark_written`. `check`, if any, is called before each attempt, and ends the call by raising. The first start is a step of each
    of the `countdowns`. `index` is that of the message in the input of its run. `info` is the call as observers see it, if it is
    reported.
    """

    __slots__ = (
        "_outcome",
        "attempts",
        "check",
        "countdowns",
        "in_flight",
        "index",
        "info",
        "on_written",
        "request",
        "written",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attempts = 0
        self.in_flight = False
        self.written = False
        self.on_written: Callable[[], None] | None = None
        self.check: Callable[[], None] | None = None
        self.countdowns: tuple[Countdown, ...] = ()
        self.index: int | None = None
        self.info: CallInfo | None = None
        self._outcome = Outcome.NEVER_SENT

    @property
    def outcome(self) -> Outcome:
        """The outcome known now: `UNKNOWN` while the current attempt is written and not finished."""
        return self._worst(Outcome.UNKNOWN) if self.written else self._outcome

    def start_attempt(self) -> None:
        """Count a further attempt."""
        self.attempts += 1
        self.in_flight = True
        self.written = False
        if self.attempts == 1:
            for countdown in self.countdowns:
                countdown.step()

    def mark_written(self) -> None:
        """Record that the current attempt begins to write its body; called in the same step as the write."""
        self.written = True
        if self.on_written is not None:
            self.on_written()

    def mark_accepted(self) -> None:
        """Record that the current attempt was accepted; the call is `ACCEPTED`."""
        self.in_flight = self.written = False
        self._outcome = Outcome.ACCEPTED

    def mark_failed(self, error: CallbellError) -> None:
        """Record that the current attempt failed, and set the outcome of the whole call on `error`.

        With several attempts, the worst outcome counts: `UNKNOWN` over `REJECTED` over `NEVER_SENT`.
        """
        self._outcome = self._worst(error.outcome)
        self.in_flight = self.written = False
        error.outcome = self._outcome
        error.attempts = self.attempts

    def _worst(self, outcome: Outcome) -> Outcome:
        return max(self._outcome, outcome, key=_SEVERITY.index) if outcome in _SEVERITY else outcome


def build_path(*parts: str) -> str:
    """Return a path with every part percent-encoded (RFC 3986), slashes included.

    Raises:
        ConfigurationError: A part is blank, `.` or `..`, or is not a string. Such a part in a DELETE
            could address the whole list.
    """
    if not all(map(_is_identifier, parts)):
        # Half a character could not be printed.
        path = mask_path("/" + "/".join(map(str, parts))).encode(errors="backslashreplace").decode()
        raise ConfigurationError(
            f"the path {path} has a part that is not an identifier; each part must be a non-blank string"
        )
    return "".join("/" + quote(part, safe="") for part in parts)


def _is_identifier(part: object) -> bool:
    # A lone surrogate has no UTF-8 form, so it can't be percent-encoded.
    return (
        isinstance(part, str)
        and bool(part.strip())
        and part not in (".", "..")
        and not any("\ud800" <= character <= "\udfff" for character in part)
    )


def build_query(query: Mapping[str, Any] | None) -> str:
    """Return a query string with its question mark, or an empty string.

    `None` is left out, lists are joined by commas, booleans become `true` and `false`.
    """
    pairs = [(key, _query_value(value)) for key, value in (query or {}).items() if value is not None]
    return "?" + urlencode(pairs, quote_via=quote) if pairs else ""


def _query_value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case str():
            return value
        case Iterable():
            return ",".join(map(_query_value, value))
        case _:
            return str(value)
