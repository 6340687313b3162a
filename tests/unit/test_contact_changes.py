"""Tags that are read, changed and verified, and conversations that are handed off step by step, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from callbell_async import (
    AuthenticationError,
    CallbellClient,
    ConfigurationError,
    ConnectionLostError,
    ContactConflictError,
    HandOffError,
    NotFoundError,
    Outcome,
    ServerError,
)
from callbell_async.endpoints.contact_changes import MAX_TAG_WRITES, with_tags, without_tags
from callbell_async.sandbox import Fault, Sandbox, SandboxContact, SandboxRequest, SandboxTeam, SandboxUser, faults
from tests.support.calls import ONCE


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox that tries once."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=ONCE, rate_limit=None) as client:
        yield client


@pytest.fixture
def contact(sandbox: Sandbox) -> SandboxContact:
    """A contact with two tags, whose bot runs."""
    contact = sandbox.account.seed(SandboxContact(identifier="+31612345678", name="Ada", tags=["lead", "Sales"]))
    sandbox.account.set_bot(contact, "bot_start")
    return contact


def on_request(sandbox: Sandbox, method: str, act: Callable[[], object]) -> None:
    """Call a function before each request with this method is executed, as another program would act at this moment."""

    def see(request: SandboxRequest) -> bool:
        if request.method == method:
            act()
        return False

    sandbox.inject(faults.no_fault(), when=see)


def fail(sandbox: Sandbox, method: str, path_end: str, *some: Fault) -> None:
    """Let the next requests to such a path have these faults."""
    sandbox.inject(
        *some,
        times=len(some),
        when=lambda request: request.method == method and request.path.endswith(path_end),
    )


def methods(sandbox: Sandbox) -> list[str]:
    """Return the methods of the requests so far."""
    return [request.method for request in sandbox.requests]


# --- tags -------------------------------------------------------------------------------------------------------------


async def test_tags_are_added(callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact) -> None:
    """New tags are added after the others, and the contact is read again to verify them."""
    changed = await callbell.contacts.add_tags(contact.uuid, "paid", "vip")
    assert contact.tags == ["lead", "Sales", "paid", "vip"] == [*changed.tags]
    assert methods(sandbox) == ["GET", "PATCH", "GET"]


async def test_tags_are_removed(callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact) -> None:
    """Tags are removed whatever their case, also the last one, and the others stay."""
    changed = await callbell.contacts.remove_tags(contact.uuid, "sales", "unknown")
    assert contact.tags == ["lead"] == [*changed.tags]
    assert (await callbell.contacts.remove_tags(contact.uuid, "lead")).tags == ()
    assert contact.tags == []


@pytest.mark.parametrize("tags", [(), ("lead",), ("LEAD", " sales")])
async def test_tags_that_are_there_are_not_written(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact, tags: tuple[str, ...]
) -> None:
    """Without a change nothing is written."""
    await callbell.contacts.add_tags(contact.uuid, *tags)
    assert contact.tags == ["lead", "Sales"]
    assert methods(sandbox) == ["GET"]


async def test_a_lost_change_is_made_again(callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact) -> None:
    """If another program replaces the tags after the write, the change is made again, on top of that program's tags."""
    others = iter([["lead"], ["lead", "theirs"]])
    on_request(sandbox, "GET", lambda: setattr(contact, "tags", next(others, contact.tags)))
    await callbell.contacts.add_tags(contact.uuid, "mine")
    assert contact.tags == ["lead", "theirs", "mine"]
    assert methods(sandbox) == ["GET", "PATCH", "GET", "PATCH", "GET"]


async def test_the_third_write_may_be_the_one_that_lasts(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact
) -> None:
    """A change that was lost twice and is there after the third write succeeds."""
    others = iter([["lead"], ["lead"], ["lead"]])
    on_request(sandbox, "GET", lambda: setattr(contact, "tags", next(others, contact.tags)))
    assert (await callbell.contacts.add_tags(contact.uuid, "mine")).tags == ("lead", "mine")
    assert methods(sandbox).count("PATCH") == MAX_TAG_WRITES


@pytest.mark.parametrize("call", ["add_tags", "remove_tags"])
async def test_a_change_that_is_always_lost_is_an_error(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact, call: str
) -> None:
    """After three writes the error shows that the change is not there, and has the contact as it was read last."""
    on_request(sandbox, "GET", lambda: setattr(contact, "tags", ["mine"] if call == "remove_tags" else ["theirs"]))
    with pytest.raises(
        ContactConflictError, match=r"^tags: the contact does not have the change after 3 writes"
    ) as caught:
        await getattr(callbell.contacts, call)(contact.uuid, "mine")
    assert methods(sandbox).count("PATCH") == MAX_TAG_WRITES == 3
    assert [*caught.value.contact.tags] == contact.tags


async def test_concurrent_changes_are_all_kept(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact
) -> None:
    """Concurrent calls of one client, with other options too, for one contact wait for each other, so no tag is lost."""
    names = [f"tag {index}" for index in range(20)]
    clients = [callbell, callbell.with_options(timeout=5.0)] * 10
    calls = [client.contacts.add_tags(contact.uuid, name) for client, name in zip(clients, names, strict=True)]
    await asyncio.gather(*calls)
    assert sorted(contact.tags) == sorted(["lead", "Sales", *names])
    assert methods(sandbox).count("PATCH") == 20


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_write_without_a_response_is_verified(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact, accepted: bool
) -> None:
    """A write without a response is verified by reading: it is repeated only if it was not made."""
    fail(sandbox, "PATCH", contact.uuid, faults.close_after_reading(accept=accepted))
    await callbell.contacts.add_tags(contact.uuid, "paid")
    assert contact.tags == ["lead", "Sales", "paid"]
    assert methods(sandbox).count("PATCH") == (1 if accepted else 2)


