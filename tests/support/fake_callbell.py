"""A Callbell without a network, put under a real `RequestPipeline`: the test says what each message meets, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import attrs
import orjson
from multidict import CIMultiDict

from callbell_async import ConnectError, ConnectionLostError, Outcome, RateLimiter, RetryPolicy, SendResult, TextMessage
from callbell_async.bulk import DEFAULT_STOP_ON, SendRun
from callbell_async.http.options import TransportOptions
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.http.transport import Transport
from callbell_async.journal import Journal

__all__ = ["FakeCallbell", "Fate", "consume", "new_run", "slow_response", "texts"]


@attrs.frozen(kw_only=True)
class Fate:
    """What one request meets; times in seconds.

    It has not left while it is `connecting`, is on its way while `leaving`, and with Callbell while `answering`. `connects` and
    `answers` say whether it gets that far; `status` and `headers` are the answer's. One that is `late` arrives so many seconds
    after its sender has given it up.
    """

    connecting: float = 0.0
    leaving: float = 0.0
    answering: float = 0.0
    connects: bool = True
    answers: bool = True
    late: float | None = None
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes | None = None


class FakeCallbell(Transport):
    """Answers by `fate(number, attempt)`, where `number` is the message's text and `attempt` counts from 1.

    `arrivals` are the numbers in the order they came, `arrived_at` the times, `accepted` how often each was taken, and
    `most_under_way` the most requests there were at once. What has left arrives, whoever has stopped waiting for it: as bad as a
    network can be.
    """

    def __init__(
        self, fate: Callable[[int, int], Fate] = lambda number, attempt: Fate(), *, keeps: bool = True
    ) -> None:
        super().__init__(
            TransportOptions(
                base_url="https://callbell.invalid",
                headers=CIMultiDict({"Authorization": "Bearer a-test-token"}),
                timeout=None,
                connect_timeout=None,
                max_connections=1,
            )
        )
        self._describe = fate
        self._keeps = keeps
        self._under_way = 0
        self.most_under_way = 0
        self.arrivals: list[int] = []
        self.arrived_at: list[float] = []
        self.accepted: Counter[int] = Counter()

    async def exchange(self, call: CallState) -> Response:
        """What the message was fated to meet."""
        assert call.request.body is not None
        number = int(orjson.loads(call.request.body)["content"]["text"])
        fate = self._describe(number, call.attempts)
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            await asyncio.sleep(fate.connecting)
            if not fate.connects:
                raise ConnectError(
                    "no connection",
                    method=call.request.method,
                    path=call.request.path,
                    outcome=Outcome.NEVER_SENT,
                )
            call.written = True
            try:
                await asyncio.sleep(fate.leaving)
            finally:
                if fate.late is None:
                    self._arrive(number, fate)
                else:
                    asyncio.get_running_loop().call_later(fate.late, self._arrive, number, fate)
            await asyncio.sleep(fate.answering)
        finally:
            self._under_way -= 1
        if not fate.answers or fate.late is not None:
            raise ConnectionLostError(
                "the connection broke", method=call.request.method, path=call.request.path, outcome=Outcome.UNKNOWN
            )
        if fate.body is not None:
            return Response(fate.status, CIMultiDict(fate.headers), fate.body)
        body = {"message": {"uuid": f"uuid-{number}", "status": "enqueued"}} if fate.status == 200 else {"error": "no"}
        return Response(fate.status, CIMultiDict(fate.headers), orjson.dumps(body))

    def _arrive(self, number: int, fate: Fate) -> None:
        if self._keeps:
            self.arrivals.append(number)
            self.arrived_at.append(asyncio.get_running_loop().time())
            self.accepted[number] += fate.status == 200


def new_run(
    transport: Transport,
    messages: Iterable[Any] | AsyncIterable[Any],
    *,
    concurrency: int = 3,
    retry: RetryPolicy = RetryPolicy(attempts=1),  # noqa: B008 - immutable
    rate_limit: RateLimiter | None = None,
    journal: Journal | None = None,
    on_result: Callable[[SendResult], Any] | None = None,
    stop_on: tuple[type[BaseException], ...] = DEFAULT_STOP_ON,
    shutdown_timeout: float = 10.0,
    outage_timeout: float = 0.0,
    runs: set[SendRun] | None = None,
) -> SendRun:
    """A run over this transport, with a caller of its own and no retries unless it is told."""
    caller = RequestPipeline(transport, retry=retry, rate_limit=rate_limit)
    return SendRun(
        lambda: caller,
        messages,
        concurrency=concurrency,
        journal=journal,
        on_result=on_result,
        stop_on=stop_on,
        shutdown_timeout=shutdown_timeout,
        outage_timeout=outage_timeout,
        runs=set() if runs is None else runs,
    )


async def consume(run: SendRun, into: list[SendResult], *, iterated: bool, pause: float | None = None) -> None:
    """Await or iterate the run to its end, with a pause after each result; `into` gets the results, however it ends."""
    if not iterated:
        try:
            await run
        finally:
            into.extend(run.report.results)
        return
    async with aclosing(run):
        async for result in run:
            into.append(result)
            if pause is not None:
                await asyncio.sleep(pause)


def texts(count: int) -> list[TextMessage]:
    """So many messages; the text of each is its place."""
    return [TextMessage(to="+31612345678", text=str(number)) for number in range(count)]


async def slow_response(messages: Iterable[Any], *, every: float = 0.0) -> AsyncIterator[Any]:
    """The same as an async input, which is not asked for the next one before so many seconds are over."""
    for message in messages:
        yield message
        await asyncio.sleep(every)
