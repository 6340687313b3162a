"""The source of a run with a journal: claims before sending, few claims ahead, and no message lost at any end."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    CallbellError,
    DuplicateMessageError,
    InvalidMessageError,
    Journal,
    JournalEntry,
    Outcome,
    PaymentRequiredError,
    SendResult,
    TextMessage,
    WindowRateLimiter,
)
from callbell_async.bulk.journal_source import JournalSource
from callbell_async.bulk.source import MessageSource
from callbell_async.journal import BATCH_SIZE, MOST_AHEAD
from tests.support.fake_callbell import Behaviour, FakeCallbell, async_input, consume, new_run, texts
from tests.support.journal_model import UnsendableMessage
from tests.support.memory import traced_memory
from tests.support.virtual_disk import DiskLoop, on_disk

MAKES: tuple[Callable[[Iterable[Any]], Any], ...] = (list, iter, async_input)
IDS = ("list", "iterator", "async generator")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal that does not exist."""
    return Journal(tmp_path / "journal", risk_power_loss=True)


async def entries(journal: Journal) -> list[JournalEntry]:
    """Return all entries."""
    async with journal:
        return [entry async for entry in journal.entries()]


async def all_waiting() -> None:
    """Wait until all tasks wait."""
    await asyncio.sleep(1.0)


# --- claims ahead -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [iter, async_input], ids=["iterator", "async generator"])
def test_few_messages_are_claimed_before_they_start(make: Callable[[Iterable[Any]], Any], journal: Journal) -> None:
    """At most `MOST_AHEAD` claimed messages wait to start; the next batch is claimed when earlier messages have started."""
    read = 0

    def counted() -> Iterator[TextMessage]:
        nonlocal read
        for message in texts(200):
            read += 1
            yield message

    @on_disk
    async def main() -> None:
        source = JournalSource(MessageSource(make(counted())), journal)
        async with journal:
            source.start()
            taken: deque[Any] = deque()
            for batches in range(1, 6):
                for _ in range(BATCH_SIZE):
                    taken.append(await source.get())
                await all_waiting()
                claimed = len([entry async for entry in journal.entries()])
                assert claimed == batches * BATCH_SIZE
                assert read <= claimed + BATCH_SIZE
                while len(taken) > MOST_AHEAD - BATCH_SIZE:
                    taken.popleft()
                    source.ahead.step()
            source.stop()
            await source.stop_writing()
            assert [index for index, _ in source.remaining()][-1] == read - 1
            await source.close()

    main()


@on_disk
async def test_a_stalled_input_delays_no_message(journal: Journal) -> None:
    """Messages from an async input that waits are sent, although their batch is not full."""
    more = asyncio.Event()

    async def stalling() -> AsyncIterator[TextMessage]:
        for message in texts(7):
            if message.text == "3":
                await more.wait()
            yield message

    fake = FakeCallbell()
    sending = asyncio.ensure_future(new_run(fake, stalling(), concurrency=5, journal=journal)._collect())
    await all_waiting()
    assert sorted(fake.arrivals) == [0, 1, 2]
    more.set()
    assert (await sending).accepted == 7


@on_disk
async def test_more_workers_than_one_batch_has(journal: Journal) -> None:
    """With a concurrency above `BATCH_SIZE`, that number of messages is in flight, and each is sent once."""
    fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0))
    report = await new_run(fake, iter(texts(1_500)), concurrency=700, journal=journal)
    assert report.accepted == 1_500
    assert fake.most_in_flight == 700
    assert set(fake.accepted.values()) == {1}
    assert {entry.outcome for entry in await entries(journal)} == {Outcome.ACCEPTED}


