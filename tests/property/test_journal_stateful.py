"""Campaigns, crashes and faults in any order: a journal sends each message once, and says nothing that isn't so."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from callbell_async import (
    DuplicateMessageError,
    Event,
    InvalidMessageError,
    Journal,
    JournalEntry,
    JournalError,
    Message,
    MessageCreated,
    MessageStatus,
    MessageStatusUpdated,
    Outcome,
    PaymentRequiredError,
    SendResult,
)
from callbell_async.journal import Claim, ClaimRequest, JournalWriter, Row, State, writer_of
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA
from tests.fixtures.strategies import quick
from tests.support.journal_model import INVALID, MAKES, POOL, Account, Campaign, Fate, Fax, Used, key_of, use
from tests.support.virtual_disk import DiskLoop

FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where nothing waits for a disk."""

AGAIN = (None, Outcome.REJECTED, Outcome.NEVER_SENT, Outcome.SKIPPED)
KEYS = sorted({key_of(message) for message in POOL})

moments = st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0])

fates = st.builds(
    Fate,
    connecting=moments,
    leaving=moments,
    answering=moments,
    connects=st.sampled_from([True, True, True, True, False]),
    arrives=st.sampled_from([True, True, True, True, False]),
    answers=st.sampled_from([True, True, False]),
    late=st.sampled_from([None, None, None, None, None, 2.0]),
    status=st.sampled_from([200] * 8 + [400, 400, 429, 500, 402]),
    sends_event=st.booleans(),
)

campaigns = st.builds(
    Campaign,
    items=st.lists(st.sampled_from([*POOL, *INVALID]), max_size=15),
    fates=st.fixed_dictionaries(
        {}, optional={str(number): st.lists(fates, min_size=1, max_size=2) for number in range(len(POOL))}
    ),
    make=st.sampled_from(MAKES),
    concurrency=st.integers(1, 4),
    attempts=st.integers(1, 3),
    iterated=st.booleans(),
    kept_open=st.booleans(),
    key_in_metadata=st.booleans(),
    disk=st.sampled_from([0.0, 0.001, 0.4]),
    shutdown_timeout=st.sampled_from([0.0, 0.2, 60.0]),
)

endings = st.one_of(
    st.tuples(st.just("break"), st.integers(1, 5), st.just(0.0)),
    st.tuples(st.just("cancel"), st.integers(1, 40), st.just(0.0)),
    st.tuples(st.just("crash"), st.integers(1, 40), st.just(0.0)),
    st.tuples(st.just("torn"), st.integers(1, 6), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])),
)


@attrs.define
class Belief:
    """What the model holds of one key: what the journal must say of it, and how many copies somebody asked for beyond the first.

    `asked` is whether it is unknown, and the next run may try it all the same.
    """

    outcome: Outcome | None = None
    resends: int = 0
    asked: bool = False

    @property
    def again(self) -> bool:
        """Whether the next run may try it."""
        return self.outcome in AGAIN or self.asked

    def after(self, outcome: Outcome) -> Outcome:
        """What is true of it when one more attempt came out so."""
        return Outcome.UNKNOWN if self.asked and outcome is not Outcome.ACCEPTED else outcome


