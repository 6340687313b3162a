"""`reconcile` over HTTP: `UNKNOWN` messages are resolved from the histories of their contacts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    AuthenticationError,
    CallbellClient,
    ConfigurationError,
    Image,
    ImageMessage,
    Journal,
    JournalError,
    Outcome,
    SendResult,
    TemplateMessage,
    TextMessage,
)
from callbell_async.journal import ClaimRequest, writer_of
from callbell_async.journal.reconcile import NOT_IN_HISTORY, WITHOUT_TEXT
from callbell_async.sandbox import Sandbox, SandboxTemplate, faults
from tests.support.lost_responses import client_of, found, running_sandbox, send_without_response, text


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


async def test_accepted_messages_are_found(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Messages that were accepted without a response become `ACCEPTED` by inference, each with its own uuid, and are not sent again."""
    messages = [text(number) for number in range(5)]
    await send_without_response(callbell, sandbox, journal, *messages)
    assert await callbell.reconcile(journal) == found(5)
    sent = {message.recipient: message.uuid for message in sandbox.messages}
    for message in messages:
        known = await journal.entry(str(message.key))
        assert known is not None
        assert (known.outcome, known.confirmed_by) == (Outcome.ACCEPTED, "history")
        assert known.uuid == sent[str(message.to)]
    assert (await callbell.send_many(messages, journal=journal)).skipped == 5


