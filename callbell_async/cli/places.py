"""Where the journal of a command is: in a file, or in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import click

from callbell_async.cli.files import are_same
from callbell_async.errors import ConfigurationError
from callbell_async.journal import Journal
from callbell_async.journal.files import SIDE_FILES, beside

__all__ = ["JOURNAL", "JournalPlace"]


@attrs.frozen
class JournalPlace:
    """A file, or a URL of PostgreSQL with the journal's name; its text is the path, or the URL without the password."""

    given: str = attrs.field(repr=False)
    label: str
    path: Path | None

    @classmethod
    def of(cls, given: str) -> JournalPlace:
        """Return the place; raises `ConfigurationError` for a URL that is not valid, or a missing driver."""
        try:
            journal = Journal.connect(given)
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"journal: {error}") from None
        return cls(given, journal.label, journal.path)

    def __str__(self) -> str:
        return self.label

    def journal(self, *, read_only: bool = False) -> Journal:
        """Return the journal; it connects when it is opened."""
        return Journal.connect(self.given, read_only=read_only)

    def existing(self) -> JournalPlace:
        """Return the same place; raises `ConfigurationError` for a file that does not exist, instead of creating it.

        A journal in PostgreSQL is looked up when it is opened for reading.
        """
        if self.path is not None and not self.path.exists():
            raise ConfigurationError(f"{self}: there is no such journal")
        return self

    def part(self, file: Path) -> str | None:
        """Return the part of the journal that a path names, such as "is the journal"; `None` if it names none."""
        return None if self.path is None else _part_of_journal(file, self.path)


class _JournalType(click.ParamType[JournalPlace]):
    """The path of a file, or a URL of PostgreSQL."""

    name = "journal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JournalPlace:
        """Return the place; a wrong URL is a usage error that does not quote it."""
        if isinstance(value, JournalPlace):
            return value
        try:
            return JournalPlace.of(value)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


def _part_of_journal(path: Path, journal: Path) -> str | None:
    """Return the part of a journal that a path names, such as "is the journal"; `None` if it names none."""
    if are_same(path, journal):
        return "is the journal"
    if any(are_same(path, beside(journal, end)) for end in SIDE_FILES):
        return f"belongs to the journal {journal}"
    return None


JOURNAL = _JournalType()
