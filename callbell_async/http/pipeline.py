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
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    mask_path,
)
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import Response
from callbell_async.http.retry import MAX_PAUSE, RetryBudget, RetryPolicy
from callbell_async.http.transport import Transport
from callbell_async.limits.window import RateLimiter

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

    async def run(self, call: CallState, read: Callable[[Request, Response], T], *, limit_queue_time: bool = True) -> T:
        """Attempt the call as often as the policy allows, and return what `read` makes of the response.

        `call` holds the attempts and the outcome, also when the call is cancelled.

        Args:
            call: The call. A call is run once.
            read: Turns a response into a value, or raises.
            limit_queue_time: If True, waiting for a slot or for the end of a pause counts towards the policy's
                timeout. If False, the call waits without limit, and that time does not count. A pause is
                never longer than `MAX_PAUSE`.

        Raises:
            CallbellError: Whatever `read` and the transport raise, with the outcome and the attempts of the whole call.
        """
        loop = asyncio.get_running_loop()
        limiter = self._rate_limit
        started = loop.time()
        while True:
            if self._paused_until or not (limiter is None or limiter.try_acquire()):
                queued = loop.time()
                await self._wait_for_slot(call, started + self._retry.timeout if limit_queue_time else None)
                if not limit_queue_time:
                    started += loop.time() - queued
            call.start_attempt()
            try:
                try:
                    response = await self._transport.exchange(call)
                except BaseException as error:
                    if limiter is not None:
                        _release_slot(limiter, call, error)
                    raise
                if limiter is not None:
                    limiter.release(answered=True)
                value = read(call.request, response)
            except CallbellError as error:
                if isinstance(error, ResponseDecodeError):
                    self._redact_token(error)
                call.mark_failed(error)
                wait = self._wait_after(call, error, started=started, limit_queue_time=limit_queue_time)
                if wait is None:
                    raise
            else:
                call.mark_accepted()
                self._budget.record_success()
                return value
            await asyncio.sleep(wait)

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
        self, call: CallState, error: CallbellError, *, started: float, limit_queue_time: bool
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up; a 429 pauses the whole client."""
        now = asyncio.get_running_loop().time()
        idempotent = call.request.idempotent
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        wait = self._retry.wait_after(
            error, attempts=call.attempts, elapsed=now - started, idempotent=idempotent, jitter=jitter
        )
        if isinstance(error, RateLimitError):
            self._pause(error, now, self._retry.backoff(call.attempts, jitter=jitter))
            if not limit_queue_time and self._retry.may_retry(error, attempts=call.attempts, idempotent=idempotent):
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
        self._paused_until = max(self._paused_until, now + min(asked, MAX_PAUSE))
        _log.warning("Callbell responded with 429: the client pauses for %.3f s", self._paused_until - now)


def _release_slot(limiter: RateLimiter, call: CallState, error: BaseException) -> None:
    if call.written or (isinstance(error, CallbellError) and error.outcome is Outcome.UNKNOWN):
        limiter.release(answered=False)
    else:
        limiter.refund()
