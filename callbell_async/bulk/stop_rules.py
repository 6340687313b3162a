"""Which error of one message stops the whole run, and the error of a message that the end of a run cuts off."""

from __future__ import annotations

from callbell_async.errors import (
    APIError,
    AuthenticationError,
    DuplicateMessageError,
    OptedOutError,
    PaymentRequiredError,
    RateLimiterError,
    TransportError,
)
from callbell_async.http.requests import CallState
from callbell_async.http.retry import MAX_PAUSE

__all__ = ["DEFAULT_STOP_ON", "ENDS_THE_PROGRAM", "StopRules", "cancelled_error"]

ENDS_THE_PROGRAM = (KeyboardInterrupt, SystemExit)
"""The exceptions with which asyncio lets a task end the event loop."""

DEFAULT_STOP_ON: tuple[type[BaseException], ...] = (AuthenticationError, PaymentRequiredError, RateLimiterError)
"""The exceptions that stop a run by default: every further message would meet them, too."""

FOREIGN_RESPONSES_TO_STOP = 3
"""The number of results after which a run stops if none of them came from Callbell."""


class StopRules:
    """Decides whether an error stops the run; no I/O. A run stops

    - after an error of a class in `stop_on`,
    - after a response that asks for a longer pause than `MAX_PAUSE`,
    - if its first three responses show that requests do not reach Callbell's API: a wrong base URL, a redirect, a firewall.

    A duplicate and an opted-out recipient never stop a run, however wide `stop_on` is: a second run over the same journal would send nothing.
    """

    def __init__(self, stop_on: tuple[type[BaseException], ...]) -> None:
        self._stop_on = stop_on
        self._foreign = 0
        self._has_response = False

    def stops(self, error: BaseException, *, accepted: int) -> bool:
        """Whether the error stops the run; `accepted` is the number of messages that Callbell has accepted in it."""
        if isinstance(error, self._stop_on) and not isinstance(error, DuplicateMessageError | OptedOutError):
            return True
        if isinstance(error, APIError) and (error.retry_after or 0.0) > MAX_PAUSE:
            return True
        return self._is_misdirected(error, accepted)

    def _is_misdirected(self, error: BaseException, accepted: int) -> bool:
        from_callbell = getattr(error, "from_callbell", None)
        if from_callbell is False:
            self._foreign += 1
        elif from_callbell:
            self._has_response = True
        return self._foreign >= FOREIGN_RESPONSES_TO_STOP and not accepted and not self._has_response


def cancelled_error(call: CallState, stop_error: BaseException | None) -> TransportError:
    """Return the error of a message whose call the end of the run cut off."""
    error = TransportError(
        "the run ended before a response" if call.in_flight else "the run ended before the next attempt",
        method=call.request.method,
        path=call.request.path,
        outcome=call.outcome,
    )
    error.attempts = call.attempts
    error.__cause__ = stop_error
    return error
