"""A process of its own that sends messages under a shared rate limit: `python -m tests.support.rate_process`.

It connects its limiter and prints `ready`, waits for a line on its standard input, sends, and prints one line of JSON. With
`--messages 0` it keeps its limiter open until its standard input ends. It also ends when that does, so that none is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import sys
import threading
import time

from callbell_async import CallbellClient, RateLimiter, TextMessage, WindowRateLimiter
from callbell_async.limits import SharedRateLimiter, from_url


def new_limiter(name: str, limit: int, jitter: float | None) -> RateLimiter | None:
    """`window`, the URL of a shared one with its name as `#fragment`, or `module:class` for a class that takes the limit."""
    if name == "window":
        return WindowRateLimiter(limit, jitter=jitter)
    if "://" in name:
        url, _, shared_name = name.partition("#")
        return from_url(url, limit=limit, jitter=jitter, name=shared_name or "callbell")
    module, _, cls = name.partition(":")
    limiter: RateLimiter = getattr(importlib.import_module(module), cls)(limit)
    return limiter


def shift_clock(seconds: float) -> None:
    """Set the wall clock that this process reads, as on a host whose clock is wrong."""
    original = time.time
    time.time = lambda: original() + seconds


async def main(options: argparse.Namespace) -> None:
    """Connect, wait for the line, send, and report."""
    loop = asyncio.get_running_loop()
    limiter = new_limiter(options.limiter, options.limit, options.jitter)
    client = CallbellClient(
        "a-test-token", base_url=options.base_url, rate_limit=limiter, max_connections=options.concurrency
    )
    if isinstance(limiter, SharedRateLimiter):
        await limiter.start()
    print("ready", flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.readline)
    threading.Thread(target=_end_with_input, args=(options.messages == 0,), daemon=True).start()
    async with client:
        started, cpu = time.monotonic(), time.process_time()
        messages = (TextMessage(to="+31612345678", text=f"{options.name}-{n}") for n in range(options.messages))
        if options.messages:
            report = await client.send_many(messages, concurrency=options.concurrency)
            seconds, cpu = time.monotonic() - started, time.process_time() - cpu
            found = {
                "accepted": report.accepted,
                "errors": sorted({repr(result.error) for result in report.results if result.error})[:3],
                "seconds": seconds,
                "cpu": cpu,
                "reports": getattr(limiter, "reports", 0),
            }
            print(json.dumps(found), flush=True)  # noqa: T201
        else:
            await asyncio.sleep(3600)
    if isinstance(limiter, SharedRateLimiter):
        await limiter.aclose()


def _end_with_input(quietly: bool) -> None:
    sys.stdin.read()
    os._exit(0 if quietly else 1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    parser = argparse.ArgumentParser()
    parser.add_argument("--limiter", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--name", default="0")
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--jitter", type=float)
    parser.add_argument("--clock-offsets", type=float, default=0.0, help="seconds, times the number of the process")
    arguments = parser.parse_args()
    shift_clock(arguments.clock_offsets * int(arguments.name))
    asyncio.run(main(arguments))