async def test_writes_that_never_get_a_response(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact
) -> None:
    """If the last write has no response either, its error is the cause."""
    fail(sandbox, "PATCH", contact.uuid, *[faults.close_after_reading()] * 3)
    with pytest.raises(ContactConflictError) as caught:
        await callbell.contacts.add_tags(contact.uuid, "paid")
    assert isinstance(caught.value.__cause__, ConnectionLostError)


@pytest.mark.parametrize("tags", [["lead", None], ["lead", {"name": "vip"}], "lead", {"lead": True}])
async def test_tags_that_cannot_be_read_are_kept(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact, tags: object
) -> None:
    """If a response has tags in another form, nothing is written: the tags that were not read would be deleted."""
    document = {"contact": {"uuid": contact.uuid, "tags": tags}}
    fail(sandbox, "GET", contact.uuid, faults.respond(200, document))
    with pytest.raises(ContactConflictError, match="because some would be deleted"):
        await callbell.contacts.add_tags(contact.uuid, "paid")
    assert methods(sandbox) == ["GET"]


async def test_a_refused_write_is_raised(callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact) -> None:
    """A write that Callbell refuses is not repeated."""
    fail(sandbox, "PATCH", contact.uuid, faults.token_revoked())
    with pytest.raises(AuthenticationError):
        await callbell.contacts.add_tags(contact.uuid, "paid")
    with pytest.raises(NotFoundError):
        await callbell.contacts.add_tags("unknown", "paid")
    assert contact.tags == ["lead", "Sales"]


@pytest.mark.parametrize("tag", ["", "  ", ["a", "b"], None])
async def test_a_tag_that_is_none(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact, tag: str
) -> None:
    """A blank tag, and a list in place of single tags, are refused before any request."""
    with pytest.raises(ConfigurationError, match="tags: each must be a non-blank string; pass them one by one"):
        await callbell.contacts.add_tags(contact.uuid, tag)
    assert sandbox.requests == []


def test_the_change_of_a_list() -> None:
    """A tag is added once and in the order given, and removed wherever it is; what is there keeps its form."""
    assert with_tags(("B", "b"), ["c", "C", "a", "b"]) == ["B", "b", "c", "a"]
    assert without_tags(("B", "a", "b"), ["b"]) == ["a"]


# --- hand-off ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def team(sandbox: Sandbox) -> SandboxTeam:
    """A team of people."""
    return sandbox.account.seed(SandboxTeam(name="Returns"))


async def test_a_conversation_is_handed_off(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact, team: SandboxTeam
) -> None:
    """The team is assigned, the note is added, and the bot is ended, in this order."""
    changed = await callbell.contacts.hand_off(contact.uuid, team=team.uuid, note="wants a refund")
    assert changed.team is not None
    assert changed.team.uuid == contact.team == team.uuid
    assert [(item.status, item.text) for item in contact.history] == [("note", "wants a refund")]
    assert not contact.bot.running
    assert [f"{request.method} {request.path}" for request in sandbox.requests] == [
        f"PATCH /contacts/{contact.uuid}",
        f"POST /contacts/{contact.uuid}/conversation/note",
        f"POST /contacts/{contact.uuid}/bot",
    ]


async def test_only_what_was_asked_for_is_done(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact
) -> None:
    """A user can be assigned in place of a team; without a note none is added, and the bot may continue."""
    user = sandbox.account.seed(SandboxUser(email="joan@example.com"))
    await callbell.contacts.hand_off(contact.uuid, assigned_user=user.email, end_bot=False)
    assert (contact.assigned_user, contact.team) == (user.email, None)
    assert (contact.history, contact.bot.running) == ([], True)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("path_end", "fault", "steps", "cause"),
    [
        ("", faults.token_revoked(), ["rejected", "skipped", "skipped"], AuthenticationError),
        ("/note", faults.respond(500), ["accepted", "rejected", "skipped"], ServerError),
        ("/note", faults.accept_then_close(), ["accepted", "unknown", "skipped"], ConnectionLostError),
        ("/bot", faults.respond(504), ["accepted", "accepted", "unknown"], ServerError),
    ],
)
async def test_a_step_that_fails(
    callbell: CallbellClient,
    sandbox: Sandbox,
    contact: SandboxContact,
    team: SandboxTeam,
    path_end: str,
    fault: Fault,
    steps: list[str],
    cause: type[Exception],
) -> None:
    """The error has the outcome of each step; the steps after the one that failed are not attempted."""
    sandbox.inject(fault, when=lambda request: request.path.endswith(path_end or contact.uuid))
    with pytest.raises(HandOffError) as caught:
        await callbell.contacts.hand_off(contact.uuid, team=team.uuid, note="wants a refund")
    assert caught.value.steps == dict(zip(("assign", "note", "end_bot"), map(Outcome, steps), strict=True))
    assert caught.value.outcome in caught.value.steps.values()
    assert isinstance(caught.value.__cause__, cause)
    assert len(sandbox.requests) == 3 - steps.count("skipped")


async def test_a_hand_off_without_a_recipient(
    callbell: CallbellClient, sandbox: Sandbox, contact: SandboxContact
) -> None:
    """Without a team and a user, with a blank note, or without a contact, nothing is done."""
    with pytest.raises(ConfigurationError, match="team: give the uuid of a team, or assigned_user="):
        await callbell.contacts.hand_off(contact.uuid, note="wants a refund")
    for note in ("", " ", 5):
        with pytest.raises(ConfigurationError, match="note: must be a non-blank string"):
            await callbell.contacts.hand_off(contact.uuid, team="returns", note=note)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not an identifier"):
        await callbell.contacts.hand_off(" ", team="returns")
    assert sandbox.requests == []
