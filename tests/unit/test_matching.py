"""The pure matching of journalled messages with the messages of a history."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import HistoryMessage, JournalEntry, Outcome
from callbell_async.journal.matching import Matches, Recipient, group_by_contact, match
from callbell_async.models.validation import number_variants

TRIED = datetime(2026, 9, 1, 12, 0, 0, 500_000, tzinfo=UTC)
"""The attempt of an entry. Half a second past noon, because a history may have whole seconds."""


def entry(
    key: str,
    *,
    after: float = 0.0,
    accepted: bool = False,
    again: bool = False,
    ended: float | None = None,
    **body: Any,
) -> JournalEntry:
    """An open entry; `accepted` without a uuid; sent `again` and accepted with a uuid. Times are seconds after `TRIED`."""
    return JournalEntry(
        key=key,
        message_body=json.dumps({"from": "whatsapp", **body}).encode(),
        outcome=Outcome.ACCEPTED if accepted or again else Outcome.UNKNOWN,
        uuid="of the second attempt" if again and not accepted else None,
        resent=again,
        index=0,
        tried_at=TRIED + timedelta(seconds=after),
        finished_at=None if ended is None else TRIED + timedelta(seconds=ended),
    )


def shown(uuid: str | None, *, after: float = 1.0, text: str = "Hello!", status: str = "sent") -> HistoryMessage:
    """A message in a history, created this number of seconds after `TRIED`, with a date that has a fraction."""
    return HistoryMessage(uuid=uuid, text=text, status=status, created_at=TRIED + timedelta(seconds=after + 0.25))


def in_whole_seconds(uuid: str, second: int) -> HistoryMessage:
    """A message in a history, with a date that has no fraction: this number of seconds after the second of `TRIED`."""
    return HistoryMessage(
        uuid=uuid, text="Hello!", status="sent", created_at=TRIED.replace(microsecond=0) + timedelta(seconds=second)
    )


def matched(entries: Collection[JournalEntry], history: Collection[HistoryMessage], clock_skew: float = 2.0) -> Matches:
    """The matches of entries with one text."""
    return match([(one, "Hello!") for one in entries], history, clock_skew=clock_skew)


@pytest.mark.parametrize(
    ("entries", "history", "found"),
    [
        ([("a", 0.0, "Hello!")], [shown("u")], {"a": "u"}),
        ([("a", 0.0, "Hello!")], [shown("u", text="Hello")], {}),
        ([("a", 0.0, "Hello!")], [shown("u", status="received")], {}),
        ([("a", 0.0, "Hello!")], [shown("u", status="note")], {}),
        ([("a", 0.0, "Hello!")], [shown(None)], {}),
        ([("a", 0.0, "Hello!")], [HistoryMessage(uuid="u", text="Hello!", status="sent")], {}),
        ([("a", 0.0, "")], [shown("u", text="")], {}),
        ([("a", 0.0, "Hello!")], [shown("u", after=-1.0)], {}),
        ([("a", 0.0, "Hello!")], [shown("u", after=-3.0)], {}),
        ([("a", 0.0, "Hello!"), ("b", 0.0, "Hello!")], [shown("u")], {"a": None}),
        ([("b", 5.0, "Hello!"), ("a", 0.0, "Hello!")], [shown("v", after=6.0), shown("u")], {"a": None, "b": None}),
        ([("a", 0.0, "Hello!"), ("b", 5.0, "Hello!")], [shown("v", after=6.0)], {"a": None}),
        (
            [("a", 0.0, "one"), ("b", 0.0, "two")],
            [shown("v", text="two"), shown("u", text="one")],
            {"a": "u", "b": "v"},
        ),
    ],
    ids=[
        "same text",
        "another text",
        "a received message",
        "a note",
        "without a uuid",
        "without a date",
        "without a text",
        "within the clock skew before the attempt",
        "before the clock skew",
        "one for two",
        "two for two",
        "one for two, at any time",
        "by text",
    ],
)
def test_a_message_is_matched_by_its_text(
    entries: list[tuple[str, float, str]], history: list[HistoryMessage], found: dict[str, str | None]
) -> None:
    """An open entry matches a sent message with its text from the attempt on, and each message matches one entry only."""
    pairs = [(entry(key, after=after), text) for key, after, text in entries]
    assert match(pairs, history, clock_skew=2.0).found == found


A: dict[str, Any] = {"content": {"url": "A"}}
B: dict[str, Any] = {"content": {"url": "B"}}


@pytest.mark.parametrize(
    ("entries", "history", "found", "ambiguous"),
    [
        ([entry("a", **A), entry("b", **B)], [shown("u")], set(), {"a", "b"}),
        ([entry("a", **A), entry("b", **B)], [], set(), set()),
        ([entry("a", **A), entry("b", after=5, **B)], [shown("v", after=6), shown("u")], {"a", "b"}, set()),
        ([entry("a", **A), entry("b", after=9, **B)], [shown("u"), shown("v", after=6)], set(), {"a", "b"}),
        (
            [entry("a", to="1", metadata={"n": "1"}, **A), entry("b", bsuid="B", metadata={"n": "2"}, **A)],
            [shown("u")],
            {"a"},
            set(),
        ),
        ([entry("a", template_uuid="A"), entry("b", template_uuid="B")], [shown("u")], set(), {"a", "b"}),
        ([entry("a"), entry("b", after=1, accepted=True)], [shown("u", after=2)], set(), set()),
        ([entry("a"), entry("b", after=1, accepted=True)], [shown("v", after=2), shown("u")], {"a"}, set()),
        ([entry("a"), entry("b", after=9, accepted=True)], [shown("u")], {"a"}, set()),
        (
            [entry("a", **A), entry("b", **B), entry("c", accepted=True)],
            [shown("u"), shown("v", after=2)],
            set(),
            {"a", "b"},
        ),
        ([entry("a", **A), entry("c", accepted=True, **B)], [shown("u"), shown("v", after=2)], {"a"}, set()),
        ([entry("a", **A), entry("c", again=True, **B)], [shown("u")], set(), {"a"}),
        ([entry("a", **A), entry("c", again=True, **B)], [shown("u"), shown("v", after=2)], set(), {"a"}),
        ([entry("a", **A), entry("c", again=True, **B)], [], set(), set()),
        ([entry("a", **A), entry("c", again=True, **A)], [shown("u")], {"a"}, set()),
        (
            [entry("a", **A), entry("c", again=True, accepted=True, **B)],
            [shown("u"), shown("v", after=2)],
            set(),
            {"a"},
        ),
    ],
    ids=[
        "one for two contents",
        "none for two contents",
        "one for each content",
        "two for two contents, one too early",
        "one for one content twice",
        "one for two templates",
        "one, and another entry is accepted",
        "two, and another entry is accepted",
        "another entry is accepted, but its attempt is too late",
        "two for two contents, and another entry is accepted",
        "one left for the only content",
        "one, and another entry was sent again",
        "two, and another entry was sent again",
        "none, and another entry was sent again",
        "one, and the same content was sent again",
        "two, and another entry was sent again and is accepted without a uuid",
    ],
)
def test_no_entry_is_found_by_the_message_of_another(
    entries: list[JournalEntry], history: list[HistoryMessage], found: set[str], ambiguous: set[str]
) -> None:
    """Of several contents with one text none is found unless all are there, and an accepted entry claims its message first."""
    matches = matched(entries, history)
    assert (set(matches.found), matches.ambiguous) == (found, ambiguous)


@pytest.mark.parametrize(
    ("entries", "history", "uuid"),
    [
        ([entry("a")], [shown("u")], "u"),
        ([entry("a")], [shown("u"), shown("v")], None),
        ([entry("a")], [shown("u"), shown("v", after=-1.0)], None),
        ([entry("a")], [shown("u"), shown("v", after=-3.0)], "u"),
        ([entry("a")], [shown("u"), shown("v", text="Another")], "u"),
        ([entry("a"), entry("b", after=9)], [shown("u")], None),
        ([entry("a"), entry("b", accepted=True)], [shown("u"), shown("v")], None),
        ([entry("a"), entry("b", again=True)], [shown("u")], None),
    ],
    ids=[
        "one message, one entry",
        "two messages",
        "a second message within the clock skew",
        "a second message before the clock skew",
        "a second message with another text",
        "a second open entry",
        "an accepted entry",
        "an entry that was sent again",
    ],
)
def test_a_uuid_is_known_only_if_one_message_and_one_entry_fit(
    entries: list[JournalEntry], history: list[HistoryMessage], uuid: str | None
) -> None:
    """Where several messages or several entries have the text, an entry is found without a uuid."""
    assert matched(entries, history).found["a"] == uuid


@pytest.mark.parametrize(
    ("entries", "history", "too_early"),
    [
        ([entry("a")], [shown("u", after=-1.0)], {"a"}),
        ([entry("a")], [shown("u", after=-3.0)], set()),
        ([entry("a")], [shown("u", after=-1.0), shown("v")], set()),
        ([entry("a"), entry("b", accepted=True)], [shown("u", after=-1.0)], set()),
        ([entry("a"), entry("b", after=9)], [shown("u"), shown("v", after=8)], {"b"}),
    ],
    ids=["within the clock skew", "before it", "with one that fits", "of an accepted entry", "for one of two"],
)
def test_a_message_from_before_the_attempt_is_reported(
    entries: list[JournalEntry], history: list[HistoryMessage], too_early: set[str]
) -> None:
    """An open entry whose text is in the history only from within the clock skew before the attempt is not found, and has its own reason."""
    matches = matched(entries, history)
    assert (matches.too_early, matches.found.keys() & too_early) == (too_early, set())


def test_the_clock_skew_never_makes_a_lost_message_found() -> None:
    """An accepted entry claims a message from before its attempt unless there is a later one, and leaves it to no open entry."""
    lost, accepted = entry("lost", after=-1.5), entry("accepted", accepted=True)
    assert matched([lost, accepted], [shown("u", after=-1.0)]).found == {}
    assert matched([lost, accepted], [shown("u", after=-1.0)], clock_skew=0.5).found == {"lost": None}


def test_an_accepted_entry_claims_the_message_that_leaves_the_fewest() -> None:
    """An earlier message from somebody else does not free the accepted entry's own message for an open entry."""
    lost, accepted = entry("lost", after=-1.0), entry("accepted", accepted=True)
    matches = matched([lost, accepted], [shown("from somebody else", after=-1.5), shown("its own")])
    assert (matches.found, matches.too_early) == ({}, {"lost"})