@pytest.mark.parametrize("concurrency", [1, 50, 400])
def test_at_the_rate_limit_few_messages_wait_claimed(tmp_path: Path, concurrency: int) -> None:
    """At 300 messages a second, at most `MOST_AHEAD` messages are claimed and not sent at any moment."""
    loop = DiskLoop()
    loop.seconds = lambda number: 0.002

    async def main() -> None:
        journal = Journal(tmp_path / "journal", risk_power_loss=True, clock=loop.time)
        fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.05))
        run = new_run(
            fake, iter(texts(1_000)), concurrency=concurrency, journal=journal, rate_limit=WindowRateLimiter(300)
        )
        assert (await run).accepted == 1_000
        claimed = [(entry.tried_at.timestamp(), 1) for entry in await entries(journal)]
        started = [(at - 2e-6, -1) for at in fake.arrived_at]
        ahead = most = 0
        # The time of a claim is rounded to a microsecond. A message that starts at the same time starts before the claim.
        for _, change in sorted([*claimed, *started]):
            ahead += change
            most = max(most, ahead)
        assert most <= MOST_AHEAD
        assert fake.most_in_flight >= min(concurrency, 50)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKES, ids=IDS)
@pytest.mark.parametrize("iterated", [False, True])
def test_each_has_its_result(make: Callable[[Iterable[Any]], Any], iterated: bool, journal: Journal) -> None:
    """New messages, duplicates, rejected messages and invalid items: each index of the input has one result."""

    @on_disk
    async def main() -> None:
        await new_run(FakeCallbell(), texts(2), journal=journal)
        wrong = InvalidMessageError("to", "no recipient")
        items = [*texts(4), wrong, *texts(6)[3:], "no message", *texts(1)]
        fake = FakeCallbell(lambda number, attempt: Behaviour(status=400 if number == 3 else 200))
        results: list[SendResult] = []
        await consume(new_run(fake, make(items), journal=journal), results, iterated=iterated)
        by_index = sorted(results, key=lambda result: result.index)
        assert [result.message for result in by_index] == items
        assert "".join(result.outcome[0] for result in by_index) == "ssarnsaans"
        assert sorted(fake.arrivals) == [2, 3, 4, 5]
        assert by_index[4].error is wrong
        firsts = [result.error.first_index for result in by_index if isinstance(result.error, DuplicateMessageError)]
        assert firsts == [None, None, 3, None]
        assert [result.receipt and result.receipt.uuid for result in by_index[:2]] == ["uuid-0", "uuid-1"]

    main()


@on_disk
async def test_a_message_that_cannot_be_encoded_is_not_recorded(journal: Journal) -> None:
    """A message that can't be encoded as JSON is `NEVER_SENT` and not recorded; the others are sent."""
    broken = TextMessage(to="+31612345678", text="1")
    object.__setattr__(broken, "metadata", None)
    fake = FakeCallbell()
    report = await new_run(
        fake, [*texts(1), UnsendableMessage(to="+31612345678", key="fax"), broken, *texts(3)[2:]], journal=journal
    )
    assert [result.outcome for result in report.results] == [
        Outcome.ACCEPTED,
        Outcome.NEVER_SENT,
        Outcome.NEVER_SENT,
        Outcome.ACCEPTED,
    ]
    assert report.results[1].key == "fax"
    assert isinstance(report.results[2].error, TypeError)
    assert fake.arrivals == [0, 2]
    assert len(await entries(journal)) == 2


@on_disk
async def test_a_duplicate_stops_no_run(journal: Journal) -> None:
    """A duplicate does not stop a run, for any `stop_on`; otherwise a second run would stop at once."""
    await new_run(FakeCallbell(), texts(3), journal=journal)
    report = await new_run(FakeCallbell(), texts(6), journal=journal, stop_on=(CallbellError,))
    assert [result.outcome for result in report.results] == [Outcome.SKIPPED] * 3 + [Outcome.ACCEPTED] * 3


# --- ends -------------------------------------------------------------------------------------------------------------


class InputError(Exception):
    """An exception of an input."""


def failing(count: int) -> Iterator[TextMessage]:
    """Yield `count` messages, and raise an exception."""
    yield from texts(count)
    raise InputError


