"""The URL of a journal in PostgreSQL: which database, which journal, and what may be shown of it. Without the driver."""

from __future__ import annotations

from typing import NamedTuple

from callbell_async.errors import ConfigurationError
from callbell_async.redaction import database_url

__all__ = ["JournalAddress", "is_postgres_url", "parse_journal_url"]

MAX_NAME = 100
"""The most characters of a journal's name: with a key of 500 characters it must fit into an index."""


class JournalAddress(NamedTuple):
    """A database and a journal in it; `label` has no password, and serves as the URL where the password comes from elsewhere."""

    conninfo: str
    name: str
    label: str

    def __repr__(self) -> str:
        return f"<JournalAddress {self.label}>"


def is_postgres_url(text: str) -> bool:
    """Return whether a text is the URL of a PostgreSQL database, and not a path."""
    return text.startswith(("postgresql://", "postgres://"))


def parse_journal_url(url: str, name: str | None) -> JournalAddress:
    """Return the address of a journal, whose name is given in the URL as `name=` or apart.

    Raises `ConfigurationError`, whose text never quotes the URL: it may hold a password.
    """
    found = database_url(f"postgresql://{url.partition('://')[2]}", name if isinstance(name, str) else None)
    if found is None:
        raise ConfigurationError(
            "url: must be postgresql://user:password@host:port/database?name=journal; write special characters of the password as %XX"
        )
    conninfo, label, found_name = found
    if name is not None and found_name is not None and name != found_name:
        raise ConfigurationError("name: the URL names another journal; give the name once")
    if found_name is None or not found_name.strip() or len(found_name) > MAX_NAME or "\0" in found_name:
        raise ConfigurationError(
            f"name: give the journal's name, 1 to {MAX_NAME} characters; add it to the URL as ?name=spring, or pass name="
        )
    return JournalAddress(conninfo, found_name, label)
