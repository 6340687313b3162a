"""The way of every request: wait for a slot, attempt it, read the response, and retry where that is safe."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from enum import Enum
from typing import Protocol, TypeVar

from callbell_async.arguments import UNSET, Unset
from callbell_async.errors import (
    APIError,
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
)
from callbell_async.guarded_observers import Observers
from callbell_async.http.reports import log_attempt, log_pause, log_retry, request_info
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import Response
from callbell_async.http.retry import MAX_PAUSE, RetryPolicy
from callbell_async.http.shared_state import ClientLife, SharedState
from callbell_async.http.transport import Transport
from callbell_async.limits.base import RateLimiter, TrackedSlot
from callbell_async.observe import AttemptInfo, CallInfo, RunInfo, area_logger, new_call_info

__all__ = ["AfterFailure", "AttemptGate", "PipelineHandle", "RequestPipeline"]

T = TypeVar("T")

_log = area_logger("http")

_NO_TIMEOUT: AbstractAsyncContextManager[None] = nullcontext()


class AfterFailure(Enum):
    """The next step of a call after a failed attempt."""

    POLICY = "policy"
    """The retry policy decides."""
    HOLD = "hold"
    """The call waits at the gate for its next attempt, and this attempt does not count towards the policy's limits."""
    GIVE_UP = "give up"
    """The call ends with the error of this attempt."""


class AttemptGate(Protocol):
    """Controls the attempts of several calls. The pipeline reads the attributes directly, because it does so for every call.

    Attributes:
        closed: Whether an attempt has to `wait` before it starts.
        failures: The number of failures since Callbell last responded. If it is not 0, `responded` is called
            after a successful attempt.
        run: The run, for its observers.
    """

    closed: bool
    failures: int
    run: RunInfo

    async def wait(self, call: CallState) -> None:
        """Return when the call may make its next attempt."""
        ...

    def admits(self, call: CallState) -> bool:
        """Whether the call may make an attempt although the gate is closed."""
        ...

    def responded(self) -> None:
        """An attempt succeeded."""
        ...

    def failed(self, call: CallState, error: CallbellError, outcome: Outcome) -> AfterFailure:
        """An attempt failed with this error; `outcome` is that of the attempt alone."""
        ...


