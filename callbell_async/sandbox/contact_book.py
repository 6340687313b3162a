"""The contacts, found by any of their names."""

from __future__ import annotations

from collections.abc import Iterator

from callbell_async.sandbox.exchange import refusal
from callbell_async.sandbox.records import HistoryItem, SandboxContact, same_recipient

__all__ = ["People"]


class People:
    """All contacts, oldest first."""

    def __init__(self) -> None:
        self._contacts: dict[str, SandboxContact] = {}
        self._by_identifier: dict[tuple[str, str], SandboxContact] = {}
        self._by_bsuid: dict[str, SandboxContact] = {}
        self._added = 0

    def __iter__(self) -> Iterator[SandboxContact]:
        return iter(self._contacts.values())

    def __len__(self) -> int:
        return len(self._contacts)

    def add(self, contact: SandboxContact) -> None:
        """A new one."""
        self._added += 1
        contact.number = self._added
        self._contacts[contact.uuid] = contact
        if contact.identifier:
            self._by_identifier[contact.source, same_recipient(contact.identifier)] = contact
        if contact.bsuid:
            self._by_bsuid[contact.bsuid] = contact

    def remove(self, contact: SandboxContact) -> None:
        """It is gone, with its history."""
        del self._contacts[contact.uuid]
        # Seeded contacts may share a name, which leads to the last one.
        name = contact.source, same_recipient(contact.identifier)
        if self._by_identifier.get(name) is contact:
            del self._by_identifier[name]
        if self.by_bsuid(contact.bsuid) is contact:
            del self._by_bsuid[contact.bsuid or ""]

    def get(self, uuid: str) -> SandboxContact:
        """By its uuid; refuses the request if there is none."""
        contact = self._contacts.get(uuid)
        if contact is None:
            raise refusal(404, "not found")
        return contact

    def by_identifier(self, source: str, identifier: str) -> SandboxContact | None:
        """By its number, however it is spelt, or what else its channel knows it by."""
        return self._by_identifier.get((source, same_recipient(identifier)))

    def by_bsuid(self, bsuid: str | None) -> SandboxContact | None:
        """By its WhatsApp Business Suite User ID."""
        return None if bsuid is None else self._by_bsuid.get(bsuid)

    def entry(self, identifier: str) -> tuple[SandboxContact, HistoryItem] | None:
        """A message in the history of any contact, by its uuid or its external id."""
        for contact in self:
            for entry in contact.history:
                if entry.uuid is not None and identifier in (entry.uuid, f"wamid.{entry.uuid}"):
                    return contact, entry
        return None
