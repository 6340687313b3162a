"""Whether a failed attempt may be retried, and after what time. Pure decisions: nothing here waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs

from callbell_async.arguments import check_count, check_flag, check_seconds
from callbell_async.errors import APIError, CallbellError, ConfigurationError, Outcome, TransportError

__all__ = ["MAX_PAUSE", "UNDECIDED_STATUSES", "RetryBudget", "RetryPolicy"]

MAX_PAUSE = 15 * 60.0
"""The longest time in seconds that a client pauses because a response asks for it (`Retry-After`).

A response that asks for more is not retried: its error is raised at once. A run ends with that error.
"""

SAFE_STATUSES = frozenset(
    {
        408,  # the server did not receive the whole request
        429,  # refused before it was processed
        *(500, 503),  # Callbell: "usually safe to retry with a delay"
        *(521, 523, 525, 526),  # a gateway that did not reach Callbell
    }
)
"""The statuses that are retried by default, whatever the method."""

UNDECIDED_STATUSES = frozenset({502, 504, 520, 522, 524})
"""The statuses of a gateway that does not know whether Callbell accepted the request: its outcome is `UNKNOWN`."""


def _status_set(value: Iterable[int]) -> frozenset[int]:
    if isinstance(value, Iterable):
        statuses = tuple(value)
        if all(isinstance(status, int) and 400 <= status <= 599 for status in statuses):
            return frozenset(statuses)
    raise ConfigurationError(f"statuses={value!r}: must be HTTP statuses from 400 to 599, such as {{429, 503}}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed request is retried. Immutable, and safe to share.

    A request that never left this process is always retried. One that may have been accepted (`Outcome.UNKNOWN`) is
    retried if the call is idempotent (GET, PUT, DELETE), and otherwise only if `statuses` or `resend_unknown` allows it.

    Args:
        attempts: The most requests that one call makes, at least 1. 1 means: never retry.
        wait_initial: Seconds. The wait before attempt n + 1 is random between 0 and
            `wait_initial * 2 ** (n - 1)` ("full jitter"). A `Retry-After` that is longer counts instead.
        wait_max: Seconds. The upper limit of that wait.
        timeout: Seconds from the start of a call. No attempt begins later; a longer wait gives up at once. The
            last attempt may still take its own timeout.
        statuses: The HTTP statuses that are retried. By default those that are safe: 408, 429, 500, 503, 521, 523,
            525 and 526. After 502, 504, 520, 522 or 524 Callbell may have accepted the message: name
            them here only if a second copy is better than none.
        resend_unknown: Whether to send a message again that may have been accepted, at the risk of a second copy.

    Raises:
        ConfigurationError: A value is out of range.
    """

    attempts: int = 5
    wait_initial: float = 0.5
    wait_max: float = 30.0
    timeout: float = 120.0
    statuses: frozenset[int] = attrs.field(default=SAFE_STATUSES, converter=_status_set)
    resend_unknown: bool = False

    def __attrs_post_init__(self) -> None:
        check_count("attempts", self.attempts)
        for name in ("wait_initial", "wait_max", "timeout"):
            check_seconds(name, getattr(self, name), endless=True)
        check_flag("resend_unknown", self.resend_unknown)

    @classmethod
    def web_request(cls) -> Self:
        """Return a policy for a message that a person waits for, such as in the handler of a web request.

        - `attempts=3`: two retries are enough for a lost connection or a short failure. A failure that they do not overcome lasts longer
          than a person waits.
        - `wait_initial=0.1` and `wait_max=1.0`: the two waits together last at most 0.3 seconds.
        - `timeout=5.0`: no attempt begins later than that. With `timeout=5.0` of the client for one attempt, the call ends within 10
          seconds, which is below the limit of usual proxies and browsers (30 to 60 seconds). A 429 that asks for a longer pause fails at
          once.

        Which failures are retried is the same as by default: only those after which a retry can't create a duplicate.

        Returns:
            The policy.
        """
        return cls(attempts=3, wait_initial=0.1, wait_max=1.0, timeout=5.0)

    @classmethod
    def batch(cls) -> Self:
        """Return a policy for messages that nobody waits for, such as those of a job at night.

        - `attempts=10`, `wait_initial=1.0` and `wait_max=60.0`: the nine waits double from at most 1 second to at most 60. Together they
          last up to 243 seconds, and half of that on average, so that a failure of a minute or two loses no message.
        - `timeout=900.0`: no attempt begins more than 15 minutes after the call. That is also the longest pause that a client makes
          because a 429 asks for it, so a call waits for the end of each such pause.

        Which failures are retried is the same as by default: only those after which a retry can't create a duplicate.

        Returns:
            The policy.
        """
        return cls(attempts=10, wait_initial=1.0, wait_max=60.0, timeout=MAX_PAUSE)

    def wait_after(
        self, error: CallbellError, *, attempts: int, elapsed: float, idempotent: bool, jitter: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up.

        Args:
            error: The failure of the last attempt; its `outcome` is that of all attempts together.
            attempts: The number of attempts so far.
            elapsed: The seconds since the call began.
            idempotent: Whether sending the request twice has the same effect as sending it once.
            jitter: A random number in [0, 1).

        Returns:
            The seconds, 0 or more, or `None`.
        """
        if not self.may_retry(error, attempts=attempts, idempotent=idempotent):
            return None
        wait = self.backoff(attempts, jitter=jitter)
        if isinstance(error, APIError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        return wait if elapsed + wait <= self.timeout else None

    def may_retry(self, error: CallbellError, *, attempts: int, idempotent: bool) -> bool:
        """Return whether another attempt is allowed, whatever its wait.

        Args:
            error: The failure of the last attempt.
            attempts: The number of attempts so far.
            idempotent: Whether sending the request twice has the same effect as sending it once.

        Returns:
            `True` if the policy allows another attempt.
        """
        if attempts >= self.attempts or not isinstance(error, APIError | TransportError):
            return False
        resend_unknown = idempotent or self.resend_unknown
        if isinstance(error, APIError):
            if error.retry_after is not None and error.retry_after > MAX_PAUSE:
                return False
            if error.status in self.statuses:
                resend_unknown = resend_unknown or not self.statuses.isdisjoint(UNDECIDED_STATUSES)
            elif error.status not in UNDECIDED_STATUSES:
                return False
        return error.outcome is not Outcome.UNKNOWN or resend_unknown

    def backoff(self, attempts: int, *, jitter: float) -> float:
        """Return the wait before the next attempt, if no response asks for a longer one.

        Args:
            attempts: The number of attempts so far, 1 or more.
            jitter: A random number in [0, 1).

        Returns:
            The time in seconds.
        """
        # The exponent is bounded because 2.0 ** 1024 overflows; any wait_max is reached long before.
        return jitter * min(self.wait_max, self.wait_initial * 2.0 ** min(attempts - 1, 64))


class RetryBudget:
    """Limits the retries of a client, so that an outage does not multiply the load on Callbell.

    A token bucket of `reserve` retries. Each success adds `share` of a retry, and time adds `per_second`. A retry that finds
    the bucket empty is delayed, not lost. A 429 does not count: it pauses the whole client already.

    Attributes:
        spent: The number of retries that are missing in the bucket. While it is 0, `record_success` has no effect.
    """

    def __init__(self, *, reserve: float = 100.0, share: float = 0.2, per_second: float = 10.0) -> None:
        self._reserve = reserve
        self._share = share
        self._per_second = per_second
        self.spent = 0.0
        self._at = 0.0

    def record_success(self) -> None:
        """Add the share of a request that succeeded."""
        self.spent = max(0.0, self.spent - self._share)

    def delay(self, now: float) -> float:
        """Return the seconds until a retry requested at `now` may start."""
        self._fill(now)
        return max(0.0, (1.0 + self.spent - self._reserve) / self._per_second)

    def spend(self, now: float) -> None:
        """Take the retry requested at `now` from the bucket. More may be taken than it has: the next delay is longer."""
        self._fill(now)
        self.spent += 1.0

    def _fill(self, now: float) -> None:
        if now > self._at:
            self.spent = max(0.0, self.spent - (now - self._at) * self._per_second)
            self._at = now