class RequestPipeline:
    """The way of all calls of a client: its transport, its retry policy, its observers, and the state that its calls share.

    Args:
        transport: Sends the requests.
        retry: The retry policy.
        rate_limit: The rate limiter; `None` for no limit, and with `shared`.
        observers: The observers, if any.
        base_url: The base URL, for the observers.
        shared: The state of another pipeline that this one shares; `None` for a state of its own.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        retry: RetryPolicy,
        rate_limit: RateLimiter | None,
        observers: Observers | None = None,
        base_url: str = "",
        shared: SharedState | None = None,
    ) -> None:
        self._transport = transport
        self._retry = retry
        self._shared = SharedState(rate_limit) if shared is None else shared
        self._rate_limit = self._shared.rate_limit
        self._base_url = base_url
        self.observers = observers
        self._call_observers = observers if observers is not None and observers.see_calls else None

    def derive(
        self,
        *,
        timeout: float | Unset | None,
        retry: RetryPolicy | None,
        headers: Mapping[str, str],
        observers: Observers | None,
    ) -> RequestPipeline:
        """Return a pipeline that shares the pool and the state; `retry=None` keeps the policy."""
        if timeout is UNSET:
            timeout = self._transport.timeout
        return RequestPipeline(
            self._transport.derive(timeout=timeout, headers=headers),
            retry=retry or self._retry,
            rate_limit=None,
            observers=observers if self.observers is None else self.observers.plus(observers),
            base_url=self._base_url,
            shared=self._shared,
        )

    @property
    def has_rate_limit(self) -> bool:
        """Whether a rate limiter holds calls back."""
        return self._rate_limit is not None

    @property
    def max_connections(self) -> float:
        """The most connections of the transport; infinity if it has no limit."""
        return self._transport.max_connections

    async def run(
        self,
        call: CallState,
        read: Callable[[Request, Response], T],
        *,
        limit_queue_time: bool = True,
        gate: AttemptGate | None = None,
    ) -> T:
        """Attempt the call as often as the policy allows, and return what `read` makes of the response.

        `call` holds the attempts and the outcome, also when the call is cancelled.

        Args:
            call: The call. A call is run once.
            read: Turns a response into a value, or raises.
            limit_queue_time: If True, waiting for a slot or for the end of a pause counts towards the policy's
                timeout. If False, the call waits without limit, and that time does not count. A pause is
                never longer than `MAX_PAUSE`.
            gate: Controls the attempts of the calls of one run. The time that a call waits at it does not count.

        Raises:
            CallbellError: Whatever `read` and the transport raise, with the outcome and the attempts of the whole call.
        """
        loop = asyncio.get_running_loop()
        limiter = self._rate_limit
        shared = self._shared
        info = None
        logs = _log.isEnabledFor(logging.DEBUG)
        observers = self._call_observers
        if logs or observers is not None:
            request = request_info(call.request.method, call.request.path, self._base_url)
            call.info = info = new_call_info(request, None if gate is None else gate.run, call.index)
            if observers is not None and observers.see_call_start:
                observers.call_started(info)
        held = 0
        # The time of the last look at the clock: before an attempt, that of its start.
        started = now = loop.time()
        try:
            if not shared.limiter_started:
                await shared.start_limiter()
                started = now = loop.time()
            while True:
                if gate is not None and gate.closed:
                    queued = loop.time()
                    await gate.wait(call)
                    now = loop.time()
                    started += now - queued
                if shared.paused_until or not (limiter is None or limiter.try_acquire()):
                    queued = loop.time()
                    await self._wait_for_slot(call, started + self._retry.timeout if limit_queue_time else None)
                    now = loop.time()
                    if not limit_queue_time:
                        started += now - queued
                if gate is not None and gate.closed and not gate.admits(call):
                    # The gate was closed while this call waited for its slot.
                    if limiter is not None:
                        limiter.refund()
                    continue
                if call.check is not None:
                    try:
                        call.check()
                    except BaseException:
                        if limiter is not None:
                            limiter.refund()
                        raise
                slot: RateLimiter | TrackedSlot | None = limiter
                if limiter is not None and limiter.tracks_writes:
                    slot = limiter.track_slot()
                    call.on_written = slot.written
                call.start_attempt()
                if info is not None and observers is not None and observers.see_attempt_start:
                    observers.attempt_started(info, call.attempts)
                try:
                    try:
                        response = await self._transport.exchange(call)
                    except BaseException as error:
                        if slot is not None:
                            _release_slot(slot, call, error)
                        raise
                    if slot is not None:
                        slot.release(answered=True)
                    value = read(call.request, response)
                except CallbellError as error:
                    attempt_at, now = now, loop.time()
                    if isinstance(error, ResponseDecodeError):
                        self._redact_token(error)
                    outcome = error.outcome
                    call.mark_failed(error)
                    if info is not None:
                        self._report_failure(info, call, outcome, error, now - attempt_at)
                    then = AfterFailure.POLICY if gate is None else gate.failed(call, error, outcome)
                    idempotent = call.request.idempotent
                    if then is AfterFailure.HOLD and self._retry.may_retry(error, attempts=1, idempotent=idempotent):
                        held += 1
                        continue
                    attempts = call.attempts - held
                    wait = self._wait_after(
                        call, error, attempts=attempts, now=now, started=started, limit_queue_time=limit_queue_time
                    )
                    if wait is None or then is AfterFailure.GIVE_UP:
                        raise
                    if observers is not None:
                        observers.notify("retry_scheduled", info, call.attempts, wait)
                else:
                    call.mark_accepted()
                    if info is not None:
                        seconds = loop.time() - now
                        if logs:
                            log_attempt(info, call.attempts, Outcome.ACCEPTED, response.status, None, seconds)
                        if observers is not None:
                            observers.call_accepted(info, call.attempts, response.status, seconds)
                    if gate is not None and gate.failures:
                        gate.responded()
                    if shared.budget.spent:
                        shared.budget.record_success()
                    return value
                await asyncio.sleep(wait)
                now = loop.time()
        except BaseException as error:
            if info is not None:
                if call.in_flight:
                    # Cancelled, or ended by an exception that is not one of this library's.
                    outcome = Outcome.UNKNOWN if call.written else Outcome.NEVER_SENT
                    self._report_failure(info, call, outcome, error, loop.time() - now)
                if observers is not None:
                    observers.notify("call_ended", info, call.outcome, call.attempts, type(error).__name__)
            raise

    async def close(self) -> None:
        """Close the transport and, if it was started, the rate limiter. May be called twice."""
        self._shared.end()
        try:
            await self._transport.close()
        finally:
            await self._shared.close_limiter()

    def _report_failure(
        self, info: CallInfo, call: CallState, outcome: Outcome, error: BaseException, seconds: float
    ) -> None:
        """Report the end of a failed attempt to the observers and to the log."""
        status = getattr(error, "status", None) if isinstance(error, CallbellError) else None
        if self._call_observers is not None:
            attempt = AttemptInfo(call.attempts, outcome, status, type(error).__name__)
            self._call_observers.notify("attempt_ended", info, attempt, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            log_attempt(info, call.attempts, outcome, status, error, seconds)

    async def _wait_for_slot(self, call: CallState, deadline: float | None) -> None:
        """Wait for the end of a pause and for a slot; raises `RequestTimeoutError` at the deadline."""
        observers = self._call_observers
        if observers is None:
            await self._acquire_slot(call, deadline)
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        observers.notify("waiting_started", call.info)
        try:
            await self._acquire_slot(call, deadline)
        finally:
            observers.notify("waiting_ended", call.info, loop.time() - started)

    async def _acquire_slot(self, call: CallState, deadline: float | None) -> None:
        shared = self._shared
        reason = "no slot within the rate limit in time"
        try:
            async with _NO_TIMEOUT if deadline is None else asyncio.timeout_at(deadline):
                while True:
                    while wait := shared.pause_remaining():
                        if deadline is not None and shared.paused_until > deadline:
                            # A pause is never shortened.
                            reason = f"the client pauses for {wait:.0f} s after a 429, longer than this call may wait"
                            raise TimeoutError
                        await asyncio.sleep(wait)
                    if self._rate_limit is None:
                        return
                    await self._rate_limit.acquire()
                    if not shared.pause_remaining():
                        return
                    # A pause began while this call waited for its slot.
                    self._rate_limit.refund()
        except TimeoutError:
            if self._rate_limit is not None and self._rate_limit.problem is not None:
                reason = f"{reason}: {self._rate_limit.problem}"
            error = RequestTimeoutError(
                reason,
                method=call.request.method,
                path=call.request.path,
                outcome=Outcome.NEVER_SENT,
            )
            call.mark_failed(error)
            raise error from None

    def _wait_after(
        self,
        call: CallState,
        error: CallbellError,
        *,
        attempts: int,
        now: float,
        started: float,
        limit_queue_time: bool,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up; a 429 pauses the whole client."""
        idempotent = call.request.idempotent
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        wait = self._retry.wait_after(
            error, attempts=attempts, elapsed=now - started, idempotent=idempotent, jitter=jitter
        )
        if isinstance(error, RateLimitError):
            self._pause(error, now, self._retry.backoff(attempts, jitter=jitter), call)
            if not limit_queue_time and self._retry.may_retry(error, attempts=attempts, idempotent=idempotent):
                # The client's pause is this call's wait as well, and does not count.
                return 0.0
            return wait
        if wait is not None:
            wait = max(wait, self._shared.budget.delay(now))
            if now - started + wait > self._retry.timeout:
                return None
            self._shared.budget.spend(now)
            log_retry(call, error, wait)
        return wait

    def _redact_token(self, error: ResponseDecodeError) -> None:
        redacted = self._transport.redact_token(Response(error.status, error.headers, error.body))
        error.headers, error.body = dict(redacted.headers), redacted.body

    def _pause(self, error: APIError, now: float, backoff: float, call: CallState) -> None:
        asked = backoff if error.retry_after is None else error.retry_after
        longer = self._shared.pause(now, min(asked, MAX_PAUSE))
        log_pause(self._shared.paused_until - now)
        if self._call_observers is not None:
            self._call_observers.notify("client_paused", call.info, longer)


class PipelineHandle:
    """Provides a request pipeline while its client is open, on the event loop of its first call.

    Holds no reference to the client, so that an unclosed client can be garbage-collected, and warn.
    """

    def __init__(self, pipeline: RequestPipeline, life: ClientLife) -> None:
        self.pipeline = pipeline
        self.life = life

    def __call__(self) -> RequestPipeline:
        """Return the pipeline; raises `ClientClosedError`, or `ConfigurationError` on another event loop than the first."""
        life = self.life
        if life.closed:
            raise ClientClosedError("the client is closed; build a new one")
        loop = asyncio.get_running_loop()
        if life.loop is not loop:
            if life.loop is not None:
                raise ConfigurationError(
                    "the client belongs to another event loop (that of its first call); build one client for each loop"
                )
            life.loop = loop
        return self.pipeline

    async def close(self) -> None:
        """Close the pipeline; a call that is in flight ends at once."""
        self.life.closed = True
        await self.pipeline.close()


def _release_slot(slot: RateLimiter | TrackedSlot, call: CallState, error: BaseException) -> None:
    if call.written or (isinstance(error, CallbellError) and error.outcome is Outcome.UNKNOWN):
        slot.release(answered=False)
    else:
        slot.refund()
