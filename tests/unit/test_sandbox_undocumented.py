"""The assumptions in docs/reference/sandbox-assumptions.md where Callbell's documentation is silent, as far as other tests do not cover them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from callbell_async.sandbox import DeliveryFailure, Sandbox, SandboxContact, faults
from tests.fixtures.sandbox import GOOD, Clock, ask, get, number, seed, send


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    """The common sandbox, with records of every kind."""
    seed(sandbox.account)
    return sandbox


@attrs.frozen
class Assumed:
    """A request and the status of its response, with the fields that have errors, or the length of its list."""

    method: str
    path: str
    status: int
    json: Any = None
    wrong: tuple[str, ...] = ()
    found: int | None = None


TEMPLATE = {**GOOD, "template_uuid": "template", "optin_contact": True}
ANN = {"identifier": "Ann", "source": "telegram", "name": "Ann"}

ASSUMED = {
    "HEAD is another method": Assumed("HEAD", "/plan", 405),
    "the first of equal parameters": Assumed("GET", "/contacts?source=whatsapp&source=telegram&x=1", 200, found=2),
    "a wrong active": Assumed("GET", "/channels?active=1", 400, wrong=("active",)),
    "a wrong type": Assumed("GET", "/channels?type=email", 400, wrong=("type",)),
    "a wrong status of users": Assumed("GET", "/teams/team/members?status=x", 400, wrong=("status",)),
    "a wrong status of events": Assumed("GET", "/webhooks/events?status=x", 400, wrong=("status",)),
    "an unknown source": Assumed("GET", "/contacts?source=pigeon", 200, found=0),
    "an unknown tag": Assumed("GET", "/contacts?tags=pigeon", 200, found=0),
    "an unknown team": Assumed("GET", "/contacts?team_uuid=pigeon", 200, found=0),
    "an unknown event": Assumed("GET", "/webhooks/events?subscriptions=pigeon", 200, found=0),
    "discarded channels are listed": Assumed("GET", "/channels", 200, found=2),
    "a body that is not needed": Assumed("POST", "/contacts/contact/conversation/open", 200, json=[]),
    "no body": Assumed("PATCH", "/contacts/contact", 400),
    "a body that is no object": Assumed("PATCH", "/contacts/contact", 400, json=[], wrong=("body",)),
    "a change of nothing": Assumed("PATCH", "/contacts/contact", 200, json={}),
    "blanks for a name": Assumed("PATCH", "/contacts/contact", 400, json={"name": " "}, wrong=("name",)),
    "no name any more": Assumed("PATCH", "/contacts/contact", 400, json={"name": None}, wrong=("name",)),
    "a field of any name and type": Assumed(
        "PATCH", "/contacts/contact", 200, json={"custom_fields": {"Features": "x", "New": ["y"]}}
    ),
    "an identifier that is no number": Assumed("POST", "/contacts", 200, json=ANN),
    "a recipient that is no number": Assumed("POST", "/messages/send", 200, json={**GOOD, "to": "Ann"}),
    "an invalid url": Assumed("POST", "/messages/send", 200, json={**GOOD, "type": "audio", "content": {"url": "x"}}),
    "unknown fields": Assumed("POST", "/messages/send", 200, json={**GOOD, "fields": "x, ,y", "x": 1}),
    "another kind of channel": Assumed(
        "POST", "/messages/send", 200, json={**GOOD, "from": "telegram", "channel_uuid": "channel"}
    ),
    "null for what may be missing": Assumed(
        "POST", "/messages/send", 200, json={**GOOD, "channel_uuid": None, "template_values": None, "optin_contact": None}
    ),
    "null for metadata": Assumed("POST", "/messages/send", 400, json={**GOOD, "metadata": None}, wrong=("metadata",)),
    "null for a template": Assumed(
        "POST", "/messages/send", 400, json={**TEMPLATE, "template_uuid": None}, wrong=("template_uuid",)
    ),
    "a template from anywhere": Assumed("POST", "/messages/send", 200, json={**TEMPLATE, "from": "telegram"}),
    "a template with too many values": Assumed(
        "POST", "/messages/send", 200, json={**TEMPLATE, "template_values": ["x"] * 9, "content": {}}
    ),
    "a template without content": Assumed(
        "POST", "/messages/send", 400, json={**TEMPLATE, "content": None}, wrong=("content",)
    ),
    "an incoming message's external id": Assumed("GET", "/messages/status/wamid.x", 404),
    "an unknown custom status": Assumed(
        "PUT", "/users/user/status", 400, json={"custom_status_uuid": "x"}, wrong=("custom_status_uuid",)
    ),
    "a custom status that nobody has": Assumed("DELETE", "/users/user/status", 204),
    "a title that another has": Assumed("PATCH", "/channels/old-channel", 200, json={"title": "phone_number_1"}),
    "no events": Assumed(
        "POST", "/webhooks/subscribe", 400, json={"url": "http://127.0.0.1", "subscriptions": []}, wrong=("subscriptions",)
    ),
    "an undocumented event": Assumed(
        "POST", "/webhooks/subscribe", 400, json={"url": "http://127.0.0.1", "subscriptions": ["x"]}, wrong=("subscriptions",)
    ),
    "nothing to unsubscribe": Assumed("DELETE", "/webhooks/unsubscribe", 404),
}  # fmt: skip


@pytest.mark.parametrize("assumed", ASSUMED.values(), ids=ASSUMED)
async def test_responds_as_assumed(sandbox: Sandbox, assumed: Assumed) -> None:
    """Each request gets the response that docs/reference/sandbox-assumptions.md describes."""
    options = {} if assumed.json is None else {"json": assumed.json}
    status, document = await ask(sandbox, assumed.method, assumed.path, **options)
    assert status == assumed.status, document
    if assumed.wrong:
        assert tuple(document["error"]) == assumed.wrong
    if assumed.found is not None:
        (listed,) = (value for value in document.values() if isinstance(value, list))
        assert len(listed) == assumed.found


async def test_a_number_on_a_channel(sandbox: Sandbox) -> None:
    """With a channel, a contact with this channel or without one is found; without a channel, any WhatsApp contact."""
    sandbox.account.seed(SandboxContact(identifier=number(1), name="None"))
    sandbox.account.seed(SandboxContact(identifier=number(2), name="Other", channel="old-channel"))
    sandbox.account.seed(SandboxContact(identifier=number(3), name="Telegram", source="telegram"))
    statuses = [
        (await ask(sandbox, "GET", f"/contacts/phone/{number(place)}?channel_uuid=channel"))[0] for place in (1, 2, 3)
    ]
    assert statuses == [200, 404, 404]
    assert (await get(sandbox, f"/contacts/phone/{number(2)}"))["contact"]["name"] == "Other"


@pytest.mark.parametrize(
    ("value", "there"), [("true", True), ("1", True), ("TRUE", False), ("yes", False), ("", False)]
)
async def test_asking_for_field_types(sandbox: Sandbox, value: str, there: bool) -> None:
    """Only `true` and `1` request the types."""
    contact = (await get(sandbox, f"/contacts/contact?include_field_types={value}"))["contact"]
    assert ("customFieldsMetadata" in contact) == there


async def test_a_history_item_stays_sent(sandbox: Sandbox, clock: Clock) -> None:
    """The history has `sent` also for a failed message; after its contact was deleted, a message has a status and can't be deleted."""
    sandbox.inject(faults.failed_delivery(DeliveryFailure(reason="no")))
    uuid = await send(sandbox, to="123456789", type="image", content={"url": "x", "text": "A mill"})
    clock.now += 60
    (line,) = (await get(sandbox, "/contacts/contact/messages"))["messages"]
    assert (line["status"], line["text"]) == ("sent", "A mill")
    await ask(sandbox, "DELETE", "/contacts/contact")
    assert (await get(sandbox, f"/messages/status/{uuid}"))["message"]["status"] == "failed"
    assert (await ask(sandbox, "DELETE", f"/messages/{uuid}"))[0] == 404


