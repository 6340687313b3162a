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
from tests.benchmarks.report import show, table
from tests.benchmarks.servers import strict_server
from tests.support.rate_processes import RateProcess, rate_processes
from tests.support.services import Service, postgres_server, redis_server
from tests.support.slow_proxy import slow_proxy

LIMIT = 300
DELAYS = (0.0, 50.0, 300.0)
"""The longest answer times in milliseconds."""

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
    def row(self) -> tuple[str, ...]:
        """The cells of a table."""
        return (
            f"{self.rate:.0f}",
            str(self.fullest),
            str(self.refused),
            f"{self.cpu / max(1, self.accepted) * 1e6:.0f}",
            f"{self.reports:.1f}",
        )


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
    """Both engines."""
    yield "Redis", redis_server
    yield "PostgreSQL", postgres_server


HEAD = ("limiter", "processes", "answers", "rate", "fullest", "429s", "CPU µs", "reports/s")


def run(*, seconds: float) -> None:
    """All tables."""
    # Not a multiple of the limit. One process alone sends 1800 messages in exactly six full sets of slots, and any other number of
    # slots needs a seventh set for the last few messages.
    count = round(LIMIT * (seconds - 0.5))
    show(f"{count} messages in all against a limit of {LIMIT} in any second")
    share(count)
    compare(count)
    paced(count)
    faults(count)


def share(count: int) -> None:
    """One limit for several processes, beside one process with a limiter of its own."""
    rows = []
    for delay in DELAYS:
        answers = f"0 to {delay:.0f} ms" if delay else "at once"
        alone = send("window", [count], delay=delay)
        rows.append(("one process alone", "1", answers, *alone.row, "", ""))
        for name, engine in engines():
            with engine() as service:
                for processes in (1, 2, 4, 8):
                    found = send(warm(service), [count // processes] * processes, delay=delay)
                    rows.append((name, str(processes), answers, *found.row, *_compared(found, alone)))
                found = send(warm(service), [count, 0, 0, 0], delay=delay)
                rows.append((name, "1 of 4 busy", answers, *found.row, *_compared(found, alone)))
    show("", table((*HEAD, "of alone", "lasting"), rows))
    show(
        "rate: requests a second, the first set included. of alone: of the rate of one process alone. lasting: the same for the pace",
        "after the first 300 requests, which find every slot free. reports/s: of the process with the most.",
    )


def _compared(found: Run, alone: Run) -> tuple[str, str]:
    return f"{found.rate / alone.rate:.0%}", f"{pace(found.arrivals) / pace(alone.arrivals):.0%}"


def paced(count: int) -> None:
    """The paced rule beside the strict one."""
    rows = []
    for delay in DELAYS:
        for jitter in (None, 0.02):
            extra = () if jitter is None else (f"--jitter={jitter}",)
            rule = "strict" if jitter is None else f"jitter={jitter}"
            found = send("window", [count], delay=delay, extra=extra)
            rows.append((rule, f"0 to {delay:.0f} ms", *found.row[:4], f"{pace(found.arrivals) / LIMIT:.1%}"))
    show("", "the paced rule, one process", table(("rule", "answers", *HEAD[3:7], "lasting"), rows))


def pace(arrivals: Sequence[float]) -> float:
    """Requests a second after the first full set, as the slope of a line through all arrivals."""
    later = arrivals[LIMIT:]
    return statistics.linear_regression(later, range(len(later))).slope


def compare(count: int) -> None:
    """Other libraries on the same work: four processes, answers of 0 to 50 ms."""
    rows = []
    with redis_server() as service:
        os.environ.update(RATE_ENGINE=service.url, RATE_PROCESSES="4")
        for name, cls in LIBRARIES.items():
            found = send(f"tests.benchmarks.contenders.limiters:{cls}", [count // 4] * 4, delay=50.0)
            rows.append((name, *found.row[:4]))
        found = send(warm(service), [count // 4] * 4, delay=50.0)
        rows.append(("RedisRateLimiter", *found.row[:4]))
    with postgres_server() as service:
        found = send(warm(service), [count // 4] * 4, delay=50.0)
        rows.append(("PostgresRateLimiter", *found.row[:4]))
    show("", "four processes, answers in 0 to 50 ms", table(("limiter", *HEAD[3:7]), rows))


def faults(count: int) -> None:
    """Four processes, answers of 0 to 50 ms, and one fault after two seconds; what it costs."""
    rows = []
    for name, engine in engines():
        for fault in ("none", "engine away for 4 s", "engine restarted empty", "process killed", "process stopped 5 s"):
            with engine() as service:

                def strike(
                    processes: list[RateProcess], service: Service = service, fault: str = fault, name: str = name
                ) -> None:
                    time.sleep(2.0)
                    match fault:
                        case "engine away for 4 s":
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

                rows.append((name, fault, *_cells(send(warm(service), [count // 4] * 4, delay=50.0, fault=strike))))
        with engine() as service, slow_proxy(service.port, 0.1) as port:
            found = send(warm(service, port=port), [count // 4] * 4, delay=50.0)
            rows.append((name, "engine responds after 200 ms", *_cells(found)))
        with engine() as service:
            found = send(warm(service), [count // 4] * 4, delay=50.0, extra=("--clock-offsets=3600",))
            rows.append((name, "clocks an hour apart", *_cells(found)))
    show("", "faults", table(("engine", "fault", "accepted", "elapsed", "rate", "fullest", "429s"), rows))


def _cells(found: Run) -> tuple[str, ...]:
    elapsed = found.arrivals[-1] - found.arrivals[0]
    return (
        str(found.accepted),
        f"{elapsed:.2f}",
        f"{found.rate:.0f}",
        str(found.fullest),
        str(found.refused),
    )
