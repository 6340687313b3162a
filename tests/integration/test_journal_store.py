"""The protocol of a journal's store: SQLite and PostgreSQL keep the same promises."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callbell_async import JournalError, Outcome
from callbell_async.journal import Claim, ClaimRequest, Row, State
from callbell_async.journal.postgres_url import parse_journal_url
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.journal.states import CLAIMABLE, TRANSITIONS
from callbell_async.journal.store import JournalStore, StatusReport
from tests.support.services import Service

Connect = Callable[..., JournalStore]
"""Opens the journal of the test, once more each time."""


def postgres_store(url: str, name: str, *, read_only: bool = False) -> JournalStore:
    """Open a store in PostgreSQL."""
    from callbell_async.journal.postgres import PostgresStore

    return PostgresStore(parse_journal_url(url, name), read_only=read_only, risk_power_loss=False)


@pytest.fixture(params=["sqlite", "postgres"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Opens one journal, in a file and in PostgreSQL; the stores are closed at the end."""
    opened: list[JournalStore] = []
    name = secrets.token_hex(4)

    def connect(*, read_only: bool = False) -> JournalStore:
        if request.param == "sqlite":
            store: JournalStore = SQLiteStore(tmp_path / name, read_only=read_only, risk_power_loss=True)
        else:
            store = postgres_store(request.getfixturevalue("postgres_service").url, name, read_only=read_only)
        opened.append(store)
        return store

    yield connect
    for store in opened:
        store.close()


@pytest.fixture
def store(connect: Connect) -> JournalStore:
    """An open, empty journal."""
    return connect()


def claim(store: JournalStore, *keys: str, run: int | None = None, single: bool = False) -> list[Claim]:
    """Claim messages, by default in a new run."""
    requests = [ClaimRequest(key, key.encode(), index) for index, key in enumerate(keys)]
    run = None if single else store.begin_run() if run is None else run
    return store.record([], [], requests, run=run, now=1000.0)


def result_of(claim: Claim, outcome: Outcome, *, uuid: str | None = None, reason: str | None = None) -> Row:
    """Return the row of a claim after its result."""
    state = TRANSITIONS[claim.row.state, outcome]
    return claim.row._replace(
        state=state,
        attempts=1,
        finished_at=1001.0,
        uuid=uuid,
        status="enqueued" if uuid else None,
        reason=reason,
        confirmed_by="response" if state is State.ACCEPTED else None,
    )


def finish(store: JournalStore, *results: Row) -> None:
    """Write results."""
    store.record(results, [], now=1001.0)


def report(store: JournalStore, key: str | None, uuid: str | None, status: str | None = None, **values: Any) -> None:
    """Write a report."""
    given = {"at": 1002.0, "reason": None, "confirmed_by": "event", **values}
    store.record([], [StatusReport(key, uuid, status, **given)], now=1002.0)


def row(store: JournalStore, key: str) -> Row:
    """Return the row of a key."""
    (found,) = store.find([key])
    assert found is not None
    return found


def test_new_messages_are_granted_in_the_order_of_the_input(store: JournalStore) -> None:
    """Each new key is claimed, and the rows have the order of the requests, not of their keys."""
    claims = claim(store, "c", "a", "b")
    assert [(item.granted, item.row.state) for item in claims] == [(True, State.SENDING)] * 3
    assert [found.key for found in store.rows([State.SENDING], after=0, count=10)] == ["c", "a", "b"]
    assert [found.body for found in store.rows([State.SENDING], after=0, count=10)] == [b"c", b"a", b"b"]


def test_a_key_given_twice_is_claimed_once(store: JournalStore) -> None:
    """Within one batch, and in a later batch of the same run."""
    assert [item.granted for item in claim(store, "a", "a", run=1)] == [True, False]
    assert [item.granted for item in claim(store, "a", "b", run=1)] == [False, True]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_later_run_claims_what_the_states_allow(store: JournalStore, outcome: Outcome) -> None:
    """A finished message is claimed by a later run exactly if its state allows it."""
    (first,) = claim(store, "a")
    finish(store, result_of(first, outcome))
    (second,) = claim(store, "a")
    assert second.granted is (State(outcome.value) in CLAIMABLE)
    assert second.row.state is (State.SENDING if second.granted else State(outcome.value))


