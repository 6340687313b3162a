"""Collections of records by uuid, and the contacts by each of their identifiers."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from callbell_async.models.validation import normalize_recipient
from callbell_async.sandbox.exchange import refusal
from callbell_async.sandbox.records import HistoryItem, SandboxContact

__all__ = ["Collection", "ContactBook"]


class _Record(Protocol):
    uuid: str


R = TypeVar("R", bound=_Record)


class Collection(Generic[R]):
    """Records of one kind, in the order in which they were added.

    It begins with defaults. The first seeded record replaces them.

    Args:
        defaults: The records of a new sandbox.

    Attributes:
        seeded: Whether a record was seeded.
    """

    def __init__(self, *defaults: R) -> None:
        self._records = {record.uuid: record for record in defaults}
        self.seeded = False

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def seed(self, record: R) -> None:
        """Add a record of a test; the first one replaces the defaults."""
        if not self.seeded:
            self._records.clear()
            self.seeded = True
        self.add(record)

    def add(self, record: R) -> None:
        """Add a record that a request created."""
        self._records[record.uuid] = record

    def remove(self, record: R) -> None:
        """Remove a record."""
        del self._records[record.uuid]

    def find(self, uuid: str | None) -> R | None:
        """Return the record with this uuid; `None` if it does not exist."""
        return None if uuid is None else self._records.get(uuid)

    def get(self, uuid: str) -> R:
        """Return the record with this uuid, or refuse the request with 404."""
        record = self._records.get(uuid)
        if record is None:
            raise refusal(404, "not found")
        return record

    def allows(self, uuid: str | None) -> bool:
        """Return whether a request may refer to this uuid: to any, until a test has seeded records."""
        return not self.seeded or uuid in self._records


class ContactBook:
    """All contacts, the most recent conversation first.

    Attributes:
        sequence: The number of the latest activity: a new contact, a message, a conversation that is opened again.
    """

    def __init__(self) -> None:
        # The most recent conversation is the last one.
        self._contacts: dict[str, SandboxContact] = {}
        self._by_identifier: dict[tuple[str, str], SandboxContact] = {}
        self._by_bsuid: dict[str, SandboxContact] = {}
        self.sequence = 0

    def __iter__(self) -> Iterator[SandboxContact]:
        return iter(reversed(self._contacts.values()))

    def __len__(self) -> int:
        return len(self._contacts)

    def as_of(self, sequence: int) -> list[tuple[int, SandboxContact]]:
        """Return the contacts in the order they had at an earlier activity, each with its own latest one until then.

        Contacts that were added later are left out.
        """
        found = [(_activity_until(contact, sequence), contact) for contact in self]
        return sorted((pair for pair in found if pair[0]), key=lambda pair: pair[0], reverse=True)

    def add(self, contact: SandboxContact) -> None:
        """Add a contact."""
        contact.activity = []
        self.touch(contact)
        if contact.identifier:
            self._by_identifier[contact.source, normalize_recipient(contact.identifier)] = contact
        if contact.bsuid:
            self._by_bsuid[contact.bsuid] = contact

    def touch(self, contact: SandboxContact) -> None:
        """Make a contact's conversation the most recent one."""
        self.sequence += 1
        contact.activity.append(self.sequence)
        self._contacts.pop(contact.uuid, None)
        self._contacts[contact.uuid] = contact

    def remove(self, contact: SandboxContact) -> None:
        """Remove a contact with its history."""
        del self._contacts[contact.uuid]
        # Seeded contacts may share an identifier, which leads to the last one.
        key = contact.source, normalize_recipient(contact.identifier)
        if self._by_identifier.get(key) is contact:
            del self._by_identifier[key]
        if self.by_bsuid(contact.bsuid) is contact:
            del self._by_bsuid[contact.bsuid or ""]

    def find(self, uuid: str) -> SandboxContact | None:
        """Return the contact with this uuid; `None` if it does not exist."""
        return self._contacts.get(uuid)

    def get(self, uuid: str) -> SandboxContact:
        """Return the contact with this uuid, or refuse the request with 404."""
        contact = self._contacts.get(uuid)
        if contact is None:
            raise refusal(404, "not found")
        return contact

    def by_identifier(self, source: str, identifier: str) -> SandboxContact | None:
        """Return the contact of a channel type with this number, in any spelling, or this identifier."""
        return self._by_identifier.get((source, normalize_recipient(identifier)))

    def by_bsuid(self, bsuid: str | None) -> SandboxContact | None:
        """Return the contact with this WhatsApp Business Suite User ID."""
        return None if bsuid is None else self._by_bsuid.get(bsuid)

    def find_message(self, identifier: str) -> HistoryItem | None:
        """Return the message with this uuid or external id from the history of any contact."""
        for contact in self:
            for item in contact.history:
                if item.status != "note" and identifier in (item.uuid, f"wamid.{item.uuid}"):
                    return item
        return None


def _activity_until(contact: SandboxContact, sequence: int) -> int:
    """Return a contact's latest activity until `sequence`; 0 if it did not exist."""
    if contact.activity[-1] <= sequence:
        return contact.activity[-1]
    place = bisect.bisect_right(contact.activity, sequence)
    return contact.activity[place - 1] if place else 0
