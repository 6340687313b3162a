"""Where the journal and the shared rate limit of a command are: in a file, in PostgreSQL, or in Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from callbell_async import limits
from callbell_async.errors import ConfigurationError
from callbell_async.redaction import database_url

if TYPE_CHECKING:
    from callbell_async.journal import Journal

__all__ = ["JOURNAL", "RATE_LIMITER", "JournalPlace", "RateLimiterPlace", "are_same"]


def are_same(one: Path, other: Path) -> bool:
    """Return whether two paths name one file, also by links, and also before the file exists."""
    # Imported here: `--help` of a command needs no journal.
    from callbell_async.journal.files import beside

    if beside(one, "") == beside(other, ""):
        return True
    try:
        return one.samefile(other)
    except OSError:
        # One of them does not exist, or can't be reached.
        return False


@attrs.frozen
class JournalPlace:
    """A file, or a URL of PostgreSQL with the journal's name; its text is the path, or the URL without the password."""

    given: str = attrs.field(repr=False)
    label: str
    path: Path | None

    @classmethod
    def of(cls, given: str) -> JournalPlace:
        """Return the place; raises `ConfigurationError` for a URL that is not valid, or a missing driver."""
        # Imported here: `--help` of a command needs no journal.
        from callbell_async.journal import Journal

        try:
            journal = Journal.connect(given)
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"journal: {error}") from None
        return cls(given, journal.label, journal.path)

    def __str__(self) -> str:
        return self.label

    def journal(self, *, read_only: bool = False) -> Journal:
        """Return the journal; it connects when it is opened."""
        from callbell_async.journal import Journal

        return Journal.connect(self.given, read_only=read_only)

    def existing(self) -> JournalPlace:
        """Return the same place; raises `ConfigurationError` for a file that does not exist, instead of creating it.

        A journal in PostgreSQL is looked up when it is opened for reading.
        """
        try:
            if self.path is None or self.path.exists():
                return self
        except OSError as error:
            raise ConfigurationError(f"{self}: can't be read ({error.strerror})") from None
        raise ConfigurationError(f"{self}: there is no such journal")

    def part(self, file: Path) -> str | None:
        """Return the part of the journal that a path names, such as "is the journal"; `None` if it names none."""
        from callbell_async.journal.files import SIDE_FILES, beside

        if self.path is None:
            return None
        if are_same(file, self.path):
            return "is the journal"
        if any(are_same(file, beside(self.path, end)) for end in SIDE_FILES):
            return f"belongs to the journal {self.path}"
        return None


@attrs.frozen
class RateLimiterPlace:
    """A Redis or a PostgreSQL, and the name of a limit in it; its text is the URL without the password."""

    url: str = attrs.field(repr=False)
    name: str
    label: str

    @classmethod
    def of(cls, given: str) -> RateLimiterPlace:
        """Return the place; raises `ConfigurationError`, which does not quote the URL, if it is not valid or its driver is missing."""
        found = database_url(given)
        if found is None:
            raise ConfigurationError(
                "url: must be redis://user:password@host:port/database or postgresql://user:password@host:port/database; "
                "write special characters of the password as %XX"
            )
        url, label, name = found
        place = cls(url, name or "callbell", label)
        try:
            place.limiter(1)
        except ModuleNotFoundError as error:
            raise ConfigurationError(str(error)) from None
        return place

    def __str__(self) -> str:
        return self.label

    def limiter(self, limit: int) -> limits.SharedRateLimiter:
        """Return the rate limiter; it connects when it is started."""
        return limits.from_url(self.url, limit=limit, name=self.name)


P = TypeVar("P")


class _PlaceType(click.ParamType[P]):
    """A journal's file or URL, or the URL of a rate limiter."""

    def __init__(self, name: str, read: Callable[[str], P]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> P:
        """Return the place; a wrong URL is a usage error that does not quote it."""
        try:
            return self._read(value)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


JOURNAL = _PlaceType("journal", JournalPlace.of)
RATE_LIMITER = _PlaceType("rate limiter", RateLimiterPlace.of)