async def test_null_leaves_a_contact_alone(sandbox: Sandbox) -> None:
    """Null changes no field of a contact; `unassign_user` has priority over `assigned_user`."""
    before = (await get(sandbox, "/contacts/contact"))["contact"]
    fields = ("tags", "custom_fields", "assigned_user", "team_uuid", "note", "bot_status", "unassign_user")
    _, changed = await ask(sandbox, "PATCH", "/contacts/contact", json=dict.fromkeys(fields))
    assert changed["contact"] == before
    body = {"assigned_user": "john1@gmail.com", "unassign_user": True}
    _, changed = await ask(sandbox, "PATCH", "/contacts/contact", json=body)
    assert changed["contact"]["assignedUser"] is None


async def test_a_new_contact_has_the_channel_of_its_message(sandbox: Sandbox) -> None:
    """A new contact has the channel of its first message and keeps it; its history has this channel's number."""
    for channel in ("old-channel", "channel"):
        await send(sandbox, channel_uuid=channel)
    contact = (await get(sandbox, "/contacts/phone/31612345678"))["contact"]
    lines = (await get(sandbox, f"/contacts/{contact['uuid']}/messages"))["messages"]
    assert contact["channel"]["uuid"] == "old-channel"
    assert [line["from"] for line in lines] == ["390000000000"] * 2


async def test_the_error_of_an_empty_wallet(sandbox: Sandbox) -> None:
    """An empty wallet has Callbell's code, and a text of the sandbox."""
    sandbox.inject(faults.depleted_credit())
    words = {"error": "the WhatsApp wallet has no credit left", "code": "whatsapp_wallet_depleted_credit"}
    assert await ask(sandbox, "POST", "/messages/send", json=TEMPLATE) == (402, words)


async def test_being_available_again_has_a_new_date(sandbox: Sandbox, clock: Clock) -> None:
    """A user's status has the date when `available` was last sent, also if it was the same value."""
    dates = []
    for body in ({"available": True}, {"available": True}, {"available": None}):
        clock.now += 60
        _, document = await ask(sandbox, "PUT", "/users/user/status", json=body)
        dates.append(document["user_status"]["appearance"]["last_updated_at"][14:16])
    assert dates == ["01", "02", "02"]