async def test_a_lost_message_stays_unknown(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message whose contact does not exist, or whose history lacks it, stays `UNKNOWN` with a reason that proves nothing; sent again by key, it arrives once."""
    await callbell.send(text(1, text="Earlier"))
    await send_without_response(callbell, sandbox, journal, text(0), text(1), accepted=False)
    report = await callbell.reconcile(journal)
    assert report.accepted == 0
    assert {item.entry.key: item.reason for item in report.unresolved} == {
        "k0": "no contact was found under this number or its other forms; the message may still have been sent",
        "k1": NOT_IN_HISTORY,
    }
    await journal.allow_resend("k0", "k1")
    assert (await callbell.send_many([text(0), text(1)], journal=journal)).accepted == 2
    assert len(sandbox.messages) == 3


async def test_the_message_of_an_accepted_entry_is_not_found_for_another(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that belongs to an accepted entry does not make another entry with its text accepted."""
    await callbell.send_many([text(key="first")], journal=journal)
    await send_without_response(callbell, sandbox, journal, text(key="second"), accepted=False)
    report = await callbell.reconcile(journal)
    assert (report.accepted, [item.entry.key for item in report.unresolved]) == (0, ["second"])


async def test_a_contact_with_two_names_has_each_message_once(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Of two messages with one text to one contact, of which one arrived, one is found, although its number is written in two ways."""
    await send_without_response(callbell, sandbox, journal, text(key="first"))
    await send_without_response(callbell, sandbox, journal, text(to="31612345670", key="second"), accepted=False)
    report = await callbell.reconcile(journal)
    assert (report.accepted, len(report.unresolved), len(sandbox.messages)) == (1, 1, 1)
    assert report.unresolved[0].reason == NOT_IN_HISTORY


async def test_an_event_during_the_search_confirms(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that an event confirms during the search counts as confirmed, not as inferred."""
    await send_without_response(callbell, sandbox, journal, text(), accepted=False)
    looking, shown = asyncio.Event(), asyncio.Event()
    sandbox.inject(faults.no_response(looking.set, until=shown), times=1)
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    writer_of(journal).record_report("k0", "a-uuid")
    shown.set()
    report = await reconciling
    assert (report.inferred, report.confirmed, report.accepted, report.unresolved) == (0, 1, 1, ())


async def test_two_equal_messages_are_both_found_without_uuids(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Two messages with one text to one contact are two in its history; which is which is not known, so no uuid is stored."""
    await send_without_response(callbell, sandbox, journal, text(key="first"), text(key="second"))
    assert (await callbell.reconcile(journal)).accepted == 2
    uuids = [entry.uuid async for entry in journal.entries(Outcome.ACCEPTED)]
    assert uuids == [None, None]


async def test_a_template_is_found_by_its_filled_text(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Templates are filled with their values, one or several, and requested once."""
    one = sandbox.account.seed(SandboxTemplate(title="one", text="Hi {{1}}!"))
    two = sandbox.account.seed(SandboxTemplate(title="two", text="{{2}} for {{1}}"))
    image = sandbox.account.seed(SandboxTemplate(title="image", text="Look", template_type="image"))

    def template(uuid: str, number: int, **more: Any) -> TemplateMessage:
        return TemplateMessage(
            to=f"+3161234567{number}", template_uuid=uuid, optin_contact=True, key=f"k{number}", **more
        )

    await send_without_response(
        callbell,
        sandbox,
        journal,
        template(one.uuid, 1, values=["Ada"]),
        template(two.uuid, 2, values=["Ada", "a cake"]),
        template(one.uuid, 3, values=["Bob"]),
        template(image.uuid, 4, media=Image("https://example.org/a.png")),
    )
    assert await callbell.reconcile(journal) == found(4)
    requested = [request.path for request in sandbox.requests if request.path.startswith("/templates/")]
    assert len(requested) == len(set(requested)) == 3


async def test_some_messages_cannot_be_searched(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message without a text, or on a channel whose contacts can't be looked up, stays `UNKNOWN` with that reason."""
    await send_without_response(
        callbell,
        sandbox,
        journal,
        ImageMessage(to="+31612345678", url="https://example.org/a.png", key="image"),
        text(to="someone", channel="telegram", key="telegram"),
    )
    report = await callbell.reconcile(journal)
    assert {item.entry.key: item.reason for item in report.unresolved} == {
        "image": WITHOUT_TEXT,
        "telegram": "Callbell can't look up a contact by an identifier of telegram; the message may still have been sent",
    }


async def test_a_bsuid_is_looked_up(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message to a bsuid is searched in that contact's history."""
    await send_without_response(callbell, sandbox, journal, TextMessage(bsuid="NL.123", text="Hello!"))
    assert (await callbell.reconcile(journal)).accepted == 1


async def test_one_failed_request_affects_no_other_contact(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A contact that can't be requested leaves its message unresolved, without its number in the reason, and the others are resolved."""
    await send_without_response(callbell, sandbox, journal, text(0), text(1))
    sandbox.inject(faults.respond(500), when=lambda request: request.path.endswith("70"))
    report = await callbell.reconcile(journal)
    assert report.accepted == 1
    (unresolved,) = report.unresolved
    assert unresolved.reason.startswith("the history could not be searched: ")
    assert "12345" not in unresolved.reason


async def test_a_refused_token_is_raised(sandbox: Sandbox, callbell: CallbellClient, journal: Journal) -> None:
    """A refused token ends the search."""
    await send_without_response(callbell, sandbox, journal, text())
    async with CallbellClient("wrong", base_url=sandbox.url) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.reconcile(journal)


async def test_a_message_in_flight_is_not_searched(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that a run is sending now is not searched."""
    writer = writer_of(journal)
    request = ClaimRequest("k", b'{"from":"whatsapp","to":"+31612345678"}', 0)
    await writer.claim([request], run=await writer.begin_run())
    assert await callbell.reconcile(journal) == found(0)
    assert sandbox.requests == []


async def test_a_closed_journal_is_opened(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A journal that is not open is opened, and closed again."""
    journal = Journal(tmp_path / "closed.db")
    await send_without_response(callbell, sandbox, journal, text())
    assert (await callbell.reconcile(journal)).accepted == 1
    assert "closed" in repr(journal)


@pytest.mark.parametrize("clock_skew", [-1.0, float("nan"), float("inf"), 1e9, True, "2"])
async def test_a_wrong_clock_skew_is_refused(callbell: CallbellClient, journal: Journal, clock_skew: Any) -> None:
    """The clock skew is 0 to 86,400 seconds; the error names the argument."""
    with pytest.raises(ConfigurationError, match=r"clock_skew=.*: must be seconds, 0 to 86400"):
        await callbell.reconcile(journal, clock_skew=clock_skew)


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"from":1}',
        b'{"from":"whatsapp","to":31612345678}',
        b'{"from":"whatsapp","bsuid":["NL.1"]}',
        b'{"from":"whatsapp","to":"+31612345678","template_uuid":{}}',
        b'{"from":"whatsapp","to":"+31612345678","template_uuid":"t","template_values":[1]}',
        b'{"from":"whatsapp","to":"+31612345678","template_uuid":"t","template_values":"one"}',
    ],
)
@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.ACCEPTED])
async def test_a_crafted_body_is_one_clear_error(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, body: bytes, outcome: Outcome
) -> None:
    """A body that the library can't have written is an error that names the message's key and the remedy."""
    await send_without_response(callbell, sandbox, journal, text(0))
    writer = writer_of(journal)
    (claim,) = await writer.claim([ClaimRequest("order-7", body, 0)], run=await writer.begin_run())
    writer.record_result(claim, SendResult(0, text(7), outcome))
    with pytest.raises(JournalError, match=r"key 'order-7' has a body that is not a message; .* restore a good copy"):
        await callbell.reconcile(journal)


async def test_a_crafted_content_counts_as_an_empty_text(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A template's body whose `content` has no text is searched with an empty value, and stays `UNKNOWN`."""
    one = sandbox.account.seed(SandboxTemplate(title="one", text="Hi {{1}}!"))
    await callbell.send(text(0))
    writer = writer_of(journal)
    body = f'{{"from":"whatsapp","to":"{text(0).to}","template_uuid":"{one.uuid}","content":{{"text":5}}}}'.encode()
    (claim,) = await writer.claim([ClaimRequest("order-7", body, 0)], run=await writer.begin_run())
    writer.record_result(claim, SendResult(0, text(7), Outcome.UNKNOWN))
    report = await callbell.reconcile(journal)
    assert [(item.entry.key, item.reason) for item in report.unresolved] == [("order-7", NOT_IN_HISTORY)]
