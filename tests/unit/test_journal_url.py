"""The URL of a journal: which database and journal it names, and that its password is shown nowhere."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from callbell_async import ConfigurationError, Journal
from callbell_async.journal.postgres_url import parse_journal_url

PASSWORD = "s3cretpass"


@pytest.mark.parametrize(
    ("url", "name", "conninfo", "label"),
    [
        (
            f"postgresql://anna:{PASSWORD}@db.example:5432/shop?name=spring",
            None,
            f"postgresql://anna:{PASSWORD}@db.example:5432/shop",
            "postgresql://anna@db.example:5432/shop?name=spring",
        ),
        (
            f"postgres://db.example/shop?password={PASSWORD}&sslmode=require",
            "spring 1",
            f"postgresql://db.example/shop?password={PASSWORD}&sslmode=require",
            "postgresql://db.example/shop?sslmode=require&name=spring%201",
        ),
        (
            "postgresql://anna@[::1]:5432,10.0.0.1/shop",
            "spring",
            "postgresql://anna@[::1]:5432,10.0.0.1/shop",
            "postgresql://anna@[::1]:5432,10.0.0.1/shop?name=spring",
        ),
        ("postgresql:///shop?name=a%2Fb", "a/b", "postgresql:///shop", "postgresql:///shop?name=a%2Fb"),
    ],
)
def test_a_url_names_a_database_and_a_journal(url: str, name: str | None, conninfo: str, label: str) -> None:
    """The driver gets the URL without the name; what is shown has no password, and is a URL of the same journal."""
    address = parse_journal_url(url, name)
    assert (address.conninfo, address.label) == (conninfo, label)
    assert PASSWORD not in repr(address)
    assert parse_journal_url(label, None).name == address.name == parse_journal_url(url, name).name


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://anna:{PASSWORD}@x@db.example/shop?name=spring",
        f"postgresql://anna:x/{PASSWORD}@db.example/shop?name=spring",
        f"postgresql://anna:x?{PASSWORD}@db.example/shop?name=spring",
        f"postgresql://anna:x#{PASSWORD}@db.example/shop?name=spring",
        f"postgresql://anna:1/{PASSWORD}@db.example/shop?name=spring",
        f"postgresql://anna:1?a={PASSWORD}@db.example/shop?name=spring",
        f"postgresql://[{PASSWORD}/shop?name=spring",
        f"postgresql://db.example:{PASSWORD}/shop?name=spring",
        f"postgresql://anna:{PASSWORD}@db.example/shop",
        f"postgresql://anna:{PASSWORD}@db.example/shop?name=",
        f"mysql://anna:{PASSWORD}@db.example/shop",
    ],
)
def test_a_wrong_url_is_refused_without_being_quoted(url: str) -> None:
    """A URL that can't be read, or names no journal, is refused, and neither the text nor its context has the password."""
    with pytest.raises(ConfigurationError) as raised:
        Journal.connect(url)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


def test_two_names_are_refused() -> None:
    """The name in the URL and the argument must be the same."""
    with pytest.raises(ConfigurationError, match="name: the URL names another journal"):
        Journal.connect("postgresql://db.example/shop?name=spring", name="autumn")


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\0"])
def test_a_name_has_1_to_100_characters(name: str) -> None:
    """Another name is refused."""
    with pytest.raises(ConfigurationError, match="name: give the journal's name"):
        Journal.connect("postgresql://db.example/shop", name=name)


def test_a_path_is_a_file(tmp_path: Path) -> None:
    """`connect` also takes the path of a file, which has no name."""
    assert Journal.connect(tmp_path / "spring.db").path == tmp_path / "spring.db"
    with pytest.raises(ConfigurationError, match="name: only a journal in PostgreSQL"):
        Journal.connect(str(tmp_path / "spring.db"), name="spring")


def test_a_journal_shows_no_password() -> None:
    """Neither the repr nor the label has it, and the path is `None`."""
    pytest.importorskip("psycopg")
    journal = Journal.connect(f"postgresql://anna:{PASSWORD}@db.example/shop", name="spring")
    assert repr(journal) == "<Journal postgresql://anna@db.example/shop?name=spring closed>"
    assert journal.path is None
    assert PASSWORD not in repr(vars(journal)) + repr(vars(journal._writer))


def test_a_journal_in_a_file_imports_no_driver() -> None:
    """Neither the package nor the schema of PostgreSQL imports psycopg."""
    code = (
        "import sys, callbell_async, callbell_async.journal.postgres_sql as sql;"
        "callbell_async.Journal.connect('spring.db'); sql.SCHEMA; sys.exit('psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg, `connect` raises an error that has the command to install it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "callbell_async.journal.postgres", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'callbell-async\[postgres\]'"):
        Journal.connect("postgresql://db.example/shop", name="spring")
