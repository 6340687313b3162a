"""The sandbox's webhook events: their occasions, times and payloads."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callbell_async import CallbellClient, TextMessage
from callbell_async.sandbox import (
    DeliveryFailure,
    Sandbox,
    SandboxContact,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxUser,
    SandboxWebhook,
    StatusTimings,
    faults,
)
from callbell_async.sandbox.api.validation import EVENTS
from tests.fixtures.sandbox import ask, get, same_shape, send
from tests.support.clock import current_loop
from tests.support.webhook_listener import WebhookListener

HOUR = 3600.0
"""Seconds that do not elapse while a test runs."""


@pytest.fixture
async def listener() -> AsyncIterator[WebhookListener]:
    """A webhook that accepts all events."""
    async with WebhookListener() as listening:
        yield listening


@pytest.fixture
async def sandbox(listener: WebhookListener) -> AsyncIterator[Sandbox]:
    """A sandbox on the loop's clock, with the listener subscribed to all events."""
    timings = StatusTimings(reported=HOUR, sent=2 * HOUR, delivered=3 * HOUR, read=4 * HOUR)
    async with Sandbox(clock=asyncio.get_running_loop().time, limit=None, status_timings=timings) as running:
        running.account.seed(SandboxWebhook(url=listener.url, subscriptions=list(EVENTS)))
        yield running


async def advance(sandbox: Sandbox, seconds: float) -> None:
    """Advance the clock when no event is in flight; one in flight would time out."""
    await sandbox.wait_delivered()
    current_loop().advance(seconds)


# --- messages -----------------------------------------------------------------------------------------------------------


async def test_the_client_subscribes(listener: WebhookListener) -> None:
    """A webhook on a loopback address can be subscribed, and gets the events it is subscribed to, and no others."""
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        await callbell.webhooks.subscribe(listener.url, ["message_created"])
        receipt = await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
        await sandbox.wait_delivered()
        (post,) = listener.posts
        assert post.headers["Content-Type"] == "application/json"
        assert list(post.document) == ["event", "payload"]
        assert (post.document["event"], post.document["payload"]["uuid"]) == ("message_created", receipt.uuid)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "http://127.9.9.9/", "http://[::1]:8000/events"])
async def test_loopback_addresses_are_accepted(sandbox: Sandbox, url: str) -> None:
    """Callbell refuses localhost; a sandbox accepts loopback addresses, because it posts to no others."""
    body = {"url": url, "subscriptions": ["contact_created"]}
    assert (await ask(sandbox, "POST", "/webhooks/subscribe", json=body))[0] == 200


async def test_a_sent_message_has_an_event(sandbox: Sandbox, listener: WebhookListener) -> None:
    """The event of an accepted message has the status `sent`, the channel as sender, and the message's metadata."""
    uuid = await send(sandbox, metadata={"order": "4711"})
    await sandbox.wait_delivered()
    (payload,) = listener.payloads("message_created")
    contact, _ = payload.pop("contact"), payload.pop("createdAt")
    assert re.fullmatch("[0-9a-f]{32}", uuid)
    assert payload == {
        "uuid": uuid,
        "from": "390000000000",
        "to": "31612345678",
        "text": "Hello!",
        "attachments": [],
        "status": "sent",
        "channel": "whatsapp",
        "metadata": {"order": "4711"},
    }
    assert contact["phoneNumber"] == "+31612345678"


async def test_attachments_are_in_the_event(sandbox: Sandbox, listener: WebhookListener) -> None:
    """The event of media has their URL as attachment and the caption as text; without metadata it has no such key."""
    await send(sandbox, type="image", content={"url": "https://example.com/a.png", "text": "Look!"})
    await sandbox.wait_delivered()
    (payload,) = listener.payloads("message_created")
    assert (payload["attachments"], payload["text"]) == (["https://example.com/a.png"], "Look!")
    assert "metadata" not in payload


async def test_a_received_message_has_an_event(sandbox: Sandbox, listener: WebhookListener) -> None:
    """The event of a customer's message has the status `received`, the customer's digits in `from`, and the external id as uuid."""
    entry = sandbox.account.receive_message("Hi", sender="+31612345678", attachments=["https://example.com/voice.mp3"])
    await sandbox.wait_delivered()
    (payload,) = listener.payloads("message_created")
    assert (payload["status"], payload["from"], payload["to"]) == ("received", "31612345678", "390000000000")
    assert (payload["uuid"], payload["text"]) == (entry.uuid, "Hi")
    assert payload["uuid"].startswith("wamid.")
    assert payload["attachments"] == ["https://example.com/voice.mp3"]
    assert listener.payloads("message_status_updated") == []