def test_a_run_does_not_send_a_message_twice(store: JournalStore) -> None:
    """A message that this run has finished is not claimed by it, unless it is a single message."""
    run = store.begin_run()
    (first,) = claim(store, "a", run=run)
    finish(store, result_of(first, Outcome.REJECTED))
    assert not claim(store, "a", run=run)[0].granted
    for _ in range(2):
        (single,) = claim(store, "a", single=True)
        assert single.granted
        finish(store, result_of(single, Outcome.REJECTED))


def test_results_are_kept(store: JournalStore) -> None:
    """A result has its state, uuid, status, reason, attempts and time."""
    accepted, rejected = claim(store, "a", "b")
    finish(store, result_of(accepted, Outcome.ACCEPTED, uuid="u"), result_of(rejected, Outcome.REJECTED, reason="no"))
    a, b = row(store, "a"), row(store, "b")
    assert (a.state, a.uuid, a.status, a.confirmed_by) == (State.ACCEPTED, "u", "enqueued", "response")
    assert (b.state, b.reason, b.attempts, b.finished_at, b.confirmed_by) == (State.REJECTED, "no", 1, 1001.0, None)


def test_a_result_and_a_claim_are_one_transaction(store: JournalStore) -> None:
    """A result is written before the claims that come with it: what was rejected can be claimed at once."""
    (first,) = claim(store, "a")
    claims = store.record(
        [result_of(first, Outcome.REJECTED)], [], [ClaimRequest("a", b"2", 0)], run=store.begin_run(), now=1003.0
    )
    assert (claims[0].granted, claims[0].row.tried_at) == (True, 1003.0)
    assert row(store, "a").body == b"2"


def test_a_late_result_of_an_earlier_run_changes_nothing(store: JournalStore) -> None:
    """When another run has claimed the message since, its result is the one that counts."""
    (first,) = claim(store, "a")
    finish(store, result_of(first, Outcome.REJECTED))
    claim(store, "a")
    finish(store, result_of(first, Outcome.ACCEPTED, uuid="u"))
    assert row(store, "a").state is State.SENDING


def test_a_late_result_of_an_earlier_opening_changes_nothing(connect: Connect) -> None:
    """The single messages of each opening are a run of their own: the result of an earlier attempt does not count for a later one."""
    store = connect()
    (first,) = claim(store, "a", single=True)
    store.close()
    again = connect()
    assert again.allow_resend(["a"]) == []
    (second,) = claim(again, "a", single=True)
    assert (second.granted, second.row.state) == (True, State.RESENDING)
    finish(again, result_of(first, Outcome.REJECTED))
    assert row(again, "a").state is State.RESENDING


def test_an_event_before_the_result_wins(store: JournalStore) -> None:
    """A message that an event has confirmed stays accepted, whatever the response was."""
    (first,) = claim(store, "a")
    report(store, "a", "u", "sent")
    finish(store, result_of(first, Outcome.UNKNOWN))
    found = row(store, "a")
    assert (found.state, found.uuid, found.status, found.confirmed_by) == (State.ACCEPTED, "u", "sent", "event")


def test_a_report_is_found_by_key_or_uuid(store: JournalStore) -> None:
    """A status counts for the message with the key, or else with the uuid; a foreign one does no harm."""
    first, second = claim(store, "a", "b")
    finish(store, result_of(first, Outcome.ACCEPTED, uuid="u"), result_of(second, Outcome.ACCEPTED, uuid="v"))
    report(store, None, "u", "delivered")
    report(store, "b", None, "read")
    report(store, "foreign", "foreign", "read")
    report(store, None, None, "read")
    assert [row(store, key).status for key in "ab"] == ["delivered", "read"]
    assert set(store.counts()) == {(State.ACCEPTED, "delivered", 1), (State.ACCEPTED, "read", 1)}
    found = store.with_uuid("v")
    assert found is not None
    assert found.key == "b"
    assert store.with_uuid("w") is None


