"""The sandbox's messages: the contact, the history and the statuses of each are consistent."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from callbell_async import CallbellClient, MessageStatus
from callbell_async.sandbox import DeliveryFailure, Sandbox, SandboxChannel, StatusTimings, faults
from callbell_async.wire import load_receipt
from tests.fixtures.sandbox import GOOD, Clock, ask, get, number, seed, send


async def test_a_message_creates_its_contact(sandbox: Sandbox) -> None:
    """A message creates a contact that is found by each spelling of its number, with the message in its history."""
    uuid = await send(sandbox)
    (contact,) = (await get(sandbox, "/contacts"))["contacts"]
    assert (contact["phoneNumber"], contact["source"]) == ("+31612345678", "whatsapp")
    for spelling in ("+31612345678", "31612345678", "+31%206%2012-345-678", "0031612345678"):
        assert (await get(sandbox, f"/contacts/phone/{spelling}"))["contact"]["uuid"] == contact["uuid"]
    (line,) = (await get(sandbox, f"/contacts/{contact['uuid']}/messages"))["messages"]
    assert (line["uuid"], line["text"], line["status"], line["to"]) == (uuid, "Hello!", "sent", "31612345678")


async def test_a_second_message_finds_its_contact(sandbox: Sandbox) -> None:
    """Another spelling of the number is the same contact; another type of channel is another contact."""
    await send(sandbox)
    await send(sandbox, to="31 612 345 678")
    await send(sandbox, **{"from": "telegram"})
    assert len((await get(sandbox, "/contacts"))["contacts"]) == 2


async def test_a_bsuid_replaces_a_number(sandbox: Sandbox) -> None:
    """A message to a bsuid creates a contact without number; if both are given, `to` is used."""
    await send(sandbox, to=None, bsuid="US.13491208655302741918")
    contact = (await get(sandbox, "/contacts/bsuid/US.13491208655302741918"))["contact"]
    assert (contact["phoneNumber"], contact["bsuid"]) == (None, "US.13491208655302741918")
    await send(sandbox, bsuid="US.13491208655302741918")
    assert len((await get(sandbox, f"/contacts/{contact['uuid']}/messages"))["messages"]) == 1


async def test_statuses_depend_on_the_clock(sandbox: Sandbox, clock: Clock) -> None:
    """A message is enqueued, sent, delivered and read as the clock advances, and its report has the same status."""
    uuid = await send(sandbox)
    seen = []
    for _ in range(12):
        message = (await get(sandbox, f"/messages/status/{uuid}"))["message"]
        assert (
            message.get("messageStatusPayload", message)["type" if "messageStatusPayload" in message else "status"]
            == (message["status"])
        )
        seen.append(message["status"])
        clock.now += 1.0
    assert seen == ["enqueued"] * 3 + ["sent"] * 2 + ["delivered"] * 5 + ["read"] * 2


async def test_the_status_timings_are_the_test_s(clock: Clock) -> None:
    """A test chooses the times of the statuses, and the date at the start."""
    start = datetime(2030, 5, 17, 8, 30, tzinfo=UTC)
    async with Sandbox(
        clock=clock, start=start, status_timings=StatusTimings(reported=0, sent=0, delivered=0, read=60)
    ) as sandbox:
        uuid = await send(sandbox)
        message = (await get(sandbox, f"/messages/status/{uuid}"))["message"]
        assert message["status"] == "delivered"
        assert message["messageStatusPayload"]["payload"] == {"ts": start.timestamp()}
        clock.now += 90
        assert (await get(sandbox, f"/messages/status/{uuid}"))["message"]["status"] == "read"
        await send(sandbox, to=number(2))
        dates = [contact["createdAt"] for contact in (await get(sandbox, "/contacts"))["contacts"]]
        assert dates == ["2030-05-17T08:31:30Z", "2030-05-17T08:30:00Z"]


@pytest.mark.parametrize("shape", ["gupshup", "meta"])
async def test_a_failed_delivery_has_its_reason(sandbox: Sandbox, clock: Clock, shape: Any) -> None:
    """A message that can't be delivered is accepted; its status has the reason, in the form of each integration."""
    sandbox.inject(faults.failed_delivery(DeliveryFailure(reason="Not on WhatsApp", shape=shape, code=131026)), times=1)
    uuid, good = await send(sandbox), await send(sandbox)
    assert (await get(sandbox, f"/messages/status/{uuid}"))["message"]["status"] == "enqueued"
    clock.now += 5
    message = (await get(sandbox, f"/messages/status/{uuid}"))["message"]
    assert message["status"] == "failed"
    payload = message["messageStatusPayload"]
    if shape == "gupshup":
        assert (payload["type"], payload["payload"]) == ("failed", {"reason": "Not on WhatsApp"})
    else:
        (error,) = payload["messaging"]["value"]["statuses"][0]["errors"]
        assert (error["code"], error["message"]) == (131026, "Not on WhatsApp")
        assert error["error_data"]["details"] == "Not on WhatsApp"
    assert (await get(sandbox, f"/messages/status/{good}"))["message"]["status"] == "delivered"