async def test_each_status_has_an_event(sandbox: Sandbox, listener: WebhookListener) -> None:
    """A message has an event when it is sent, delivered and read, with the same report as its status, and with its metadata."""
    uuid = await send(sandbox, metadata={"order": "4711"})
    await sandbox.wait_delivered()
    before = len(listener.posts)
    await advance(sandbox, HOUR)
    for number, status in enumerate(["sent", "delivered", "read"]):
        assert len(listener.payloads("message_status_updated")) == number
        await advance(sandbox, HOUR)
        await listener.posted(before + number + 1)
        payload = listener.payloads("message_status_updated")[-1]
        found = (await get(sandbox, f"/messages/status/{uuid}"))["message"]
        assert (payload["uuid"], payload["status"], payload["metadata"]) == (uuid, status, {"order": "4711"})
        assert payload["contact"]["phoneNumber"] == "+31612345678"
        assert payload["messageStatusPayload"] == found["messageStatusPayload"]
        assert payload["status"] == found["status"]
    await sandbox.wait_delivered(statuses=True)
    assert sandbox.deliveries.changing == 0


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (DeliveryFailure(reason="no such number"), {"type": "failed", "payload": {"reason": "no such number"}}),
        (
            DeliveryFailure(reason="Message undeliverable", shape="meta", code=131026),
            {
                "messaging": {
                    "value": {"statuses": [{"errors": [{"code": 131026, "message": "Message undeliverable"}]}]}
                }
            },
        ),
    ],
)
async def test_a_failure_has_an_event_with_its_reason(
    sandbox: Sandbox, listener: WebhookListener, failure: DeliveryFailure, expected: dict[str, Any]
) -> None:
    """A message that is not delivered has the events sent and failed, with the reason in the form of each integration."""
    sandbox.inject(faults.failed_delivery(failure))
    await send(sandbox, metadata={"order": "4711"})
    payloads = await changes(sandbox, listener)
    assert {status: payload["metadata"] for status, payload in payloads.items()} == {
        "sent": {"order": "4711"},
        "failed": {"order": "4711"},
    }
    assert has(payloads["failed"]["messageStatusPayload"], expected)


