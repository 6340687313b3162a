"""`reconcile` beside other messages: no message is found by another one that went to the same contact."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callbell_async import CallbellClient, Journal, TemplateMessage, TextMessage
from callbell_async.journal import writer_of
from callbell_async.journal.matching import match
from callbell_async.journal.reconcile import NOT_IN_HISTORY, OTHER_CONTENT, OTHER_MESSAGE, reconcile
from callbell_async.sandbox import Sandbox, SandboxContact, SandboxTemplate, faults
from tests.support.lost_responses import client_of, found, image, running_sandbox, send_without_response, text


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


@pytest.fixture
def matched(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a message was found in a history, and nothing is resolved yet."""
    event = asyncio.Event()

    def match_and_set(*args: Any, **options: Any) -> Any:
        matches = match(*args, **options)
        if matches.found:
            event.set()
        return matches

    monkeypatch.setattr(sys.modules[reconcile.__module__], "match", match_and_set)
    return event


@pytest.mark.parametrize("ends", ["accepted", "unknown", "later"])
async def test_a_message_sent_meanwhile_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, matched: asyncio.Event, ends: str
) -> None:
    """A message that a run sends meanwhile, with the same text to the same contact, is not found for a lost one, whenever the run ends."""
    for number in (0, 1):
        await callbell.send(text(number, text="Earlier"))
        await send_without_response(callbell, sandbox, journal, text(number), accepted=False)
    arrived, released, looking, shown = (asyncio.Event() for _ in range(4))
    then = faults.close_after_reading() if ends == "unknown" else None
    no_response = faults.no_response(arrived.set, until=released, then=then, accept=True)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([text(to="31612345670", key="other")], journal=journal))
    await arrived.wait()
    no_response = faults.no_response(looking.set, until=shown)
    slow = sandbox.account.contacts.by_identifier("whatsapp", "31612345671")
    assert slow is not None
    sandbox.inject(no_response, times=1, when=lambda request: request.path == f"/contacts/{slow.uuid}/messages")
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    await matched.wait()
    if ends != "later":
        released.set()
        await sending
    shown.set()
    report = await reconciling
    assert report.accepted == 0
    assert {item.entry.key: item.reason for item in report.unresolved} == {
        "k0": OTHER_MESSAGE,
        "k1": NOT_IN_HISTORY,
    }
    released.set()
    await sending


@pytest.mark.parametrize("to", ["+31612345670", "31612345670"])
async def test_another_content_with_the_same_text_proves_nothing(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, to: str
) -> None:
    """Of two images with one caption to one contact, however its number is written, of which one arrived, none is found; once both are in the history, both are."""
    await send_without_response(callbell, sandbox, journal, image("lost"), accepted=False)
    await send_without_response(callbell, sandbox, journal, image("arrived", to=to))
    report = await callbell.reconcile(journal)
    assert report.accepted == 0
    assert [(item.entry.key, item.reason) for item in report.unresolved] == [
        ("lost", OTHER_CONTENT),
        ("arrived", OTHER_CONTENT),
    ]
    await callbell.send(image("lost"))
    assert await callbell.reconcile(journal) == found(2)


async def test_a_first_attempt_proves_no_other(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """One of two contents was sent again and accepted: the message that is left may be its first attempt, and is not found for the other."""
    await send_without_response(callbell, sandbox, journal, image("arrived"))
    await send_without_response(callbell, sandbox, journal, image("lost"), accepted=False)
    await journal.allow_resend("arrived")
    assert (await callbell.send_many([image("arrived")], journal=journal)).accepted == 1
    report = await callbell.reconcile(journal)
    assert [(item.entry.key, item.reason) for item in report.unresolved] == [("lost", OTHER_CONTENT)]


async def test_a_content_sent_meanwhile_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, matched: asyncio.Event
) -> None:
    """As many messages as contents prove nothing when one of them belongs to a message that was sent meanwhile."""
    await send_without_response(callbell, sandbox, journal, image("lost"), accepted=False)
    await send_without_response(callbell, sandbox, journal, image("arrived"), text(1))
    arrived, released = asyncio.Event(), asyncio.Event()
    no_response = faults.no_response(arrived.set, until=released, accept=True)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([image("other")], journal=journal))
    await arrived.wait()
    slow = sandbox.account.contacts.by_identifier("whatsapp", "31612345671")
    assert slow is not None
    looking, shown = asyncio.Event(), asyncio.Event()
    no_response = faults.no_response(looking.set, until=shown)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == f"/contacts/{slow.uuid}/messages")
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    await matched.wait()
    released.set()
    assert (await sending).accepted == 1
    shown.set()
    report = await reconciling
    assert report.accepted == 1
    assert [(item.entry.key, item.reason) for item in report.unresolved] == [
        ("lost", OTHER_MESSAGE),
        ("arrived", OTHER_MESSAGE),
    ]


