"""Several processes on one journal in PostgreSQL: nothing is sent twice, nothing is lost, and every `UNKNOWN` message is named."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import orjson
import pytest

from callbell_async import (
    CallbellClient,
    DuplicateMessageError,
    Journal,
    JournalEntry,
    JournalError,
    Outcome,
    RetryPolicy,
    TextMessage,
)
from callbell_async.journal import ClaimRequest, State, writer_of
from callbell_async.sandbox import Sandbox
from tests.support.calls import until
from tests.support.journal_process import JournalProcess, messages
from tests.support.services import Service

COUNT = 3000
MESSAGE = TextMessage(to="+31612345678", text="Hello!", key="order-1")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit."""
    async with Sandbox(limit=None) as sandbox:
        yield sandbox


@pytest.fixture
def name() -> str:
    """The name of a new journal."""
    return secrets.token_hex(4)


def client_of(sandbox: Sandbox) -> CallbellClient:
    """Return a client that tries once and has no rate limit."""
    return CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1), rate_limit=None)


def process(sandbox: Sandbox, service: Service, name: str, *, count: int = COUNT) -> JournalProcess:
    """Return a process that sends the messages with this journal."""
    return JournalProcess(url=sandbox.url, token=sandbox.token, journal=service.url, name=name, count=count)


async def entries(service: Service, name: str) -> dict[str, JournalEntry]:
    """Return the entries of a journal by text."""
    async with Journal.connect(service.url, name=name) as journal:
        return {text_of(entry): entry async for entry in journal.entries()}


def text_of(entry: JournalEntry) -> str:
    """Return the text of a message."""
    return str(orjson.loads(entry.message_body)["content"]["text"])


def check(sandbox: Sandbox, found: dict[str, JournalEntry], *, count: int) -> list[JournalEntry]:
    """Check the journal's entry of every message against the server, and return the entries that are `UNKNOWN`."""
    copies = Counter(str(message.body["content"]["text"]) for message in sandbox.messages)
    assert max(copies.values()) == 1
    assert set(found) == {message.text for message in messages(count)}
    unknown = []
    for text, entry in found.items():
        assert not entry.in_flight
        if entry.outcome is Outcome.UNKNOWN:
            unknown.append(entry)
        else:
            assert (entry.outcome is Outcome.ACCEPTED) == (text in copies)
    return unknown


