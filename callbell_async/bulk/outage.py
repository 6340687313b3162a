"""Pausing a run while Callbell can't be reached, so that an outage uses up no message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from callbell_async.bulk.run_output import RunWatch
from callbell_async.errors import APIError, CallbellError, OutageError, Outcome, ServerError, TransportError
from callbell_async.http.pipeline import AfterFailure
from callbell_async.http.requests import CallState
from callbell_async.http.retry import MAX_PAUSE

__all__ = ["Outage", "OutageGate"]

FAILURES_TO_PAUSE = 3
"""The number of failed attempts in a row after which a run pauses."""

FIRST_PROBE_AFTER, LONGEST_PROBE_WAIT = 1.0, 30.0
"""Seconds before the first probe, and the longest wait between two; each wait is twice the one before."""


class Outage:
    """Decides when a run pauses, when it probes, and when it stops. It does no I/O: times are arguments, in seconds.

    Args:
        timeout: The seconds after which a paused run stops. 0 means that a run never pauses.

    Attributes:
        failures: The number of failed attempts since Callbell last responded.
        since: The time at which the run paused; `None` while it does not pause.
        probe_at: The time of the next probe of a paused run.
        is_over_time: Whether the paused run has to stop.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._first: object = None
        self._several = False
        self._wait = FIRST_PROBE_AFTER
        self.failures = 0
        self.since: float | None = None
        self.probe_at = 0.0
        self.is_over_time = False

    def responded(self) -> None:
        """Callbell responded: the run does not pause."""
        self.failures = 0
        self._first, self._several = None, False
        self.since = None
        self._wait = FIRST_PROBE_AFTER

    def failed(self, now: float, message: object, *, reached: bool, retry_after: float = 0.0) -> None:
        """An attempt failed in a way that makes a retry safe.

        A message can be the reason for a 5xx itself, so failures of one message count as an outage only if none of
        them `reached` a server.
        """
        self._several = self._several or (self.failures > 0 and self._first is not message)
        self._first = message
        self.failures += 1
        is_outage = self.failures >= FAILURES_TO_PAUSE and (self._several or not reached)
        if is_outage and self._timeout and self.since is None:
            self.since = now
            self._plan_probe(now, now, retry_after)

    def undecided(self) -> None:
        """An attempt failed, and whether Callbell got the request is unknown. It shows neither an outage nor the end of one."""
        if self.since is None:
            self.responded()

    def probe_failed(self, now: float, retry_after: float = 0.0) -> None:
        """The probe failed: plan the next one, after a longer wait."""
        if self.since is not None:
            self.is_over_time = now - self.since >= self._timeout
            self._wait = min(self._wait * 2, LONGEST_PROBE_WAIT)
            self._plan_probe(now, self.since, retry_after)

    def _plan_probe(self, now: float, since: float, retry_after: float) -> None:
        # The last probe is at the end of the time.
        self.probe_at = max(now, min(now + max(self._wait, retry_after), since + self._timeout))


class OutageGate:
    """The gate of a run's attempts: closed during an outage, when one call at a time passes it as a probe.

    It also ends all retries when the run ends.

    Args:
        timeout: The seconds after which a paused run stops; 0 means that it never pauses.
        stop: Called with the error that stops the run.
        watch: Reports the pauses.
    """

    def __init__(self, timeout: float, stop: Callable[[OutageError], None], watch: RunWatch) -> None:
        self._outage = Outage(timeout)
        self._stop = stop
        self._watch = watch
        self.run = watch.info
        self._waiting: deque[tuple[CallState, asyncio.Future[None]]] = deque()
        self._probe: CallState | None = None
        self._probe_is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self.closed = False
        self.failures = 0

    @property
    def paused_since(self) -> float | None:
        """The loop's time at which the run paused; `None` while it does not pause."""
        return self._outage.since if self.closed else None

    async def wait(self, call: CallState) -> None:
        """Return when the gate is open, or when this call is the probe."""
        if not self.closed or self._probe is call:
            return
        if self._probe_is_due:
            self._probe_is_due = False
            self._probe = call
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append((call, waiting))
        await waiting

    def admits(self, call: CallState) -> bool:
        """Whether this call is the probe."""
        return call is self._probe

    def responded(self) -> None:
        """Callbell responded to an attempt: open the gate."""
        self._outage.responded()
        self._update()

    def failed(self, call: CallState, error: CallbellError, outcome: Outcome) -> AfterFailure:
        """An attempt failed with this error; `outcome` is that of the attempt alone."""
        if self._has_ended:
            return AfterFailure.GIVE_UP
        now = asyncio.get_running_loop().time()
        was_closed = self.closed
        retry_after = (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
        if _is_outage(error, outcome) and retry_after <= MAX_PAUSE:
            self._outage.failed(now, call, reached=isinstance(error, APIError), retry_after=retry_after)
            then = AfterFailure.POLICY if self._outage.since is None else AfterFailure.HOLD
        else:
            if _is_response(error, outcome):
                self._outage.responded()
            else:
                self._outage.undecided()
            then = AfterFailure.POLICY
        if was_closed and call is self._probe:
            self._probe = None
            self._outage.probe_failed(now, retry_after)
            if self._outage.is_over_time:
                self._stop(_outage_error(now - (self._outage.since or now), error))
                return AfterFailure.GIVE_UP
        self._update()
        return then

    def finished(self, call: CallState) -> None:
        """The call has ended with an exception, perhaps before an attempt."""
        if self.closed and call is self._probe:
            self._probe = None
            self._outage.probe_failed(asyncio.get_running_loop().time())
            self._update()

    def end(self) -> None:
        """From now on no call is held or attempted again."""
        self._has_ended = True
        self._outage.responded()
        self._update()

    def _update(self) -> None:
        """Open or close the gate as the outage has it, and see to the next probe."""
        self.failures = self._outage.failures
        was_closed, self.closed = self.closed, self._outage.since is not None
        if self.closed and not was_closed:
            self._watch.paused()
        elif was_closed and not self.closed:
            self._watch.resumed()
        if not self.closed:
            self._probe, self._probe_is_due = None, False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            while self._waiting:
                _wake(self._waiting.popleft()[1])
        elif self._timer is None and self._probe is None and not self._probe_is_due:
            self._timer = asyncio.get_running_loop().call_at(self._outage.probe_at, self._let_one_pass)

    def _let_one_pass(self) -> None:
        self._timer = None
        while self._waiting:
            call, waiting = self._waiting.popleft()
            if _wake(waiting):
                self._probe = call
                return
        self._probe_is_due = True


def _wake(waiting: asyncio.Future[None]) -> bool:
    if waiting.done():
        return False
    waiting.set_result(None)
    return True


def _outage_error(seconds: float, last: CallbellError) -> OutageError:
    error = OutageError(f"no response from Callbell for {seconds:.0f} s; the last attempt: {last}")
    error.__cause__ = last
    return error


def _is_outage(error: CallbellError, outcome: Outcome) -> bool:
    """Whether Callbell was not reached, or responded with a 5xx that is safe to retry."""
    if isinstance(error, ServerError):
        return outcome is not Outcome.UNKNOWN
    return isinstance(error, TransportError) and outcome is Outcome.NEVER_SENT


def _is_response(error: CallbellError, outcome: Outcome) -> bool:
    """Whether the error is a response that shows that Callbell can be reached."""
    return isinstance(error, APIError) and outcome is not Outcome.UNKNOWN and getattr(error, "from_callbell", True)
