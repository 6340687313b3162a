"""A limit that processes share, against a server that refuses the 301st request in any second: rate, faults and other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import attrs

from callbell_async.limits import from_url
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table, show, worst
from tests.benchmarks.servers import strict_server
from tests.benchmarks.spread import Spread
from tests.support.rate_processes import RateProcess, rate_processes
from tests.support.services import Service, postgres_server, redis_server
from tests.support.slow_proxy import slow_proxy

LIMIT = 300
LEAST_SECONDS = 4.0
"""A lasting rate needs some sets of slots."""
DELAYS = (0.0, 50.0, 300.0)
"""The longest response times in milliseconds."""
AIM, BUSY_AIM = 0.93, 0.9
"""The lasting rate of several processes, and of one busy process among four, compared with one process alone."""

LIBRARIES = {
    "aiolimiter, split": "AioLimiterSplit",
    "limits, moving window": "LimitsMovingWindow",
    "limits, sliding counter": "LimitsSlidingCounter",
    "pyrate-limiter": "PyrateLimiter",
    "throttled-py, GCRA": "ThrottledGcra",
    "throttled-py, sliding window": "ThrottledSlidingWindow",
}

_names = itertools.count()


@attrs.frozen
class Run:
    """The requests at the server, and the reports of the processes."""

    arrivals: list[float]
    accepted: int
    refused: int
    fullest: int
    cpu: float
    reports: float

    @property
    def rate(self) -> float:
        """Requests a second from the first to the last."""
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])

    @property
    def lasting(self) -> float:
        """Requests a second after the first full set, as the slope of a line through all arrivals."""
        later = self.arrivals[LIMIT:]
        return statistics.linear_regression(later, range(len(later))).slope

    @property
    def values(self) -> tuple[float, ...]:
        """The values of a row, without the reports."""
        return self.rate, self.fullest, self.refused, self.cpu / max(1, self.accepted) * 1e6


def send(
    limiter: str,
    messages: Sequence[int],
    *,
    delay: float,
    fault: Callable[[list[RateProcess]], None] | None = None,
    extra: Sequence[str] = (),
) -> Run:
    """Send in one process for each number of messages; one with 0 stays idle. `fault` is called while they send."""
    busy = sum(count > 0 for count in messages)
    with (
        strict_server(delay=delay) as server,
        rate_processes(limiter, server.base_url, messages, *extra, concurrency=max(50, 400 // busy)) as processes,
    ):
        for process in processes:
            process.wait_until_ready()
        for process in processes:
            process.begin()
        if fault is not None:
            fault(processes)
        found = [
            process.result()
            for process, count in zip(processes, messages, strict=True)
            if count and process.process.poll() != -signal.SIGKILL
        ]
        stats = server.stats()
    for result in found:
        if result["errors"]:
            show(f"not all were accepted: {result['errors']}")
    return Run(
        arrivals=stats["arrivals"],
        accepted=sum(result["accepted"] for result in found),
        refused=stats["refused"],
        fullest=stats["fullest"],
        cpu=sum(result["cpu"] for result in found),
        reports=max(result["reports"] / result["seconds"] for result in found),
    )


def warm(service: Service, *, port: int | None = None) -> str:
    """Use a new name once, so that the engine lends at once; returns the address for processes."""
    name = f"benchmark-{next(_names)}"

    async def use() -> None:
        limiter = from_url(service.url, limit=LIMIT, name=name)
        await limiter.start()
        while not limiter.slots:  # noqa: ASYNC110 - it is nobody's event
            await asyncio.sleep(0.05)
        await limiter.aclose()

    asyncio.run(use())
    return f"{service.url.replace(str(service.port), str(port or service.port))}#{name}"


def engines() -> Iterator[tuple[str, Callable[[], contextlib.AbstractContextManager[Service]]]]:
    """Yield both engines."""
    yield "Redis", redis_server
    yield "PostgreSQL", postgres_server


COLUMNS = (
    Column("rate", "requests/s"),
    Column("fullest second", "requests"),
    Column("refused", "requests"),
    Column("CPU time", "µs a message"),
)


def run(options: Options) -> Findings:
    """Measure all tables."""
    count = message_count(options)
    shared, aims = share(count)
    return Findings((shared, compare(count), paced(count), faults(count)), aims)


def message_count(options: Options) -> int:
    """Return the number of messages of a run, which is not a multiple of the limit.

    One process alone sends 1800 messages in exactly six full sets of slots, and any other number of slots needs a seventh set
    for the last few messages.
    """
    return round(LIMIT * (max(LEAST_SECONDS, options.seconds) - 0.5))


def share(count: int) -> tuple[Table, tuple[Aim, ...]]:
    """Measure one limit for several processes, beside one process with a limiter of its own."""
    rows, several, busy = [], [], []
    for delay in DELAYS:
        responses = f"0 to {delay:.0f} ms" if delay else "at once"
        alone = send("window", [count], delay=delay)
        rows.append(Row.of(f"one process alone, {responses}", *alone.values, alone.reports))
        for name, engine in engines():
            with engine() as service:
                for messages, label in (
                    *(([count // processes] * processes, f"{processes} processes") for processes in (1, 2, 4, 8)),
                    ([count, 0, 0, 0], "1 of 4 busy"),
                ):
                    found = send(warm(service), messages, delay=delay)
                    ratio = found.lasting / alone.lasting
                    label = f"{name}, {label}, {responses}"
                    rows.append(Row.of(label, *found.values, found.reports, found.rate / alone.rate, ratio))
                    if len(messages) >= 4:
                        lasting = Spread.of([ratio])
                        what = f"lasting rate, of one process: {label}"
                        if 0 in messages:
                            busy.append(Aim(what, lasting, BUSY_AIM, at_least=True, unit="times"))
                        else:
                            several.append(Aim(what, lasting, AIM, at_least=True, unit="times"))
    columns = (
        *COLUMNS,
        Column("reports to the engine", "per second", 1),
        Column("rate, of one process alone", "times", 2),
        Column("lasting, of the same", "times", 2),
    )
    rows = [Row(row.label, (*row.values, None, None)[: len(columns)]) for row in rows]
    note = (
        "Rate: with the first 300 requests, which find every slot free. Lasting: without them. Reports: of the process "
        "with the most."
    )
    title = f"one limit of {LIMIT} for all processes, {count} messages, responses at random in this time"
    return Table(title, columns, tuple(rows), Chart("bars", "requests per second", bound=LIMIT), note), (
        worst(several),
        worst(busy),
    )


def paced(count: int) -> Table:
    """Measure the paced rule beside the strict one."""
    rows = []
    for delay in DELAYS:
        for jitter in (None, 0.02):
            extra = () if jitter is None else (f"--jitter={jitter}",)
            rule = "strict" if jitter is None else f"jitter={jitter}"
            found = send("window", [count], delay=delay, extra=extra)
            rows.append(Row.of(f"{rule}, responses in 0 to {delay:.0f} ms", *found.values, found.lasting))
    columns = (*COLUMNS, Column("lasting", "requests/s"))
    chart = Chart("bars", "requests per second after the first 300", column=4, bound=LIMIT)
    return Table(f"the paced rule, one process, {count} messages", columns, tuple(rows), chart)


def compare(count: int) -> Table:
    """Measure other libraries on the same work: four processes, responses in 0 to 50 ms."""
    rows = []
    with redis_server() as service:
        os.environ.update(RATE_ENGINE=service.url, RATE_PROCESSES="4")
        for name, cls in LIBRARIES.items():
            found = send(f"tests.benchmarks.contenders.limiters:{cls}", [count // 4] * 4, delay=50.0)
            rows.append(Row.of(name, *found.values))
        found = send(warm(service), [count // 4] * 4, delay=50.0)
        rows.append(Row.of("RedisRateLimiter", *found.values))
    with postgres_server() as service:
        found = send(warm(service), [count // 4] * 4, delay=50.0)
        rows.append(Row.of("PostgresRateLimiter", *found.values))
    title = f"other libraries: four processes, {count} messages, responses in 0 to 50 ms"
    note = "The other libraries count a request when it is admitted, and not when the server receives it."
    chart = Chart(
        "bars", "requests in the fullest second", column=1, bound=LIMIT, judged=tuple(row.label for row in rows)
    )
    return Table(title, COLUMNS, tuple(rows), chart, note)


def faults(count: int) -> Table:
    """Measure four processes with one fault each, two seconds after the start."""
    rows = []
    for name, engine in engines():
        for fault in (
            "none",
            "engine stopped for 4 s",
            "engine restarted empty",
            "process killed",
            "process stopped 5 s",
        ):
            with engine() as service:

                def strike(
                    processes: list[RateProcess], service: Service = service, fault: str = fault, name: str = name
                ) -> None:
                    time.sleep(2.0)
                    match fault:
                        case "engine stopped for 4 s":
                            service.kill()
                            time.sleep(4.0)
                            service.start()
                        case "engine restarted empty":
                            service.kill()
                            service.start()
                        case "process killed":
                            processes[0].process.kill()
                            processes[0].process.wait()
                        case "process stopped 5 s":
                            os.kill(processes[0].process.pid, signal.SIGSTOP)
                            time.sleep(5.0)
                            os.kill(processes[0].process.pid, signal.SIGCONT)

                found = send(warm(service), [count // 4] * 4, delay=50.0, fault=strike)
                rows.append(_fault_row(f"{name}, {fault}", found))
        with engine() as service, slow_proxy(service.port, 0.1) as port:
            found = send(warm(service, port=port), [count // 4] * 4, delay=50.0)
            rows.append(_fault_row(f"{name}, engine responds after 200 ms", found))
        with engine() as service:
            found = send(warm(service), [count // 4] * 4, delay=50.0, extra=("--clock-offsets=3600",))
            rows.append(_fault_row(f"{name}, clocks an hour apart", found))
    columns = (Column("accepted", "messages"), Column("time", "s", 2), *COLUMNS[:3])
    title = f"faults: four processes, {count} messages, responses in 0 to 50 ms"
    return Table(title, columns, tuple(rows))


def _fault_row(label: str, found: Run) -> Row:
    return Row.of(label, found.accepted, found.arrivals[-1] - found.arrivals[0], *found.values[:3])