async def test_the_24_hours_after_a_reply(sandbox: Sandbox, clock: Clock) -> None:
    """24 hours after a customer's last message only templates are delivered; other messages fail with 131047."""
    sandbox.account.receive_message("Where is my parcel?", sender="+31612345678")
    clock.now += 24 * 3600 - 1
    in_time = await send(sandbox)
    clock.now += 1
    late, template = await send(sandbox), await send(sandbox, template_uuid="x", optin_contact=True)
    clock.now += 5
    assert [
        (await get(sandbox, f"/messages/status/{uuid}"))["message"]["status"] for uuid in (in_time, late, template)
    ] == [
        "delivered",
        "failed",
        "delivered",
    ]
    payload = (await get(sandbox, f"/messages/status/{late}"))["message"]["messageStatusPayload"]
    assert payload["messaging"]["value"]["statuses"][0]["errors"][0]["code"] == 131047


async def test_deleted_messages_leave_the_history(sandbox: Sandbox) -> None:
    """A deleted message is removed from the history and can't be deleted twice, by either of its ids; the test still sees it."""
    first, second = await send(sandbox), await send(sandbox)
    assert (await ask(sandbox, "DELETE", f"/messages/{first}"))[0] == 204
    assert (await ask(sandbox, "DELETE", f"/messages/wamid.{second}"))[0] == 204
    assert (await ask(sandbox, "DELETE", f"/messages/{first}"))[0] == 404
    contact = (await get(sandbox, "/contacts"))["contacts"][0]["uuid"]
    assert (await get(sandbox, f"/contacts/{contact}/messages"))["messages"] == []
    assert (await get(sandbox, f"/messages/status/{first}"))["message"]["status"] == "deleted"
    assert [message.uuid for message in sandbox.messages] == [first, second]


async def test_a_template_s_text_is_in_the_history(sandbox: Sandbox) -> None:
    """The history has a template's text with its values; a placeholder without value is unchanged."""
    seed(sandbox.account)
    template = {"template_uuid": "template", "optin_contact": True, "to": "+123456789"}
    await send(sandbox, **template, content={"text": "Ann"})
    await send(sandbox, **template, content={"text": "Ann"}, template_values=["Ann", "mill"])
    texts = [line["text"] for line in (await get(sandbox, "/contacts/contact/messages"))["messages"]]
    assert texts == ["Hello Ann, your parcel is at the mill", "Hello Ann, your parcel is at the {{2}}"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"channel_uuid": "nowhere"}, {"channel_uuid": ["is unknown"]}),
        ({"team_uuid": "nobody"}, {"team_uuid": ["is unknown"]}),
        ({"assigned_user": "nobody@example.com"}, {"assigned_user": ["is unknown"]}),
        ({"template_uuid": "nothing", "optin_contact": True}, {"template_uuid": ["is unknown"]}),
        ({"template_uuid": "rejected", "optin_contact": True}, {"template_uuid": ["must be an approved template"]}),
    ],
)
async def test_references_to_seeded_kinds_are_checked(sandbox: Sandbox, change: dict[str, Any], complaint: Any) -> None:
    """A reference to an unknown record is accepted until a test has seeded records of this kind, and refused afterwards."""
    if change.get("template_uuid") != "rejected":
        await send(sandbox, **change)
    seed(sandbox.account)
    before = len(sandbox.messages)
    assert await ask(sandbox, "POST", "/messages/send", json={**GOOD, **change}) == (400, {"error": complaint})
    assert len(sandbox.messages) == before


async def test_a_message_assigns_and_starts_the_bot(sandbox: Sandbox) -> None:
    """A message sets its contact's user, team and bot status."""
    seed(sandbox.account)
    await send(sandbox, to="123456789", assigned_user="john1@gmail.com", team_uuid="team", bot_status="bot_start")
    contact = (await get(sandbox, "/contacts/contact"))["contact"]
    assert (contact["assignedUser"], contact["team"]["name"]) == ("john1@gmail.com", "General")
    assert (await get(sandbox, "/contacts/contact/bot"))["bot"]["status"] == "in_progress"
    await ask(sandbox, "POST", "/contacts/contact/bot", json={"status": "bot_end"})
    assert (await get(sandbox, "/contacts/contact/bot"))["bot"]["status"] == "ended"