@pytest.mark.parametrize("make", [iter, async_input], ids=["iterator", "async generator"])
@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("count", [0, 1, 25])
def test_the_exception_of_an_input_is_raised_at_the_end(
    make: Callable[[Iterable[Any]], Any], iterated: bool, count: int, journal: Journal
) -> None:
    """If an input raises, its earlier messages are sent and recorded, and then the exception is raised."""

    @on_disk
    async def main() -> None:
        fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1))
        results: list[SendResult] = []
        with pytest.raises(InputError):
            await consume(new_run(fake, make(failing(count)), journal=journal), results, iterated=iterated)
        assert len(results) == count
        assert sorted(fake.arrivals) == list(range(count))
        assert [entry.outcome for entry in await entries(journal)] == [Outcome.ACCEPTED] * count

    main()


@pytest.mark.parametrize("make", MAKES, ids=IDS)
def test_the_next_run_sends_the_rest_of_a_stopped_run(make: Callable[[Iterable[Any]], Any], journal: Journal) -> None:
    """After a 402 no message is claimed or sent; claimed messages are `SKIPPED`; the next run sends all of them."""

    @on_disk
    async def main() -> None:
        fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1, status=402 if number == 5 else 200))
        report = await new_run(fake, make(texts(60)), concurrency=4, journal=journal)
        assert report.rejected == 1
        assert report.total == 60
        skipped = [result for result in report.results if result.outcome is Outcome.SKIPPED]
        assert all(isinstance(result.error, PaymentRequiredError) for result in skipped)
        written = {entry.key: entry for entry in await entries(journal)}
        assert len(written) < 40
        assert set(written) == {result.key for result in report.results if result.key is not None}
        assert all(written[result.key].outcome is result.outcome for result in report.results if result.key)
        assert any(result.key for result in skipped)

        again = FakeCallbell()
        report = await new_run(again, make(texts(60)), concurrency=4, journal=journal)
        assert sorted(fake.accepted + again.accepted) == list(range(60))
        assert set((fake.accepted + again.accepted).values()) == {1}
        assert report.accepted == 60 - fake.accepted.total()

    main()


