"""Which file a path names, however it is spelt."""

from __future__ import annotations

from pathlib import Path

from callbell_async.journal.files import SIDE_FILES, beside

__all__ = ["are_same", "part_of_journal"]


def are_same(one: Path, other: Path) -> bool:
    """Whether both name one file, be it there or not yet, also by links."""
    return beside(one, "") == beside(other, "") or (one.exists() and other.exists() and one.samefile(other))


def part_of_journal(path: Path, journal: Path) -> str | None:
    """What a path names of a journal, such as "is the journal", so that nothing else is written there; `None` if it is no part of it."""
    if are_same(path, journal):
        return "is the journal"
    if any(are_same(path, beside(journal, end)) for end in SIDE_FILES):
        return f"belongs to the journal {journal}"
    return None
