"""The latency that the library adds to one `send` under load, beside `session.post` and `read` under the same load."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
import attrs

from callbell_async import CallbellClient
from tests.benchmarks.contenders import Setup
from tests.benchmarks.contenders.base import HEADERS, TOKEN, new_loop
from tests.benchmarks.contenders.ours import messages
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Chart, Column, Findings, Row, Table
from tests.benchmarks.servers import accepting_server
from tests.benchmarks.spread import Spread

LOADS = ((300, 0.0), (300, 20.0), (1_000, 20.0))
"""Messages per second, and the response time of the server in milliseconds."""
CONNECTIONS = 200
SLICE_SECONDS = 0.5
BARE, OURS = "session.post and read", "send"
BODY = b'{"to":"+31612345678","from":"whatsapp","type":"text","content":{"text":"Hello!"}}'

SendOne = Callable[[], Awaitable[object]]

COLUMNS = (
    Column("added to the median", "µs"),
    Column("added to the 99th percentile", "µs"),
    Column("median of session.post and read", "µs"),
    Column("its 99th percentile", "µs"),
)


@attrs.frozen
class Quantiles:
    """The median and the 99th percentile of latencies, in microseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, latencies: Sequence[float]) -> Quantiles:
        """Return the quantiles of two or more latencies."""
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        return cls(cuts[49], cuts[98])


def run(options: Options) -> Findings:
    """Measure each load on each loop."""
    rows = []
    for rate, delay in LOADS:
        with accepting_server(delay=delay) as server:
            for loop in options.loops:
                with asyncio.Runner(loop_factory=lambda loop=loop: new_loop(loop)) as runner:  # type: ignore[misc]
                    found = runner.run(_in_turns(Setup(server.base_url, CONNECTIONS, loop), rate, options))
                label = f"{rate}/s, responses after {delay:g} ms, {loop}"
                rows.append(Row.of(label, *_values(found[BARE], found[OURS])))
    chart = Chart("bars", "µs that send adds to the median latency")
    return Findings((Table("one send, at a fixed rate of calls", COLUMNS, tuple(rows), chart),))


def _values(bare: Sequence[Quantiles], ours: Sequence[Quantiles]) -> tuple[Spread, ...]:
    pairs = list(zip(ours, bare, strict=True))
    return (
        Spread.of(one.p50 - other.p50 for one, other in pairs),
        Spread.of(one.p99 - other.p99 for one, other in pairs),
        Spread.of(one.p50 for one in bare),
        Spread.of(one.p99 for one in bare),
    )


async def _in_turns(setup: Setup, rate: int, options: Options) -> Mapping[str, list[Quantiles]]:
    """Return the quantiles of each slice; the first round, which opens the connections, is dropped."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with (
        aiohttp.ClientSession(connector=connector, headers=HEADERS) as session,
        CallbellClient(TOKEN, base_url=setup.base_url, rate_limit=1_000_000, max_connections=CONNECTIONS) as client,
    ):
        (message,) = messages(1)

        async def post() -> None:
            async with session.post(setup.url, data=BODY) as response:
                await response.read()

        senders: dict[str, SendOne] = {BARE: post, OURS: lambda: client.send(message)}
        found: dict[str, list[Quantiles]] = {label: [] for label in senders}
        for number in range(options.slices(SLICE_SECONDS) + 1):
            for label in (BARE, OURS) if number % 2 else (OURS, BARE):
                taken = Quantiles.of(await _latencies(senders[label], rate))
                if number:
                    found[label].append(taken)
    return found


async def _latencies(send_one: SendOne, rate: int) -> list[float]:
    """Call at fixed moments, also when responses are late, and return the latencies in microseconds."""
    loop = asyncio.get_running_loop()
    begin, tasks = loop.time(), []

    async def timed(called: float) -> float:
        await send_one()
        # The time of uvloop's loop is in whole milliseconds.
        return (time.perf_counter() - called) * 1e6

    for index in range(round(rate * SLICE_SECONDS)):
        if (wait := begin + index / rate - loop.time()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(timed(time.perf_counter())))
    return await asyncio.gather(*tasks)
