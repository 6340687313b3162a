"""`python -m tests.benchmarks [throughput|send|import|retry-cost|observers|journal|kills|memory|million|rate|shared-rate|webhooks|workers] [options]`, from the root of the repository."""

from __future__ import annotations

import argparse
import importlib.util
import logging

from tests.benchmarks import (
    import_time,
    journal,
    kills,
    memory,
    million,
    observer_cost,
    rate,
    retry_cost,
    send_alone,
    shared_rate,
    throughput,
    webhooks,
    workers,
)
from tests.benchmarks.report import machine, show

KINDS = (
    "throughput",
    "send",
    "import",
    "retry-cost",
    "observers",
    "journal",
    "kills",
    "memory",
    "million",
    "rate",
    "shared-rate",
    "webhooks",
    "workers",
)

IN_TURNS = {
    "throughput": (throughput.run, 0.1),
    "retry-cost": (retry_cost.run, 0.05),
    "observers": (observer_cost.run, 0.05),
    "journal": (journal.run, 0.4),
}
"""The kinds whose contenders take turns, and the length of a turn in seconds."""


def main() -> None:
    """Run one kind of benchmark, or all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Speed, memory and rate on loopback."
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, help="one kind; without it all of them")
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="seconds of measuring each contender, or of sending at the rate limit (default 10)",
    )
    parser.add_argument(
        "--slice",
        type=float,
        help="seconds of a contender's turn (default 0.1; retry-cost and observers 0.05; journal 0.4)",
    )
    parser.add_argument(
        "--messages",
        type=int,
        default=100_000,
        help="messages in the longest run of memory and million (default 100000)",
    )
    parser.add_argument("--concurrency", type=int, default=50, help="messages in flight (default 50; rate has its own)")
    parser.add_argument("--loop", choices=("plain", "uvloop", "both"), default="both")
    options = parser.parse_args()

    loops = ("plain", "uvloop") if options.loop == "both" else (options.loop,)
    if "uvloop" in loops and importlib.util.find_spec("uvloop") is None:
        show("uvloop: not installed")
        loops = ("plain",)
    # The measurement of the rate provokes 429s, and each would be logged.
    logging.getLogger("callbell_async").setLevel(logging.ERROR)
    show(machine())
    for kind in (options.kind,) if options.kind else KINDS:
        show("", f"== {kind}")
        match kind:
            case "throughput" | "retry-cost" | "observers" | "journal":
                run, slice_seconds = IN_TURNS[kind]
                run(
                    loops=loops,
                    concurrency=options.concurrency,
                    seconds=options.seconds,
                    slice_seconds=options.slice or slice_seconds,
                )
            case "send":
                send_alone.run(loops=loops, seconds=options.seconds, slice_seconds=options.slice or 0.1)
            case "import":
                import_time.run(seconds=options.seconds)
            case "kills":
                kills.run(kills=20)
            case "million":
                million.run(messages=options.messages, concurrency=options.concurrency)
            case "memory":
                memory.run(loops=loops, concurrency=options.concurrency, messages=options.messages)
            case "rate":
                rate.run(loops=loops, seconds=options.seconds)
            case "shared-rate":
                shared_rate.run(seconds=options.seconds)
            case "webhooks":
                webhooks.run(loops=loops, rounds=20, events=1_000)
            case "workers":
                workers.run(seconds=options.seconds)


if __name__ == "__main__":
    main()
