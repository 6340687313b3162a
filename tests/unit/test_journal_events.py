"""A journal after the run: webhook events, and statuses that are requested from Callbell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from callbell_async import (
    CallbellClient,
    Journal,
    JournalEntry,
    MessageStatus,
    Outcome,
    RefreshReport,
    RetryPolicy,
    TextMessage,
)
from callbell_async.sandbox import DeliveryFailure, Sandbox, SandboxRequest, faults
from callbell_async.webhooks import parse_event
from tests.support.clock import current_loop

MESSAGE = TextMessage(to="+31612345678", text="Hello!", key="a")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with the virtual time of the test."""
    async with Sandbox(limit=None, clock=current_loop().time) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox with one attempt."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1)) as client:
        yield client


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An open journal."""
    async with Journal(tmp_path / "spring.db") as journal:
        yield journal


def event(name: str, **payload: Any) -> Any:
    """Return a parsed event."""
    return parse_event(orjson.dumps({"event": name, "payload": payload}))


def own_metadata(journal: Journal, key: str = "a") -> dict[str, str]:
    """Return the metadata of this journal's message."""
    return {"callbell_async_key": key, "callbell_async_journal": journal.id}


def status(status: str, **payload: Any) -> Any:
    """Return a status event."""
    return event("message_status_updated", status=status, **payload)


async def handle(journal: Journal, event: Any) -> None:
    """Let the journal handle an event, and write the result."""
    journal.handle_event(event)
    await journal.flush()


async def entry_a(journal: Journal) -> JournalEntry:
    """Return the journal's entry of the message."""
    entry = await journal.entry("a")
    assert entry is not None
    return entry