def test_resending_is_allowed_for_all_or_none(store: JournalStore) -> None:
    """One key that is not UNKNOWN leaves all as they are; what is allowed is claimed from its first attempt on."""
    first, second = claim(store, "a", "b")
    finish(store, result_of(first, Outcome.UNKNOWN), result_of(second, Outcome.ACCEPTED, uuid="u"))
    assert store.allow_resend(["a", "b", "c"]) == ["b", "c"]
    assert row(store, "a").state is State.UNKNOWN
    assert store.allow_resend(["a"]) == []
    claims = store.record([], [], [ClaimRequest("a", b"a", 5)], run=store.begin_run(), now=2000.0)
    assert claims[0].granted
    assert claims[0].row.state is State.RESENDING
    found = row(store, "a")
    assert (found.tried_at, found.resent, found.input_index) == (1000.0, 1, 5)
    finish(store, result_of(claims[0], Outcome.REJECTED))
    assert row(store, "a").state is State.RESEND


def test_what_is_in_flight_can_not_be_resent(store: JournalStore) -> None:
    """A message that is being sent is not UNKNOWN."""
    claim(store, "a")
    assert store.allow_resend(["a"]) == ["a"]


def test_a_closed_journal_is_found_again(connect: Connect) -> None:
    """It keeps its id, messages, notes and the number of its runs; what was in flight is UNKNOWN, with the reason."""
    store = connect()
    store.write_notes({"file": "a.csv"})
    store.write_notes({"file": "b.csv", "rate": "300"})
    first, _ = claim(store, "a", "b")
    finish(store, result_of(first, Outcome.ACCEPTED, uuid="u"))
    run, journal_id = store.begin_run(), store.id
    store.close()
    store.close()
    again = connect()
    assert again.id == journal_id
    assert len(bytes.fromhex(again.id)) == 8
    assert again.begin_run() > run
    assert again.notes() == {"file": "b.csv", "rate": "300"}
    assert set(again.counts()) == {(State.ACCEPTED, "enqueued", 1), (State.UNKNOWN, None, 1)}
    assert "ended while" in (row(again, "b").reason or "")
    assert not claim(again, "b")[0].granted


def test_rows_come_in_pages(store: JournalStore) -> None:
    """A page begins after an id and has the states that are asked for."""
    claims = claim(store, *"abcde")
    finish(store, *(result_of(item, Outcome.REJECTED) for item in claims[1:4]))
    first = store.rows([State.REJECTED], after=0, count=2)
    assert [found.key for found in first] == ["b", "c"]
    assert [found.key for found in store.rows([State.REJECTED], after=first[-1].id, count=2)] == ["d"]
    assert store.find(["e", "x"])[1] is None


def test_a_journal_for_reading_changes_nothing(connect: Connect) -> None:
    """It shows what is stored beside one that writes, and refuses to write; it does not create a journal."""
    with pytest.raises(JournalError, match="does not exist"):
        connect(read_only=True)
    store = connect()
    claim(store, "a")
    viewer = connect(read_only=True)
    assert viewer.id == store.id
    assert viewer.counts() == [(State.SENDING, None, 1)]
    assert row(viewer, "a").state is State.SENDING
    for write in (viewer.begin_run, lambda: claim(viewer, "b", run=1), lambda: viewer.write_notes({"a": "b"})):
        with pytest.raises(JournalError, match="reading only"):
            write()


def test_any_text_is_kept(store: JournalStore) -> None:
    """Keys, reasons and notes may be any text, and bodies any bytes."""
    key = "'; DROP TABLE \\ %s {} \u00e9\U0001f600\n"
    claims = store.record([], [], [ClaimRequest(key, bytes(range(256)), 0)], run=1, now=1.5)
    finish(store, result_of(claims[0], Outcome.REJECTED, reason=key))
    found = row(store, key)
    assert (found.body, found.reason, found.tried_at) == (bytes(range(256)), key, 1.5)
    store.write_notes({key: key})
    assert store.notes() == {key: key}