async def test_a_message_comes_from_its_channel(sandbox: Sandbox) -> None:
    """The history has the sender's number: that of the main channel of its type, or else of the first one."""
    sandbox.account.seed(SandboxChannel(title="gone", discarded=True, number="1"))
    sandbox.account.seed(SandboxChannel(title="second", number="2"))
    sandbox.account.seed(SandboxChannel(title="main", main=True, number="3"))
    sandbox.account.seed(SandboxChannel(title="telegram", type="telegram", number="4"))
    await send(sandbox)
    await send(sandbox, **{"from": "telegram"})
    await send(sandbox, **{"from": "instagram"})
    senders = {contact.source: contact.history[0].sender for contact in sandbox.account.contacts}
    assert senders == {"whatsapp": "3", "telegram": "4", "instagram": ""}


async def test_metadata_in_responses(sandbox: Sandbox) -> None:
    """The responses to sending and to asking for the status have the message's metadata, and so have the receipts; without any, no key."""
    metadata = {"order": "4711"}
    for body, expected in (({**GOOD, "metadata": metadata}, metadata), (GOOD, None)):
        _, sent = await ask(sandbox, "POST", "/messages/send", json=body)
        found = await get(sandbox, f"/messages/status/{sent['message']['uuid']}")
        assert [document["message"].get("metadata") for document in (sent, found)] == [expected] * 2
        assert [load_receipt(document).metadata for document in (sent, found)] == [expected or {}] * 2


async def test_the_contact_in_a_status(sandbox: Sandbox) -> None:
    """A status has the contact and the conversation, as `fields` of the message do; an account can be set to the documented form."""
    body = {**GOOD, "fields": "contact,conversation"}
    _, sent = await ask(sandbox, "POST", "/messages/send", json=body)
    path = f"/messages/status/{sent['message']['uuid']}"
    found = (await get(sandbox, path))["message"]
    assert {name: found[name] for name in ("contact", "conversation")} == {
        name: sent["message"][name] for name in ("contact", "conversation")
    }
    sandbox.account.status_has_contact = False
    assert (await get(sandbox, path))["message"].keys() == {"uuid", "status"}
    sandbox.account.status_has_contact = True
    await ask(sandbox, "DELETE", f"/contacts/{found['contact']['uuid']}")
    assert (await get(sandbox, path))["message"].keys() == {"uuid", "status"}


async def test_successes_in_the_form_of_meta(sandbox: Sandbox, clock: Clock) -> None:
    """An account on Meta's Cloud API reports successes in Meta's form, from `sent` on, and the library reads such a status."""
    sandbox.account.report_shape = "meta"
    uuid = await send(sandbox)
    reports = []
    for seconds in (2.0, 1.0, 2.0, 5.0):
        clock.now += seconds
        reports.append((await get(sandbox, f"/messages/status/{uuid}"))["message"].get("messageStatusPayload"))
    at = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
    assert reports == [
        None,
        *(
            {
                "messaging": {
                    "value": {
                        "statuses": [
                            {
                                "id": f"wamid.{uuid}",
                                "status": status,
                                "timestamp": str(at + after),
                                "recipient_id": "31612345678",
                            }
                        ]
                    }
                }
            }
            for status, after in (("sent", 3), ("delivered", 5), ("read", 10))
        ),
    ]
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        receipt = await callbell.messages.status(uuid)
    assert (receipt.status, receipt.failure) == (MessageStatus.READ, None)


async def test_notes_in_the_history(sandbox: Sandbox) -> None:
    """A colleague's note has a uuid and its `from` is not its `to`; a system note has no uuid, and they are equal."""
    seed(sandbox.account)
    await ask(sandbox, "POST", "/contacts/contact/conversation/note", json={"text": "Call back"})
    contact = sandbox.account.contacts.get("contact")
    sandbox.account.add_note(contact, "Assigned to John One", system=True)
    system, colleague = (await get(sandbox, "/contacts/contact/messages"))["messages"]
    assert (colleague["status"], colleague["text"]) == ("note", "Call back")
    assert re.fullmatch("[0-9a-f]{32}", colleague["uuid"])
    assert (colleague["from"], colleague["to"]) == ("390000000001", "123456789")
    assert (system["status"], system["from"], system["to"]) == ("note", "123456789", "123456789")
    assert "uuid" not in system
    assert (await ask(sandbox, "DELETE", f"/messages/{colleague['uuid']}"))[0] == 404