@pytest.mark.slow
async def test_four_processes_share_a_campaign_and_one_is_killed(
    sandbox: Sandbox, postgres_service: Service, name: str
) -> None:
    """Four processes send the same 3,000 messages, one is killed: no duplicate, none lost, and what it was sending is UNKNOWN."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process(sandbox, postgres_service, name)) for _ in range(4)]
        await until(lambda: len(sandbox.requests) >= COUNT // 4)
        processes[0].kill()
        ended = await asyncio.gather(*(item.end() for item in processes))
    assert ended[0] == {}
    # Each has a result for every message, and no other process had sent all of them.
    for counts in ended[1:]:
        assert sum(counts.values()) == COUNT
        assert counts["accepted"] > 0
    async with client_of(sandbox) as callbell:
        report = await callbell.send_many(messages(COUNT), journal=Journal.connect(postgres_service.url, name=name))
    unknown = check(sandbox, await entries(postgres_service, name), count=COUNT)
    # In flight, claimed ahead, and finished with an unwritten result.
    assert len(unknown) <= 20 + 85
    assert report.accepted + report.skipped == COUNT
    assert report.skipped - report.duplicates == len(unknown)


@pytest.mark.slow
async def test_a_restarted_server_ends_the_run_and_loses_nothing(
    sandbox: Sandbox, own_postgres: Service, name: str
) -> None:
    """When the server is killed in mid-run, the run ends with an error; after its restart the next run sends the rest, and nothing twice."""
    async with process(sandbox, own_postgres, name) as first:
        await until(lambda: len(sandbox.requests) >= COUNT // 4)
        await asyncio.to_thread(own_postgres.kill)
        ended = await first.end()
    assert "nothing was sent that is not recorded" in ended["error"]
    await asyncio.to_thread(own_postgres.start)
    sent = len(sandbox.messages)
    assert COUNT // 5 < sent < COUNT
    async with process(sandbox, own_postgres, name) as second:
        counts = await second.end()
    unknown = check(sandbox, await entries(own_postgres, name), count=COUNT)
    assert len(unknown) <= 20 + 85
    assert counts["accepted"] + counts["skipped"] == COUNT


async def test_what_is_in_flight_stays_so_until_the_session_ends(postgres_service: Service, name: str) -> None:
    """Another process sees a message in flight as long as its sender's session lives, and as UNKNOWN as soon as it has ended."""
    sender, other = (Journal.connect(postgres_service.url, name=name) for _ in range(2))
    async with other:
        await sender.open()
        writer = writer_of(sender)
        await writer.claim([ClaimRequest("order-1", b"{}", 0)], run=await writer.begin_run())
        entry = await other.entry("order-1")
        assert entry is not None
        assert entry.in_flight
        with pytest.raises(JournalError):
            await other.allow_resend("order-1")
        # Only the connection ends, as with a killed process: nothing is written.
        await writer.call(lambda store: store.close())
        async with asyncio.timeout(30):
            # The server ends the session a moment later.
            while (entry := await other.entry("order-1")) is not None and entry.in_flight:
                pass
        assert entry is not None
        assert (entry.outcome, entry.in_flight) == (Outcome.UNKNOWN, False)
        await other.allow_resend("order-1")
        assert [
            row.key for row in await writer_of(other).call(lambda store: store.rows([State.RESEND], after=0, count=9))
        ] == ["order-1"]
        await sender.close()


async def test_two_processes_send_a_message_once(sandbox: Sandbox, postgres_service: Service, name: str) -> None:
    """`send` with the same key in another process returns the receipt of the first, or raises while that is in flight."""
    first, second = (Journal.connect(postgres_service.url, name=name) for _ in range(2))
    async with client_of(sandbox) as callbell, client_of(sandbox) as other:
        ends = await asyncio.gather(
            callbell.send(MESSAGE, journal=first), other.send(MESSAGE, journal=second), return_exceptions=True
        )
        # Now neither is in flight.
        await asyncio.gather(first.flush(), second.flush())
        receipt = await callbell.send(MESSAGE, journal=first)
        assert await other.send(MESSAGE, journal=second) == receipt
    for end in ends:
        if isinstance(end, DuplicateMessageError):
            assert end.entry.in_flight
        else:
            assert end == receipt
    assert len(sandbox.messages) == 1


async def test_send_connects_again_after_a_restart(sandbox: Sandbox, own_postgres: Service, name: str) -> None:
    """While the server is down no message is sent; after its restart the same journal object sends again, and knows the earlier ones."""
    journal = Journal.connect(own_postgres.url, name=name)
    async with client_of(sandbox) as callbell:
        receipt = await callbell.send(MESSAGE, journal=journal)
        await journal.flush()
        await asyncio.to_thread(own_postgres.kill)
        other = TextMessage(to="+31612345678", text="Second", key="order-2")
        with pytest.raises(JournalError):
            await callbell.send(other, journal=journal)
        with pytest.raises(JournalError, match="can't connect"):
            await callbell.send(other, journal=journal)
        assert len(sandbox.messages) == 1
        await asyncio.to_thread(own_postgres.start)
        writer_of(journal)._restart_at = 0.0
        assert await callbell.send(MESSAGE, journal=journal) == receipt
        await callbell.send(other, journal=journal)
    assert len(sandbox.messages) == 2
    assert {entry.outcome for entry in (await _all(own_postgres, name))} == {Outcome.ACCEPTED}


async def _all(service: Service, name: str) -> list[JournalEntry]:
    async with Journal.connect(service.url, name=name) as journal:
        return [entry async for entry in journal.entries()]
