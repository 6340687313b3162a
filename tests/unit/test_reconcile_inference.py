"""`reconcile` infers from histories: what it stores, how an event corrects it, and under which numbers it searches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from callbell_async import CallbellClient, Journal, JournalEntry, MessageCreated, Outcome, RefreshReport, TextMessage
from callbell_async.journal.journal import writer_of
from callbell_async.journal.reconcile import NOT_IN_HISTORY, OTHER_CONTENT
from callbell_async.sandbox import DeliveryFailure, Sandbox, SandboxContact, faults
from tests.support.clock import current_loop
from tests.support.lost_responses import client_of, found, image, running_sandbox, send_without_response, text

WRITTEN = "+551187654321"
CORRECTED = "+5511987654321"
TOO_EARLY = "a message with this text is up to 2 s older than the attempt: it may be this message if the clocks differ, or another one"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with the present date."""
    async with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox."""
    async with client_of(sandbox) as client:
        yield client


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An open journal."""
    async with Journal(tmp_path / "spring.db") as journal:
        yield journal


async def entry_of(journal: Journal, key: str) -> JournalEntry:
    """The entry with a key."""
    entry = await journal.entry(key)
    assert entry is not None
    return entry


def created(sandbox: Sandbox, key: str, uuid: str | None) -> MessageCreated:
    """The event that Callbell has the message with this key, under a uuid."""
    (metadata,) = [
        message.body["metadata"]
        for message in sandbox.messages
        if message.body.get("metadata", {}).get("callbell_async_key") == key
    ]
    return MessageCreated(key=key, uuid=uuid, status="sent", metadata=metadata)


def correct_number(sandbox: Sandbox, written: str, corrected: str) -> None:
    """Do what WhatsApp does: the messages to the written number belong to the contact with the corrected number."""
    contacts = sandbox.account.contacts
    contact, other = contacts.by_identifier("whatsapp", written), contacts.by_identifier("whatsapp", corrected)
    assert contact is not None
    other = other or sandbox.account.seed(SandboxContact(identifier=corrected, name="Ada"))
    other.history.extend(contact.history)
    contacts.remove(contact)


# --- what can be false ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.5, 60.0])
async def test_an_earlier_message_from_somebody_else_finds_nothing(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, seconds: float
) -> None:
    """The same text, sent to the contact by somebody else shortly before the attempt, does not make a lost message `ACCEPTED`."""
    await callbell.send(text())
    (contact,) = sandbox.account.contacts
    await send_without_response(callbell, sandbox, journal, text(), accepted=False)
    tried_at = (await entry_of(journal, "k0")).tried_at
    contact.history[0].created_at = tried_at - timedelta(seconds=seconds)
    report = await callbell.reconcile(journal)
    reason = TOO_EARLY if seconds < 2 else NOT_IN_HISTORY
    assert (report.accepted, [item.reason for item in report.unresolved]) == (0, [reason])


