"""A transport that follows a script, to test the pipeline; it opens nothing, and sleeps on the event loop's clock."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from multidict import CIMultiDict

from callbell_async import ConnectError, ConnectionLostError, Outcome, RateLimiter, RetryPolicy, TransportError
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import Response, read_response
from callbell_async.http.transport import Transport

__all__ = [
    "GET",
    "LOST",
    "OK",
    "POST",
    "REFUSED",
    "LimiterLog",
    "Step",
    "began",
    "failing",
    "now",
    "pipeline_for",
    "responding",
    "send",
]

POST = Request("POST", "/messages/send", b"{}")
GET = Request("GET", "/plan")


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


Step = Callable[[CallState], Awaitable[Response]]


class ScriptedTransport(Transport):
    """Takes one step for each request, in order, and repeats the last one. `began` has the time of each request."""

    def __init__(self, *steps: Step) -> None:
        self.steps = deque(steps)
        self.began: list[float] = []

    @property
    def max_connections(self) -> float:
        """Infinity: it has no connections."""
        return math.inf

    async def exchange(self, call: CallState) -> Response:
        """Take the next step."""
        self.began.append(now())
        step = self.steps.popleft() if len(self.steps) > 1 else self.steps[0]
        return await step(call)

    def redact_token(self, response: Response) -> Response:
        """Return the response: it has no token."""
        return response


def responding(status: int = 200, body: bytes = b"{}", *, after: float = 0.1, **headers: str) -> Step:
    """Return a step that responds `after` seconds after the request was written."""

    async def step(call: CallState) -> Response:
        call.mark_written()
        await asyncio.sleep(after)
        fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        return Response(status, fields, body)

    return step


def failing(cls: type[Exception], *, written: bool, after: float = 0.1) -> Step:
    """Return a step that fails after `after` seconds; `written` is whether the body left."""

    async def step(call: CallState) -> Response:
        if written:
            call.mark_written()
        await asyncio.sleep(after)
        if issubclass(cls, TransportError):
            outcome = Outcome.UNKNOWN if written else Outcome.NEVER_SENT
            raise cls("something", method="POST", path="/messages/send", outcome=outcome)
        raise cls("something")

    return step


OK = responding()
LOST = failing(ConnectionLostError, written=True)
REFUSED = failing(ConnectError, written=False)


@attrs.define
class LimiterLog(RateLimiter):
    """A rate limiter that grants each slot after `wait` seconds (0: at once), and counts."""

    wait: float = 0.0
    taken: int = 0
    ends: list[str] = attrs.field(factory=list)

    def try_acquire(self) -> bool:
        """Take a slot if `wait` is 0."""
        self.taken += not self.wait
        return not self.wait

    async def acquire(self) -> None:
        """Wait, and take a slot, unless cancelled."""
        await asyncio.sleep(self.wait)
        self.taken += 1

    def release(self, *, has_response: bool) -> None:
        """Record the end of a request."""
        self.ends.append("response" if has_response else "no response")

    def refund(self) -> None:
        """Record that the slot was not used."""
        self.ends.append("refunded")


def pipeline_for(
    *steps: Step, retry: RetryPolicy | None = None, rate_limit: RateLimiter | None = None
) -> RequestPipeline:
    """Return a pipeline over a transport that takes these steps."""
    return RequestPipeline(ScriptedTransport(*steps), retry=retry or RetryPolicy(), rate_limit=rate_limit)


def began(pipeline: RequestPipeline) -> list[float]:
    """Return the times at which the pipeline's requests began."""
    transport = pipeline._transport
    assert isinstance(transport, ScriptedTransport)
    return transport.began


async def send(
    pipeline: RequestPipeline, request: Request = POST, *, call: CallState | None = None, limit_queue_time: bool = True
) -> Any:
    """Run one call and return the JSON of its response; pass `call` to see its attempts and outcome."""
    return await pipeline.run(call or CallState(request), _read_as_it_is, limit_queue_time=limit_queue_time)


def _read_as_it_is(request: Request, response: Response) -> Any:
    return read_response(request, response, lambda document: document)
