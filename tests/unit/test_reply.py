"""Replies to events: the recipient, the channel and the sending channel come from the event, and own messages get no reply."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    CallbellClient,
    Channel,
    ConfigurationError,
    ConnectionLostError,
    Contact,
    ContactCreated,
    DuplicateMessageError,
    ImageMessage,
    InvalidMessageError,
    Journal,
    MessageCreated,
    Outcome,
)
from callbell_async.sandbox import Sandbox, SandboxChannel, SandboxContact, faults
from callbell_async.webhooks import parse_event
from tests.support.calls import ONCE
from tests.support.webhook_listener import Listen, WebhookListener

NUMBER = "+31612345678"


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox that tries once."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=ONCE, rate_limit=None) as client:
        yield client


@pytest.fixture
async def webhook(listen: Listen) -> WebhookListener:
    """The webhook of the sandbox."""
    return await listen()


async def received(sandbox: Sandbox, webhook: WebhookListener, text: str = "Hello?", **message: Any) -> MessageCreated:
    """Let a customer write, and return the last event about a message."""
    sandbox.account.receive_message(text, **{"sender": NUMBER, **message})
    return await last_event(sandbox, webhook)


async def last_event(sandbox: Sandbox, webhook: WebhookListener) -> MessageCreated:
    """Return the last event about a message."""
    await sandbox.wait_delivered()
    events = [parse_event(post.body) for post in webhook.posts]
    return [event for event in events if isinstance(event, MessageCreated)][-1]


def incoming(**fields: Any) -> MessageCreated:
    """Return the event of a received message."""
    return MessageCreated(key="k", **{"status": "received", "channel": "whatsapp", "sender": NUMBER, **fields})


# --- over HTTP --------------------------------------------------------------------------------------------------------


async def test_a_reply_goes_back_to_the_sender(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener
) -> None:
    """A reply goes to the customer who wrote, from the channel on which the customer wrote."""
    channel = sandbox.account.seed(SandboxChannel(title="Second number"))
    sandbox.account.seed(SandboxContact(identifier=NUMBER, name="Ada", channel=channel.uuid))
    event = await received(sandbox, webhook)
    receipt = await callbell.reply(event, text="Yes!")
    (message,) = sandbox.messages
    assert message.uuid == receipt.uuid
    assert message.contact is sandbox.account.contacts.by_identifier("whatsapp", NUMBER)
    assert message.body["channel_uuid"] == channel.uuid
    assert (message.body["from"], message.body["content"]) == ("whatsapp", {"text": "Yes!"})


async def test_any_kind_of_message_can_be_a_reply(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener
) -> None:
    """`reply_fields` are the arguments of every class of message."""
    event = await received(sandbox, webhook, sender="user-5", channel="telegram")
    await callbell.send(ImageMessage(**event.reply_fields(), url="https://example.com/a.jpg", caption="Here"))
    (message,) = sandbox.messages
    assert (message.body["to"], message.body["from"], message.body["type"]) == ("user-5", "telegram", "image")


async def test_a_customer_without_a_number(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener
) -> None:
    """A customer of whom only the bsuid is known gets the reply by it."""
    sandbox.account.seed(SandboxContact(identifier="", name="Ada", bsuid="US.1"))
    event = await received(sandbox, webhook, sender="US.1")
    await callbell.reply(event, text="Yes!")
    assert sandbox.messages[0].body["bsuid"] == "US.1"
    assert "to" not in sandbox.messages[0].body


async def test_the_event_of_a_reply_gets_no_reply(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener
) -> None:
    """The event of the account's own message is refused, so that a handler never talks to itself."""
    await callbell.reply(await received(sandbox, webhook), text="Yes!")
    own = await last_event(sandbox, webhook)
    with pytest.raises(InvalidMessageError, match=r"event.status: is 'sent'.*is_incoming is True") as caught:
        await callbell.reply(own, text="Yes!")
    assert caught.value.field == "event.status"
    assert len(sandbox.messages) == 1


# --- with a journal ---------------------------------------------------------------------------------------------------


async def test_an_event_that_comes_twice_gets_one_reply(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener, tmp_path: Path
) -> None:
    """With a journal, the reply to one event is sent once; another text to it, and the same text to another event, are further replies."""
    journal = Journal(tmp_path / "replies.db")
    first = await received(sandbox, webhook, "Hello?")
    second = await received(sandbox, webhook, "Are you there?")
    receipts = [
        await callbell.reply(event, text=text, journal=journal)
        for event, text in [(first, "Yes!"), (first, "Yes!"), (second, "Yes!"), (first, "How are you?")]
    ]
    uuids = [receipt.uuid for receipt in receipts]
    assert uuids == [uuids[0], uuids[0], uuids[2], uuids[3]]
    assert len(sandbox.messages) == len(set(uuids)) == 3