def test_a_key_of_500_characters_fits(store: JournalStore) -> None:
    """The longest key, of the longest characters, is stored and found."""
    key = "".join(chr(0x1F600 + number % 64) for number in range(500))
    assert claim(store, key)[0].granted
    assert row(store, key).key == key


def test_an_event_takes_an_inferred_uuid_from_another_message(store: JournalStore) -> None:
    """A uuid that was inferred for one message moves to the message that an event names; one that is known is not inferred again."""
    claim(store, "a", "b", "c")
    report(store, "a", "u", "sent", confirmed_by="history")
    report(store, "b", "u")
    report(store, "c", "u", confirmed_by="history")
    found = {row.key: (row.state, row.uuid, row.status) for row in store.rows(list(State), after=0, count=9)}
    assert found["a"] == (State.ACCEPTED, None, None)
    assert found["b"] == (State.ACCEPTED, "u", None)
    assert found["c"] == (State.SENDING, None, None)


KEYS = ("a", "b", "c")
steps = st.one_of(
    st.tuples(st.just("claim"), st.lists(st.sampled_from(KEYS), min_size=1, max_size=4), st.booleans()),
    st.tuples(st.just("finish"), st.sampled_from(KEYS), st.sampled_from(list(Outcome))),
    st.tuples(st.just("report"), st.sampled_from([*KEYS, None]), st.sampled_from(["sent", "read", "failed", None])),
    st.tuples(st.just("resend"), st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True), st.none()),
    st.tuples(st.just("event"), st.sampled_from(KEYS), st.sampled_from(["u-a", "w"])),
    st.tuples(st.just("history"), st.sampled_from(KEYS), st.sampled_from(["u-a", "w", None])),
    st.tuples(st.just("reopen"), st.none(), st.none()),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(life=st.lists(steps, max_size=14))
def test_both_stores_do_the_same(postgres_service: Service, tmp_path: Path, life: list[tuple[str, Any, Any]]) -> None:
    """Whatever happens to a journal, SQLite and PostgreSQL return the same claims and keep the same rows."""
    name = secrets.token_hex(8)

    def open_both() -> list[JournalStore]:
        sqlite = SQLiteStore(tmp_path / name, read_only=False, risk_power_loss=True)
        return [sqlite, postgres_store(postgres_service.url, name)]

    stores = open_both()
    try:
        last: dict[str, list[Claim]] = {}
        for number, (step, what, how) in enumerate(life):
            found: list[Any] = []
            if step == "reopen":
                for store in stores:
                    store.close()
                stores = open_both()
                continue
            runs = [store.begin_run() if step == "claim" and not how else None for store in stores]
            for place, store in enumerate(stores):
                now = 1000.0 + number
                if step == "claim":
                    requests = [ClaimRequest(key, b"%d" % number, at) for at, key in enumerate(what)]
                    claims = store.record([], [], requests, run=runs[place], now=now)
                    for item in claims:
                        if item.granted:
                            last.setdefault(item.row.key, [item, item])[place] = item
                    found.append([(item.granted, plain(item.row)) for item in claims])
                elif step == "finish" and what in last:
                    item = last[what][place]
                    results = [result_of(item, Outcome(how), uuid=f"u-{what}" if how is Outcome.ACCEPTED else None)]
                    found.append(store.record(results, [], now=now))
                elif step == "report":
                    report(
                        store, what, None if what else "u-a", how, reason="not delivered" if how == "failed" else None
                    )
                elif step == "event":
                    report(store, what, how)
                elif step == "history":
                    report(store, what, how, confirmed_by="history")
                elif step == "resend":
                    found.append(store.allow_resend(what))
            assert not found or found[0] == found[1]
            rows = [[plain(stored) for stored in store.rows(list(State), after=0, count=99)] for store in stores]
            assert rows[0] == rows[1]
            assert set(stores[0].counts()) == set(stores[1].counts())
    finally:
        for store in stores:
            store.close()


def plain(row: Row) -> Row:
    """Return a row without what is the store's own."""
    return row._replace(id=0, version=0)
