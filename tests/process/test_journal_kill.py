"""A campaign killed at any moment and started again: nothing is sent twice, nothing is lost, and the journal tells the truth."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from callbell_async import Outcome
from callbell_async.bulk.journal_source import BATCH_SIZE, MOST_AHEAD
from callbell_async.sandbox import Fault, Sandbox, faults
from tests.support.campaign_child import Moment, Order, campaign
from tests.support.campaign_process import CampaignLauncher, ProcessExit, entries_of, journal_violations, killing

COUNT = 2000
CONCURRENCY = 20
MOMENTS = ("begun", "read", "accepted", "half answered", "answered")

UNCLEAR = {"accept, then close", "accept, then reset", "reset after reading", "close after reading", "half an answer"}
"""What leaves it open whether a message was accepted."""


def trouble(seed: int) -> list[Fault]:
    """What one request in twenty meets."""
    kinds = [
        faults.accept_then_close(),
        faults.reset_after_reading(accept=True),
        faults.reset_after_reading(),
        faults.close_after_reading(),
        faults.truncated_response(),
        faults.close_before_reading(),
        faults.reset_before_reading(),
        faults.respond(500),
        faults.respond(429),
        faults.respond(400, {"error": {"to": ["is not possible"]}}),
    ]
    return random.Random(seed).choices(kinds, k=1000)


def most_unknown(sandbox: Sandbox, *, kills: int) -> int:
    """Return the most messages that can be in doubt: those that met a fault, and for each kill a number that no machine exceeds.

    In flight; claimed and not started; and the two batches whose results can be unwritten while a claim is being written.
    """
    unclear = sum(request.fault in UNCLEAR for request in sandbox.requests)
    return unclear + kills * (CONCURRENCY + MOST_AHEAD + 2 * BATCH_SIZE)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A Callbell without a rate limit."""
    async with Sandbox(limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def office() -> AsyncIterator[CampaignLauncher]:
    """Where the processes of campaigns are started."""
    async with CampaignLauncher() as office:
        yield office


def after(sandbox: Sandbox, office: CampaignLauncher, requests: int) -> Callable[[object], bool]:
    """Whether there is a process to be killed, and the sandbox has read so many requests more."""
    whole = len(sandbox.requests) + requests
    return lambda _: office.process is not None and len(sandbox.requests) >= whole


@pytest.mark.parametrize(("seed", "count"), [(1, 3000), (2, 3000), (3, 5000)])
async def test_a_campaign_killed_at_any_moment_sends_each_message_once(
    sandbox: Sandbox, office: CampaignLauncher, tmp_path: Path, seed: int, count: int
) -> None:
    """Killed a dozen times while requests are begun, read, accepted or answered, among faults: started again, it ends with the truth."""
    chance = random.Random(seed)
    path = tmp_path / "spring.db"
    order = Order(sandbox.url, str(path), seed=seed, size=count, concurrency=CONCURRENCY)
    moments = [*MOMENTS, *MOMENTS, "accepted", "accepted"]
    chance.shuffle(moments)
    for life, moment in enumerate(moments):
        # The kill's rule comes first, so that no fault takes its request.
        due = after(sandbox, office, chance.randrange(1, 150))
        kill = sandbox.inject(killing(office.kill, moment), times=1, when=due)
        disturbance = sandbox.inject(*trouble(seed + life), probability=0.05, seed=seed + life)
        ended = await office.run(order)
        # What it sent before it died may be read only now: it must not meet the next life's rules.
        await sandbox.wait_disconnected()
        disturbance.remove()
        assert (ended.killed, kill.met) == (True, 1)
    disturbance = sandbox.inject(*trouble(seed), probability=0.05, seed=seed)
    ended = await office.run(order)
    disturbance.remove()
    await sandbox.wait_disconnected()

    entries = await entries_of(path)
    assert not ended.killed
    assert journal_violations(campaign(seed, count), sandbox.messages, entries) == []
    outcomes = Counter(entry.outcome for entry in entries)
    assert outcomes.total() == count
    assert 0 < outcomes[Outcome.UNKNOWN] <= most_unknown(sandbox, kills=len(moments))


async def test_what_is_passed_over_puts_no_more_in_doubt(
    sandbox: Sandbox, office: CampaignLauncher, tmp_path: Path
) -> None:
    """However fast a second run goes past what is known already: killed at the first of its own messages, it has written few ahead."""
    path = tmp_path / "spring.db"
    order = Order(sandbox.url, str(path), size=COUNT // 2, concurrency=CONCURRENCY)
    await office.run(order)
    sandbox.inject(killing(office.kill, "read"), times=1)
    assert (await office.run(order._replace(size=COUNT))).killed
    entries = await entries_of(path)
    assert 0 < sum(entry.outcome is Outcome.UNKNOWN for entry in entries) <= 5 * CONCURRENCY


def steps_of(life: ProcessExit, seed: int) -> dict[str, int]:
    """Each kind of step that an undisturbed life took, in order, with one of the times it took it."""
    chance = random.Random(seed)
    return {step: chance.randint(1, min(count, 12)) for step, count in life.output["steps"].items()}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_campaign_killed_at_any_step_of_its_journal_sends_each_message_once(
    sandbox: Sandbox, office: CampaignLauncher, tmp_path: Path, when: str
) -> None:
    """Killed before or after each kind of statement its journal executes, from the lock to the last close, it ends with the truth."""
    # They are tried again in every life.
    sandbox.inject(faults.respond(400), when=lambda request: request.document["content"]["text"].endswith("7"))
    # What an undisturbed life does, and then one that goes on.
    rehearsal = tmp_path / "rehearsal" / "spring.db"
    rehearsal.parent.mkdir()
    order = Order(sandbox.url, str(rehearsal), seed=1, size=COUNT, concurrency=CONCURRENCY)
    steps = {**steps_of(await office.run(order), 1), **steps_of(await office.run(order), 2)}
    await sandbox.wait_disconnected()
    sandbox.messages.clear()

    path = tmp_path / "spring.db"
    order = order._replace(journal=str(path), seed=2)
    kills = 0
    for step, occurrence in steps.items():
        # How often a step is taken depends on how fast all else is; a few are taken only when it is slow.
        for moment in (Moment(when, step, occurrence), Moment(when, step)):
            killed = (await office.run(order._replace(moment=moment))).killed
            kills += killed
            if killed:
                break
    assert kills >= len(steps) - 3
    ended = await office.run(order)
    await sandbox.wait_disconnected()

    entries = await entries_of(path)
    assert not ended.killed
    assert journal_violations(campaign(2, COUNT), sandbox.messages, entries) == []
    outcomes = Counter(entry.outcome for entry in entries)
    assert outcomes[Outcome.REJECTED] > COUNT / 20
    assert outcomes[Outcome.UNKNOWN] <= most_unknown(sandbox, kills=kills)


@pytest.mark.parametrize("flaw", ["no journal", "nothing committed"])
async def test_without_a_journal_the_same_check_finds_second_copies(
    sandbox: Sandbox, office: CampaignLauncher, tmp_path: Path, flaw: str
) -> None:
    """The check can fail: one kill, and messages are there twice, when nothing was written down, or not for good."""
    path = tmp_path / "spring.db"
    journal = None if flaw == "no journal" else str(path)
    order = Order(sandbox.url, journal, size=COUNT, concurrency=CONCURRENCY, forgetful=journal is not None)
    sandbox.inject(killing(office.kill, "accepted"), times=1, when=after(sandbox, office, 100))
    assert (await office.run(order)).killed
    assert not (await office.run(order._replace(forgetful=False))).killed
    await sandbox.wait_disconnected()
    found = journal_violations(campaign(0, COUNT), sandbox.messages, None)
    assert len([one for one in found if "copies of" in one]) > 50