class Machine(RuleBasedStateMachine):
    """One journal's life, and Callbell beside it."""

    journal_class: ClassVar[Callable[..., Journal]] = Journal

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST))
        self.path = self.folder / "journal"
        self.account = Account()
        self.beliefs = {key: Belief() for key in KEYS}

    def teardown(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.folder)

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule(campaign=campaigns)
    def run(self, campaign: Campaign) -> None:
        """A run comes to its end."""
        self._use(campaign)

    @rule(one=campaigns, other=campaigns)
    def run_two(self, one: Campaign, other: Campaign) -> None:
        """Two runs share the journal at the same time."""
        self._use(attrs.evolve(one, kept_open=True), other)

    @rule(campaign=campaigns, ending=endings)
    def run_and_end_early(self, campaign: Campaign, ending: tuple[str, int, float]) -> None:
        """A run is broken off, cancelled, or ended with its program."""
        ends, at, part = ending
        self._use(attrs.evolve(campaign, ends=ends, at=at, part=part, iterated=campaign.iterated or ends == "break"))

    @rule(data=st.data(), by=st.sampled_from(["key", "uuid"]), status=st.sampled_from(["created", *MessageStatus]))
    def hear(self, data: st.DataObject, by: str, status: str) -> None:
        """An event comes about a message that Callbell has."""
        arrived = [key for key in KEYS if self.account.copies[key]]
        if not arrived:
            return
        key = data.draw(self._rather_unknown(arrived))
        uuid = self.account.copies[key][0]

        def event(journal: Journal) -> Event:
            metadata = {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: journal.id} if by == "key" else {}
            if status == "created":
                return MessageCreated(key="event", uuid=uuid, status="sent", metadata=metadata)
            return MessageStatusUpdated(key="event", uuid=uuid, status=status, metadata=metadata)

        async def handle(journal: Journal) -> None:
            journal.handle_event(event(journal))
            await journal.flush()

        self._with_journal(handle)
        if by == "key":
            self.beliefs[key] = attrs.evolve(self.beliefs[key], outcome=Outcome.ACCEPTED, asked=False)

    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        """Somebody takes the risk of a second copy."""
        keys = data.draw(st.lists(self._rather_unknown([*KEYS, "nobody's"]), min_size=1, max_size=2, unique=True))
        unknown = [key for key in keys if key in self.beliefs and self.beliefs[key].outcome is Outcome.UNKNOWN]
        if unknown != keys:
            with pytest.raises(JournalError):
                self._with_journal(lambda journal: journal.allow_resend(*keys))
            return
        self._with_journal(lambda journal: journal.allow_resend(*keys))
        for key in keys:
            belief = self.beliefs[key]
            # Asked for twice before it is tried, it is tried once.
            belief.resends += not belief.asked
            belief.asked = True

    @rule()
    def open_twice(self) -> None:
        """Somebody else wants it, too."""

        async def second(journal: Journal) -> None:
            with pytest.raises(JournalError, match="is in use"):
                await Journal(self.path).open()
            await journal.write_notes({"still": "open"})

        self._with_journal(second)

    # --- what must be so ----------------------------------------------------------------------------------------------

    @invariant()
    def no_copy_too_many(self) -> None:
        """One copy of each message, and one more for each time that somebody asked for it."""
        for key, belief in self.beliefs.items():
            assert len(self.account.copies[key]) <= 1 + belief.resends

    @invariant()
    @precondition(lambda self: self.path.exists())
    def the_journal_is_true(self) -> None:
        """It says of each message what the model says, and what Callbell has."""
        entries, counts, funnel, asked = self._read()
        assert asked == {key for key, belief in self.beliefs.items() if belief.asked}
        assert {key: belief.outcome for key, belief in self.beliefs.items() if belief.outcome is not None} == {
            key: entry.outcome for key, entry in entries.items()
        }
        for key, entry in entries.items():
            copies = self.account.copies[key]
            if entry.outcome is Outcome.ACCEPTED:
                assert entry.uuid in copies
            elif entry.outcome is not Outcome.UNKNOWN:
                assert not copies
        assert counts == {**dict.fromkeys(Outcome, 0), **Counter(entry.outcome for entry in entries.values())}
        assert sum(funnel.values()) == counts[Outcome.ACCEPTED]

    # --- how it is done -----------------------------------------------------------------------------------------------

    def _rather_unknown(self, keys: list[str]) -> st.SearchStrategy[str]:
        unknown = [key for key in keys if key in self.beliefs and self.beliefs[key].outcome is Outcome.UNKNOWN]
        return st.sampled_from(unknown or keys) | st.sampled_from(keys)

    def _with_journal(self, work: Callable[[Journal], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.journal_class(self.path, risk_power_loss=True) as journal:
                await work(journal)

        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            runner.run(main())

    def _read(self) -> tuple[dict[str, JournalEntry], dict[Outcome, int], dict[Any, int], set[str]]:
        """All that it knows, and the keys of what may be tried though it is unknown."""

        async def main() -> tuple[dict[str, JournalEntry], dict[Outcome, int], dict[Any, int], set[str]]:
            async with self.journal_class(self.path, read_only=True) as journal:
                entries = [entry async for entry in journal.entries()]
                by_key = {entry.key: entry for entry in entries}
                assert len(by_key) == len(entries)
                asked = await writer_of(journal).ask(lambda store: store.rows([State.RESEND], after=0, count=len(KEYS)))
                return by_key, await journal.counts(), await journal.funnel(), {row.key for row in asked}

        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            return runner.run(main())

    def _use(self, *campaigns: Campaign) -> None:
        had = {key: len(copies) for key, copies in self.account.copies.items()}
        used = use(campaigns, self.account, self.path, self.journal_class)
        self.path = used[0].path
        given = [_keys(campaign.items) for campaign in campaigns]
        shared = set.intersection(*given) if len(given) > 1 else set()
        tried = [self._check_results(*pair, shared) for pair in zip(campaigns, used, strict=True)]
        entries, _, _, asked = self._read() if self.path.exists() else ({}, {}, {}, set())
        for key in set.union(*given):
            belief = self.beliefs[key]
            outcome = entries[key].outcome if key in entries else None
            may: set[Outcome | None] = set()
            for campaign, keys, its, results in zip(campaigns, given, used, tried, strict=True):
                if key in keys:
                    may |= self._may_be(campaign, its, key, results.get(key))
            assert outcome in may, (key, outcome)
            if len(self.account.copies[key]) > had.get(key, 0):
                assert outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN)
            if key in asked:
                # Only as long as nothing has left for it since.
                assert belief.asked
                assert len(self.account.copies[key]) == had.get(key, 0)
            belief.outcome, belief.asked = outcome, key in asked

    def _may_be(self, campaign: Campaign, used: Used, key: str, result: SendResult | None) -> set[Outcome | None]:
        """What the journal may say of a message after a run that told this result of it, if it told any."""
        belief = self.beliefs[key]
        before = belief.outcome
        if not belief.again:
            return {before}
        if not used.crashed:
            if key in used.proved:
                return {Outcome.ACCEPTED}
            if result is not None:
                return {result.outcome}
            # Written down and not tried, when the run ended before it was handed out.
            return {before, belief.after(Outcome.SKIPPED)} if used.early and campaign.iterated else {before}
        may: set[Outcome | None] = {Outcome.UNKNOWN}
        if key not in used.tried:
            may.add(before)
        if key in used.proved:
            may.add(Outcome.ACCEPTED)
        if result is not None:
            may.add(result.outcome)
        return may

    def _check_results(self, campaign: Campaign, used: Used, shared: set[str]) -> dict[str, SendResult]:
        """Every message has its one result, and it is right; those of the messages that were written down, by key.

        Keys that are `shared` with another run at the same time may be that one's for a while.
        """
        items = campaign.items
        written: dict[str, SendResult] = {}
        first = _firsts(items)
        stopped = any(isinstance(result.error, PaymentRequiredError) for result in used.results.values())
        if not used.early and not (stopped and campaign.make not in (list, iter)):
            assert sorted(used.results) == list(range(len(items)))
        for index, result in used.results.items():
            item = items[index]
            assert result.index == index
            assert result.message is item
            if isinstance(result.error, DuplicateMessageError):
                assert isinstance(item, Message)
                self._check_duplicate(index, item, result, {} if key_of(item) in shared else first)
            elif result.outcome is Outcome.SKIPPED and result.key is None:
                assert isinstance(result.error, PaymentRequiredError) or used.early
            elif not isinstance(item, Message) or isinstance(item, Fax):
                assert result.outcome is Outcome.NEVER_SENT
                assert isinstance(result.error, InvalidMessageError)
            else:
                key = key_of(item)
                assert result.key == key
                assert self.beliefs[key].again
                if key not in shared:
                    assert key not in written
                    assert first[key] == index or used.early or stopped
                written[key] = result
                self._check_tried(campaign, result, early=used.early, stopped=stopped)
        return written

    def _check_duplicate(self, index: int, item: Message, result: SendResult, first: dict[str, int]) -> None:
        error = result.error
        assert isinstance(error, DuplicateMessageError)
        key = key_of(item)
        assert result.outcome is Outcome.SKIPPED
        assert result.key == error.key == error.entry.key == key
        before = self.beliefs[key].outcome
        again = self.beliefs[key].again
        if not first:
            assert error.first_index is None or error.first_index < index
        elif error.first_index is None:
            assert not again
            assert error.entry.outcome is before
        else:
            assert again
            assert error.first_index == first[key] < index
        if result.receipt is not None:
            assert error.entry.outcome is Outcome.ACCEPTED
            assert result.receipt.uuid in self.account.copies[key]

    def _check_tried(self, campaign: Campaign, result: SendResult, *, early: bool, stopped: bool) -> None:
        belief = self.beliefs[str(result.key)]
        expected = belief.after(campaign.expected(result.message))
        skipped = belief.after(Outcome.SKIPPED)
        if result.outcome is Outcome.ACCEPTED:
            assert result.receipt is not None
            assert result.receipt.uuid in self.account.copies[str(result.key)]
        if early:
            assert result.outcome in (expected, skipped, *map(belief.after, _cut_short(campaign, result)))
        elif stopped:
            assert result.outcome in (expected, skipped)
        else:
            assert result.outcome is expected


def _firsts(items: Sequence[Any]) -> dict[str, int]:
    """Where each key is given first."""
    firsts: dict[str, int] = {}
    for index, item in enumerate(items):
        if isinstance(item, Message) and not isinstance(item, Fax):
            firsts.setdefault(key_of(item), index)
    return firsts


def _keys(items: Sequence[Any]) -> set[str]:
    return set(_firsts(items))


def _cut_short(campaign: Campaign, result: SendResult) -> set[Outcome]:
    """What a message may be when it was being tried and not settled."""
    if result.attempts == 0:
        return {Outcome.NEVER_SENT}
    return {Outcome.NEVER_SENT, Outcome.UNKNOWN, Outcome.REJECTED}


whole = settings(quick, max_examples=60, stateful_step_count=20)


def test_a_journal_sends_once_and_says_what_is_so() -> None:
    """Whatever happens in a journal's life, no message is sent twice that nobody asked for, and what it says is so."""
    run_state_machine_as_test(Machine, settings=whole)


class Forgetful(JournalWriter):
    """Lets messages be sent that it has not written."""

    def claim(self, requests: Sequence[ClaimRequest], *, run: int) -> asyncio.Future[list[Claim]]:
        """Write the results only."""
        written: asyncio.Future[list[Claim]] = asyncio.get_running_loop().create_future()
        rows = [
            Row(1_000_000 + at, *request[:2], run, at, State.SENDING, 0.0, version=1)
            for at, request in enumerate(requests)
        ]
        claims = [Claim(row, granted=True) for row in rows]
        super().claim((), run=run).add_done_callback(lambda _: written.set_result(claims))
        return written


class Hopeful(JournalWriter):
    """Takes a message that may have arrived for one that was lost."""

    def record_result(self, claim: Claim, result: SendResult) -> SendResult:
        """Record another outcome."""
        unknown = result.outcome is Outcome.UNKNOWN
        super().record_result(claim, attrs.evolve(result, outcome=Outcome.NEVER_SENT) if unknown else result)
        return result


class Sloppy(JournalWriter):
    """Keeps its results to itself when it is closed."""

    async def flush(self) -> None:
        """Do nothing."""
        self._results.clear()


@pytest.mark.parametrize("wrong", [Forgetful, Hopeful, Sloppy])
def test_the_machine_sees_a_wrong_journal(wrong: type[JournalWriter]) -> None:
    """The test above can fail: it finds a journal that forgets a claim, guesses an outcome, or loses a result."""

    def wrong_journal(*args: Any, **kwargs: Any) -> Journal:
        journal = Journal(*args, **kwargs)
        writer_of(journal).__class__ = wrong
        return journal

    class Wrong(Machine):
        journal_class = staticmethod(wrong_journal)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Wrong, settings=settings(whole, phases=[Phase.generate], print_blob=False))