def has(found: Any, wanted: Any) -> bool:
    """Return whether a JSON value contains all that is wanted."""
    if isinstance(wanted, dict):
        return all(key in found and has(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return all(has(one, other) for one, other in zip(found, wanted, strict=True))
    return bool(found == wanted)


async def changes(sandbox: Sandbox, listener: WebhookListener) -> dict[str, Any]:
    """Return the payloads of all changes of messages' statuses in the next hours, by status."""
    await advance(sandbox, 4 * HOUR)
    await sandbox.wait_delivered(statuses=True)
    return {payload["status"]: payload for payload in listener.payloads("message_status_updated")}


async def test_a_message_outside_the_window_has_a_failure_event(sandbox: Sandbox, listener: WebhookListener) -> None:
    """A text 24 hours after the customer's last reply is accepted, and has a failure event with Meta's code."""
    sandbox.account.receive_message("Hi", sender="+31612345678")
    await advance(sandbox, 24 * HOUR)
    await send(sandbox)
    error = {"code": 131047}
    payloads = await changes(sandbox, listener)
    expected = {"messaging": {"value": {"statuses": [{"errors": [error]}]}}}
    assert has(payloads["failed"]["messageStatusPayload"], expected)


async def test_a_later_failure_has_an_event(sandbox: Sandbox, listener: WebhookListener) -> None:
    """A test may decide after the acceptance that a message fails."""
    await send(sandbox)
    await advance(sandbox, 2 * HOUR)
    await listener.posted(4)
    assert listener.payloads("message_status_updated")[-1]["status"] == "sent"
    sandbox.messages[0].failure = DeliveryFailure(reason="blocked")
    assert set(await changes(sandbox, listener)) == {"sent", "failed"}


async def test_a_deleted_message_has_no_more_events(sandbox: Sandbox, listener: WebhookListener) -> None:
    """A deleted message has no further status events."""
    uuid = await send(sandbox)
    await ask(sandbox, "DELETE", f"/messages/{uuid}")
    assert await changes(sandbox, listener) == {}


async def test_statuses_end_with_the_subscription(sandbox: Sandbox, listener: WebhookListener) -> None:
    """When the subscription ends, later changes have no event."""
    await send(sandbox)
    await ask(sandbox, "DELETE", "/webhooks/unsubscribe")
    assert await changes(sandbox, listener) == {}


@pytest.mark.parametrize(
    ("timings", "expected"),
    [
        (StatusTimings(read=math.inf), {"sent", "delivered"}),
        (StatusTimings(delivered=math.inf), {"sent", "read"}),
        (StatusTimings(sent=math.inf, delivered=math.inf, read=math.inf), set()),
        (StatusTimings(reported=0.0, sent=0.0, delivered=0.0, read=0.0), {"sent", "delivered", "read"}),
    ],
)
async def test_any_status_timings(
    sandbox: Sandbox, listener: WebhookListener, timings: StatusTimings, expected: set[str]
) -> None:
    """A status whose time is infinite has no event, and is not waited for; statuses at the same time have one event each."""
    sandbox.account.status_timings = timings
    await send(sandbox)
    assert set(await changes(sandbox, listener)) == expected
    assert len(listener.payloads("message_status_updated")) == len(expected)


# --- contacts, conversations, collaborators -----------------------------------------------------------------------------


CLOSED = "/contacts/contact/conversation/close"
OPENED = "/contacts/contact/conversation/open"
STATUS = "/users/user/status"


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (
            [("POST", "/contacts", {"identifier": "+31600000000", "name": "A", "source": "whatsapp"})],
            ["contact_created"],
        ),
        ([("PATCH", "/contacts/contact", {"name": "B"})], ["contact_updated"]),
        ([("PUT", "/contacts/contact/conversation/update_funnel", {"funnel_id": "funnel"})], ["contact_updated"]),
        ([("DELETE", "/contacts/contact", None)], ["contact_deleted"]),
        ([("POST", OPENED, None)], []),
        ([("POST", CLOSED, None), ("POST", CLOSED, None)], ["conversation_closed"]),
        ([("POST", CLOSED, None), ("POST", OPENED, None)], ["conversation_closed", "conversation_opened"]),
        ([("PUT", STATUS, {"available": False})], ["agent_status_updated"]),
        ([("DELETE", STATUS, None)], ["agent_status_updated"]),
        ([("DELETE", "/custom_statuses/status", None)], ["agent_status_updated"]),
        ([("PATCH", "/contacts/contact", {"name": ""}), ("GET", "/contacts", None)], []),
        ([("POST", "/contacts/contact/conversation/note", {"text": "Nice"})], []),
    ],
)
async def test_operations_have_events(
    sandbox: Sandbox, listener: WebhookListener, requests: list[tuple[str, str, Any]], expected: list[str]
) -> None:
    """Each operation that changes a record has its event; a refused request, and one that only reads, has none."""
    sandbox.account.seed(SandboxContact(uuid="contact", identifier="+31612345678", name="John Doe"))
    sandbox.account.seed(SandboxCustomStatus(uuid="status", name="Vacationing"))
    sandbox.account.seed(SandboxUser(uuid="user", email="john@example.com", custom_status="status"))
    sandbox.account.seed(SandboxUser(uuid="other", email="jane@example.com"))
    sandbox.account.seed(SandboxFunnel(uuid="funnel", name="Awareness"))
    for method, path, body in requests:
        await ask(sandbox, method, path, json=body)
    await sandbox.wait_delivered()
    assert sorted(listener.events) == expected


async def test_a_first_message_opens_a_conversation(sandbox: Sandbox, listener: WebhookListener) -> None:
    """The first message to or from a customer creates the contact and opens the conversation; the next one does neither."""
    for _ in range(2):
        await send(sandbox)
        sandbox.account.receive_message("Hi", sender="+31687654321")
    await sandbox.wait_delivered()
    events = sorted(listener.events)
    assert events == ["contact_created"] * 2 + ["conversation_opened"] * 2 + ["message_created"] * 4


async def test_a_message_reopens_a_conversation(sandbox: Sandbox, listener: WebhookListener) -> None:
    """A message in a closed conversation opens it again."""
    contact = sandbox.account.seed(SandboxContact(identifier="+31612345678", name="John Doe"))
    contact.closed_at = sandbox.account.calendar.now()
    await send(sandbox)
    await sandbox.wait_delivered()
    assert sorted(listener.events) == ["conversation_opened", "message_created"]


async def test_a_message_that_assigns_somebody_updates_the_contact(sandbox: Sandbox, listener: WebhookListener) -> None:
    """A message that assigns a collaborator or a team has one event of the changed contact."""
    sandbox.account.seed(SandboxContact(identifier="+31612345678", name="John Doe"))
    for _ in range(2):
        await send(sandbox, assigned_user="john@example.com")
    await sandbox.wait_delivered()
    (payload,) = listener.payloads("contact_updated")
    assert payload["assignedUser"] == "john@example.com"


FORMS = Path(__file__).parents[1] / "fixtures" / "events"


