"""`send_in_window`: the message inside the 24-hour window, the template outside it, and never both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    BadRequestError,
    CallbellClient,
    ConnectionLostError,
    DuplicateMessageError,
    InvalidMessageError,
    Journal,
    MessageReceipt,
    NotFoundError,
    Outcome,
    RetryPolicy,
    SendReport,
    SendRun,
    ServerError,
    TemplateMessage,
    TextMessage,
    WindowReceipt,
)
from callbell_async.sandbox import Fault, FaultRule, Sandbox, SandboxContact, SandboxRequest, faults
from tests.support.calls import ONCE, ticks, until

NUMBER = "+31612345678"
TEXT = TextMessage(to=NUMBER, text="Your parcel is here")
TEMPLATE = TemplateMessage(
    to=NUMBER, template_uuid="d980fb66fd5043d3ace1aa06ba044342", optin_contact=True, values=["Ada"]
)


def sandbox_at(*, hours_ago: float = 0.0, seconds: float = 0.0) -> Sandbox:
    """A sandbox whose calendar is this far behind, so that messages it receives now are this old."""
    return Sandbox(limit=None, start=datetime.now(UTC) - timedelta(hours=hours_ago, seconds=seconds))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox on the present date, in which the customer has just written."""
    async with sandbox_at(seconds=1) as sandbox:
        sandbox.account.receive_message("Where is my parcel?", sender=NUMBER)
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox that tries once."""
    async with client_of(sandbox) as client:
        yield client


def client_of(sandbox: Sandbox, retry: RetryPolicy = ONCE) -> CallbellClient:
    """Return a client without a rate limit."""
    return CallbellClient(sandbox.token, base_url=sandbox.url, retry=retry, rate_limit=None)


def is_send(request: SandboxRequest) -> bool:
    """Return whether a request sends a message."""
    return request.path == "/messages/send"


def refuse(sandbox: Sandbox, *refusals: Fault) -> FaultRule:
    """Let the next messages have these faults."""
    return sandbox.inject(*refusals, times=len(refusals), when=is_send)


async def reported(run: SendRun) -> SendReport:
    """Return the report of a run."""
    return await run


def closed_window(code: str | int = "131047") -> Fault:
    """The refusal with the code of a closed window."""
    return faults.respond(400, {"error": "outside the 24 hours", "code": code})


def kinds(sandbox: Sandbox) -> list[str]:
    """Return which kinds of message the sandbox has accepted."""
    return ["template" if "template_uuid" in message.body else "text" for message in sandbox.messages]


def close_window(sandbox: Sandbox) -> None:
    """Let the customer's messages be older than a day."""
    for contact in sandbox.account.contacts:
        for item in contact.history:
            item.created_at -= timedelta(days=2)


# --- the window -------------------------------------------------------------------------------------------------------


