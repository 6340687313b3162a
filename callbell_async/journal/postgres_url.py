"""The URL of a journal in PostgreSQL: which database, which journal, and what may be shown of it. Without the driver."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from callbell_async.errors import ConfigurationError
from callbell_async.redaction import is_secret_parameter

__all__ = ["JournalAddress", "is_postgres_url", "parse_journal_url"]

MAX_NAME = 100
"""The most characters of a journal's name: with a key of 500 characters it must fit into an index."""

_HOST = re.compile(r"([\w.%-]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]+)?", re.ASCII)
_PARAMETER = re.compile(r"\w+=[^@]*", re.ASCII)


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
    malformed = ConfigurationError(
        "url: must be postgresql://user:password@host:port/database?name=journal; write special characters of the password as %XX"
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.fragment or not re.fullmatch("/?[^/@]*", parts.path):
        raise malformed
    user, _, hosts = parts.netloc.rpartition("@")
    pairs = [(pair.partition("=")[0], pair) for pair in parts.query.split("&") if pair]
    if "@" in user or not all(map(_HOST.fullmatch, hosts.split(","))):
        raise malformed
    if not all(_PARAMETER.fullmatch(pair) for _, pair in pairs):
        raise malformed
    named = dict(parse_qsl(parts.query)).get("name")
    if name is not None and named is not None and name != named:
        raise ConfigurationError("name: the URL names another journal; give the name once")
    name = named if name is None else name
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or "\0" in name:
        raise ConfigurationError(
            f"name: give the journal's name, 1 to {MAX_NAME} characters; add it to the URL as ?name=spring, or pass name="
        )
    open_user = user.partition(":")[0]
    netloc = f"{open_user}@{hosts}" if open_user else hosts
    shown = [pair for key, pair in pairs if key != "name" and not is_secret_parameter(key)]
    shown.append(f"name={quote(name, safe='')}")
    label = f"postgresql://{netloc}{parts.path}?{'&'.join(shown)}"
    query = "&".join(pair for key, pair in pairs if key != "name")
    conninfo = f"postgresql://{parts.netloc}{parts.path}{'?' if query else ''}{query}"
    return JournalAddress(conninfo, name, label)
