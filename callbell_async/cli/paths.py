"""Compares paths, however they are spelled."""

from __future__ import annotations

from pathlib import Path

from callbell_async.journal.files import SIDE_FILES, beside

__all__ = ["are_same", "part_of_journal"]


def are_same(one: Path, other: Path) -> bool:
    """Return whether two paths name one file, also by links, and also before the file exists."""
    return beside(one, "") == beside(other, "") or (one.exists() and other.exists() and one.samefile(other))


def part_of_journal(path: Path, journal: Path) -> str | None:
    """Return the part of a journal that a path names, such as "is the journal"; `None` if it names none."""
    if are_same(path, journal):
        return "is the journal"
    if any(are_same(path, beside(journal, end)) for end in SIDE_FILES):
        return f"belongs to the journal {journal}"
    return None