async def test_a_message_sent_again_meanwhile_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that is sent again during the search, and accepted before its end, may be in the history from its first attempt too."""
    await send_without_response(callbell, sandbox, journal, image("arrived"))
    await send_without_response(callbell, sandbox, journal, image("lost"), accepted=False)
    await journal.allow_resend("arrived")
    arrived, released = asyncio.Event(), asyncio.Event()
    no_response = faults.no_response(arrived.set, until=released)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([image("arrived")], journal=journal)._collect())
    await arrived.wait()
    looking, shown = asyncio.Event(), asyncio.Event()
    other = await callbell.contacts.get_by_phone("+31612345670")
    no_response = faults.no_response(looking.set, until=shown)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == f"/contacts/{other.uuid}/messages")
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    released.set()
    await sending
    shown.set()
    report = await reconciling
    assert (report.accepted, [item.entry.key for item in report.unresolved]) == (0, ["lost"])


async def test_a_message_in_flight_under_another_name_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message in flight to a bsuid is not found for a lost one with the same text to a number."""
    sandbox.account.seed(SandboxContact(identifier="+31612345670", name="Ada", bsuid="NL.1"))
    await send_without_response(callbell, sandbox, journal, text(), accepted=False)
    arrived, released = asyncio.Event(), asyncio.Event()
    no_response = faults.no_response(arrived.set, until=released, accept=True)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == "/messages/send")
    other = TextMessage(bsuid="NL.1", text="Hello!", key="other")
    sending = asyncio.ensure_future(callbell.send_many([other], journal=journal))
    await arrived.wait()
    report = await callbell.reconcile(journal)
    released.set()
    assert (await sending).accepted == 1
    assert (report.accepted, [item.reason for item in report.unresolved]) == (0, [OTHER_MESSAGE])
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.reason for item in report.unresolved]) == (0, [NOT_IN_HISTORY])


@pytest.mark.parametrize("known", [True, False])
async def test_only_a_message_that_could_match_keeps_another_unresolved(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, known: bool
) -> None:
    """Another text in flight to a bsuid does not keep a message to a number from being found; a text that can't be requested does."""
    await callbell.send(text())
    template = sandbox.account.seed(SandboxTemplate(title="other", text="Goodbye!"))
    other = TemplateMessage(bsuid="NL.2", template_uuid=template.uuid, optin_contact=True, key="other")
    await send_without_response(callbell, sandbox, journal, text())
    if not known:
        sandbox.inject(faults.respond(500), when=lambda request: request.path.startswith("/templates/"))
    arrived, released = asyncio.Event(), asyncio.Event()
    no_response = faults.no_response(arrived.set, until=released)
    sandbox.inject(no_response, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([other], journal=journal))
    await arrived.wait()
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.reason for item in report.unresolved]) == (
        (1, []) if known else (0, [OTHER_MESSAGE])
    )
    released.set()
    await sending


@pytest.mark.parametrize("name", [{"to": "31612345670"}, {"to": None, "bsuid": "NL.1"}])
async def test_a_message_confirmed_without_a_uuid_claims_its_message(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, name: dict[str, Any]
) -> None:
    """A message that an event without a uuid confirmed has its message in the history before a lost one, however both name the contact."""
    sandbox.account.seed(SandboxContact(identifier="+31612345670", name="Ada", bsuid="NL.1"))
    await send_without_response(callbell, sandbox, journal, text(), accepted=False)
    await send_without_response(callbell, sandbox, journal, text(key="other", **name))
    writer_of(journal).record_report("other", None)
    report = await callbell.reconcile(journal)
    assert report.accepted == 0
    assert [item.reason for item in report.unresolved] == [NOT_IN_HISTORY]
    await callbell.send(text())
    assert await callbell.reconcile(journal) == found(1)


async def test_only_contacts_that_may_be_the_same_are_looked_up(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message accepted without a uuid costs a lookup only if it may have gone to a contact that is searched, and no history of its own."""
    bsuid = TextMessage(bsuid="NL.1", text="Hello!", key="bsuid")
    await send_without_response(callbell, sandbox, journal, text(0), text(1), bsuid)
    writer_of(journal).record_report("k1", None)
    writer_of(journal).record_report("bsuid", None)
    sandbox.requests.clear()
    assert await callbell.reconcile(journal) == found(1)
    looked_at = {request.path for request in sandbox.requests}
    contact = sandbox.account.contacts.by_identifier("whatsapp", "+31612345670")
    assert contact is not None
    assert looked_at == {
        "/contacts/bsuid/NL.1",
        "/contacts/phone/%2B31612345670",
        f"/contacts/{contact.uuid}/messages",
    }


@pytest.mark.parametrize(("status", "accepted"), [(404, 1), (500, 0)])
async def test_an_accepted_message_that_cannot_be_searched(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, status: int, accepted: int
) -> None:
    """A message accepted without a uuid keeps others unresolved while its contact can't be requested, and is not reported itself; a contact that does not exist has no message."""
    bsuid = TextMessage(bsuid="NL.1", text="Hello!", key="bsuid")
    await send_without_response(callbell, sandbox, journal, text(), bsuid)
    writer_of(journal).record_report("bsuid", None)
    sandbox.inject(faults.respond(status), when=lambda request: "/bsuid/" in request.path)
    report = await callbell.reconcile(journal)
    assert report.accepted == accepted
    assert [(item.entry.key, item.reason) for item in report.unresolved] == [("k0", OTHER_MESSAGE)][accepted:]


@pytest.mark.parametrize("by", ["an event", "another attempt"])
async def test_one_of_two_is_resolved_meanwhile(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, by: str
) -> None:
    """Of two equal messages, one confirmed by an event without a uuid or sent again during the search, the other is not found."""
    await send_without_response(callbell, sandbox, journal, text(key="lost"), accepted=False)
    await send_without_response(callbell, sandbox, journal, text(key="other"), accepted=by == "an event")
    await callbell.send(text(text="Earlier"))
    looking, shown = asyncio.Event(), asyncio.Event()
    no_response = faults.no_response(looking.set, until=shown)
    sandbox.inject(no_response, times=1, when=lambda request: request.path.endswith("/messages"))
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    if by == "an event":
        writer_of(journal).record_report("other", None)
    else:
        await journal.allow_resend("other")
        await send_without_response(callbell, sandbox, journal, text(key="other"))
    shown.set()
    report = await reconciling
    assert [(item.entry.key, item.reason) for item in report.unresolved if item.entry.key == "lost"] == [
        ("lost", OTHER_MESSAGE)
    ]
