"""What became of messages nobody answered for, as their contacts' histories show it."""

from __future__ import annotations

import asyncio
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
    Reconciliation,
    RetryPolicy,
    TemplateMessage,
    TextMessage,
)
from callbell_async.journal.reconcile import match
from callbell_async.sandbox import Sandbox, Template, faults
from tests.support.clock import current_loop

TRIED = datetime(2026, 9, 1, 12, tzinfo=UTC)


def entry(key: str, *, after: float = 0.0) -> JournalEntry:
    """A message that was tried so many seconds later than noon."""
    return JournalEntry(
        key=key, message_body=b"", outcome=Outcome.UNKNOWN, index=0, tried_at=TRIED + timedelta(seconds=after)
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
    assert match(entries, history, clock_skew=2.0) == found


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
    assert await callbell.reconcile(journal) == Reconciliation(accepted=5, unresolved=())
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
    await journal.resend("k0", "k1")
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
    monkeypatch: pytest.MonkeyPatch, callbell: CallbellClient, sandbox: Sandbox, journal: Journal, ends: str
) -> None:
    """What a run sends with the same text to the same contact is not taken for one that was lost, whether it ends while others are looked for or later."""
    for number in (0, 1):
        await callbell.send(text(number, text="Earlier"))
        await send_into_the_dark(callbell, sandbox, journal, text(number), accepted=False)
    arrived, answered, found, looking, shown = (asyncio.Event() for _ in range(5))
    then = faults.close_after_reading() if ends == "unknown" else None
    silence = faults.silence(arrived.set, until=answered, then=then, accept=True)
    sandbox.inject(silence, times=1, when=lambda request: request.path == "/messages/send")
    sending = asyncio.ensure_future(callbell.send_many([text(to="31612345670", key="other")], journal=journal))
    await arrived.wait()

    def match_and_tell(*args: Any, **options: Any) -> Any:
        matches = match(*args, **options)
        if matches:
            found.set()
        return matches

    monkeypatch.setattr(sys.modules[match.__module__], "match", match_and_tell)
    silence = faults.silence(looking.set, until=shown)
    sandbox.inject(silence, times=1, when=lambda request: request.path.endswith("71"))
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    await found.wait()
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


async def test_an_event_may_be_faster(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A message that an event settles while it is looked for counts as settled."""
    await send_into_the_dark(callbell, sandbox, journal, text(), accepted=False)
    looking, shown = asyncio.Event(), asyncio.Event()
    sandbox.inject(faults.silence(looking.set, until=shown), times=1)
    reconciling = asyncio.ensure_future(callbell.reconcile(journal))
    await looking.wait()
    journal.see("k0", "a-uuid", None)
    shown.set()
    assert await reconciling == Reconciliation(accepted=1, unresolved=())


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
    one = sandbox.account.add(Template(title="one", text="Hi {{1}}!"))
    two = sandbox.account.add(Template(title="two", text="{{2}} for {{1}}"))
    image = sandbox.account.add(Template(title="image", text="Look", template_type="image"))

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
    assert await callbell.reconcile(journal) == Reconciliation(accepted=4, unresolved=())
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
    sandbox.inject(faults.answer(500), when=lambda request: request.path.endswith("70"))
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
    run = await journal.begin_run()
    await run.intend([("k", b'{"from":"whatsapp","to":"+31612345678"}', 0)])
    assert await callbell.reconcile(journal) == Reconciliation(accepted=0, unresolved=())
    assert sandbox.requests == []


async def test_a_journal_is_opened_for_it(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A journal that isn't open is opened, and closed again."""
    journal = Journal(tmp_path / "closed.db")
    await send_into_the_dark(callbell, sandbox, journal, text())
    assert (await callbell.reconcile(journal)).accepted == 1
    assert "closed" in repr(journal)
