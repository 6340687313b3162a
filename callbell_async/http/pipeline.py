"""The one way a request is made: wait for its turn, send it, read the answer, and try again where that can do no harm."""

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
from callbell_async.http.requests import CallState, Request, Response
from callbell_async.http.retry import RetryBudget, RetryPolicy
from callbell_async.http.transport import Transport
from callbell_async.limits.base import RateLimiter
from callbell_async.redaction import mask_path

__all__ = ["RequestPipeline"]

T = TypeVar("T")

_log = logging.getLogger("callbell_async")

_UNHURRIED: AbstractAsyncContextManager[None] = nullcontext()


class RequestPipeline:
    """Calls over one transport, with one retry policy, one rate limiter and one retry budget: the state all calls of a client share."""

    def __init__(self, transport: Transport, *, retry: RetryPolicy, rate_limit: RateLimiter | None) -> None:
        self._transport = transport
        self._retry = retry
        self._rate_limit = rate_limit
        self._budget = RetryBudget()
        self._closed_until = 0.0
        self._limiter_started = rate_limit is None
        self._limiter_lock = asyncio.Lock()
        self._ended = False

    async def call(self, call: CallState, read: Callable[[Request, Response], T], *, patient: bool = False) -> T:
        """What `read` makes of the answer, after as many attempts as the policy allows.

        A call waits for its turn no longer than the policy's timeout; if it is `patient`, as long as it takes, and then that doesn't
        count. Raises what `read` and the transport raise, with the outcome and the number of attempts of the whole call. `call` tells
        how far it came, when it is cancelled too.
        """
        loop = asyncio.get_running_loop()
        limiter = self._rate_limit
        if not self._limiter_started:
            await self._start_limiter()
        started = loop.time()
        while True:
            if self._closed_until or not (limiter is None or limiter.try_acquire()):
                entered = loop.time()
                await self._enter(call, None if patient else started + self._retry.timeout)
                if patient:
                    started += loop.time() - entered
            call.begin()
            try:
                try:
                    answer = await self._transport.exchange(call)
                except BaseException as error:
                    if limiter is not None:
                        _give_back(limiter, call, error)
                    raise
                if limiter is not None:
                    limiter.release(answered=True)
                value = read(call.request, answer)
            except CallbellError as error:
                if isinstance(error, ResponseDecodeError):
                    self._conceal(error)
                call.fail(error)
                wait = self._wait_after(call, error, now=loop.time(), started=started)
                if wait is None:
                    raise
            else:
                call.accept()
                self._budget.succeed()
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

    async def _enter(self, call: CallState, deadline: float | None) -> None:
        """Wait until Callbell lets the client in and the rate limiter this request; raises `RequestTimeoutError` at the deadline."""
        try:
            async with _UNHURRIED if deadline is None else asyncio.timeout_at(deadline):
                while True:
                    while wait := self._closed():
                        if deadline is not None and self._closed_until > deadline:
                            # No stop is ever shortened.
                            raise TimeoutError
                        await asyncio.sleep(wait)
                    if self._rate_limit is None:
                        return
                    await self._rate_limit.acquire()
                    if not self._closed():
                        return
                    # Callbell closed while this one waited for its turn.
                    self._rate_limit.refund()
        except TimeoutError:
            error = RequestTimeoutError(
                "no turn within the rate limit in time",
                method=call.request.method,
                path=call.request.path,
                outcome=Outcome.NEVER_SENT,
            )
            call.fail(error)
            raise error from None

    def _closed(self) -> float:
        """The seconds for which Callbell still asks the whole client to stop; 0 when it doesn't."""
        remaining = self._closed_until - asyncio.get_running_loop().time()
        if remaining <= 0:
            self._closed_until = 0.0
        return max(0.0, remaining)

    def _wait_after(self, call: CallState, error: CallbellError, *, now: float, started: float) -> float | None:
        """The seconds to wait before the next attempt, or `None` to give up; a 429 stops the whole client on the way."""
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        wait = self._retry.wait_after(
            error,
            attempts=call.attempts,
            elapsed=now - started,
            idempotent=call.request.idempotent,
            jitter=jitter,
        )
        if isinstance(error, RateLimitError):
            self._stop(error, now, self._retry.backoff(call.attempts, jitter=jitter))
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

    def _conceal(self, error: ResponseDecodeError) -> None:
        kept = self._transport.conceal(Response(error.status, error.headers, error.body))
        error.headers, error.body = dict(kept.headers), kept.body
        # The parser's own error, beneath, keeps the whole answer.
        error.__context__ = None

    def _stop(self, error: APIError, now: float, backoff: float) -> None:
        # Several answers may ask at once; the longest stop counts, and no later answer shortens it.
        asked = backoff if error.retry_after is None else error.retry_after
        self._closed_until = max(self._closed_until, now + asked)
        _log.warning("Callbell answered 429: the client stops for %.3f s", self._closed_until - now)


def _give_back(limiter: RateLimiter, call: CallState, error: BaseException) -> None:
    if call.written or (isinstance(error, CallbellError) and error.outcome is Outcome.UNKNOWN):
        limiter.release(answered=False)
    else:
        limiter.refund()
