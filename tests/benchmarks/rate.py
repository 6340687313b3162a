"""The rate limit against a server that refuses the 301st request in any window of one second, by its own clock."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from callbell_async import CallbellClient, SendReport
from tests.benchmarks.contenders.base import TOKEN, new_loop
from tests.benchmarks.contenders.ours import messages
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table, worst
from tests.benchmarks.servers import Server, strict_server
from tests.benchmarks.spread import Spread

LIMIT = 300
LEAST_SECONDS = 4.0
"""A lasting rate needs some sets of slots."""
AIM = 0.95
"""The rate, of what the limiter permits with this response time."""

COLUMNS = (
    Column("lasting", "requests/s"),
    Column("rate", "messages/s"),
    Column("fullest second", "requests"),
    Column("refused", "requests"),
    Column("injected 429s", "requests"),
    Column("accepted", "messages"),
)


@attrs.frozen
class ServerBehaviour:
    """The behaviour of the server.

    Attributes:
        name: The behaviour in words.
        least_delay: The shortest response time in milliseconds.
        delay: The longest response time in milliseconds.
        inject: Every request with a multiple of this number gets a 429; 0 for none.
        header: A header line of these 429s.
    """

    name: str
    least_delay: float = 0.0
    delay: float = 0.0
    inject: int = 0
    header: str = ""

    @property
    def permitted(self) -> float | None:
        """The lasting rate that the limiter permits: it holds each slot until one second after the response.

        `None` with injected 429s, after which the client waits.
        """
        return None if self.inject else LIMIT / (1 + (self.least_delay + self.delay) / 2000)


BEHAVIOURS = (
    ServerBehaviour("responses at once"),
    *(ServerBehaviour(f"after {delay} ms", least_delay=delay, delay=delay) for delay in (20, 100, 300, 1_000)),
    ServerBehaviour("after 0 to 200 ms", delay=200.0),
    ServerBehaviour("every 97th is 429, Retry-After-Ms: 50", inject=97, header="Retry-After-Ms: 50"),
    ServerBehaviour("every 499th is 429, no header", inject=499),
)


@attrs.frozen
class Run:
    """The messages that the client sent, and the requests that the server saw. `failure` is the first error of a message."""

    sent: int
    accepted: int
    elapsed: float
    failure: BaseException | None
    refused: int
    injected: int
    fullest: int
    lasting: float

    @property
    def values(self) -> tuple[float, ...]:
        """The values of a row."""
        rate = self.accepted / self.elapsed
        return self.lasting, rate, self.fullest, self.refused, self.injected, self.accepted


def send(behaviour: ServerBehaviour, *, loop: str, seconds: float) -> Run:
    """Send to a new server the number of messages that the limit permits in this time."""
    count = round(LIMIT * seconds)
    running = new_loop(loop)
    try:
        with strict_server(
            least_delay=behaviour.least_delay, delay=behaviour.delay, inject=behaviour.inject, header=behaviour.header
        ) as server:
            report = running.run_until_complete(_send(server, count))
            stats = server.stats()
    finally:
        running.close()
    return Run(
        sent=count,
        accepted=report.accepted,
        elapsed=report.elapsed,
        failure=next((result.error for result in report.results if result.error is not None), None),
        refused=stats["refused"],
        injected=stats["injected"],
        fullest=stats["fullest"],
        lasting=_pace(stats["arrivals"][LIMIT:]),
    )


async def _send(server: Server, count: int) -> SendReport:
    async with CallbellClient(TOKEN, base_url=server.base_url) as client:
        return await client.send_many(messages(count))


def _pace(arrivals: Sequence[float]) -> float:
    """Return the requests per second as the slope of a line through all arrivals, on which the bursts have little influence."""
    return statistics.linear_regression(arrivals, range(len(arrivals))).slope if len(arrivals) > 1 else 0.0


def run(options: Options) -> Findings:
    """Measure one run for each behaviour on each loop, with the defaults of the client."""
    seconds = max(LEAST_SECONDS, options.seconds)
    rows, rates, fullest = [], [], []
    for loop in options.loops:
        for behaviour in BEHAVIOURS:
            found = send(behaviour, loop=loop, seconds=seconds)
            rows.append(Row.of(f"{behaviour.name}, {loop}", *found.values))
            if behaviour.permitted:
                rates.append(
                    Aim(
                        f"lasting rate, of what the limiter permits; {behaviour.name}, {loop}",
                        Spread.of([found.lasting / behaviour.permitted]),
                        AIM,
                        at_least=True,
                        unit="times",
                        digits=3,
                        cause="a response that the load of the machine delays holds its slot longer",
                    )
                )
            fullest.append(
                Aim(
                    f"requests in the fullest second; {behaviour.name}, {loop}",
                    Spread.of([found.fullest]),
                    LIMIT,
                    digits=0,
                )
            )
    title = f"{LIMIT * seconds:.0f} messages against a limit of {LIMIT} in any second, no concurrency set"
    note = (
        "Refused: 429s that the server did not inject. Lasting: the rate of requests after the first 300, which find every "
        "slot free."
    )
    chart = Chart("bars", "requests per second after the first 300", column=0, bound=LIMIT)
    return Findings((Table(title, COLUMNS, tuple(rows), chart, note),), (worst(rates), worst(fullest)))
