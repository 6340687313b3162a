"""What became of messages nobody answered for, as their contacts' histories show it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    AuthenticationError,
    CallbellClient,
    HistoryMessage,
    Image,
    ImageMessage,
    Journal,
    JournalEntry,
    Message,
    Outcome,
    ReconcileReport,
    RetryPolicy,
    TemplateMessage,
    TextMessage,
)
from callbell_async.journal import ClaimRequest, writer_of
from callbell_async.journal.reconcile import match
from callbell_async.sandbox import Sandbox, SandboxContact, SandboxTemplate, faults
from tests.support.clock import current_loop

TRIED = datetime(2026, 9, 1, 12, tzinfo=UTC)


def entry(key: str, *, after: float = 0.0, accepted: bool = False, again: bool = False, **body: Any) -> JournalEntry:
    """A message that was tried so many seconds later than noon; accepted, without a uuid or when it was sent `again`."""
    return JournalEntry(
        key=key,
        message_body=json.dumps(body).encode(),
        outcome=Outcome.ACCEPTED if accepted or again else Outcome.UNKNOWN,
        uuid="of the second attempt" if again else None,
        resent=again,
        index=0,
        tried_at=TRIED + timedelta(seconds=after),
    )


def shown(uuid: str | None, *, after: float = 1.0, text: str = "Hello!", status: str = "sent") -> HistoryMessage:
    """A message in a history, so many seconds after noon."""
    return HistoryMessage(uuid=uuid, text=text, status=status, created_at=TRIED + timedelta(seconds=after))


@pytest.mark.parametrize(
    ("wanted", "history", "found"),
    [
        ([("a", 0.0, "Hello!")], [shown("u")], {"a": "u"}),
        ([("a", 0.0, "Hello!")], [shown("u", text="Hello")], {}),
        ([("a", 0.0, "Hello!")], [shown("u", status="received")], {}),
        ([("a", 0.0, "Hello!")], [shown("u", status="note")], {}),
        ([("a", 0.0, "Hello!")], [shown(None)], {}),
        ([("a", 0.0, "Hello!")], [HistoryMessage(uuid="u", text="Hello!", status="sent")], {}),
        ([("a", 0.0, "")], [shown("u", text="")], {}),
        ([("a", 0.0, "Hello!")], [shown("u", after=-1.0)], {"a": "u"}),
        ([("a", 0.0, "Hello!")], [shown("u", after=-3.0)], {}),
        ([("a", 0.0, "Hello!"), ("b", 0.0, "Hello!")], [shown("u")], {"a": "u"}),
        ([("b", 5.0, "Hello!"), ("a", 0.0, "Hello!")], [shown("v", after=6.0), shown("u")], {"a": "u", "b": "v"}),
        ([("a", 0.0, "Hello!"), ("b", 5.0, "Hello!")], [shown("v", after=6.0)], {"a": "v"}),
        (
            [("a", 0.0, "one"), ("b", 0.0, "two")],
            [shown("v", text="two"), shown("u", text="one")],
            {"a": "u", "b": "v"},
        ),
    ],
    ids=[
        "same text",
        "another text",
        "the customer's",
        "a note",
        "without a uuid",
        "without a date",
        "without a text",
        "within the clocks' difference",
        "before it was tried",
        "one for two",
        "two for two, by time",
        "one for two, at any time",
        "by text",
    ],
)
def test_a_history_is_matched(
    wanted: list[tuple[str, float, str]], history: list[HistoryMessage], found: dict[str, str]
) -> None:
    """A message is the one that was sent, with its text, not before it was tried, and each is one message only."""
    entries = [(entry(key, after=after), text) for key, after, text in wanted]
    assert match(entries, history, clock_skew=2.0).found == found


A: dict[str, Any] = {"content": {"url": "A"}}
B: dict[str, Any] = {"content": {"url": "B"}}


@pytest.mark.parametrize(
    ("wanted", "history", "found", "doubtful"),
    [
        ([entry("a", **A), entry("b", **B)], [shown("u")], {}, {"a", "b"}),
        ([entry("a", **A), entry("b", **B)], [], {}, set()),
        ([entry("a", **A), entry("b", after=5, **B)], [shown("v", after=6), shown("u")], {"a": "u", "b": "v"}, set()),
        ([entry("a", **A), entry("b", after=9, **B)], [shown("u"), shown("v", after=6)], {}, {"a", "b"}),
        (
            [entry("a", to="1", metadata={"n": "1"}, **A), entry("b", bsuid="B", metadata={"n": "2"}, **A)],
            [shown("u")],
            {"a": "u"},
            set(),
        ),
        ([entry("a", template_uuid="A"), entry("b", template_uuid="B")], [shown("u")], {}, {"a", "b"}),
        ([entry("a"), entry("b", after=1, accepted=True)], [shown("u", after=2)], {}, set()),
        ([entry("a"), entry("b", after=1, accepted=True)], [shown("v", after=2), shown("u")], {"a": "u"}, set()),
        ([entry("a"), entry("b", after=9, accepted=True)], [shown("u")], {"a": "u"}, set()),
        (
            [entry("a", **A), entry("b", **B), entry("c", accepted=True)],
            [shown("u"), shown("v", after=2)],
            {},
            {"a", "b"},
        ),
        ([entry("a", **A), entry("c", accepted=True, **B)], [shown("u"), shown("v", after=2)], {"a": "u"}, set()),
        ([entry("a", **A), entry("c", again=True, **B)], [shown("u")], {}, {"a"}),
        ([entry("a", **A), entry("c", again=True, **B)], [shown("u"), shown("v", after=2)], {}, {"a"}),
        ([entry("a", **A), entry("c", again=True, **B)], [], {}, set()),
        ([entry("a", **A), entry("c", again=True, **A)], [shown("u")], {"a": "u"}, set()),
    ],
    ids=[
        "one for two contents",
        "none for two contents",
        "one for each content",
        "two for two contents, one too early",
        "one for one content twice",
        "one for two templates",
        "one, and another is accepted",
        "two, and another is accepted",
        "another is accepted, but too late to be it",
        "two for two contents, and another is accepted",
        "one left for the only content",
        "one, and another was sent again",
        "two, and another was sent again",
        "none, and another was sent again",
        "one, and the same was sent again",
    ],
)
def test_no_more_is_found_than_is_certain(
    wanted: list[JournalEntry], history: list[HistoryMessage], found: dict[str, str], doubtful: set[str]
) -> None:
    """Of different contents with one text none is found unless all are there, and what is known to be accepted has its message first."""
    matches = match([(one, "Hello!") for one in wanted], history, clock_skew=2.0)
    assert (matches.found, matches.doubtful) == (found, doubtful)


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A Callbell whose calendar is this machine's."""
    async with Sandbox(limit=None, clock=current_loop().time, start=datetime.now(UTC)) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of it that tries once."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1)) as client:
        yield client


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An open journal."""
    async with Journal(tmp_path / "spring.db") as journal:
        yield journal


@pytest.fixture
def matched(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a message was found in a history, and nothing is settled yet."""
    found = asyncio.Event()

    def match_and_tell(*args: Any, **options: Any) -> Any:
        matches = match(*args, **options)
        if matches.found:
            found.set()
        return matches

    monkeypatch.setattr(sys.modules[match.__module__], "match", match_and_tell)
    return found


