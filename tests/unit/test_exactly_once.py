"""The check of the tests with real workers can fail: it notices a message that was doubled, lost or not recorded."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from callbell_async import JournalEntry, Outcome
from tests.support.exactly_once import unknown_messages


def entry(text: str, outcome: Outcome = Outcome.ACCEPTED, *, in_flight: bool = False) -> JournalEntry:
    """Return the entry of a message with this text."""
    body = orjson.dumps({"content": {"text": text}})
    return JournalEntry(
        key=text, message_body=body, outcome=outcome, index=0, tried_at=datetime.now(UTC), in_flight=in_flight
    )


def test_what_is_in_doubt_is_named() -> None:
    """An `UNKNOWN` message is named, whether or not the server has it; accepted messages are not."""
    entries = [entry("a"), entry("b", Outcome.UNKNOWN), entry("c", Outcome.UNKNOWN)]
    assert unknown_messages(["a", "b", "c"], {"a": 1, "b": 1}, entries) == {"b", "c"}


@pytest.mark.parametrize(
    ("accepted", "entries", "fault"),
    [
        ({"a": 1, "b": 2}, [entry("a"), entry("b")], "sent more than once: {'b': 2}"),
        ({"a": 1}, [entry("a"), entry("b")], "lost: b is ACCEPTED"),
        ({"a": 1}, [entry("a")], "recorded, or not, by mistake: {'b'}"),
        ({"a": 1, "b": 1}, [entry("a"), entry("b"), entry("c")], "recorded, or not, by mistake: {'c'}"),
        ({"a": 1}, [entry("a"), entry("b", Outcome.NEVER_SENT)], "not sent: b is never_sent"),
        ({"a": 1}, [entry("a"), entry("b", Outcome.UNKNOWN, in_flight=True)], "still in flight: b"),
        ({"a": 1, "b": 1, "c": 1}, [entry("a"), entry("b")], "that is not recorded"),
    ],
    ids=["doubled", "lost", "not recorded", "unexpected", "not sent", "in flight", "unknown to the journal"],
)
def test_each_fault_is_noticed(accepted: dict[str, int], entries: list[JournalEntry], fault: str) -> None:
    """Each kind of fault fails the check, and the text names the message."""
    with pytest.raises(AssertionError) as caught:
        unknown_messages(["a", "b"], accepted, entries)
    assert fault in str(caught.value)