async def test_inside_the_window(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """Within 24 hours of the customer's message the message itself is sent."""
    receipt = await callbell.send_in_window(TEXT, fallback=TEMPLATE)
    assert (kinds(sandbox), receipt.is_fallback) == (["text"], False)
    assert isinstance(receipt, WindowReceipt)
    assert receipt.uuid == sandbox.messages[0].uuid


@pytest.mark.parametrize(
    ("seconds_left", "kind"), [(3600, "text"), (120, "text"), (50, "template"), (-1, "template"), (-90_000, "template")]
)
async def test_the_end_of_the_window(seconds_left: float, kind: str) -> None:
    """Outside the window, and in its last 60 seconds, the template is sent."""
    async with sandbox_at(hours_ago=24, seconds=-seconds_left) as sandbox, client_of(sandbox) as callbell:
        sandbox.account.receive_message("Hello?", sender=NUMBER)
        receipt = await callbell.send_in_window(TEXT, fallback=TEMPLATE)
        assert kinds(sandbox) == [kind]
        assert receipt.is_fallback is (kind == "template")


async def test_a_customer_who_never_wrote(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A number without a contact, and a contact without a received message, get the template."""
    await callbell.send(TextMessage(to="+447700900001", text="Hello!"))
    for number in ("+447700900001", "+447700900002"):
        text, template = (
            TextMessage(to=number, text="Hi"),
            TemplateMessage(to=number, template_uuid=TEMPLATE.template_uuid, optin_contact=True),
        )
        assert (await callbell.send_in_window(text, fallback=template)).is_fallback
    assert kinds(sandbox) == ["text", "template", "template"]


@pytest.mark.parametrize(
    ("to", "stored"), [("+5511987654321", "+551187654321"), ("+525512345678", "+5215512345678"), (NUMBER, NUMBER[1:])]
)
async def test_a_number_that_whatsapp_corrects(
    callbell: CallbellClient, sandbox: Sandbox, to: str, stored: str
) -> None:
    """The contact is found under each form of its number."""
    sandbox.account.receive_message("Hello?", sender=stored)
    template = TemplateMessage(to=to, template_uuid=TEMPLATE.template_uuid, optin_contact=True)
    assert not (await callbell.send_in_window(TextMessage(to=to, text="Hi"), fallback=template)).is_fallback


async def test_a_customer_without_a_number(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A contact is found by its bsuid as well."""
    sandbox.account.seed(SandboxContact(identifier="", name="Ada", bsuid="US.1"))
    sandbox.account.receive_message("Hello?", sender="US.1")
    template = TemplateMessage(bsuid="US.1", template_uuid=TEMPLATE.template_uuid, optin_contact=True)
    assert not (await callbell.send_in_window(TextMessage(bsuid="US.1", text="Hi"), fallback=template)).is_fallback


async def test_a_known_contact_is_not_looked_up(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """With `contact_uuid` two requests are made: the history, and the message."""
    contact = next(iter(sandbox.account.contacts))
    await callbell.send_in_window(TEXT, fallback=TEMPLATE, contact_uuid=contact.uuid)
    assert [request.path for request in sandbox.requests] == [f"/contacts/{contact.uuid}/messages", "/messages/send"]


async def test_an_unknown_window_sends_nothing(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """If the history can't be read, the error is raised and neither of the two is sent."""
    with pytest.raises(NotFoundError):
        await callbell.send_in_window(TEXT, fallback=TEMPLATE, contact_uuid="unknown")
    sandbox.inject(faults.respond(500), when=lambda request: request.path.endswith("/messages"))
    with pytest.raises(ServerError):
        await callbell.send_in_window(TEXT, fallback=TEMPLATE)
    assert sandbox.messages == []


# --- the fallback -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["131047", 131047])
async def test_a_refusal_because_of_the_window(callbell: CallbellClient, sandbox: Sandbox, code: str | int) -> None:
    """A message that is refused with the code of a closed window, text or number, is followed by the template."""
    refuse(sandbox, closed_window(code))
    assert (await callbell.send_in_window(TEXT, fallback=TEMPLATE)).is_fallback
    assert kinds(sandbox) == ["template"]


@pytest.mark.parametrize(
    ("fault", "error", "accepted"),
    [
        (faults.respond(400, {"error": {"to": ["is invalid"]}}), BadRequestError, []),
        (faults.accept_then_close(), ConnectionLostError, ["text"]),
        (faults.respond(502, b"<html>", accept=True), ServerError, ["text"]),
        (faults.respond(502, {"error": "?", "code": "131047"}, accept=True), ServerError, ["text"]),
        (faults.close_before_reading(), ConnectionLostError, []),
    ],
)
async def test_after_any_other_error_nothing_more_is_sent(
    callbell: CallbellClient, sandbox: Sandbox, fault: Fault, error: type[Exception], accepted: list[str]
) -> None:
    """The template is not sent when the message was refused for another reason, or may have been accepted."""
    refuse(sandbox, fault)
    with pytest.raises(error):
        await callbell.send_in_window(TEXT, fallback=TEMPLATE)
    assert kinds(sandbox) == accepted


async def test_an_unknown_first_attempt_is_not_followed_by_the_template(sandbox: Sandbox) -> None:
    """If the policy sends an `UNKNOWN` message again, and the second attempt is refused because of the window, the template is not sent."""
    refuse(sandbox, faults.accept_then_close(), closed_window())
    async with client_of(sandbox, RetryPolicy(attempts=2, wait_initial=0.0, resend_unknown=True)) as callbell:
        with pytest.raises(BadRequestError) as caught:
            await callbell.send_in_window(TEXT, fallback=TEMPLATE)
    assert (caught.value.outcome, kinds(sandbox)) == (Outcome.UNKNOWN, ["text"])


# --- with a journal ---------------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal that does not exist yet."""
    return Journal(tmp_path / "parcels.db")


async def test_a_further_call_never_sends_the_template_after_the_message(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """When the window has closed meanwhile, a further call still returns the receipt of the message."""
    first = await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    close_window(sandbox)
    again = await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    assert (again.uuid, again.is_fallback) == (first.uuid, False)
    assert kinds(sandbox) == ["text"]


async def test_a_further_call_never_sends_the_message_after_the_template(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """When the window has opened meanwhile, a further call returns the receipt of the template, in a later process too."""
    close_window(sandbox)
    first = await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    await callbell.close()
    sandbox.account.receive_message("Hello?", sender=NUMBER)
    async with client_of(sandbox) as later:
        again = await later.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    assert (again.uuid, first.is_fallback, again.is_fallback) == (first.uuid, True, True)
    assert kinds(sandbox) == ["template"]


async def test_a_further_call_needs_no_window(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A further call makes no request at all, so it succeeds while Callbell can't be reached."""
    first = await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    sent = len(sandbox.requests)
    sandbox.inject(faults.close_before_reading())
    assert (await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)).uuid == first.uuid
    assert len(sandbox.requests) == sent


@pytest.mark.parametrize("is_open", [True, False])
async def test_after_unknown_neither_is_sent_again(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, is_open: bool
) -> None:
    """An `UNKNOWN` message is not followed by the template at the next call, nor an `UNKNOWN` template by the message."""
    if not is_open:
        close_window(sandbox)
    refuse(sandbox, faults.accept_then_close())
    with pytest.raises(ConnectionLostError):
        await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    if is_open:
        close_window(sandbox)
    else:
        sandbox.account.receive_message("Hello?", sender=NUMBER)
    with pytest.raises(DuplicateMessageError):
        await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    assert kinds(sandbox) == (["text"] if is_open else ["template"])


async def test_a_resend_follows_the_window(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """After `allow_resend` the window decides again, because the customer may get a second message either way."""
    text = TextMessage(to=NUMBER, text="Your parcel is here", key="parcel 9")
    refuse(sandbox, faults.accept_then_close())
    with pytest.raises(ConnectionLostError):
        await callbell.send_in_window(text, fallback=TEMPLATE, journal=journal)
    close_window(sandbox)
    await journal.allow_resend("parcel 9")
    assert (await callbell.send_in_window(text, fallback=TEMPLATE, journal=journal)).is_fallback
    assert kinds(sandbox) == ["text", "template"]


async def test_a_refusal_because_of_the_window_with_a_journal(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """The template that follows a refused message has the same key, and a further call sends nothing."""
    refuse(sandbox, closed_window())
    first = await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    again = await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    assert (first.is_fallback, again.is_fallback, again.uuid) == (True, True, first.uuid)
    assert kinds(sandbox) == ["template"]
    assert (await journal.counts())[Outcome.ACCEPTED] == 1


async def test_after_another_refusal_the_next_call_sends(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """A message that was refused can be sent by the next call, which reads the window again."""
    refuse(sandbox, faults.respond(400, {"error": {"to": ["is invalid"]}}))
    with pytest.raises(BadRequestError):
        await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    close_window(sandbox)
    assert (await callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)).is_fallback
    assert kinds(sandbox) == ["template"]


async def test_concurrent_calls_send_one(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """Of concurrent calls for one key, with and without an open window, one message is sent, and all know which."""
    other = TextMessage(to=NUMBER, text="Other", key="parcel 7")
    contact = sandbox.account.seed(SandboxContact(identifier=NUMBER, name="Ada"))
    text, template = TextMessage(to=NUMBER, text="Here", key="parcel 7"), TEMPLATE
    calls: list[Any] = [
        callbell.send_in_window(message, fallback=template, contact_uuid=uuid, journal=journal)
        for message in (text, other)
        for uuid in (contact.uuid, None)
    ]
    receipts: list[WindowReceipt] = await asyncio.gather(*calls)
    assert len(sandbox.messages) == 1
    assert {receipt.uuid for receipt in receipts} == {sandbox.messages[0].uuid}
    assert {receipt.is_fallback for receipt in receipts} == {kinds(sandbox) == ["template"]}


async def test_a_message_that_was_sent_is_never_an_error(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal
) -> None:
    """If the client begins to close while the message is accepted, the call still returns its receipt."""
    run_goes_on, responds = asyncio.Event(), asyncio.Event()
    refuse(sandbox, faults.no_response(until=run_goes_on), faults.no_response(until=responds))
    run = asyncio.create_task(reported(callbell.send_many([TextMessage(to="+31612345679", text="x")])))
    await until(lambda: sum(map(is_send, sandbox.requests)) == 1)
    sending = asyncio.create_task(callbell.send_in_window(TEXT, fallback=TEMPLATE, journal=journal))
    await until(lambda: sum(map(is_send, sandbox.requests)) == 2)
    # It waits for the run, and until then a call that is in flight is not ended.
    closing = asyncio.create_task(callbell.close())
    await ticks()
    responds.set()
    receipt = await sending
    run_goes_on.set()
    await asyncio.wait({run, closing})
    assert receipt.uuid in {message.uuid for message in sandbox.messages}


async def test_options_of_the_client_apply(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A client of `with_options` sends with its own retry policy, with a journal too."""
    patient = callbell.with_options(retry=RetryPolicy(attempts=2, wait_initial=0.0))
    refuse(sandbox, faults.respond(429, headers={"Retry-After": "0"}))
    receipt = await patient.send_in_window(TEXT, fallback=TEMPLATE, journal=journal)
    assert receipt.uuid == sandbox.messages[0].uuid


async def test_the_key_may_be_on_either(callbell: CallbellClient, sandbox: Sandbox, journal: Journal) -> None:
    """A key of one of the two is the key of both, and it is that of `send`, too."""
    template = TemplateMessage(
        to=NUMBER, template_uuid=TEMPLATE.template_uuid, optin_contact=True, values=["Ada"], key="parcel 8"
    )
    first = await callbell.send_in_window(TEXT, fallback=template, journal=journal)
    again: MessageReceipt = await callbell.send(TextMessage(to=NUMBER, text="x", key="parcel 8"), journal=journal)
    assert again.uuid == first.uuid
    assert len(sandbox.messages) == 1


# --- the arguments ----------------------------------------------------------------------------------------------------


def template(**changes: Any) -> TemplateMessage:
    """Return the template with some changes."""
    return TemplateMessage(**{"to": NUMBER, "template_uuid": "t", "optin_contact": True, **changes})


@pytest.mark.parametrize(
    ("message", "fallback", "field"),
    [
        (template(), template(), "message"),
        ("Hello!", template(), "message"),
        (TEXT, TEXT, "fallback"),
        (TEXT, template(to="+447700900001"), "fallback.to"),
        (TEXT, template(to=None, bsuid="US.1"), "fallback.to"),
        (TextMessage(bsuid="US.1", text="Hi"), template(to=None, bsuid="US.2"), "fallback.to"),
        (TEXT, template(channel_uuid="c"), "fallback.channel_uuid"),
        (TextMessage(to="user-5", channel="telegram", text="Hi"), template(), "message.channel"),
        (TextMessage(to=NUMBER, text="Hi", key="a"), template(key="b"), "fallback.key"),
    ],
)
async def test_a_pair_that_does_not_belong_together(
    callbell: CallbellClient, sandbox: Sandbox, message: Any, fallback: Any, field: str
) -> None:
    """Another recipient, channel, key or kind of message is refused before any request; the error names the field."""
    with pytest.raises(InvalidMessageError) as caught:
        await callbell.send_in_window(message, fallback=fallback)
    assert caught.value.field == field
    assert NUMBER not in str(caught.value)
    assert sandbox.requests == []


async def test_two_spellings_of_a_number_are_one_recipient(callbell: CallbellClient) -> None:
    """The recipients are compared as numbers, not as strings."""
    fallback = template(to="31612345678", template_uuid=TEMPLATE.template_uuid)
    assert not (await callbell.send_in_window(TEXT, fallback=fallback)).is_fallback