def text(number: int = 0, **changes: Any) -> TextMessage:
    """A message, but for what is changed."""
    return TextMessage(**{"to": f"+3161234567{number}", "text": "Hello!", "key": f"k{number}", **changes})


async def send_into_the_dark(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, *messages: Message, accepted: bool = True
) -> None:
    """Send messages whose answers are lost."""
    rule = sandbox.inject(faults.accept_then_close() if accepted else faults.close_after_reading())
    report = await callbell.send_many(messages, journal=journal)
    rule.remove()
    assert report.unknown == len(messages)


async def test_what_arrived_is_found(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Messages that were accepted in the dark become `ACCEPTED`, each with its own uuid, and are not sent again."""
    messages = [text(number) for number in range(5)]
    await send_into_the_dark(callbell, sandbox, journal, *messages)
    assert await callbell.reconcile(journal) == ReconcileReport(accepted=5, unresolved=())
    sent = {message.recipient: message.uuid for message in sandbox.messages}
    for message in messages:
        known = await journal.entry(str(message.key))
        assert known is not None
        assert (known.outcome, known.uuid) == (Outcome.ACCEPTED, sent[str(message.to)])
    assert (await callbell.send_many(messages, journal=journal)).skipped == 5


async def test_what_did_not_arrive_stays_unknown(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message whose contact isn't there, or whose history lacks it, is told with the reason; sent again by name, it arrives once."""
    await callbell.send(text(1, text="Earlier"))
    await send_into_the_dark(callbell, sandbox, journal, text(0), text(1), accepted=False)
    found = await callbell.reconcile(journal)
    assert found.accepted == 0
    assert {item.entry.key: item.reason for item in found.unresolved} == {
        "k0": "there is no such contact",
        "k1": "is not in the contact's history",
    }
    await journal.allow_resend("k0", "k1")
    assert (await callbell.send_many([text(0), text(1)], journal=journal)).accepted == 2
    assert len(sandbox.messages) == 3


async def test_a_message_claimed_by_another_is_not_taken(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Of two messages with one text to one contact, the accepted one is not proof of the other."""
    await callbell.send_many([text(key="first")], journal=journal)
    await send_into_the_dark(callbell, sandbox, journal, text(key="second"), accepted=False)
    found = await callbell.reconcile(journal)
    assert (found.accepted, [item.entry.key for item in found.unresolved]) == (0, ["second"])


async def test_a_contact_named_in_two_ways_proves_no_message_twice(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Of two messages with one text to one contact, of which one arrived, one is found, though the contact is looked up by two names at once."""
    await send_into_the_dark(callbell, sandbox, journal, text(key="first"))
    await send_into_the_dark(callbell, sandbox, journal, text(to="31612345670", key="second"), accepted=False)
    found = await callbell.reconcile(journal)
    assert (found.accepted, len(found.unresolved), len(sandbox.messages)) == (1, 1, 1)
    assert found.unresolved[0].reason == "is not in the contact's history"


@pytest.mark.parametrize("ends", ["accepted", "unknown", "later"])
async def test_a_message_sent_meanwhile_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, matched: asyncio.Event, ends: str
) -> None:
    """What a run sends with the same text to the same contact is not taken for one that was lost, whether it ends while others are looked for or later."""
    for number in (0, 1):
        await callbell.send(text(number, text="Earlier"))
        await send_into_the_dark(callbell, sandbox, journal, text(number), accepted=False)
    arrived, answered, looking, shown = (asyncio.Event() for _ in range(4))
    then = faults.close_after_reading() if ends == "unknown" else None
    silence = faults.no_response(arrived.set, until=answered, then=then, accept=True)
    sandbox.inject(silence, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([text(to="31612345670", key="other")], journal=journal))
    await arrived.wait()
    silence = faults.no_response(looking.set, until=shown)
    slow = sandbox.account.contacts.by_identifier("whatsapp", "31612345671")
    assert slow is not None
    sandbox.inject(silence, times=1, when=lambda request: request.path == f"/contacts/{slow.uuid}/messages")
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    await matched.wait()
    if ends != "later":
        answered.set()
        await sending
    shown.set()
    reconciled = await reconciling
    assert reconciled.accepted == 0
    assert {item.entry.key: item.reason for item in reconciled.unresolved} == {
        "k0": "another message went to this contact meanwhile; reconcile again",
        "k1": "is not in the contact's history",
    }
    answered.set()
    await sending


MEANWHILE = "another message went to this contact meanwhile; reconcile again"


def image(key: str, **changes: Any) -> ImageMessage:
    """An image with a caption, of which there are several."""
    return ImageMessage(
        **{
            "to": "+31612345670",
            "url": f"https://example.org/{key}.png",
            "caption": "Your ticket",
            "key": key,
            **changes,
        }
    )


@pytest.mark.parametrize("to", ["+31612345670", "31612345670"])
async def test_another_content_with_the_same_text_is_no_proof(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, to: str
) -> None:
    """Of two images with one caption to one contact, however it is named, of which one arrived, neither is said to be accepted; once both are there, both are."""
    await send_into_the_dark(callbell, sandbox, journal, image("lost"), accepted=False)
    await send_into_the_dark(callbell, sandbox, journal, image("arrived", to=to))
    found = await callbell.reconcile(journal)
    assert found.accepted == 0
    assert [(item.entry.key, item.reason) for item in found.unresolved] == [
        ("lost", "others with the same text but another content went to this contact"),
        ("arrived", "others with the same text but another content went to this contact"),
    ]
    await callbell.send(image("lost"))
    assert await callbell.reconcile(journal) == ReconcileReport(accepted=2, unresolved=())


async def test_a_first_attempt_proves_no_other(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """One of two contents was sent again and accepted: the message that is left may be its first attempt, and is not said to be the other."""
    await send_into_the_dark(callbell, sandbox, journal, image("arrived"))
    await send_into_the_dark(callbell, sandbox, journal, image("lost"), accepted=False)
    await journal.allow_resend("arrived")
    assert (await callbell.send_many([image("arrived")], journal=journal)).accepted == 1
    found = await callbell.reconcile(journal)
    assert [(item.entry.key, item.reason) for item in found.unresolved] == [
        ("lost", "others with the same text but another content went to this contact")
    ]


async def test_a_content_sent_meanwhile_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, matched: asyncio.Event
) -> None:
    """As many messages as contents prove nothing when one of them turns out to be another's before the end."""
    await send_into_the_dark(callbell, sandbox, journal, image("lost"), accepted=False)
    await send_into_the_dark(callbell, sandbox, journal, image("arrived"), text(1))
    arrived, answered = asyncio.Event(), asyncio.Event()
    silence = faults.no_response(arrived.set, until=answered, accept=True)
    sandbox.inject(silence, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([image("other")], journal=journal))
    await arrived.wait()
    slow = sandbox.account.contacts.by_identifier("whatsapp", "31612345671")
    assert slow is not None
    looking, shown = asyncio.Event(), asyncio.Event()
    silence = faults.no_response(looking.set, until=shown)
    sandbox.inject(silence, times=1, when=lambda request: request.path == f"/contacts/{slow.uuid}/messages")
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    await matched.wait()
    answered.set()
    assert (await sending).accepted == 1
    shown.set()
    found = await reconciling
    assert found.accepted == 1
    assert [(item.entry.key, item.reason) for item in found.unresolved] == [
        ("lost", MEANWHILE),
        ("arrived", MEANWHILE),
    ]


async def test_a_message_sent_again_meanwhile_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """What is sent again at that moment, and accepted before the end, may be there from its first attempt too."""
    await send_into_the_dark(callbell, sandbox, journal, image("arrived"))
    await send_into_the_dark(callbell, sandbox, journal, image("lost"), accepted=False)
    await journal.allow_resend("arrived")
    arrived, answered = asyncio.Event(), asyncio.Event()
    silence = faults.no_response(arrived.set, until=answered)
    sandbox.inject(silence, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([image("arrived")], journal=journal)._collect())
    await arrived.wait()
    looking, shown = asyncio.Event(), asyncio.Event()
    other = await callbell.contacts.get_by_phone("+31612345670")
    silence = faults.no_response(looking.set, until=shown)
    sandbox.inject(silence, times=1, when=lambda request: request.path == f"/contacts/{other.uuid}/messages")
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    answered.set()
    await sending
    shown.set()
    found = await reconciling
    assert (found.accepted, [item.entry.key for item in found.unresolved]) == (0, ["lost"])


async def test_a_message_under_way_by_another_name_proves_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """What is under way to a bsuid is not taken for what was sent with the same text to a number, and lost."""
    sandbox.account.seed(SandboxContact(identifier="+31612345670", name="Ada", bsuid="NL.1"))
    await send_into_the_dark(callbell, sandbox, journal, text(), accepted=False)
    arrived, answered = asyncio.Event(), asyncio.Event()
    silence = faults.no_response(arrived.set, until=answered, accept=True)
    sandbox.inject(silence, times=1, when=lambda request: request.path == "/messages/send")
    other = TextMessage(bsuid="NL.1", text="Hello!", key="other")
    sending = asyncio.ensure_future(callbell.send_many([other], journal=journal))
    await arrived.wait()
    found = await callbell.reconcile(journal)
    answered.set()
    assert (await sending).accepted == 1
    assert (found.accepted, [item.reason for item in found.unresolved]) == (0, [MEANWHILE])
    found = await callbell.reconcile(journal)
    assert (found.accepted, [item.reason for item in found.unresolved]) == (0, ["is not in the contact's history"])


@pytest.mark.parametrize("known", [True, False])
async def test_only_what_may_be_the_same_holds_a_message_back(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, known: bool
) -> None:
    """Another text under way to a bsuid holds no message to a number back that was found; a text that can't be known does."""
    await callbell.send(text())
    template = sandbox.account.seed(SandboxTemplate(title="other", text="Goodbye!"))
    other = TemplateMessage(bsuid="NL.2", template_uuid=template.uuid, optin_contact=True, key="other")
    await send_into_the_dark(callbell, sandbox, journal, text())
    if not known:
        sandbox.inject(faults.respond(500), when=lambda request: request.path.startswith("/templates/"))
    arrived, answered = asyncio.Event(), asyncio.Event()
    silence = faults.no_response(arrived.set, until=answered)
    sandbox.inject(silence, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([other], journal=journal))
    await arrived.wait()
    found = await callbell.reconcile(journal)
    assert (found.accepted, [item.reason for item in found.unresolved]) == ((1, []) if known else (0, [MEANWHILE]))
    answered.set()
    await sending


@pytest.mark.parametrize("name", [{"to": "31612345670"}, {"to": None, "bsuid": "NL.1"}])
async def test_what_an_event_without_a_uuid_settled_is_no_other(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, name: dict[str, Any]
) -> None:
    """A message that is known to be accepted, but not by which uuid, has its message in the history before one that was lost, however both name the contact."""
    sandbox.account.seed(SandboxContact(identifier="+31612345670", name="Ada", bsuid="NL.1"))
    await send_into_the_dark(callbell, sandbox, journal, text(), accepted=False)
    await send_into_the_dark(callbell, sandbox, journal, text(key="other", **name))
    writer_of(journal).record_report("other", None)
    found = await callbell.reconcile(journal)
    assert found.accepted == 0
    assert [item.reason for item in found.unresolved] == ["is not in the contact's history"]
    await callbell.send(text())
    assert await callbell.reconcile(journal) == ReconcileReport(accepted=1, unresolved=())


async def test_only_contacts_that_matter_are_looked_up(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """What was accepted without a uuid costs a request only where it may have gone to a contact that is looked at, and its history none."""
    bsuid = TextMessage(bsuid="NL.1", text="Hello!", key="bsuid")
    await send_into_the_dark(callbell, sandbox, journal, text(0), text(1), bsuid)
    writer_of(journal).record_report("k1", None)
    writer_of(journal).record_report("bsuid", None)
    sandbox.requests.clear()
    assert await callbell.reconcile(journal) == ReconcileReport(accepted=1, unresolved=())
    looked_at = {request.path for request in sandbox.requests}
    contact = sandbox.account.contacts.by_identifier("whatsapp", "+31612345670")
    assert contact is not None
    assert looked_at == {
        "/contacts/bsuid/NL.1",
        "/contacts/phone/%2B31612345670",
        f"/contacts/{contact.uuid}/messages",
    }


@pytest.mark.parametrize(("status", "accepted"), [(404, 1), (500, 0)])
async def test_an_accepted_one_that_cannot_be_looked_for(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, status: int, accepted: int
) -> None:
    """What was accepted without a uuid holds others back while its contact can't be asked for, and isn't told itself; a contact that isn't there has no message."""
    bsuid = TextMessage(bsuid="NL.1", text="Hello!", key="bsuid")
    await send_into_the_dark(callbell, sandbox, journal, text(), bsuid)
    writer_of(journal).record_report("bsuid", None)
    sandbox.inject(faults.respond(status), when=lambda request: "/bsuid/" in request.path)
    found = await callbell.reconcile(journal)
    assert found.accepted == accepted
    assert [(item.entry.key, item.reason) for item in found.unresolved] == [("k0", MEANWHILE)][accepted:]


@pytest.mark.parametrize("by", ["an event", "another attempt"])
async def test_one_of_two_is_settled_meanwhile(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, by: str
) -> None:
    """Of two alike, one settled by an event without a uuid, or tried again, while both are looked for, the other is not said to be accepted."""
    await send_into_the_dark(callbell, sandbox, journal, text(key="lost"), accepted=False)
    await send_into_the_dark(callbell, sandbox, journal, text(key="other"), accepted=by == "an event")
    await callbell.send(text(text="Earlier"))
    looking, shown = asyncio.Event(), asyncio.Event()
    silence = faults.no_response(looking.set, until=shown)
    sandbox.inject(silence, times=1, when=lambda request: request.path.endswith("/messages"))
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    if by == "an event":
        writer_of(journal).record_report("other", None)
    else:
        await journal.allow_resend("other")
        await send_into_the_dark(callbell, sandbox, journal, text(key="other"))
    shown.set()
    found = await reconciling
    assert [(item.entry.key, item.reason) for item in found.unresolved if item.entry.key == "lost"] == [
        ("lost", MEANWHILE)
    ]


async def test_an_event_may_be_faster(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message that an event settles while it is looked for counts as settled."""
    await send_into_the_dark(callbell, sandbox, journal, text(), accepted=False)
    looking, shown = asyncio.Event(), asyncio.Event()
    sandbox.inject(faults.no_response(looking.set, until=shown), times=1)
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    writer_of(journal).record_report("k0", "a-uuid")
    shown.set()
    assert await reconciling == ReconcileReport(accepted=1, unresolved=())


async def test_two_alike_are_both_found(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Two messages with one text to one contact are two in its history."""
    await send_into_the_dark(callbell, sandbox, journal, text(key="first"), text(key="second"))
    assert (await callbell.reconcile(journal)).accepted == 2
    uuids = [entry.uuid async for entry in journal.entries(Outcome.ACCEPTED)]
    assert sorted(map(str, uuids)) == sorted(message.uuid for message in sandbox.messages)


async def test_one_before_the_attempt_is_not_taken(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The same text of an earlier campaign is no proof; a clock that is known to differ can be allowed for."""
    await callbell.send(text())
    async with Journal(tmp_path / "later.db", clock=lambda: time.time() + 60.0) as journal:
        await send_into_the_dark(callbell, sandbox, journal, text(), accepted=False)
        assert (await callbell.reconcile(journal)).accepted == 0
        assert (await callbell.reconcile(journal, clock_skew=120.0)).accepted == 1


async def test_a_template_is_found_by_what_the_customer_reads(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """Templates are filled with their values, one or several, and asked for once."""
    one = sandbox.account.seed(SandboxTemplate(title="one", text="Hi {{1}}!"))
    two = sandbox.account.seed(SandboxTemplate(title="two", text="{{2}} for {{1}}"))
    image = sandbox.account.seed(SandboxTemplate(title="image", text="Look", template_type="image"))

    def template(uuid: str, number: int, **more: Any) -> TemplateMessage:
        return TemplateMessage(
            to=f"+3161234567{number}", template_uuid=uuid, optin_contact=True, key=f"k{number}", **more
        )

    await send_into_the_dark(
        callbell,
        sandbox,
        journal,
        template(one.uuid, 1, values=["Ada"]),
        template(two.uuid, 2, values=["Ada", "a cake"]),
        template(one.uuid, 3, values=["Bob"]),
        template(image.uuid, 4, media=Image("https://example.org/a.png")),
    )
    assert await callbell.reconcile(journal) == ReconcileReport(accepted=4, unresolved=())
    asked = [request.path for request in sandbox.requests if request.path.startswith("/templates/")]
    assert len(asked) == len(set(asked)) == 3


async def test_some_cannot_be_looked_for(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Without a text, or on a channel whose contacts can't be looked up, it says so."""
    await send_into_the_dark(
        callbell,
        sandbox,
        journal,
        ImageMessage(to="+31612345678", url="https://example.org/a.png", key="image"),
        text(to="someone", channel="telegram", key="telegram"),
    )
    found = await callbell.reconcile(journal)
    assert {item.entry.key: item.reason for item in found.unresolved} == {
        "image": "has no text by which it could be found",
        "telegram": "Callbell finds no contact by an identifier of telegram",
    }


async def test_a_bsuid_is_looked_up(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message to a bsuid is looked for in that contact's history."""
    await send_into_the_dark(callbell, sandbox, journal, TextMessage(bsuid="NL.123", text="Hello!"))
    assert (await callbell.reconcile(journal)).accepted == 1


async def test_one_failure_stops_no_other(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A contact that can't be asked for is told as unresolved, without its number, and the others are settled."""
    await send_into_the_dark(callbell, sandbox, journal, text(0), text(1))
    sandbox.inject(faults.respond(500), when=lambda request: request.path.endswith("70"))
    found = await callbell.reconcile(journal)
    assert found.accepted == 1
    (unresolved,) = found.unresolved
    assert unresolved.reason.startswith("could not be looked for")
    assert "12345" not in unresolved.reason


async def test_a_wrong_token_ends_it(sandbox: Sandbox, callbell: CallbellClient, journal: Journal) -> None:
    """What no message could survive is raised."""
    await send_into_the_dark(callbell, sandbox, journal, text())
    async with CallbellClient("wrong", base_url=sandbox.url) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.reconcile(journal)


async def test_what_is_under_way_is_left_alone(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message that a run is trying right now is not looked for."""
    writer = writer_of(journal)
    request = ClaimRequest("k", b'{"from":"whatsapp","to":"+31612345678"}', 0)
    await writer.claim([request], run=await writer.begin_run())
    assert await callbell.reconcile(journal) == ReconcileReport(accepted=0, unresolved=())
    assert sandbox.requests == []


async def test_a_journal_is_opened_for_it(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A journal that isn't open is opened, and closed again."""
    journal = Journal(tmp_path / "closed.db")
    await send_into_the_dark(callbell, sandbox, journal, text())
    assert (await callbell.reconcile(journal)).accepted == 1
    assert "closed" in repr(journal)