async def test_a_clock_skew_never_finds_an_earlier_message(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A larger clock skew changes the reason, and finds no message that is older than the attempt."""
    await callbell.send(text())
    (contact,) = sandbox.account.contacts
    await send_without_response(callbell, sandbox, journal, text(), accepted=False)
    contact.history[0].created_at = (await entry_of(journal, "k0")).tried_at - timedelta(seconds=60)
    report = await callbell.reconcile(journal, clock_skew=120)
    assert (report.accepted, [item.reason for item in report.unresolved]) == (0, [TOO_EARLY.replace("2 s", "120 s")])


async def test_a_refresh_reports_no_wrong_delivery(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Of two contents with one text, it is not known which message is which: no uuid is stored, and a refresh requests no status."""
    await send_without_response(callbell, sandbox, journal, image("first"))
    await send_without_response(callbell, sandbox, journal, image("second"))
    assert await callbell.reconcile(journal) == found(2)
    sandbox.messages[1].failure = DeliveryFailure(reason="no such user")
    current_loop().advance(60.0)
    assert await callbell.refresh(journal) == RefreshReport(requested=0, changed=0, failed=0)
    for key in ("first", "second"):
        entry = await entry_of(journal, key)
        assert (entry.outcome, entry.uuid, entry.status, entry.confirmed_by) == (
            Outcome.ACCEPTED,
            None,
            None,
            "history",
        )


async def test_a_found_message_without_a_uuid_still_claims_its_message(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Messages that were found without a uuid are not found a second time, for another message with their text."""
    await send_without_response(callbell, sandbox, journal, text(key="first"), text(key="second"))
    assert await callbell.reconcile(journal) == found(2)
    await send_without_response(callbell, sandbox, journal, text(key="lost"), accepted=False)
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.entry.key for item in report.unresolved]) == (0, ["lost"])


async def test_an_event_replaces_an_inference(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """An event that names the message's key replaces the inferred uuid and its status."""
    await send_without_response(callbell, sandbox, journal, text())
    assert await callbell.reconcile(journal) == found(1)
    sandbox.messages[0].failure = DeliveryFailure(reason="no such user")
    current_loop().advance(60.0)
    assert await callbell.refresh(journal) == RefreshReport(requested=1, changed=1, failed=0)
    inferred = await entry_of(journal, "k0")
    assert (inferred.uuid, inferred.confirmed_by) == (sandbox.messages[0].uuid, "history")
    assert inferred.status == "failed"
    journal.handle_event(created(sandbox, "k0", "another-uuid"))
    confirmed = await entry_of(journal, "k0")
    assert (confirmed.outcome, confirmed.uuid, confirmed.confirmed_by) == (Outcome.ACCEPTED, "another-uuid", "event")
    assert (confirmed.status, confirmed.reason) == (None, None)


async def test_an_event_takes_an_inferred_uuid_from_another_message(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """An event that names one message takes its uuid from another message for which it was inferred: no two have one uuid."""
    await send_without_response(callbell, sandbox, journal, text(0), accepted=False)
    await send_without_response(callbell, sandbox, journal, text(1))
    # Somebody else sends the text of the lost message.
    uuid = (await callbell.send(text(0))).uuid
    assert await callbell.reconcile(journal) == found(2)
    assert (await entry_of(journal, "k0")).uuid == uuid
    journal.handle_event(created(sandbox, "k1", uuid))
    entries = [await entry_of(journal, key) for key in ("k0", "k1")]
    assert [(entry.uuid, entry.confirmed_by) for entry in entries] == [(None, "history"), (uuid, "event")]


async def test_a_confirmed_message_gets_no_inferred_uuid(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that an event confirmed without a uuid, just before its message was found, keeps no inferred uuid."""
    await send_without_response(callbell, sandbox, journal, text())
    journal.handle_event(created(sandbox, "k0", None))
    writer_of(journal).record_report("k0", sandbox.messages[0].uuid, confirmed_by="history")
    entry = await entry_of(journal, "k0")
    assert (entry.outcome, entry.uuid, entry.confirmed_by) == (Outcome.ACCEPTED, None, "event")


async def test_a_uuid_of_another_message_resolves_nothing(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message whose uuid an event gave to another entry, just before it was to be resolved, stays `UNKNOWN`."""
    await send_without_response(callbell, sandbox, journal, text(0), text(1))
    journal.handle_event(created(sandbox, "k1", "one-uuid"))
    writer_of(journal).record_report("k0", "one-uuid", confirmed_by="history")
    entries = [await entry_of(journal, key) for key in ("k0", "k1")]
    assert [(entry.outcome, entry.uuid) for entry in entries] == [
        (Outcome.UNKNOWN, None),
        (Outcome.ACCEPTED, "one-uuid"),
    ]


async def test_a_refresh_reports_a_status_for_its_uuid_only(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A status that was requested for an inferred uuid is not recorded if an event gave the message another uuid meanwhile."""
    await send_without_response(callbell, sandbox, journal, text())
    assert await callbell.reconcile(journal) == found(1)
    sandbox.messages[0].failure = DeliveryFailure(reason="no such user")
    current_loop().advance(60.0)
    event, released = created(sandbox, "k0", "another-uuid"), asyncio.Event()

    def confirm() -> None:
        journal.handle_event(event)
        released.set()

    sandbox.inject(faults.no_response(confirm, until=released), times=1)
    assert await callbell.refresh(journal) == RefreshReport(requested=1, changed=1, failed=0)
    entry = await entry_of(journal, "k0")
    assert (entry.uuid, entry.status, entry.confirmed_by) == ("another-uuid", None, "event")


# --- corrected numbers ------------------------------------------------------------------------------------------------


async def test_a_message_to_a_corrected_number_is_found(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message whose contact has the corrected number is found there, and the next run sends no second copy."""
    message = text(to=WRITTEN)
    await send_without_response(callbell, sandbox, journal, message)
    correct_number(sandbox, WRITTEN, CORRECTED)
    assert await callbell.reconcile(journal) == found(1)
    assert (await callbell.send_many([message], journal=journal)).skipped == 1
    assert len(sandbox.messages) == 1
    assert (await entry_of(journal, "k0")).uuid == sandbox.messages[0].uuid


async def test_all_contacts_of_a_number_are_searched(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Where contacts exist under the written and under the corrected number, a message is found in the history of either."""
    await send_without_response(callbell, sandbox, journal, text(to=WRITTEN, key="moved"))
    correct_number(sandbox, WRITTEN, CORRECTED)
    await send_without_response(callbell, sandbox, journal, text(to=WRITTEN, text="Bye!", key="stayed"))
    assert len(sandbox.account.contacts) == 2
    assert await callbell.reconcile(journal) == found(2)


async def test_the_forms_of_a_number_are_one_recipient(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Messages to two forms of one number are matched together, so that one message in a history does not resolve two."""
    await send_without_response(callbell, sandbox, journal, text(to=WRITTEN, key="arrived"))
    await send_without_response(callbell, sandbox, journal, text(to=CORRECTED, key="lost"), accepted=False)
    correct_number(sandbox, WRITTEN, CORRECTED)
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.reason for item in report.unresolved]) == (1, [NOT_IN_HISTORY])


async def test_a_bsuid_and_the_forms_of_a_number_share_their_histories(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A contact that is found under a bsuid and under one form of a number has each message once."""
    sandbox.account.seed(SandboxContact(identifier=CORRECTED, name="Ada", bsuid="BR.1"))
    sandbox.account.seed(SandboxContact(identifier=WRITTEN, name="Ada"))
    await send_without_response(callbell, sandbox, journal, TextMessage(bsuid="BR.1", text="Hello!", key="arrived"))
    await send_without_response(callbell, sandbox, journal, text(to=WRITTEN, key="lost"), accepted=False)
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.reason for item in report.unresolved]) == (1, [NOT_IN_HISTORY])


async def test_another_content_under_another_form_of_the_number(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Two images with one caption to two forms of one number, of which one arrived, prove nothing."""
    await send_without_response(callbell, sandbox, journal, image("arrived", to=WRITTEN))
    await send_without_response(callbell, sandbox, journal, image("lost", to=CORRECTED), accepted=False)
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.reason for item in report.unresolved]) == (0, [OTHER_CONTENT] * 2)


async def test_each_form_of_a_number_is_looked_up_once(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """The written number and its other forms are looked up; a number without other forms costs one lookup."""
    await send_without_response(callbell, sandbox, journal, text(to=WRITTEN), text(1), accepted=False)
    sandbox.requests.clear()
    report = await callbell.reconcile(journal)
    assert sorted(request.path for request in sandbox.requests) == [
        "/contacts/phone/%2B31612345671",
        "/contacts/phone/%2B551187654321",
        "/contacts/phone/%2B5511987654321",
    ]
    reason = "no contact was found under this number or its other forms; the message may still have been sent"
    assert [item.reason for item in report.unresolved] == [reason] * 2


async def test_a_form_that_cannot_be_looked_up_leaves_the_message_unresolved(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """If one form of the number can't be looked up, the message is not reported as missing from the history."""
    await callbell.send(text(to=WRITTEN, text="Earlier"))
    await send_without_response(callbell, sandbox, journal, text(to=WRITTEN), accepted=False)
    sandbox.inject(faults.respond(500), when=lambda request: request.path.endswith(CORRECTED[1:]))
    (unresolved,) = (await callbell.reconcile(journal)).unresolved
    assert unresolved.reason.startswith("the history could not be searched: ")
