"""A journal in a PostgreSQL that can't be used: a clear error, and no message sent that is not recorded."""

from __future__ import annotations

import contextlib
import secrets
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from callbell_async import CallbellClient, Journal, JournalError, Outcome, RetryPolicy, TextMessage
from callbell_async.journal import ClaimRequest, writer_of
from callbell_async.journal.postgres_sql import SCHEMA, VERSION
from callbell_async.sandbox import Sandbox
from tests.support.services import Service

psycopg = pytest.importorskip("psycopg")

PASSWORD = "s3cretpass"
MESSAGE = TextMessage(to="+31612345678", text="Hello!", key="order-1")


class Database:
    """An empty database, with a user of its own who may connect, and nothing else.

    Attributes:
        owner: The URL of its owner.
        user: The URL of the user.
    """

    def __init__(self, service: Service) -> None:
        self.name = f"test_{secrets.token_hex(6)}"
        self._service = service
        self.owner = service.url.rpartition("/")[0] + f"/{self.name}"
        self.user = self.owner.replace("callbell@", f"{self.name}:{PASSWORD}@")

    def execute(self, *statements: str, url: str | None = None) -> list[Any]:
        """Execute statements as the owner, and return the rows of the last one."""
        with psycopg.connect(url or self.owner, autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create(self, options: str = "") -> None:
        """Create the database and the user."""
        self.execute(
            f"CREATE DATABASE {self.name} {options}",
            f"CREATE USER {self.name} PASSWORD '{PASSWORD}'",
            url=self._service.url,
        )

    def grant(self) -> None:
        """Create the tables as the owner, and grant the user what a journal needs."""
        self.execute(
            SCHEMA,
            "GRANT SELECT, INSERT, UPDATE ON callbell_journals, callbell_messages, callbell_journal_notes"
            f" TO {self.name}",
            f"GRANT USAGE ON SEQUENCE callbell_messages_id_seq TO {self.name}",
        )


@pytest.fixture
def database(postgres_service: Service) -> Iterator[Database]:
    """An empty database."""
    database = Database(postgres_service)
    database.create()
    yield database
    database.execute(
        f"DROP DATABASE {database.name} WITH (FORCE)", f"DROP USER {database.name}", url=postgres_service.url
    )


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit."""
    async with Sandbox(limit=None) as sandbox:
        yield sandbox


async def refused(sandbox: Sandbox, journal: Journal) -> str:
    """Send with a journal that can't be used, check that nothing was sent, and return the error's text."""
    callbell = CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1))
    with pytest.raises(JournalError) as raised:
        await callbell.send_many([MESSAGE], journal=journal)
    with pytest.raises(JournalError):
        await callbell.send(MESSAGE, journal=journal)
    # A journal that has failed raises its failure once more when it closes.
    for close in (callbell.close, journal.close):
        with contextlib.suppress(JournalError):
            await close()
    assert sandbox.requests == []
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
    return str(raised.value)


async def test_a_user_without_permissions_needs_the_tables(sandbox: Sandbox, database: Database) -> None:
    """Where the user may not create tables, the error names the permission and the page with the SQL."""
    text = await refused(sandbox, Journal.connect(database.user, name="spring"))
    assert "lacks a permission" in text
    assert "docs/reference/journal-schema.md" in text


async def test_documented_permissions_are_enough(sandbox: Sandbox, database: Database) -> None:
    """With the tables and the documented grants, a user who may create nothing sends, reads, reopens and writes notes."""
    database.grant()
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        async with Journal.connect(database.user, name="spring") as journal:
            report = await callbell.send_many([MESSAGE], journal=journal)
            await journal.write_notes({"a": "b"})
            await journal.write_notes({"a": "c"})
            assert (await journal.notes(), report.accepted) == ({"a": "c"}, 1)
        async with Journal.connect(database.user, name="spring") as journal:
            assert (await callbell.send_many([MESSAGE], journal=journal)).duplicates == 1


async def test_a_missing_permission_is_named(sandbox: Sandbox, database: Database) -> None:
    """A user who may not write the messages sends nothing."""
    database.grant()
    database.execute(f"REVOKE INSERT ON callbell_messages FROM {database.name}")
    assert "lacks a permission" in await refused(sandbox, Journal.connect(database.user, name="spring"))


async def test_a_read_only_server_is_refused(sandbox: Sandbox, database: Database) -> None:
    """A server that accepts no writes, such as a replica, is refused when the journal opens."""
    await (await Journal.connect(database.owner, name="spring").open()).close()
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert "accepts no writes" in await refused(sandbox, Journal.connect(database.owner, name="spring"))
    async with Journal.connect(database.owner, name="spring", read_only=True) as viewer:
        assert (await viewer.counts())[Outcome.ACCEPTED] == 0


async def test_a_server_that_becomes_read_only_gets_no_message_sent(sandbox: Sandbox, database: Database) -> None:
    """When the writes are refused in the middle, the calls raise, and nothing is sent."""
    journal = await Journal.connect(database.owner, name="spring").open()
    await writer_of(journal).call(
        lambda store: vars(store)["_connection"].execute("SET default_transaction_read_only = on")
    )
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert "accepts no writes" in await refused(sandbox, journal)


async def test_another_schema_version_is_refused(sandbox: Sandbox, database: Database) -> None:
    """A journal of another version of the library is refused, and the error has both versions."""
    await (await Journal.connect(database.owner, name="spring").open()).close()
    database.execute(f"UPDATE callbell_journals SET version = {VERSION - 1}")
    text = await refused(sandbox, Journal.connect(database.owner, name="spring"))
    assert f"have version {VERSION - 1}, this one needs {VERSION}" in text


@pytest.mark.parametrize(
    "change", ["DROP TABLE callbell_messages", "ALTER TABLE callbell_messages RENAME COLUMN run TO old"]
)
async def test_missing_tables_are_refused(sandbox: Sandbox, database: Database, change: str) -> None:
    """A missing table or column is found when the journal opens: the messages in it are lost, and are not sent again."""
    await (await Journal.connect(database.owner, name="spring").open()).close()
    database.execute(change)
    assert "tables are missing, or of another version" in await refused(
        sandbox, Journal.connect(database.owner, name="spring")
    )


async def test_a_table_that_is_dropped_in_the_middle_gets_no_message_sent(sandbox: Sandbox, database: Database) -> None:
    """A table that disappears while the journal is open ends the calls with an error."""
    journal = await Journal.connect(database.owner, name="spring").open()
    database.execute("DROP TABLE callbell_messages")
    assert "tables are missing" in await refused(sandbox, journal)


async def test_another_encoding_is_refused(sandbox: Sandbox, postgres_service: Service) -> None:
    """A database that can't store every text is refused."""
    database = Database(postgres_service)
    database.create("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        assert "encoding LATIN1" in await refused(sandbox, Journal.connect(database.owner, name="spring"))
    finally:
        database.execute(f"DROP DATABASE {database.name}", f"DROP USER {database.name}", url=postgres_service.url)


async def test_a_server_that_is_not_there_is_named_without_the_password(sandbox: Sandbox) -> None:
    """A connection that is refused is a JournalError with the address, and without the password."""
    url = f"postgresql://anna:{PASSWORD}@127.0.0.1:1/shop"
    text = await refused(sandbox, Journal.connect(url, name="spring"))
    with pytest.raises(JournalError) as raised:
        await Journal.connect(url, name="spring").open()
    # A debugger shows the local variables of every frame that it can reach.
    assert raised.value.__context__ is None
    assert text.startswith("postgresql://anna@127.0.0.1:1/shop?name=spring: can't connect to PostgreSQL")


async def test_a_session_that_the_server_ends_gets_no_message_sent(sandbox: Sandbox, database: Database) -> None:
    """When the server ends the session, the calls raise, and nothing is sent."""
    async with Journal.connect(database.owner, name="spring") as journal:
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        client = CallbellClient(sandbox.token, base_url=sandbox.url)
        async with client as callbell:
            with pytest.raises(JournalError, match="connection to PostgreSQL was lost"):
                await callbell.send_many([MESSAGE], journal=journal)
            assert sandbox.requests == []
            # A later run connects again, and a later call finds the message.
            report = await callbell.send_many([MESSAGE], journal=journal)
            receipt = await callbell.send(MESSAGE, journal=journal)
            assert receipt.uuid == sandbox.messages[0].uuid
            assert report.accepted == 1
    assert len(sandbox.messages) == 1


async def test_a_connection_that_changes_is_refused(database: Database) -> None:
    """A claim on another session than the one that holds the lock is undone: its crash would not be noticed."""
    journal = await Journal.connect(database.owner, name="spring").open()
    writer = writer_of(journal)
    run = await writer.begin_run()
    # As with a pool in transaction mode, another backend responds.
    await writer.call(lambda store: vars(store).update(_backend=-1))
    with pytest.raises(JournalError, match="pool in session mode"):
        await writer.claim([ClaimRequest("a", b"{}", 0)], run=run)
    async with Journal.connect(database.owner, name="spring", read_only=True) as viewer:
        assert await viewer.entry("a") is None
    with pytest.raises(JournalError, match="pool in session mode"):
        await journal.close()


async def test_an_asynchronous_commit_is_switched_on(database: Database) -> None:
    """A claim survives a crash of the server also where its default is not to wait, unless the risk is accepted."""
    database.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    for risk, setting in ((False, "on"), (True, "off")):
        async with Journal.connect(database.owner, name="spring", risk_power_loss=risk) as journal:
            found = await writer_of(journal).call(
                lambda store: vars(store)["_connection"].execute("SHOW synchronous_commit").fetchone()
            )
            assert found == (setting,)


async def test_the_isolation_level_does_not_depend_on_the_server(database: Database) -> None:
    """Transactions read what others have committed, also where the database has a stricter level, at which they would fail."""
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = 'serializable'")
    async with Journal.connect(database.owner, name="spring") as journal:
        found = await writer_of(journal).call(
            lambda store: vars(store)["_connection"].execute("SHOW transaction_isolation").fetchone()
        )
    assert found == ("read committed",)


def test_tables_are_created_once_by_many(database: Database) -> None:
    """Stores that open an empty database at the same moment create its tables and the journal once."""
    from callbell_async.journal.postgres import PostgresStore
    from callbell_async.journal.postgres_url import parse_journal_url

    ids: list[str] = []

    def open_store() -> None:
        store = PostgresStore(parse_journal_url(database.owner, "spring"), read_only=False, risk_power_loss=False)
        ids.append(store.id)
        store.close()

    threads = [threading.Thread(target=open_store) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1


def test_stores_that_claim_the_same_keys_in_any_order_end(database: Database) -> None:
    """Four stores claim the same keys in opposite orders: each key is granted once, and nobody waits without end."""
    from callbell_async.journal.postgres import PostgresStore
    from callbell_async.journal.postgres_url import parse_journal_url

    granted: list[str] = []
    keys = [f"key-{number}" for number in range(200)]

    def claim_all(number: int) -> None:
        store = PostgresStore(parse_journal_url(database.owner, "spring"), read_only=False, risk_power_loss=True)
        run = store.begin_run()
        order = keys[::-1] if number % 2 else keys
        for first in range(0, len(order), 25):
            requests = [ClaimRequest(key, b"{}", 0) for key in order[first : first + 25]]
            claims = store.record([], [], requests, run=run, now=1.0)
            granted.extend(claim.row.key for claim in claims if claim.granted)
        store.close()

    threads = [threading.Thread(target=claim_all, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(granted) == sorted(keys)
