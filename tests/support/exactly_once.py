"""Compares what a server has accepted with what a journal has recorded: nothing lost, nothing doubled, and every `UNKNOWN` message is named."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import orjson

from callbell_async import JournalEntry, Outcome

__all__ = ["unknown_messages"]


def unknown_messages(
    expected: Collection[str], accepted: Mapping[str, int], entries: Iterable[JournalEntry]
) -> set[str]:
    """Return the texts of the messages whose outcome is `UNKNOWN` in the journal.

    Args:
        expected: The texts of all messages.
        accepted: How often the server has accepted each text.
        entries: All entries of the journal.

    Raises:
        AssertionError: A message was sent twice, lost, or is not recorded as it is.
    """
    doubled = {text: count for text, count in accepted.items() if count > 1}
    assert not doubled, f"sent more than once: {doubled}"
    recorded = {str(orjson.loads(entry.message_body)["content"]["text"]): entry for entry in entries}
    assert recorded.keys() == set(expected), f"recorded, or not, by mistake: {recorded.keys() ^ set(expected)}"
    unknown = set()
    for text, entry in recorded.items():
        assert not entry.in_flight, f"still in flight: {text}"
        if entry.outcome is Outcome.UNKNOWN:
            unknown.add(text)
        else:
            assert entry.outcome is Outcome.ACCEPTED, f"not sent: {text} is {entry.outcome}"
            assert text in accepted, f"lost: {text} is ACCEPTED, and the server does not have it"
    assert set(accepted) <= recorded.keys(), "the server has a message that is not recorded"
    return unknown
