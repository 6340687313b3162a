"""Pure matching of journalled messages with the histories of contacts. No I/O."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import attrs

from callbell_async.errors import JournalError, Outcome
from callbell_async.models.contacts import HistoryMessage
from callbell_async.models.journal import JournalEntry
from callbell_async.models.validation import normalize_recipient, number_variants
from callbell_async.wire import WireError, load_json

__all__ = [
    "ContactGroup",
    "EntryText",
    "Matches",
    "OtherMessages",
    "Recipient",
    "body_of",
    "group_by_contact",
    "is_open",
    "match",
    "recipient_of",
]

EntryText = tuple[JournalEntry, str]
"""An entry, and the text that its recipient reads."""

RecipientName = tuple[bool, str]
"""Whether the recipient is a bsuid, and the one form of it that all its spellings share."""

_TEXTS = ("to", "bsuid", "channel_uuid", "template_uuid")
NOT_CONTENT = ("to", "bsuid", "metadata")
"""The fields in which two messages may differ and still be the same message for a customer who receives both."""


@attrs.frozen
class Recipient:
    """The recipient of a message, as it is written, and the channel."""

    channel: str
    to: str | None
    bsuid: str | None
    channel_uuid: str | None

    @property
    def name(self) -> RecipientName:
        """The name that all spellings of this recipient share, also the forms to which WhatsApp corrects a number."""
        if self.to is None:
            return True, self.bsuid or ""
        return False, min([normalize_recipient(self.to), *number_variants(self.to)])


def body_of(key: str, body: bytes) -> Mapping[str, Any]:
    """Return the stored body of a message, an object whose texts are strings.

    Raises `JournalError` for any other body: the library writes none, but a crafted file may have one.
    """
    document = None
    with contextlib.suppress(WireError):
        document = load_json(body)
    if isinstance(document, dict) and isinstance(document.get("from"), str):
        texts = [document[name] for name in _TEXTS if document.get(name) is not None]
        values = document.get("template_values", [])
        if isinstance(values, list) and all(isinstance(text, str) for text in [*texts, *values]):
            return document
    raise JournalError(
        f"the message with the key {key!r} has a body that is not a message; the journal was changed by another"
        " program: restore a good copy"
    )


def recipient_of(entry: JournalEntry) -> Recipient:
    """Return the recipient of a message."""
    body = body_of(entry.key, entry.message_body)
    return Recipient(body["from"], body.get("to"), body.get("bsuid"), body.get("channel_uuid"))


def is_open(entry: JournalEntry) -> bool:
    """Return whether it is still unknown if the message was accepted."""
    return entry.outcome is not Outcome.ACCEPTED


def _content(entry: JournalEntry) -> Mapping[str, Any]:
    return {name: value for name, value in body_of(entry.key, entry.message_body).items() if name not in NOT_CONTENT}


# --- one group of contacts --------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class ContactGroup:
    """Contacts that may have the same messages, and the entries that were sent to them."""

    contact_uuids: set[str]
    entries: list[EntryText]


def group_by_contact(searches: Iterable[tuple[Collection[str], Sequence[EntryText]]]) -> list[ContactGroup]:
    """Join the entries whose recipients share a contact, so that no message of a history is matched twice."""
    by_contact: dict[str, ContactGroup] = {}
    for contact_uuids, entries in searches:
        joined = ContactGroup(set(contact_uuids), list(entries))
        for group in {by_contact[uuid] for uuid in contact_uuids if uuid in by_contact}:
            joined.contact_uuids |= group.contact_uuids
            joined.entries += group.entries
        by_contact.update(dict.fromkeys(joined.contact_uuids, joined))
    return list(dict.fromkeys(by_contact.values()))


# --- matching ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Matches:
    """The result of `match`. Entries are named by their keys.

    Attributes:
        found: The open entries whose message is in the history, each with the uuid of that message; `None` if several messages or
            several entries have this text, because then it is not known which message belongs to which entry.
        ambiguous: The open entries of different contents with one text, for which the history does not have enough messages.
        too_early: The open entries for which the history has a message, but from a moment before the attempt.
        candidates: The uuids of all messages with the texts of the entries in `found`.
    """

    found: Mapping[str, str | None]
    ambiguous: Collection[str]
    too_early: Collection[str]
    candidates: Collection[str]


class _SentMessage(NamedTuple):
    uuid: str
    created_at: datetime

    def is_since(self, moment: datetime) -> bool:
        # Callbell's histories have dates in whole seconds: the fraction of the moment can't be compared with them.
        return self.created_at >= (moment if self.created_at.microsecond else moment.replace(microsecond=0))


def match(entries: Sequence[EntryText], history: Iterable[HistoryMessage], *, clock_skew: float) -> Matches:
    """Decide which open entries are in a contact's history.

    An open entry is found by a sent message with its text, from the attempt on, that no other entry claims. The rules keep a lost message from being
    found by the message of another entry:

    - An entry that is known to be accepted claims its message first, up to `clock_skew` seconds before its attempt.
    - Entries with one text and one content are the same to a customer: the earlier ones are found first.
    - Entries with one text and several contents are found if the history has a message for each of them, otherwise none is. None is
      found either if one of them was sent again, because the history may have two copies of it.

    Args:
        entries: All entries of a contact that are open, accepted without a uuid, or sent again, each with its text.
        history: The messages of the contact that belong to no entry yet. Dates in whole seconds are compared with whole seconds.
        clock_skew: The most seconds by which this machine's clock and Callbell's differ.

    Returns:
        The entries that were found, and the reasons for the others.
    """
    skew = timedelta(seconds=clock_skew)
    found: dict[str, str | None] = {}
    ambiguous: set[str] = set()
    too_early: set[str] = set()
    candidates: set[str] = set()
    sent_by_text = _sent_by_text(history)
    for text, same_text in _by_text(entries).items():
        sent = sent_by_text.get(text, [])
        open_entries = [entry for entry in same_text if is_open(entry)]
        free = _without_accepted([entry for entry in same_text if not is_open(entry)], sent, skew)
        claims = _claims(open_entries, free)
        if claims and _is_ambiguous(same_text, all_found=len(claims) == len(open_entries)):
            ambiguous.update(entry.key for entry in open_entries)
            continue
        candidates.update(message.uuid for message in sent if claims)
        unclaimed = set(free) - set(claims.values())
        for entry in open_entries:
            since = entry.tried_at - skew
            if entry.key in claims:
                is_only = len(same_text) == 1 and sum(message.is_since(since) for message in sent) == 1
                found[entry.key] = claims[entry.key].uuid if is_only else None
            elif any(message.is_since(since) for message in unclaimed):
                too_early.add(entry.key)
    return Matches(found, ambiguous, too_early, candidates)


def _by_text(entries: Iterable[EntryText]) -> Mapping[str, list[JournalEntry]]:
    """The entries by text, in the order of their attempts."""
    by_text: dict[str, list[JournalEntry]] = defaultdict(list)
    for entry, text in sorted(entries, key=lambda pair: pair[0].tried_at):
        if text:
            by_text[text].append(entry)
    return by_text


def _sent_by_text(history: Iterable[HistoryMessage]) -> Mapping[str | None, list[_SentMessage]]:
    """The sent messages by text, each once, in the order of their dates."""
    by_text: dict[str | None, dict[str, _SentMessage]] = defaultdict(dict)
    for message in history:
        if message.status == "sent" and message.created_at and message.uuid:
            by_text[message.text][message.uuid] = _SentMessage(message.uuid, message.created_at)
    return {text: sorted(sent.values(), key=lambda one: one.created_at) for text, sent in by_text.items()}


def _without_accepted(
    accepted: Iterable[JournalEntry], sent: Sequence[_SentMessage], skew: timedelta
) -> list[_SentMessage]:
    """Return the messages that are left when each accepted entry without a uuid has claimed one.

    Each claims the latest message that it can be, because that leaves the fewest for open entries.
    """
    free = list(sent)
    for entry in sorted(accepted, key=lambda one: one.tried_at, reverse=True):
        if entry.uuid is not None:
            continue
        possible = [message for message in free if message.is_since(entry.tried_at - skew)]
        # It was accepted at `finished_at` at the latest. If the clocks differ by more, it claims a later message.
        in_time = [m for m in possible if entry.finished_at is None or m.created_at - skew <= entry.finished_at]
        for claimed in in_time[-1:] or possible[:1]:
            free.remove(claimed)
    return free


def _claims(entries: Iterable[JournalEntry], free: Iterable[_SentMessage]) -> Mapping[str, _SentMessage]:
    """Return for each entry in turn, by key, the earliest message since its attempt that no entry before it has claimed."""
    left = list(free)
    claims = {}
    for entry in entries:
        message = next((message for message in left if message.is_since(entry.tried_at)), None)
        if message is not None:
            claims[entry.key] = message
            left.remove(message)
    return claims


def _is_ambiguous(same_text: Iterable[JournalEntry], *, all_found: bool) -> bool:
    """Return whether a message with this text may be that of an entry with another content."""
    # An accepted entry has claimed its message, and has a second one only if it was sent again.
    possible = [entry for entry in same_text if is_open(entry) or entry.resent]
    contents = [_content(entry) for entry in possible]
    if all(content == contents[0] for content in contents):
        return False
    return not all_found or any(entry.resent for entry in possible)


# --- other messages ---------------------------------------------------------------------------------------------------


@attrs.frozen
class OtherMessages:
    """Possibly accepted messages whose contact's history was not searched: their recipients and texts. A text of `None` matches any text."""

    _names: set[RecipientName] = attrs.field(factory=set)
    _texts: set[tuple[bool, str | None]] = attrs.field(factory=set)

    def add(self, recipient: Recipient, text: str | None) -> None:
        """Add a message."""
        by_bsuid, _ = recipient.name
        self._names.add(recipient.name)
        self._texts.add((by_bsuid, text))

    def could_match(self, entry: JournalEntry, text: str) -> bool:
        """Return whether the message that was found for this entry may be one of them. A number and a bsuid may be one contact's."""
        by_bsuid, _ = name = recipient_of(entry).name
        return name in self._names or not self._texts.isdisjoint({(not by_bsuid, text), (not by_bsuid, None)})