def test_an_accepted_entry_claims_a_message_from_before_its_end() -> None:
    """An entry that was accepted in an earlier run does not claim the message of a later one, unless the history has no other."""
    earlier, later = entry("earlier", accepted=True, ended=1.0), entry("later", after=60.0)
    assert matched([earlier, later], [shown("u", after=0.5), shown("v", after=61.0)]).found == {"later": None}
    assert matched([earlier, later], [shown("v", after=61.0)]).found == {}


@pytest.mark.parametrize(("second", "found"), [(0, {"a": "u"}), (1, {"a": "u"}), (-1, {})])
def test_dates_in_whole_seconds_are_compared_with_the_second_of_the_attempt(
    second: int, found: dict[str, str | None]
) -> None:
    """A date without a fraction is at or after the attempt if it is not before the attempt's second."""
    assert matched([entry("a")], [in_whole_seconds("u", second)]).found == found


def test_the_clock_skew_includes_its_whole_second() -> None:
    """The clock skew before the attempt also begins at a whole second for a date without a fraction."""
    assert matched([entry("a")], [in_whole_seconds("u", -2)]).too_early == {"a"}
    assert matched([entry("a")], [in_whole_seconds("u", -3)]).too_early == set()


def test_a_message_that_two_pages_have_is_one_message() -> None:
    """A message that is in the history twice, because a page has moved, matches one entry with its uuid."""
    assert matched([entry("a")], [shown("u"), shown("u")]).found == {"a": "u"}
    assert matched([entry("a"), entry("b")], [shown("u"), shown("u")]).found == {"a": None}


