"""The cost of retries for a send that needs none: the pipeline against the transport alone, in slices that take turns."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator

from multidict import CIMultiDict

from callbell_async import RetryPolicy, TextMessage
from callbell_async.endpoints.messages import read_receipt, send_request
from callbell_async.http.options import TransportOptions
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState
from callbell_async.http.responses import Response
from callbell_async.http.transport import Transport
from callbell_async.limits.window import WindowRateLimiter
from callbell_async.wire import dump_message
from tests.benchmarks.contenders import Contender, Setup
from tests.benchmarks.contenders.base import HEADERS, LoopContender, recipient, text
from tests.benchmarks.measure import Options, more_cpu, rounds, started
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table, worst
from tests.benchmarks.serve import RESPONSE_BODY
from tests.benchmarks.servers import accepting_server
from tests.benchmarks.spread import Spread

AIM_US = 3.0
SLICE_SECONDS = 0.05


class InstantTransport(Transport):
    """A transport that responds at once, so that only the code around it is measured."""

    async def exchange(self, call: CallState) -> Response:
        """Return the constant response."""
        return Response(200, {}, RESPONSE_BODY)


class _Sender(LoopContender):
    """Workers that send the same request over one transport, with a new call for each message."""

    transport_class: type[Transport] = Transport

    async def open(self) -> None:
        """Build the transport."""
        options = TransportOptions(
            base_url=self.setup.base_url,
            headers=CIMultiDict(HEADERS),
            timeout=30.0,
            connect_timeout=5.0,
            max_connections=self.setup.concurrency,
        )
        self.transport = self.transport_class(options, None)

    async def send_all(self, count: int) -> int:
        """Share the count among the workers."""
        turns = iter(range(count))
        request = send_request(dump_message(TextMessage(to=recipient(0), text=text(0))))
        calls = (CallState(request) for _ in turns)
        return sum(await asyncio.gather(*(self.work(calls) for _ in range(self.setup.concurrency))))

    @abstractmethod
    async def work(self, calls: Iterator[CallState]) -> int:
        """Make one call after the other, and return the number of accepted messages."""

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()


class Direct(_Sender):
    """The transport alone: each call is attempted once."""

    async def work(self, calls: Iterator[CallState]) -> int:
        """Send each request, and read the receipt."""
        transport = self.transport
        accepted = 0
        for call in calls:
            call.start_attempt()
            response = await transport.exchange(call)
            accepted += bool(read_receipt(call.request, response).uuid)
        return accepted


class Retryable(_Sender):
    """The pipeline, which would retry."""

    limit: int | None = None

    async def open(self) -> None:
        """Build the transport, and a pipeline over it."""
        await super().open()
        limiter = None if self.limit is None else WindowRateLimiter(self.limit)
        self.pipeline = RequestPipeline(self.transport, retry=RetryPolicy(), rate_limit=limiter)

    async def work(self, calls: Iterator[CallState]) -> int:
        """Send each request through the pipeline."""
        pipeline = self.pipeline
        accepted = 0
        for call in calls:
            accepted += bool((await pipeline.run(call, read_receipt)).uuid)
        return accepted


class RetryableAndLimited(Retryable):
    """The pipeline with a rate limiter whose limit is never reached."""

    limit = 1_000_000


class InstantDirect(Direct):
    """The transport alone, without I/O."""

    transport_class = InstantTransport


class InstantRetryable(Retryable):
    """The pipeline, without I/O."""

    transport_class = InstantTransport


class InstantRetryableAndLimited(RetryableAndLimited):
    """The pipeline with a rate limiter, without I/O."""

    transport_class = InstantTransport


def run(options: Options) -> Findings:
    """Measure each with and without I/O, on each loop."""
    rows, aims = [], []
    with accepting_server() as server:
        for loop in options.loops:
            for name, (direct, retryable, limited), size in (
                ("no I/O", (InstantDirect, InstantRetryable, InstantRetryableAndLimited), 1),
                ("HTTP", (Direct, Retryable, RetryableAndLimited), options.concurrency),
            ):
                setup = Setup(server.base_url, size, loop)
                plan: dict[str, Contender] = {
                    "": direct(setup),
                    "retryable": retryable(setup),
                    "limited": limited(setup),
                }
                with started(plan):
                    found = rounds(plan, slices=options.slices(SLICE_SECONDS), seconds=SLICE_SECONDS)
                alone = found[""]
                more = more_cpu(found["retryable"], alone)
                cpu = Spread.of(one.cpu_us for one in alone)
                rows.append(Row.of(f"{name}, {loop}", more, more_cpu(found["limited"], alone), cpu))
                aims.append(
                    Aim(f"CPU time that retries add, {name}, {loop}", more, AIM_US, unit="µs a message", digits=1)
                )
    columns = (
        Column("retryable: more", "µs", 1),
        Column("and rate-limited: more", "µs", 1),
        Column("one attempt, no limiter", "µs", 1),
    )
    chart = Chart("bars", "CPU microseconds per message that retries add", bound=AIM_US)
    return Findings((Table("CPU time per message that needs no retry", columns, tuple(rows), chart),), (worst(aims),))
