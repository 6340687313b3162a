"""The rate limit against a server that refuses the 301st request in any window of one second, by its own clock."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from callbell_async import CallbellClient, SendReport
from tests.benchmarks.contenders.base import TOKEN, new_loop
from tests.benchmarks.contenders.ours import messages
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import Server, strict_server

LIMIT = 300
CONNECTIONS = 200
AIM = 0.97


@attrs.frozen
class ServerBehaviour:
    """The behaviour of the server.

    Attributes:
        name: The behaviour in words.
        delay: The longest response time in milliseconds.
        inject: Every request with a multiple of this number gets a 429; 0 for none.
        header: A header line of these 429s.
    """

    name: str
    delay: float = 0.0
    inject: int = 0
    header: str = ""


BEHAVIOURS = (
    ServerBehaviour("responds at once"),
    ServerBehaviour("responds in 0 to 200 ms", delay=200.0),
    ServerBehaviour("every 97th 429, Retry-After-Ms: 50", inject=97, header="Retry-After-Ms: 50"),
    ServerBehaviour("every 499th 429, no header", inject=499),
    ServerBehaviour("0 to 200 ms, every 97th 429, 50 ms", delay=200.0, inject=97, header="Retry-After-Ms: 50"),
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
    def rate(self) -> float:
        """Accepted messages per second, the first burst included."""
        return self.accepted / self.elapsed

    @property
    def met(self) -> bool:
        """Whether all messages were accepted, no request was refused, and the rate meets the aim."""
        return self.accepted == self.sent and not self.refused and self.rate >= AIM * LIMIT


def send(behaviour: ServerBehaviour, *, loop: str, seconds: float) -> Run:
    """Send to a new server the number of messages that the limit permits in this time."""
    count = round(LIMIT * seconds)
    running = new_loop(loop)
    try:
        with strict_server(delay=behaviour.delay, inject=behaviour.inject, header=behaviour.header) as server:
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
    async with CallbellClient(TOKEN, base_url=server.base_url, max_connections=CONNECTIONS) as client:
        return await client.send_many(messages(count), concurrency=CONNECTIONS)


def _pace(arrivals: Sequence[float]) -> float:
    """Return the requests per second as the slope of a line through all arrivals, on which the bursts have little influence."""
    return statistics.linear_regression(arrivals, range(len(arrivals))).slope if len(arrivals) > 1 else 0.0


def run(*, loops: Sequence[str], seconds: float) -> None:
    """Measure one run for each behaviour and loop, and print the tables."""
    show(f"{LIMIT * seconds:.0f} messages against a limit of {LIMIT} in any second, with {CONNECTIONS} connections")
    for loop in loops:
        rows = []
        for behaviour in BEHAVIOURS:
            found = send(behaviour, loop=loop, seconds=seconds)
            rows.append(
                (
                    behaviour.name,
                    str(found.accepted),
                    str(found.refused),
                    str(found.injected),
                    str(found.fullest),
                    f"{found.elapsed:.2f}",
                    f"{found.rate:.1f}",
                    f"{found.rate / LIMIT:.1%}",
                    f"{found.lasting / LIMIT:.1%}",
                    "met" if found.met else "missed",
                )
            )
            if found.failure is not None:
                show(f"{behaviour.name}, {loop} loop: not all were accepted: {found.failure!r}")
        head = ("server", "accepted", "refused", "injected", "fullest", "elapsed", "rate", "of limit", "lasting", "aim")
        show("", f"{loop} loop", table(head, rows))
    show(
        "",
        "refused: 429s that were not injected. fullest: most requests the server saw in any second. elapsed in seconds.",
        "rate: accepted messages per second. lasting: the pace of requests after the first 300, which find every slot free, of the limit.",
        f"aim: all accepted, none refused, and a rate of at least {AIM:.0%} of the limit.",
    )
