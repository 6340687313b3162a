"""Where the journal and the shared rate limit of a command are: in a file, in PostgreSQL, or in Redis."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import attrs
import click

from callbell_async import limits
from callbell_async.cli.files import are_same
from callbell_async.errors import ConfigurationError
from callbell_async.redaction import is_secret_parameter

if TYPE_CHECKING:
    from callbell_async.journal import Journal

__all__ = ["JOURNAL", "RATE_LIMITER", "JournalPlace", "RateLimiterPlace"]

_HOST = re.compile(r"([\w.%-]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]+)?", re.ASCII)


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
        if self.path is not None and not self.path.exists():
            raise ConfigurationError(f"{self}: there is no such journal")
        return self

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
        try:
            parts = urlsplit(given)
        except ValueError:
            parts = None
        is_socket = parts is not None and parts.scheme == "unix"
        user, _, hosts = ("", "", "") if parts is None else parts.netloc.rpartition("@")
        pairs = [] if parts is None else [pair for pair in parts.query.split("&") if pair]
        # A password with such a character would be taken for another part of the URL, and so be shown.
        if (
            parts is None
            or parts.fragment
            or "@" in user + parts.path + parts.query
            or ("/" in parts.path[1:] and not is_socket)
            or not all(map(_HOST.fullmatch, hosts.split(",")))
        ):
            raise ConfigurationError(
                "url: must be redis://user:password@host:port/database or postgresql://user:password@host:port/database; "
                "write special characters of the password as %XX"
            )
        name = dict(parse_qsl(parts.query)).get("name", "callbell")
        open_user = user.partition(":")[0]
        driver_pairs = [pair for pair in pairs if not pair.startswith("name=")]
        shown_pairs = [pair for pair in pairs if not is_secret_parameter(pair.partition("=")[0])]
        url = _joined(parts.scheme, parts.netloc, parts.path, driver_pairs)
        label = _joined(parts.scheme, f"{open_user}@{hosts}" if open_user else hosts, parts.path, shown_pairs)
        place = cls(url, name, label)
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


def _joined(scheme: str, netloc: str, path: str, pairs: list[str]) -> str:
    return f"{scheme}://{netloc}{path}{'?' if pairs else ''}{'&'.join(pairs)}"


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
