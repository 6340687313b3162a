"""A transport without a network for a real `RequestPipeline`. The test defines the behaviour for each attempt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from contextlib import aclosing
from typing import Any

import attrs
import orjson
from multidict import CIMultiDict

from callbell_async import (
    ConnectError,
    ConnectionLostError,
    Outcome,
    RateLimiter,
    RetryPolicy,
    SendReport,
    SendResult,
    TextMessage,
)
from callbell_async.bulk import DEFAULT_STOP_ON, SendRun
from callbell_async.http.options import TransportOptions
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.http.transport import Transport
from callbell_async.journal import Journal
from callbell_async.recipients.opt_outs import OptOutList

__all__ = ["Behaviour", "FakeCallbell", "async_input", "begin", "cancel", "consume", "new_run", "texts"]


@attrs.frozen(kw_only=True)
class Behaviour:
    """The behaviour for one attempt. Times are in seconds.

    Attributes:
        connect_time: The time before the body is written.
        write_time: The time in which the body is written.
        response_time: The time from then to the response.
        connects: Whether there is a connection at all.
        responds: Whether there is a response.
        late: If set, the request arrives this long after its sender has given up.
        status: The status of the response.
        headers: The headers of the response.
        body: The body of the response, if it is not Callbell's.
    """

    connect_time: float = 0.0
    write_time: float = 0.0
    response_time: float = 0.0
    connects: bool = True
    responds: bool = True
    late: float | None = None
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes | None = None


class FakeCallbell(Transport):
    """Behaves as `behaviour(number, attempt)` defines it; `number` is the message's text, and `attempt` counts from 1.

    A request that was written arrives, also if its sender no longer waits: the worst that a network can do.

    Attributes:
        arrivals: The numbers, in the order in which the requests arrived.
        arrived_at: The times of these arrivals.
        accepted: The number of times that each message was accepted.
        most_in_flight: The largest number of requests in flight at once.
    """

    def __init__(
        self,
        behaviour: Callable[[int, int], Behaviour] = lambda number, attempt: Behaviour(),
        *,
        keeps: bool = True,
        max_connections: int = 10_000,
    ) -> None:
        super().__init__(
            TransportOptions(
                base_url="https://callbell.invalid",
                headers=CIMultiDict({"Authorization": "Bearer a-test-token"}),
                timeout=None,
                connect_timeout=None,
                max_connections=max_connections,
            )
        )
        self._describe = behaviour
        self._keeps = keeps
        self._in_flight = 0
        self.most_in_flight = 0
        self.arrivals: list[int] = []
        self.arrived_at: list[float] = []
        self.accepted: Counter[int] = Counter()

    async def exchange(self, call: CallState) -> Response:
        """Behave as defined for this attempt."""
        assert call.request.body is not None
        number = int(orjson.loads(call.request.body)["content"]["text"])
        behaviour = self._describe(number, call.attempts)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(behaviour.connect_time)
            if not behaviour.connects:
                raise ConnectError(
                    "no connection",
                    method=call.request.method,
                    path=call.request.path,
                    outcome=Outcome.NEVER_SENT,
                )
            call.mark_written()
            try:
                await asyncio.sleep(behaviour.write_time)
            finally:
                if behaviour.late is None:
                    self._arrive(number, behaviour)
                else:
                    asyncio.get_running_loop().call_later(behaviour.late, self._arrive, number, behaviour)
            await asyncio.sleep(behaviour.response_time)
        finally:
            self._in_flight -= 1
        if not behaviour.responds or behaviour.late is not None:
            raise ConnectionLostError(
                "the connection broke", method=call.request.method, path=call.request.path, outcome=Outcome.UNKNOWN
            )
        if behaviour.body is not None:
            return Response(behaviour.status, CIMultiDict(behaviour.headers), behaviour.body)
        body = (
            {"message": {"uuid": f"uuid-{number}", "status": "enqueued"}}
            if behaviour.status == 200
            else {"error": "no"}
        )
        return Response(behaviour.status, CIMultiDict(behaviour.headers), orjson.dumps(body))

    def _arrive(self, number: int, behaviour: Behaviour) -> None:
        if self._keeps:
            self.arrivals.append(number)
            self.arrived_at.append(asyncio.get_running_loop().time())
            self.accepted[number] += behaviour.status == 200


def new_run(
    transport: Transport,
    messages: Iterable[Any] | AsyncIterable[Any],
    *,
    concurrency: int | None = 3,
    retry: RetryPolicy = RetryPolicy(attempts=1),  # noqa: B008 - immutable
    rate_limit: RateLimiter | None = None,
    journal: Journal | None = None,
    on_result: Callable[[SendResult], Any] | None = None,
    stop_on: tuple[type[BaseException], ...] = DEFAULT_STOP_ON,
    shutdown_timeout: float = 10.0,
    outage_timeout: float = 0.0,
    exclude: OptOutList | Collection[str] | None = None,
    runs: set[SendRun] | None = None,
) -> SendRun:
    """Return a run over this transport. By default it neither retries nor pauses."""
    pipeline = RequestPipeline(transport, retry=retry, rate_limit=rate_limit)
    return SendRun(
        lambda: pipeline,
        messages,
        concurrency=concurrency,
        journal=journal,
        on_result=on_result,
        stop_on=stop_on,
        shutdown_timeout=shutdown_timeout,
        outage_timeout=outage_timeout,
        exclude=exclude,
        runs=set() if runs is None else runs,
    )


async def consume(run: SendRun, into: list[SendResult], *, iterated: bool, pause: float | None = None) -> None:
    """Await or iterate the run to its end, with a pause after each result; the results are added to `into`, however the run ends."""
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


async def begin(run: SendRun, *, after: float = 0.5) -> asyncio.Task[SendReport]:
    """Return a task that has awaited the run for some time."""
    task = asyncio.ensure_future(run)
    await asyncio.sleep(after)
    return task


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


def texts(count: int) -> list[TextMessage]:
    """Return messages whose text is their index."""
    return [TextMessage(to="+31612345678", text=str(number)) for number in range(count)]


async def async_input(messages: Iterable[Any], *, every: float = 0.0) -> AsyncIterator[Any]:
    """Return the same messages as an async input, with a wait of `every` seconds after each."""
    for message in messages:
        yield message
        await asyncio.sleep(every)