@pytest.mark.parametrize("make", MAKES, ids=IDS)
@pytest.mark.parametrize("iterated", [False, True])
def test_the_next_run_sends_the_rest_of_a_cancelled_run(
    make: Callable[[Iterable[Any]], Any], iterated: bool, journal: Journal
) -> None:
    """After a cancellation, claimed messages that were not sent are `SKIPPED` in the journal, and the next run sends them."""

    @on_disk
    async def main() -> None:
        fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=1.0))
        results: list[SendResult] = []
        run = new_run(fake, make(texts(60)), concurrency=4, journal=journal)
        sending = asyncio.ensure_future(consume(run, results, iterated=iterated))
        await asyncio.sleep(2.5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        outcomes = [entry.outcome for entry in await entries(journal)]
        assert outcomes[:12] == [Outcome.ACCEPTED] * 12
        assert set(outcomes[12:]) == {Outcome.SKIPPED}
        assert len(fake.arrivals) == 12
        # Of an input without a length, only the messages that were read ahead have a result.
        read = run.report.skipped + 12
        assert read == 60 if make is list else len(outcomes) <= read <= len(outcomes) + MOST_AHEAD

        again = FakeCallbell()
        await new_run(again, make(texts(60)), concurrency=4, journal=journal)
        assert sorted(again.arrivals) == list(range(12, 60))

    main()


def cancelled_all_at_once(path: Path, rounds: int) -> bool:
    """Cancel all tasks of a run after some rounds of the loop, check the result, and return whether the run had not ended before."""
    loop = DiskLoop()
    round_number = 0

    async def main() -> bool:
        journal = Journal(path, risk_power_loss=True)
        fake = FakeCallbell(lambda number, attempt: Behaviour(write_time=0.002, response_time=0.001))
        run = new_run(fake, iter(texts(12)), concurrency=2, journal=journal)
        running = asyncio.ensure_future(run._collect())
        own = asyncio.current_task()

        def cancel_all() -> bool:
            nonlocal round_number
            round_number += 1
            if round_number != rounds:
                return False
            for task in asyncio.all_tasks(loop):
                if task is not own:
                    loop.call_soon(task.cancel)
            return True

        loop.at_round(cancel_all)
        await asyncio.wait({running})
        loop.at_round(lambda: False)
        assert running.cancelled() or running.exception() is None
        reported = {result.key: result.outcome for result in run.report.results if result.key is not None}
        for entry in await entries(journal):
            # A run that was cancelled before it started has no results and no entries.
            assert reported[entry.key] is entry.outcome, (rounds, entry)
        again = await new_run(fake, iter(texts(12)), journal=journal)
        assert again.accepted == 12 - run.report.accepted - run.report.unknown
        assert set(fake.accepted.values()) <= {1}
        return running.cancelled()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


@pytest.mark.slow
def test_report_and_journal_agree_after_cancelling_every_task(tmp_path: Path) -> None:
    """If a program cancels all its tasks at any point, report and journal agree, and the next run sends the rest."""
    rounds, unfinished = 0, True
    while unfinished:
        rounds += 1
        unfinished = cancelled_all_at_once(tmp_path / f"journal {rounds}", rounds)
    assert rounds > 50


@pytest.mark.parametrize("with_journal", [False, True])
def test_an_input_that_ignores_cancellation_is_abandoned(with_journal: bool, journal: Journal) -> None:
    """A run abandons an input that ignores eleven cancellations, with and without a journal."""

    @on_disk
    async def main() -> None:
        free = asyncio.Event()

        async def ignores_cancellation() -> AsyncIterator[TextMessage]:
            yield texts(1)[0]
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

        run = new_run(FakeCallbell(), ignores_cancellation(), concurrency=2, journal=journal if with_journal else None)
        sending = asyncio.ensure_future(run._collect())
        await all_waiting()
        for _ in range(11):
            assert not sending.done()
            sending.cancel()
            await all_waiting()
        assert sending.cancelled()
        assert run.report.accepted == 1
        free.set()
        await all_waiting()

    main()


@pytest.mark.parametrize("with_journal", [False, True])
def test_an_input_may_close_its_run(with_journal: bool, journal: Journal) -> None:
    """An input that closes its own run does not wait for itself."""

    @on_disk
    async def main() -> None:
        async def closing() -> AsyncIterator[TextMessage]:
            for message in texts(5):
                if message.text == "3":
                    await run.aclose()
                yield message

        fake = FakeCallbell()
        run = new_run(fake, closing(), concurrency=2, journal=journal if with_journal else None)
        with pytest.raises(CallbellError, match="closed before it ended"):
            await run
        # With a journal the input is read before the messages are claimed.
        assert (set() if with_journal else {0, 1}) <= set(fake.arrivals) <= {0, 1, 2}
        assert run.report.total >= 3
        assert run.report.accepted == len(fake.arrivals)

    main()


# --- memory -----------------------------------------------------------------------------------------------------------


def _peaks(path: Path) -> tuple[int, int]:
    """Send 6 000 messages; return the peak of the traced memory for the first 3 000 and for the others, in bytes."""

    async def main() -> tuple[int, int]:
        first = seen = 0
        fake = FakeCallbell(lambda number, attempt: Behaviour(response_time=0.1), keeps=False)
        generated = (TextMessage(to="+31612345678", text=str(number)) for number in range(6_000))
        async for _ in new_run(fake, generated, concurrency=100, journal=Journal(path, risk_power_loss=True)):
            seen += 1
            if seen == 3_000:
                first = tracemalloc.get_traced_memory()[1]
                tracemalloc.reset_peak()
        return first, tracemalloc.get_traced_memory()[1]

    with asyncio.Runner(loop_factory=DiskLoop) as runner, traced_memory():
        return runner.run(main())


@pytest.mark.slow
def test_memory_is_constant(tmp_path: Path) -> None:
    """Of 6 000 messages from a generator, the second half needs no more memory than the first."""
    first, later = _peaks(tmp_path / "journal")
    assert first > 100_000
    # A list of what is kept would take 8 bytes for each message.
    assert later - first < 10_000
