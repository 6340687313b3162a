"""The cost of retries for a send that needs none: the pipeline against the transport alone, in slices that take turns."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

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
from tests.benchmarks.measure import Slice, Spread, rounds
from tests.benchmarks.report import show, table
from tests.benchmarks.serve import RESPONSE_BODY
from tests.benchmarks.servers import fast_server

AIM_US = 3.0


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


def run(*, loops: Sequence[str], concurrency: int, seconds: float, slice_seconds: float) -> None:
    """Measure each for about `seconds`, and print the differences."""
    slices = max(3, round(seconds / slice_seconds))
    rows, verdicts = [], []
    with fast_server() as server:
        for loop in loops:
            for name, (direct, retryable, limited), size in (
                ("no I/O", (InstantDirect, InstantRetryable, InstantRetryableAndLimited), 1),
                ("HTTP", (Direct, Retryable, RetryableAndLimited), concurrency),
            ):
                setup = Setup(server.base_url, size, loop)
                plan = {"direct": direct(setup), "retryable": retryable(setup), "limited": limited(setup)}
                found = measured(plan, slices, slice_seconds)
                dearer = {key: _dearer(taken, found["direct"]) for key, taken in found.items()}
                alone = Spread.of(one.cpu_us for one in found["direct"]).median
                where = f"{name}, {loop} loop"
                rows.append((where, f"{alone:.1f}", dearer["retryable"].text(2), dearer["limited"].text(2)))
                verdicts.append(
                    f"aim: {where}: retryable for at most {AIM_US:g} µs more: {dearer['retryable'].verdict(at_most=AIM_US)}"
                )
    show(
        f"CPU microseconds per message, {slices} rounds, about {slice_seconds} s each, HTTP at concurrency {concurrency}",
        "",
    )
    show(table(("", "direct", "retryable: more by", "and rate-limited: more by"), rows))
    show("differences are between slices of the same round: median ±its error (quartiles)", *verdicts)


def measured(plan: Mapping[str, Contender], slices: int, slice_seconds: float) -> Mapping[str, Sequence[Slice]]:
    """Measure the contenders in turns, and return their slices; all send the same number of messages."""
    with contextlib.ExitStack() as stack:
        for contender in plan.values():
            contender.start()
            stack.callback(contender.stop)
        return rounds(plan, slices=slices, seconds=slice_seconds, same_count=True)


def _dearer(taken: Sequence[Slice], than: Sequence[Slice]) -> Spread:
    return Spread.of(one.cpu_us - other.cpu_us for one, other in zip(taken, than, strict=True))