@pytest.fixture
async def unknown(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> str:
    """The uuid of an accepted message that is `UNKNOWN` in the journal."""
    sandbox.inject(faults.accept_then_close(), times=1)
    report = await callbell.send_many([MESSAGE], journal=journal)
    assert report.unknown == 1
    return sandbox.messages[0].uuid


async def test_an_event_with_the_key_resolves_the_message(unknown: str, journal: Journal) -> None:
    """An event that carries the message's key proves that Callbell has it: it is `ACCEPTED`, with its uuid and its status."""
    await handle(journal, status("delivered", uuid=unknown, metadata=own_metadata(journal)))
    entry = await entry_a(journal)
    assert (entry.outcome, entry.uuid, entry.status) == (Outcome.ACCEPTED, unknown, MessageStatus.DELIVERED)
    assert entry.reason is None
    assert entry.finished_at is not None


async def test_the_creation_event_resolves_the_message(unknown: str, journal: Journal) -> None:
    """The event that a message was created resolves it too, also with its metadata as JSON text."""
    metadata = orjson.dumps(own_metadata(journal)).decode()
    await handle(journal, event("message_created", uuid=unknown, status="sent", metadata=metadata, text="Hello!"))
    assert (await entry_a(journal)).outcome is Outcome.ACCEPTED
    assert (await entry_a(journal)).uuid == unknown


async def test_an_incoming_message_resolves_nothing(unknown: str, journal: Journal) -> None:
    """An incoming message changes nothing, whatever its metadata is."""
    await handle(journal, event("message_created", status="received", metadata=own_metadata(journal)))
    assert (await entry_a(journal)).outcome is Outcome.UNKNOWN


async def test_other_events_do_no_harm(unknown: str, journal: Journal) -> None:
    """Events about other messages and other events change nothing."""
    before = await entry_a(journal)
    for other in (
        status("read", uuid="another"),
        status("read", uuid="another", metadata=own_metadata(journal, "b")),
        status("read", uuid="another", metadata={"order": "7"}),
        status("read", uuid="another", metadata={"callbell_async_key": "a"}),
        status(
            "read", uuid="another", metadata={**own_metadata(journal), "callbell_async_journal": "0123456789abcdef"}
        ),
        status("read"),
        event("contact_deleted", uuid="c"),
        event("something_new"),
    ):
        await handle(journal, other)
    assert await entry_a(journal) == before


async def test_a_status_is_recorded_by_uuid(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Without metadata an accepted message is found by its uuid; a late status never replaces a further one."""
    await callbell.send_many([MESSAGE], journal=journal)
    uuid = sandbox.messages[0].uuid
    for name in ("delivered", "sent", "read", "delivered"):
        await handle(journal, status(name, uuid=uuid))
    assert (await entry_a(journal)).status is MessageStatus.READ


async def test_a_failed_delivery_has_its_code_and_nothing_private(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that was not delivered stays `ACCEPTED`; its reason has the code, and not the text, which may quote the number."""
    await callbell.send_many([MESSAGE], journal=journal)
    errors = [{"code": 131026, "title": "Message to +31612345678 undeliverable"}]
    report = {"messaging": {"value": {"statuses": [{"errors": errors}]}}}
    uuid = sandbox.messages[0].uuid
    # The code may come after the failure, and the failure may come again.
    for payload, reason in (
        (None, "not delivered"),
        (report, "not delivered: 131026"),
        (None, "not delivered: 131026"),
    ):
        await handle(journal, status("failed", uuid=uuid, messageStatusPayload=payload))
        entry = await entry_a(journal)
        assert (entry.outcome, entry.status, entry.reason) == (Outcome.ACCEPTED, MessageStatus.FAILED, reason)


async def test_an_event_may_come_before_the_response(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that an event has confirmed stays `ACCEPTED`, also if the run's request then fails."""
    confirmation = status("sent", uuid="early", metadata=own_metadata(journal))

    def send_event(request: SandboxRequest) -> bool:
        journal.handle_event(confirmation)
        return True

    sandbox.inject(faults.accept_then_close(), when=send_event)
    report = await callbell.send_many([MESSAGE], journal=journal)
    assert report.unknown == 1
    entry = await entry_a(journal)
    assert (entry.outcome, entry.uuid, entry.status) == (Outcome.ACCEPTED, "early", MessageStatus.SENT)


async def test_an_event_about_another_journals_message_changes_nothing(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, tmp_path: Path
) -> None:
    """Two journals may have one key; an event about the message of one does not change the other."""
    message = TextMessage(to="+31612345678", text="We open at nine.")
    async with Journal(tmp_path / "autumn.db") as autumn:
        await callbell.send_many([message], journal=journal)
        sandbox.inject(faults.respond(400, {"error": "no"}), times=1)
        await callbell.send_many([message], journal=autumn)
        spring = sandbox.messages[0]
        await handle(autumn, status("read", uuid=spring.uuid, metadata=spring.body["metadata"]))
        assert (await autumn.counts())[Outcome.REJECTED] == 1
        assert (await callbell.send_many([message], journal=autumn)).accepted == 1


async def test_a_resolved_message_is_not_sent_again(
    unknown: str, callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """After the event, the next run skips the message, with its receipt."""
    await handle(journal, status("sent", uuid=unknown, metadata=own_metadata(journal)))
    report = await callbell.send_many([MESSAGE], journal=journal)
    assert report.results[0].receipt is not None
    assert report.results[0].receipt.uuid == unknown
    assert len(sandbox.messages) == 1


# --- statuses ---------------------------------------------------------------------------------------------------------


async def test_refresh_requests_statuses(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """`refresh` requests the status of each accepted message without a final status, and the funnel counts them by status."""
    messages = [TextMessage(to=f"+3161234567{number}", text="Hello!") for number in range(5)]
    await callbell.send_many(messages, journal=journal)
    assert await callbell.refresh(journal) == RefreshReport(requested=5, changed=0, failed=0)
    sandbox.messages[0].failure = DeliveryFailure(reason="no such user")
    current_loop().advance(6.0)
    assert await callbell.refresh(journal) == RefreshReport(requested=5, changed=5, failed=0)
    funnel = await journal.funnel()
    assert (funnel[MessageStatus.DELIVERED], funnel[MessageStatus.FAILED], funnel[MessageStatus.ENQUEUED]) == (4, 1, 0)
    current_loop().advance(60.0)
    assert await callbell.refresh(journal) == RefreshReport(requested=4, changed=4, failed=0)
    assert await callbell.refresh(journal) == RefreshReport(requested=0, changed=0, failed=0)
    assert (await journal.funnel())[MessageStatus.READ] == 4


async def test_a_failed_status_request_stops_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A status request that fails is counted, and the others are made."""
    messages = [TextMessage(to=f"+3161234567{number}", text="Hello!") for number in range(5)]
    await callbell.send_many(messages, journal=journal)
    sandbox.inject(faults.respond(500), times=1, when=lambda request: request.method == "GET")
    current_loop().advance(6.0)
    assert await callbell.refresh(journal) == RefreshReport(requested=5, changed=4, failed=1)


@pytest.mark.parametrize("uuid", ["a\0b", "abc123" * 1500], ids=["NUL", "long"])
async def test_an_odd_event_does_not_break_the_journal(unknown: str, journal: Journal, uuid: str) -> None:
    """An event whose uuid a database can't hold changes nothing, and one with such a code resolves its message."""
    await handle(journal, status("delivered", uuid=uuid, metadata=own_metadata(journal)))
    assert (await entry_a(journal)).outcome is Outcome.UNKNOWN
    payload = {"messaging": {"value": {"statuses": [{"errors": [{"code": "13\0"}]}]}}}
    await handle(journal, status("failed", uuid=unknown, metadata=own_metadata(journal), messageStatusPayload=payload))
    entry = await entry_a(journal)
    assert (entry.outcome, entry.reason) == (Outcome.ACCEPTED, "not delivered: 13?")
