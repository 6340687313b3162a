"""The memory that a run of `send_many` takes: that of the messages in flight, for any number of messages."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from weakref import WeakSet

import pytest

from callbell_async import TextMessage
from tests.support.clock import VirtualTimeLoop
from tests.support.fake_callbell import Behaviour, FakeCallbell, new_run
from tests.support.memory import traced_memory

pytestmark = pytest.mark.slow

CONCURRENCY = 20


def generated(count: int) -> Iterator[TextMessage]:
    """Messages that only the run refers to."""
    return (TextMessage(to="+31612345678", text=str(number)) for number in range(count))


def behaviour(number: int, attempt: int) -> Behaviour:
    """One message in fifty is refused, because errors must not take memory, either."""
    return Behaviour(response_time=0.1, status=400 if number % 50 == 0 else 200)


def traced(count: int, *, iterated: bool, at: int = 0) -> tuple[int, int]:
    """Send `count` messages, and return the peak of memory in bytes until `at` results had come, and the peak after them."""

    async def main() -> tuple[int, int]:
        run = new_run(FakeCallbell(behaviour, keeps=False), generated(count), concurrency=CONCURRENCY)
        first = seen = 0
        if iterated:
            async for _ in run:
                seen += 1
                if seen == at:
                    first = tracemalloc.get_traced_memory()[1]
                    tracemalloc.reset_peak()
        else:
            await run
        assert run.report.accepted == count * 49 // 50
        return first, tracemalloc.get_traced_memory()[1]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, traced_memory():
        return runner.run(main())


def test_memory_is_constant_under_async_for() -> None:
    """Of 6 000 messages from a generator, the last 4 000 take no more memory than the first 2 000."""
    first, later = traced(6_000, iterated=True, at=2_000)
    assert first > 50_000
    # A list of what is kept would take 8 bytes for each message.
    assert later - first < 15_000


def test_the_measure_sees_what_is_kept() -> None:
    """The same measurement shows the results that `await` keeps: hundreds of bytes for each message."""
    (_, few), (_, many) = traced(500, iterated=False), traced(1_500, iterated=False)
    assert many - few > 300 * 1_000


@pytest.mark.virtual_time
async def test_only_messages_in_flight_are_alive() -> None:
    """Only messages in flight, and those with an unread result, are still in memory."""
    alive: WeakSet[TextMessage] = WeakSet()
    most = 0

    def watched() -> Iterator[TextMessage]:
        for number in range(3_000):
            message = TextMessage(to="+31612345678", text=str(number))
            alive.add(message)
            yield message

    run = new_run(FakeCallbell(behaviour, keeps=False), watched(), concurrency=CONCURRENCY)
    results = aiter(run)
    # No variable holds a result.
    while await anext(results, None) is not None:
        most = max(most, len(alive))
    assert run.report.total == 3_000
    assert CONCURRENCY <= most <= 2 * CONCURRENCY + 2
    assert not alive