@pytest.mark.parametrize(
    "event",
    [
        "message_created",
        "message_status_updated",
        "contact_created",
        "contact_updated",
        "contact_deleted",
        "conversation_opened",
        "conversation_closed",
        "agent_status_updated",
    ],
)
async def test_payloads_are_like_the_documented_ones(sandbox: Sandbox, listener: WebhookListener, event: str) -> None:
    """A payload has every key of Callbell's example, in its form, and a contact has all keys of contacts."""
    account = sandbox.account
    account.seed(SandboxCustomStatus(uuid="status", name="Vacationing"))
    account.seed(
        SandboxUser(uuid="user", email="john@example.com", name="John Doe", custom_status="status")
    ).custom_status_at = account.calendar.now()
    await send(sandbox)
    uuid = next(iter(account.contacts)).uuid
    await advance(sandbox, 2 * HOUR)
    await ask(sandbox, "PATCH", f"/contacts/{uuid}", json={"tags": ["Lead"]})
    await ask(sandbox, "POST", f"/contacts/{uuid}/conversation/close")
    await ask(sandbox, "PUT", "/users/user/status", json={"available": False})
    await ask(sandbox, "DELETE", f"/contacts/{uuid}")
    await advance(sandbox, 2 * HOUR)
    await sandbox.wait_delivered(statuses=True)
    example = json.loads((FORMS / f"{event}.json").read_bytes())["payload"]
    # Keys of other kinds of messages.
    optional = re.compile("message(Location|ContactCard|ReplyButton|InteractiveList)")
    example = {key: value for key, value in example.items() if not optional.fullmatch(key)}
    payload = listener.payloads(event)[-1]
    assert same_shape(cut(payload, example), example) == []


def cut(found: Any, example: Any) -> Any:
    """Return a JSON value without the keys that the example lacks."""
    if isinstance(found, dict) and isinstance(example, dict):
        return {key: cut(value, example[key]) for key, value in found.items() if key in example}
    return found


# --- subscriptions --------------------------------------------------------------------------------------------------------


async def test_any_event_can_be_emitted(sandbox: Sandbox, listener: WebhookListener) -> None:
    """`emit` posts an event with its payload unchanged."""
    payload = {"action": "user_logged_in", "user": {"email": "john.doe@gmail.com"}}
    sandbox.emit("agent_session_updated", payload)
    await sandbox.wait_delivered()
    assert [post.document for post in listener.posts] == [{"event": "agent_session_updated", "payload": payload}]


async def test_only_subscribed_events_are_posted(sandbox: Sandbox, listener: WebhookListener) -> None:
    """Events without a subscription are not posted, also not by `emit`; an undocumented event goes to every webhook."""
    sandbox.account.seed(SandboxWebhook(url=listener.url, subscriptions=["contact_created"]))
    await send(sandbox)
    sandbox.emit("contact_deleted", {})
    sandbox.emit("contact_painted", {})
    assert sandbox.deliveries.changing == 0
    await sandbox.wait_delivered()
    assert sorted(listener.events) == ["contact_created", "contact_painted"]


@pytest.mark.parametrize(
    "webhook",
    [
        None,
        SandboxWebhook(url="http://127.0.0.1:9/", subscriptions=list(EVENTS), enabled=False),
        SandboxWebhook(url="https://example.com/events", subscriptions=list(EVENTS)),
        SandboxWebhook(url="http://localhost:9/", subscriptions=list(EVENTS)),
        SandboxWebhook(url="http://[/", subscriptions=list(EVENTS)),
    ],
)
async def test_without_a_webhook_nothing_happens(sandbox: Sandbox, webhook: SandboxWebhook | None) -> None:
    """Without a webhook, or with one that is disabled or not on this machine, nothing is started, posted or recorded."""
    sandbox.account.webhook = webhook
    before = asyncio.all_tasks()
    await send(sandbox)
    sandbox.account.receive_message("Hi", sender="+31612345678")
    sandbox.emit("contact_painted", {})
    assert (sandbox.deliveries.waiting, sandbox.deliveries.changing) == (0, 0)
    assert {task for task in asyncio.all_tasks() - before if "Deliveries" in repr(task)} == set()
    await sandbox.wait_delivered(statuses=True)
    assert list(sandbox.account.webhook_events) == []


async def test_a_sandbox_that_is_not_running_posts_nothing(listener: WebhookListener) -> None:
    """An account can be changed while the sandbox is not running; nothing is posted."""
    sandbox = Sandbox()
    sandbox.account.seed(SandboxWebhook(url=listener.url, subscriptions=list(EVENTS)))
    sandbox.account.receive_message("Hi", sender="+31612345678")
    async with sandbox:
        pass
    sandbox.emit("contact_painted", {})
    await sandbox.wait_delivered(statuses=True)
    assert listener.posts == []