@given(
    tried=st.lists(st.integers(-5, 5), max_size=4),
    accepted=st.lists(st.integers(-5, 5), max_size=3),
    sent=st.lists(st.integers(-8, 8), max_size=7),
    clock_skew=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_a_larger_clock_skew_finds_no_more(
    tried: list[int], accepted: list[int], sent: list[int], clock_skew: float
) -> None:
    """Whatever the history has, more clock skew never makes more entries found, and never more entries than messages."""
    entries = [
        *(entry(f"open {index}", after=after) for index, after in enumerate(tried)),
        *(entry(f"accepted {index}", after=after, accepted=True) for index, after in enumerate(accepted)),
    ]
    history = [shown(f"uuid {index}", after=after) for index, after in enumerate(sent)]
    found = matched(entries, history, clock_skew).found
    more = matched(entries, history, clock_skew + 1.0).found
    assert len(more) <= len(found) <= len(sent)


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("+31612345678", "31612345678"),
        ("+5511987654321", "+551187654321"),
        ("+5215512345678", "525512345678"),
        ("+5491123456789", "+541123456789"),
    ],
)
def test_all_forms_of_a_number_have_one_name(written: str, other: str) -> None:
    """A number has one name, however it is written, and in each form to which WhatsApp corrects it; another number has another."""
    name = Recipient("whatsapp", written, None, None).name
    assert name == Recipient("whatsapp", other, None, None).name
    assert all(Recipient("whatsapp", form, None, None).name == name for form in number_variants(written))
    assert name != Recipient("whatsapp", f"{written[:-1]}0", None, None).name
    assert name != Recipient("whatsapp", None, written, None).name


def test_entries_that_share_a_contact_are_matched_together() -> None:
    """Recipients whose contacts overlap, directly or through a third one, are one group; others are groups of their own."""
    pairs = {key: [(entry(key), "Hello!")] for key in "abcd"}
    groups = group_by_contact([({"A"}, pairs["a"]), ({"B"}, pairs["b"]), ({"D"}, pairs["d"]), ({"A", "B"}, pairs["c"])])
    assert [(group.contact_uuids, {one.key for one, _ in group.entries}) for group in groups] == [
        ({"A", "B"}, {"a", "b", "c"}),
        ({"D"}, {"d"}),
    ]
