"""The way of every request: wait for a slot, attempt it, read the response, and retry where that is safe."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar

from callbell_async.errors import (
    APIError,
    CallbellError,
    ClientClosedError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
)
from callbell_async.http.attempt_gate import AfterFailure, AttemptGate
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import Response
from callbell_async.http.retry import MAX_PAUSE, RetryBudget, RetryPolicy
from callbell_async.http.transport import Transport
from callbell_async.limits.base import RateLimiter, TrackedSlot
from callbell_async.redaction import mask_path

__all__ = ["RequestPipeline"]

T = TypeVar("T")

_log = logging.getLogger("callbell_async")

_NO_TIMEOUT: AbstractAsyncContextManager[None] = nullcontext()


class RequestPipeline:
    """The state that all calls of a client share: transport, retry policy, rate limiter, retry budget and pause."""

    def __init__(self, transport: Transport, *, retry: RetryPolicy, rate_limit: RateLimiter | None) -> None:
        self._transport = transport
        self._retry = retry
        self._rate_limit = rate_limit
        self._budget = RetryBudget()
        self._paused_until = 0.0
        self._limiter_started = rate_limit is None
        self._limiter_lock = asyncio.Lock()
        self._ended = False

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
        if not self._limiter_started:
            await self._start_limiter()
        started = loop.time()
        held = 0
        while True:
            if gate is not None and gate.closed:
                queued = loop.time()
                await gate.wait(call)
                started += loop.time() - queued
            if self._paused_until or not (limiter is None or limiter.try_acquire()):
                queued = loop.time()
                await self._wait_for_slot(call, started + self._retry.timeout if limit_queue_time else None)
                if not limit_queue_time:
                    started += loop.time() - queued
            if gate is not None and gate.closed and not gate.admits(call):
                # The gate was closed while this call waited for its slot.
                if limiter is not None:
                    limiter.refund()
                continue
            slot: RateLimiter | TrackedSlot | None = limiter
            if limiter is not None and limiter.tracks_writes:
                slot = limiter.track_slot()
                call.on_written = slot.written
            call.start_attempt()
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
                if isinstance(error, ResponseDecodeError):
                    self._redact_token(error)
                outcome = error.outcome
                call.mark_failed(error)
                then = AfterFailure.POLICY if gate is None else gate.failed(call, error, outcome)
                idempotent = call.request.idempotent
                if then is AfterFailure.HOLD and self._retry.may_retry(error, attempts=1, idempotent=idempotent):
                    held += 1
                    continue
                attempts = call.attempts - held
                wait = self._wait_after(
                    call, error, attempts=attempts, started=started, limit_queue_time=limit_queue_time
                )
                if wait is None or then is AfterFailure.GIVE_UP:
                    raise
            else:
                call.mark_accepted()
                if gate is not None and gate.failures:
                    gate.responded()
                if self._budget.spent:
                    self._budget.record_success()
                return value
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the transport and, if it was started, the rate limiter. May be called twice."""
        self._ended = True
        try:
            await self._transport.close()
        finally:
            async with self._limiter_lock:
                if self._rate_limit is not None and self._limiter_started:
                    self._limiter_started = False
                    await self._rate_limit.aclose()

    async def _start_limiter(self) -> None:
        """Start the rate limiter before the first call; the calls that come in the meantime wait for it."""
        async with self._limiter_lock:
            if self._ended:
                raise ClientClosedError("the client was closed before the rate limiter had started")
            if self._rate_limit is not None and not self._limiter_started:
                await self._rate_limit.start()
                self._limiter_started = True

    async def _wait_for_slot(self, call: CallState, deadline: float | None) -> None:
        """Wait for the end of a pause and for a slot; raises `RequestTimeoutError` at the deadline."""
        reason = "no slot within the rate limit in time"
        try:
            async with _NO_TIMEOUT if deadline is None else asyncio.timeout_at(deadline):
                while True:
                    while wait := self._pause_remaining():
                        if deadline is not None and self._paused_until > deadline:
                            # A pause is never shortened.
                            reason = f"the client pauses for {wait:.0f} s after a 429, longer than this call may wait"
                            raise TimeoutError
                        await asyncio.sleep(wait)
                    if self._rate_limit is None:
                        return
                    await self._rate_limit.acquire()
                    if not self._pause_remaining():
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

    def _pause_remaining(self) -> float:
        """Return the seconds for which the whole client is paused; 0 if it is not."""
        remaining = self._paused_until - asyncio.get_running_loop().time()
        if remaining <= 0:
            self._paused_until = 0.0
        return max(0.0, remaining)

    def _wait_after(
        self, call: CallState, error: CallbellError, *, attempts: int, started: float, limit_queue_time: bool
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up; a 429 pauses the whole client."""
        now = asyncio.get_running_loop().time()
        idempotent = call.request.idempotent
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        wait = self._retry.wait_after(
            error, attempts=attempts, elapsed=now - started, idempotent=idempotent, jitter=jitter
        )
        if isinstance(error, RateLimitError):
            self._pause(error, now, self._retry.backoff(attempts, jitter=jitter))
            if not limit_queue_time and self._retry.may_retry(error, attempts=attempts, idempotent=idempotent):
                # The client's pause is this call's wait as well, and does not count.
                return 0.0
            return wait
        if wait is not None:
            wait = max(wait, self._budget.delay(now))
            if now - started + wait > self._retry.timeout:
                return None
            self._budget.spend(now)
            _log.info(
                "%s %s: attempt %d failed (%s), next in %.3f s",
                call.request.method,
                mask_path(call.request.path),
                call.attempts,
                type(error).__name__,
                wait,
            )
        return wait

    def _redact_token(self, error: ResponseDecodeError) -> None:
        redacted = self._transport.redact_token(Response(error.status, error.headers, error.body))
        error.headers, error.body = dict(redacted.headers), redacted.body

    def _pause(self, error: APIError, now: float, backoff: float) -> None:
        # Several responses may ask for a pause; the longest counts, and no later response shortens it.
        asked = backoff if error.retry_after is None else error.retry_after
        seconds = min(asked, MAX_PAUSE)
        self._paused_until = max(self._paused_until, now + seconds)
        if self._rate_limit is not None:
            self._rate_limit.pause(seconds)
        _log.warning("Callbell responded with 429: the client pauses for %.3f s", self._paused_until - now)


def _release_slot(slot: RateLimiter | TrackedSlot, call: CallState, error: BaseException) -> None:
    if call.written or (isinstance(error, CallbellError) and error.outcome is Outcome.UNKNOWN):
        slot.release(answered=False)
    else:
        slot.refund()
