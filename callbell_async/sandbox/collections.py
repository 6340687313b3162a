"""Records of one kind, by uuid, in the order they were added."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from callbell_async.sandbox.exchange import refusal

__all__ = ["Shelf"]


class _Record(Protocol):
    uuid: str


R = TypeVar("R", bound=_Record)


class Shelf(Generic[R]):
    """Starts with what every sandbox has; the first record that a test seeds takes the place of all that."""

    def __init__(self, *records: R) -> None:
        self._records = {record.uuid: record for record in records}
        self.seeded = False

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def seed(self, record: R) -> None:
        """Add a record of a test's."""
        if not self.seeded:
            self._records.clear()
            self.seeded = True
        self.put(record)

    def put(self, record: R) -> None:
        """Add a record."""
        self._records[record.uuid] = record

    def remove(self, record: R) -> None:
        """Take it away."""
        del self._records[record.uuid]

    def find(self, uuid: str | None) -> R | None:
        """The record, if there is one."""
        return None if uuid is None else self._records.get(uuid)

    def get(self, uuid: str) -> R:
        """The record; refuses the request if there is none."""
        record = self._records.get(uuid)
        if record is None:
            raise refusal(404, "not found")
        return record

    def knows(self, uuid: str | None) -> bool:
        """Whether a request may refer to it: to anything, as long as no test has said what there is."""
        return not self.seeded or uuid in self._records
