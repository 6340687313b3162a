"""When a failed attempt may be repeated, and after how long. Decisions only: nothing here waits."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from callbell_async.errors import APIError, CallbellError, ConfigurationError, Outcome, TransportError

__all__ = ["MAX_PAUSE", "RetryBudget", "RetryPolicy"]

MAX_PAUSE = 600.0
"""The longest pause, in seconds, that a run waits for when Callbell asks for one (429 with `Retry-After`)."""

_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


def _status_set(value: Iterable[int]) -> frozenset[int]:
    if isinstance(value, Iterable):
        statuses = tuple(value)
        if all(isinstance(status, int) for status in statuses):
            return frozenset(statuses)
    raise ConfigurationError(f"statuses={value!r}: must be HTTP statuses as whole numbers, such as {{429, 503}}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed request is tried again. Immutable, and safe to share.

    - `attempts`: the most requests a call may make, the first included (1: never retry).
    - `wait_initial`, `wait_max`: seconds. The wait before attempt n + 1 is drawn evenly from 0 to `wait_initial` times two to the power
      of n - 1, at most `wait_max` ("full jitter"). `Retry-After` is never undercut.
    - `timeout`: seconds from the start of a call after which no further attempt begins; a wait that would go past it gives up at once.
      The last attempt may still take its own timeout.
    - `statuses`: the statuses that are repeated. 429 was not processed, and Callbell calls 5xx "usually safe to retry with a
      delay". Leave 502 and 504 out where a gateway between you and Callbell may have let the request through.
    - `resend_unknown`: whether to send again what may have been accepted, at the risk of a second copy. Calls that are idempotent
      anyway (GET, PUT, DELETE) are repeated without it; what provably never left always is.

    Raises `ConfigurationError` for values out of range.
    """

    attempts: int = 5
    wait_initial: float = 0.5
    wait_max: float = 30.0
    timeout: float = 120.0
    statuses: frozenset[int] = attrs.field(default=_STATUSES, converter=_status_set)
    resend_unknown: bool = False

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.attempts, int) or isinstance(self.attempts, bool) or self.attempts < 1:
            raise ConfigurationError(
                f"attempts={self.attempts!r}: must be a whole number, 1 or more (1 means: never retry)"
            )
        for name in ("wait_initial", "wait_max", "timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not seconds >= 0:
                raise ConfigurationError(f"{name}={seconds!r}: must be 0 seconds or more")
        if not isinstance(self.resend_unknown, bool):
            # "no" and "false" out of an environment are true in Python, and would make second copies.
            raise ConfigurationError(f"resend_unknown={self.resend_unknown!r}: must be True or False")

    def wait_after(
        self, error: CallbellError, *, attempts: int, elapsed: float, idempotent: bool, jitter: float
    ) -> float | None:
        """The seconds to wait before the next attempt, or `None` to give up.

        `error.outcome` is what all attempts together come to; `attempts` how many there were; `elapsed` the seconds since the call
        began; `jitter` a number drawn evenly from [0, 1).
        """
        if attempts >= self.attempts or not self._repeatable(error, idempotent=idempotent):
            return None
        wait = self.backoff(attempts, jitter=jitter)
        if isinstance(error, APIError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        return wait if elapsed + wait <= self.timeout else None

    def backoff(self, attempts: int, *, jitter: float) -> float:
        """The seconds to wait after so many attempts when nobody asked for more: exponential, with full jitter."""
        # The exponent is bounded because 2.0 ** 1024 overflows; any wait_max is reached long before.
        return jitter * min(self.wait_max, self.wait_initial * 2.0 ** min(attempts - 1, 64))

    def retries(self, error: CallbellError, *, idempotent: bool) -> bool:
        """Whether a call that failed so is ever attempted again, apart from the number of its attempts and its time."""
        return self.attempts > 1 and self._repeatable(error, idempotent=idempotent)

    def _repeatable(self, error: CallbellError, *, idempotent: bool) -> bool:
        if isinstance(error, APIError):
            if error.status not in self.statuses:
                return False
            # An earlier attempt of this call may have arrived: its answer was never read.
            return error.outcome is not Outcome.UNKNOWN or idempotent or self.resend_unknown
        if not isinstance(error, TransportError):
            return False
        if error.outcome is Outcome.UNKNOWN:
            return idempotent or self.resend_unknown
        return True


class RetryBudget:
    """How many retries a client may make, so that an outage does not multiply the load it puts on Callbell.

    A bucket of `reserve` retries, filled again by `share` of a retry for each request that succeeds and by `per_second` with time. A
    retry that finds it empty waits for its turn; it is delayed, not lost. 429 is not counted: it stops the whole client already.
    """

    def __init__(self, *, reserve: float = 100.0, share: float = 0.2, per_second: float = 10.0) -> None:
        self._reserve = reserve
        self._share = share
        self._per_second = per_second
        self._tokens = reserve
        self._at = 0.0

    def succeed(self) -> None:
        """A request succeeded."""
        if self._tokens < self._reserve:
            self._tokens = min(self._reserve, self._tokens + self._share)

    def delay(self, now: float) -> float:
        """The seconds until a retry asked for at `now` may start; 0 while there is one in the bucket."""
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def spend(self, now: float) -> None:
        """A retry asked for at `now` will start after its delay: the bucket may go below zero, and the next one waits longer."""
        self._fill(now)
        self._tokens -= 1.0

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._reserve, self._tokens + (now - self._at) * self._per_second)
            self._at = now
