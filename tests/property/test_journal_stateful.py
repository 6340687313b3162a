"""Runs, crashes and faults in any order: a journal sends each message once, and its content is true."""

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
from tests.support.journal_model import (
    INVALID,
    MAKES,
    POOL,
    AcceptedMessages,
    ModelRun,
    RunRecord,
    ServerBehaviour,
    UnsendableMessage,
    key_of,
    perform,
)
from tests.support.virtual_disk import DiskLoop

pytestmark = pytest.mark.slow

FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A directory in memory, if there is one."""

SENDABLE = (None, Outcome.REJECTED, Outcome.NEVER_SENT, Outcome.SKIPPED)
KEYS = sorted({key_of(message) for message in POOL})

moments = st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0])

behaviours = st.builds(
    ServerBehaviour,
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

runs = st.builds(
    ModelRun,
    items=st.lists(st.sampled_from([*POOL, *INVALID]), max_size=15),
    behaviours=st.fixed_dictionaries(
        {}, optional={str(number): st.lists(behaviours, min_size=1, max_size=2) for number in range(len(POOL))}
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
class ExpectedState:
    """The state that the journal must have for one key.

    Attributes:
        outcome: The outcome that a user sees.
        resends: The number of copies that the user allowed beyond the first.
        resend_allowed: Whether the user allowed the next run to send it although it is unknown.
    """

    outcome: Outcome | None = None
    resends: int = 0
    resend_allowed: bool = False

    @property
    def sendable(self) -> bool:
        """Whether the next run may send it."""
        return self.outcome in SENDABLE or self.resend_allowed

    def after(self, outcome: Outcome) -> Outcome:
        """Return its outcome after one more attempt with this outcome."""
        return Outcome.UNKNOWN if self.resend_allowed and outcome is not Outcome.ACCEPTED else outcome


class JournalMachine(RuleBasedStateMachine):
    """One journal and a modelled server, through any sequence of runs, crashes and events."""

    journal_class: ClassVar[Callable[..., Journal]] = Journal

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST))
        self.path = self.folder / "journal"
        self.accepted = AcceptedMessages()
        self.expected = {key: ExpectedState() for key in KEYS}

    def teardown(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder)

    # --- rules --------------------------------------------------------------------------------------------------------

    @rule(run=runs)
    def run(self, run: ModelRun) -> None:
        """A run ends with its input."""
        self._perform(run)

    @rule(one=runs, other=runs)
    def run_two(self, one: ModelRun, other: ModelRun) -> None:
        """Two runs share the journal at the same time."""
        self._perform(attrs.evolve(one, kept_open=True), other)

    @rule(run=runs, ending=endings)
    def run_and_end_early(self, run: ModelRun, ending: tuple[str, int, float]) -> None:
        """A run is left, is cancelled, or ends because its program is killed."""
        kind, at, part = ending
        self._perform(attrs.evolve(run, ending=kind, at=at, part=part, iterated=run.iterated or kind == "break"))

    @rule(data=st.data(), by=st.sampled_from(["key", "uuid"]), status=st.sampled_from(["created", *MessageStatus]))
    def handle_event(self, data: st.DataObject, by: str, status: str) -> None:
        """An event about an accepted message comes."""
        arrived = [key for key in KEYS if self.accepted.copies[key]]
        if not arrived:
            return
        key = data.draw(self._mostly_unknown(arrived))
        uuid = self.accepted.copies[key][0]

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
            self.expected[key] = attrs.evolve(self.expected[key], outcome=Outcome.ACCEPTED, resend_allowed=False)

    @rule(data=st.data())
    def allow_resend(self, data: st.DataObject) -> None:
        """The user allows a second copy of some messages."""
        keys = data.draw(st.lists(self._mostly_unknown([*KEYS, "nobody's"]), min_size=1, max_size=2, unique=True))
        unknown = [key for key in keys if key in self.expected and self.expected[key].outcome is Outcome.UNKNOWN]
        if unknown != keys:
            with pytest.raises(JournalError):
                self._with_journal(lambda journal: journal.allow_resend(*keys))
            return
        self._with_journal(lambda journal: journal.allow_resend(*keys))
        for key in keys:
            state = self.expected[key]
            # Allowed twice before it is sent, it is sent once.
            state.resends += not state.resend_allowed
            state.resend_allowed = True

    @rule()
    def open_twice(self) -> None:
        """A second opening of the journal is refused."""

        async def second(journal: Journal) -> None:
            with pytest.raises(JournalError, match="is in use"):
                await Journal(self.path).open()
            await journal.write_notes({"still": "open"})

        self._with_journal(second)

    # --- invariants ---------------------------------------------------------------------------------------------------

    @invariant()
    def no_unwanted_copies(self) -> None:
        """The server has at most one copy of each message, and one more for each permission of the user."""
        for key, state in self.expected.items():
            assert len(self.accepted.copies[key]) <= 1 + state.resends

    @invariant()
    @precondition(lambda self: self.path.exists())
    def the_journal_agrees_with_the_model(self) -> None:
        """The journal has the same outcome for each message as the model, and it agrees with the server."""
        entries, counts, funnel, resend_allowed = self._read()
        assert resend_allowed == {key for key, state in self.expected.items() if state.resend_allowed}
        assert {key: state.outcome for key, state in self.expected.items() if state.outcome is not None} == {
            key: entry.outcome for key, entry in entries.items()
        }
        for key, entry in entries.items():
            copies = self.accepted.copies[key]
            if entry.outcome is Outcome.ACCEPTED:
                assert entry.uuid in copies
            elif entry.outcome is not Outcome.UNKNOWN:
                assert not copies
        assert counts == {**dict.fromkeys(Outcome, 0), **Counter(entry.outcome for entry in entries.values())}
        assert sum(funnel.values()) == counts[Outcome.ACCEPTED]

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _mostly_unknown(self, keys: list[str]) -> st.SearchStrategy[str]:
        unknown = [key for key in keys if key in self.expected and self.expected[key].outcome is Outcome.UNKNOWN]
        return st.sampled_from(unknown or keys) | st.sampled_from(keys)

    def _with_journal(self, work: Callable[[Journal], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.journal_class(self.path, risk_power_loss=True) as journal:
                await work(journal)

        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            runner.run(main())

    def _read(self) -> tuple[dict[str, JournalEntry], dict[Outcome, int], dict[Any, int], set[str]]:
        """Return the entries, both counts, and the keys of the messages in the state `RESEND`."""

        async def main() -> tuple[dict[str, JournalEntry], dict[Outcome, int], dict[Any, int], set[str]]:
            async with self.journal_class(self.path, read_only=True) as journal:
                entries = [entry async for entry in journal.entries()]
                by_key = {entry.key: entry for entry in entries}
                assert len(by_key) == len(entries)
                resend_allowed = await writer_of(journal).ask(
                    lambda store: store.rows([State.RESEND], after=0, count=len(KEYS))
                )
                return by_key, await journal.counts(), await journal.funnel(), {row.key for row in resend_allowed}

        with asyncio.Runner(loop_factory=DiskLoop) as runner:
            return runner.run(main())

    def _perform(self, *runs: ModelRun) -> None:
        had = {key: len(copies) for key, copies in self.accepted.copies.items()}
        records = perform(runs, self.accepted, self.path, self.journal_class)
        self.path = records[0].path
        given = [set(_firsts(run.items)) for run in runs]
        shared = set.intersection(*given) if len(given) > 1 else set()
        attempted = [self._check_results(*pair, shared) for pair in zip(runs, records, strict=True)]
        entries, _, _, resend_allowed = self._read() if self.path.exists() else ({}, {}, {}, set())
        for key in set.union(*given):
            state = self.expected[key]
            outcome = entries[key].outcome if key in entries else None
            possible: set[Outcome | None] = set()
            for run, keys, record, results in zip(runs, given, records, attempted, strict=True):
                if key in keys:
                    possible |= self._possible_outcomes(run, record, key, results.get(key))
            assert outcome in possible, (key, outcome)
            if len(self.accepted.copies[key]) > had.get(key, 0):
                assert outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN)
            if key in resend_allowed:
                # The permission ends when a request for the message may have left.
                assert state.resend_allowed
                assert len(self.accepted.copies[key]) == had.get(key, 0)
            state.outcome, state.resend_allowed = outcome, key in resend_allowed

    def _possible_outcomes(
        self, run: ModelRun, record: RunRecord, key: str, result: SendResult | None
    ) -> set[Outcome | None]:
        """Return the possible outcomes in the journal after a run that had this result for the message, or none."""
        state = self.expected[key]
        before = state.outcome
        if not state.sendable:
            return {before}
        if not record.crashed:
            if key in record.confirmed:
                return {Outcome.ACCEPTED}
            if result is not None:
                return {result.outcome}
            # It was claimed and not sent, if the run ended before a worker got it.
            return {before, state.after(Outcome.SKIPPED)} if record.early and run.iterated else {before}
        possible: set[Outcome | None] = {Outcome.UNKNOWN}
        if key not in record.attempted:
            possible.add(before)
        if key in record.confirmed:
            possible.add(Outcome.ACCEPTED)
        if result is not None:
            possible.add(result.outcome)
        return possible

    def _check_results(self, run: ModelRun, record: RunRecord, shared: set[str]) -> dict[str, SendResult]:
        """Check that every message has one correct result, and return the results of the claimed messages by key.

        A key that is `shared` with another run at the same time may be claimed by that run.
        """
        items = run.items
        written: dict[str, SendResult] = {}
        first = _firsts(items)
        stopped = any(isinstance(result.error, PaymentRequiredError) for result in record.results.values())
        if not record.early and not (stopped and run.make not in (list, iter)):
            assert sorted(record.results) == list(range(len(items)))
        for index, result in record.results.items():
            item = items[index]
            assert result.index == index
            assert result.message is item
            if isinstance(result.error, DuplicateMessageError):
                assert isinstance(item, Message)
                self._check_duplicate(index, item, result, {} if key_of(item) in shared else first)
            elif result.outcome is Outcome.SKIPPED and result.key is None:
                assert isinstance(result.error, PaymentRequiredError) or record.early
            elif not isinstance(item, Message) or isinstance(item, UnsendableMessage):
                assert result.outcome is Outcome.NEVER_SENT
                assert isinstance(result.error, InvalidMessageError)
            else:
                key = key_of(item)
                assert result.key == key
                assert self.expected[key].sendable
                if key not in shared:
                    assert key not in written
                    assert first[key] == index or record.early or stopped
                written[key] = result
                self._check_sent(run, result, early=record.early, stopped=stopped)
        return written

    def _check_duplicate(self, index: int, item: Message, result: SendResult, first: dict[str, int]) -> None:
        error = result.error
        assert isinstance(error, DuplicateMessageError)
        key = key_of(item)
        assert result.outcome is Outcome.SKIPPED
        assert result.key == error.key == error.entry.key == key
        before = self.expected[key].outcome
        sendable = self.expected[key].sendable
        if not first:
            assert error.first_index is None or error.first_index < index
        elif error.first_index is None:
            assert not sendable
            assert error.entry.outcome is before
        else:
            assert sendable
            assert error.first_index == first[key] < index
        if result.receipt is not None:
            assert error.entry.outcome is Outcome.ACCEPTED
            assert result.receipt.uuid in self.accepted.copies[key]

    def _check_sent(self, run: ModelRun, result: SendResult, *, early: bool, stopped: bool) -> None:
        state = self.expected[str(result.key)]
        expected = state.after(run.expected(result.message))
        skipped = state.after(Outcome.SKIPPED)
        if result.outcome is Outcome.ACCEPTED:
            assert result.receipt is not None
            assert result.receipt.uuid in self.accepted.copies[str(result.key)]
        if early:
            assert result.outcome in (expected, skipped, *map(state.after, _after_cancel(run, result)))
        elif stopped:
            assert result.outcome in (expected, skipped)
        else:
            assert result.outcome is expected


def _firsts(items: Sequence[Any]) -> dict[str, int]:
    """Return the index of the first message with each key."""
    firsts: dict[str, int] = {}
    for index, item in enumerate(items):
        if isinstance(item, Message) and not isinstance(item, UnsendableMessage):
            firsts.setdefault(key_of(item), index)
    return firsts


def _after_cancel(run: ModelRun, result: SendResult) -> set[Outcome]:
    """Return the possible outcomes of a message whose request was cancelled."""
    if result.attempts == 0:
        return {Outcome.NEVER_SENT}
    return {Outcome.NEVER_SENT, Outcome.UNKNOWN, Outcome.REJECTED}


full = settings(quick, max_examples=60, stateful_step_count=20)


def test_a_journal_sends_each_message_once_and_is_true() -> None:
    """In any sequence of runs, crashes, events and resends, no message is sent twice without permission, and the journal is true."""
    run_state_machine_as_test(JournalMachine, settings=full)


class ForgetsClaims(JournalWriter):
    """Grants claims that it has not written."""

    def claim(self, requests: Sequence[ClaimRequest] = (), *, run: int | None = None) -> asyncio.Future[list[Claim]]:
        """Write only the results, and grant every claim."""
        written: asyncio.Future[list[Claim]] = asyncio.get_running_loop().create_future()
        rows = [
            Row(1_000_000 + at, *request[:2], run or 0, at, State.SENDING, 0.0, version=1)
            for at, request in enumerate(requests)
        ]
        claims = [Claim(row, granted=True) for row in rows]
        super().claim().add_done_callback(lambda _: written.set_result(claims))
        return written


class GuessesOutcomes(JournalWriter):
    """Records an unknown outcome as `NEVER_SENT`."""

    def record_result(self, claim: Claim, result: SendResult) -> SendResult:
        """Record another outcome."""
        unknown = result.outcome is Outcome.UNKNOWN
        super().record_result(claim, attrs.evolve(result, outcome=Outcome.NEVER_SENT) if unknown else result)
        return result


class LosesResults(JournalWriter):
    """Drops its results when it is closed."""

    async def flush(self) -> None:
        """Drop the results."""
        self._results.clear()


@pytest.mark.parametrize("wrong", [ForgetsClaims, GuessesOutcomes, LosesResults])
def test_the_state_machine_finds_a_wrong_writer(wrong: type[JournalWriter]) -> None:
    """The test above fails for a writer that forgets a claim, guesses an outcome, or loses a result."""

    def wrong_journal(*args: Any, **kwargs: Any) -> Journal:
        journal = Journal(*args, **kwargs)
        writer_of(journal).__class__ = wrong
        return journal

    class Wrong(JournalMachine):
        journal_class = staticmethod(wrong_journal)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Wrong, settings=settings(full, phases=[Phase.generate], print_blob=False))
