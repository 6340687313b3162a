"""A campaign is killed at any moment and started again: nothing is sent twice, nothing is lost, and the journal is true."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from callbell_async import Outcome
from callbell_async.journal import BATCH_SIZE, MOST_AHEAD
from callbell_async.sandbox import Fault, Sandbox, faults
from tests.support.campaign_child import ChildConfig, KillPoint, campaign_messages
from tests.support.campaign_process import CampaignLauncher, ProcessExit, entries_of, journal_violations, kill_fault

pytestmark = pytest.mark.slow

COUNT = 2000
CONCURRENCY = 20
MOMENTS = ("begun", "read", "accepted", "half responded", "responded")

UNCLEAR = {"accept_then_close", "accept_then_reset", "reset_after_reading", "close_after_reading", "truncated_response"}
"""The faults after which a message may or may not have been accepted."""


def random_faults(seed: int) -> list[Fault]:
    """Return the faults that one request in twenty meets."""
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
    """Return the most messages that can be `UNKNOWN`: those that met an unclear fault, and for each kill the messages in memory.

    These are the messages in flight, those claimed and not started, and two batches whose results are not written yet.
    """
    unclear = sum(request.fault in UNCLEAR for request in sandbox.requests)
    return unclear + kills * (CONCURRENCY + MOST_AHEAD + 2 * BATCH_SIZE)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit."""
    async with Sandbox(limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def launcher() -> AsyncIterator[CampaignLauncher]:
    """A launcher of the campaign's processes."""
    async with CampaignLauncher() as launcher:
        yield launcher


def after(sandbox: Sandbox, launcher: CampaignLauncher, requests: int) -> Callable[[object], bool]:
    """Return a condition: a process runs, and the sandbox has received `requests` more requests."""
    whole = len(sandbox.requests) + requests
    return lambda _: launcher.process is not None and len(sandbox.requests) >= whole


@pytest.mark.parametrize(("seed", "count"), [(1, 3000), (2, 3000), (3, 5000)])
async def test_a_campaign_killed_at_any_moment_sends_each_message_once(
    sandbox: Sandbox, launcher: CampaignLauncher, tmp_path: Path, seed: int, count: int
) -> None:
    """A campaign is killed twelve times at different moments of a request, among faults; after a restart it sends each message once."""
    chance = random.Random(seed)
    path = tmp_path / "spring.db"
    config = ChildConfig(sandbox.url, str(path), seed=seed, size=count, concurrency=CONCURRENCY)
    moments = [*MOMENTS, *MOMENTS, "accepted", "accepted"]
    chance.shuffle(moments)
    for run, moment in enumerate(moments):
        # The rule of the kill comes first, so that no fault replaces it.
        due = after(sandbox, launcher, chance.randrange(1, 150))
        kill = sandbox.inject(kill_fault(launcher.kill, moment), times=1, when=due)
        fault_rule = sandbox.inject(*random_faults(seed + run), probability=0.05, seed=seed + run)
        ended = await launcher.run(config)
        # The sandbox may receive its last requests only now; they must not meet the next rules.
        await sandbox.wait_disconnected()
        fault_rule.remove()
        assert (ended.killed, kill.applied) == (True, 1)
    fault_rule = sandbox.inject(*random_faults(seed), probability=0.05, seed=seed)
    ended = await launcher.run(config)
    fault_rule.remove()
    await sandbox.wait_disconnected()

    entries = await entries_of(path)
    assert not ended.killed
    assert journal_violations(campaign_messages(seed, count), sandbox.messages, entries) == []
    outcomes = Counter(entry.outcome for entry in entries)
    assert outcomes.total() == count
    assert 0 < outcomes[Outcome.UNKNOWN] <= most_unknown(sandbox, kills=len(moments))


async def test_known_messages_leave_no_further_messages_unknown(
    sandbox: Sandbox, launcher: CampaignLauncher, tmp_path: Path
) -> None:
    """A second run that passes known messages quickly has few claims when it is killed at its first own request."""
    path = tmp_path / "spring.db"
    config = ChildConfig(sandbox.url, str(path), size=COUNT // 2, concurrency=CONCURRENCY)
    await launcher.run(config)
    sandbox.inject(kill_fault(launcher.kill, "read"), times=1)
    assert (await launcher.run(config._replace(size=COUNT))).killed
    entries = await entries_of(path)
    assert 0 < sum(entry.outcome is Outcome.UNKNOWN for entry in entries) <= 5 * CONCURRENCY


def steps_of(process: ProcessExit, seed: int) -> dict[str, int]:
    """Return each step of an undisturbed process, in order, with one of its occurrences."""
    chance = random.Random(seed)
    return {step: chance.randint(1, min(count, 12)) for step, count in process.output["steps"].items()}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_campaign_killed_at_any_step_of_its_journal_sends_each_message_once(
    sandbox: Sandbox, launcher: CampaignLauncher, tmp_path: Path, when: str
) -> None:
    """A campaign is killed before or after each kind of statement of its journal; after a restart it sends each message once."""
    # Each process tries the rejected messages again.
    sandbox.inject(faults.respond(400), when=lambda request: request.document["content"]["text"].endswith("7"))
    # The steps of an undisturbed first run, and of a second run.
    rehearsal = tmp_path / "rehearsal" / "spring.db"
    rehearsal.parent.mkdir()
    config = ChildConfig(sandbox.url, str(rehearsal), seed=1, size=COUNT, concurrency=CONCURRENCY)
    steps = {**steps_of(await launcher.run(config), 1), **steps_of(await launcher.run(config), 2)}
    await sandbox.wait_disconnected()
    sandbox.messages.clear()

    path = tmp_path / "spring.db"
    config = config._replace(journal=str(path), seed=2)
    kills = 0
    for step, occurrence in steps.items():
        # The number of times depends on the speed of the machine, and a slow machine takes a few other steps.
        for moment in (KillPoint(when, step, occurrence), KillPoint(when, step)):
            killed = (await launcher.run(config._replace(kill_point=moment))).killed
            kills += killed
            if killed:
                break
    assert kills >= len(steps) - 3
    ended = await launcher.run(config)
    await sandbox.wait_disconnected()

    entries = await entries_of(path)
    assert not ended.killed
    assert journal_violations(campaign_messages(2, COUNT), sandbox.messages, entries) == []
    outcomes = Counter(entry.outcome for entry in entries)
    assert outcomes[Outcome.REJECTED] > COUNT / 20
    assert outcomes[Outcome.UNKNOWN] <= most_unknown(sandbox, kills=kills)


@pytest.mark.parametrize("flaw", ["no journal", "nothing committed"])
async def test_without_a_journal_the_same_check_finds_second_copies(
    sandbox: Sandbox, launcher: CampaignLauncher, tmp_path: Path, flaw: str
) -> None:
    """The check finds copies after one kill if nothing was written, or nothing was committed."""
    path = tmp_path / "spring.db"
    journal = None if flaw == "no journal" else str(path)
    config = ChildConfig(sandbox.url, journal, size=COUNT, concurrency=CONCURRENCY, skip_writes=journal is not None)
    sandbox.inject(kill_fault(launcher.kill, "accepted"), times=1, when=after(sandbox, launcher, 100))
    assert (await launcher.run(config)).killed
    assert not (await launcher.run(config._replace(skip_writes=False))).killed
    await sandbox.wait_disconnected()
    found = journal_violations(campaign_messages(0, COUNT), sandbox.messages, None)
    assert len([violation for violation in found if "copies of" in violation]) > 50