async def test_a_key_of_your_own(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener, tmp_path: Path
) -> None:
    """`key=` makes two different texts one reply."""
    journal = Journal(tmp_path / "replies.db")
    event = await received(sandbox, webhook)
    first = await callbell.reply(event, text="Good morning!", key=f"greeting {event.key}", journal=journal)
    again = await callbell.reply(event, text="Good evening!", key=f"greeting {event.key}", journal=journal)
    assert first.uuid == again.uuid
    assert [message.body["content"]["text"] for message in sandbox.messages] == ["Good morning!"]


async def test_an_unknown_reply_is_not_sent_again(
    callbell: CallbellClient, sandbox: Sandbox, webhook: WebhookListener, tmp_path: Path
) -> None:
    """After a lost response the reply is `UNKNOWN`, and the next delivery of the event does not send it again."""
    journal = Journal(tmp_path / "replies.db")
    event = await received(sandbox, webhook)
    sandbox.inject(faults.accept_then_close(), times=1)
    with pytest.raises(ConnectionLostError) as lost:
        await callbell.reply(event, text="Yes!", journal=journal)
    assert lost.value.outcome is Outcome.UNKNOWN
    with pytest.raises(DuplicateMessageError):
        await callbell.reply(event, text="Yes!", journal=journal)
    assert len(sandbox.messages) == 1


# --- the fields -------------------------------------------------------------------------------------------------------


def test_the_fields_of_a_reply() -> None:
    """The recipient is the sender, and the channel is that of the contact."""
    event = incoming(contact=Contact(channel=Channel(uuid="c", type="whatsapp"), bsuid="US.1"))
    assert event.reply_fields() == {"to": NUMBER, "bsuid": None, "channel": "whatsapp", "channel_uuid": "c"}


@pytest.mark.parametrize(
    ("fields", "to", "bsuid", "channel"),
    [
        ({"sender": None, "contact": Contact(phone_number="+31 6 12345678")}, "+31 6 12345678", None, "whatsapp"),
        ({"sender": "US.1", "contact": Contact(bsuid="US.1")}, None, "US.1", "whatsapp"),
        ({"sender": None, "contact": Contact(bsuid="US.1", phone_number="hidden")}, None, "US.1", "whatsapp"),
        ({"channel": None, "contact": Contact(source="whatsapp")}, NUMBER, None, "whatsapp"),
        ({"channel": "livechat", "sender": "visitor 7"}, "visitor 7", None, "livechat"),
        ({"channel": "whatsapp", "contact": Contact(channel="whatsapp")}, NUMBER, None, "whatsapp"),
    ],
)
def test_the_recipient_is_found(fields: dict[str, Any], to: str | None, bsuid: str | None, channel: str) -> None:
    """Without a usable sender the contact has the number or the bsuid, and without a channel its source."""
    assert incoming(**fields).reply_fields() == {"to": to, "bsuid": bsuid, "channel": channel, "channel_uuid": None}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"status": "sent"}, "event.status"),
        ({"status": "note"}, "event.status"),
        ({"status": None}, "event.status"),
        ({"sender": None}, "event.sender"),
        ({"sender": "a name"}, "event.sender"),
        ({"sender": "", "channel": "telegram"}, "event.sender"),
        # The number of a contact is not its identifier on another channel.
        ({"sender": None, "channel": "telegram", "contact": Contact(phone_number=NUMBER)}, "event.sender"),
        ({"channel": None}, "event.channel"),
    ],
)
def test_an_event_that_gets_no_reply(fields: dict[str, Any], field: str) -> None:
    """Own messages, notes, and events without a recipient or a channel are refused; the error names the field and no personal data."""
    with pytest.raises(InvalidMessageError) as caught:
        incoming(**fields).reply_fields()
    assert caught.value.field == field
    assert "a name" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "half a character: \ud83d", None])
async def test_a_wrong_text(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path, text: str) -> None:
    """A text that is not valid is refused as in any message, with a journal, too."""
    with pytest.raises(InvalidMessageError, match=r"^text: "):
        await callbell.reply(incoming(), text=text, journal=Journal(tmp_path / "replies.db"))
    assert sandbox.requests == []


async def test_another_event_is_refused(callbell: CallbellClient) -> None:
    """An event of another kind has no message to reply to."""
    event = ContactCreated(key="k", contact=Contact())
    with pytest.raises(ConfigurationError, match="event: must be MessageCreated, not ContactCreated"):
        await callbell.reply(event, text="Yes!")  # type: ignore[arg-type]
