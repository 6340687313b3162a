"""The sandbox's state holds together: what one operation does, all others see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from callbell_async.sandbox import (
    Channel,
    Contact,
    CustomStatus,
    Failure,
    Funnel,
    Pace,
    Sandbox,
    Team,
    Template,
    User,
    WebhookEvent,
    faults,
)
from tests.fixtures.sandbox import GOOD, Clock, ask, number, seed


@pytest.fixture
def clock() -> Clock:
    """The sandbox's time."""
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[Sandbox]:
    """A sandbox as it comes, on a clock that moves when it is told to, without a limit."""
    async with Sandbox(clock=clock, limit=None) as running:
        yield running


async def get(sandbox: Sandbox, path: str) -> Any:
    """What a good GET gives."""
    status, document = await ask(sandbox, "GET", path)
    assert status == 200, document
    return document


async def send(sandbox: Sandbox, **changes: Any) -> str:
    """Send a good message and give its uuid."""
    status, document = await ask(sandbox, "POST", "/messages/send", json={**GOOD, **changes})
    assert status == 200, document
    uuid: str = document["message"]["uuid"]
    return uuid


# --- messages -----------------------------------------------------------------------------------------------------------


async def test_a_message_makes_its_contact(sandbox: Sandbox) -> None:
    """The recipient of a message is a contact from then on, found by number however it is spelt, with the message in its history."""
    uuid = await send(sandbox)
    (contact,) = (await get(sandbox, "/contacts"))["contacts"]
    assert (contact["phoneNumber"], contact["source"]) == ("+31612345678", "whatsapp")
    for spelling in ("+31612345678", "31612345678", "+31%206%2012-345-678", "0031612345678"):
        assert (await get(sandbox, f"/contacts/phone/{spelling}"))["contact"]["uuid"] == contact["uuid"]
    (line,) = (await get(sandbox, f"/contacts/{contact['uuid']}/messages"))["messages"]
    assert (line["uuid"], line["text"], line["status"], line["to"]) == (uuid, "Hello!", "sent", "+31612345678")


async def test_a_second_message_finds_its_contact(sandbox: Sandbox) -> None:
    """Another spelling of the number is the same contact; another kind of channel is another one."""
    await send(sandbox)
    await send(sandbox, to="31 612 345 678")
    await send(sandbox, **{"from": "telegram"})
    assert len((await get(sandbox, "/contacts"))["contacts"]) == 2


async def test_a_bsuid_stands_in_for_a_number(sandbox: Sandbox) -> None:
    """A message to a bsuid makes a contact without a number; with both given, `to` wins."""
    await send(sandbox, to=None, bsuid="US.13491208655302741918")
    contact = (await get(sandbox, "/contacts/bsuid/US.13491208655302741918"))["contact"]
    assert (contact["phoneNumber"], contact["bsuid"]) == (None, "US.13491208655302741918")
    await send(sandbox, bsuid="US.13491208655302741918")
    assert len((await get(sandbox, f"/contacts/{contact['uuid']}/messages"))["messages"]) == 1


async def test_statuses_go_by_the_clock(sandbox: Sandbox, clock: Clock) -> None:
    """A message is enqueued, sent, delivered and read as time goes by, and its report says the same."""
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


async def test_the_pace_is_the_test_s(clock: Clock) -> None:
    """How fast a message goes on can be chosen; dates begin where they are told to."""
    start = datetime(2030, 5, 17, 8, 30, tzinfo=UTC)
    async with Sandbox(clock=clock, start=start, pace=Pace(reported=0, sent=0, delivered=0, read=60)) as sandbox:
        uuid = await send(sandbox)
        message = (await get(sandbox, f"/messages/status/{uuid}"))["message"]
        assert message["status"] == "delivered"
        assert message["messageStatusPayload"]["payload"] == {"ts": start.timestamp()}
        clock.now += 90
        assert (await get(sandbox, f"/messages/status/{uuid}"))["message"]["status"] == "read"
        await send(sandbox, to=number(2))
        dates = [contact["createdAt"] for contact in (await get(sandbox, "/contacts"))["contacts"]]
        assert dates == ["2030-05-17T08:30:00Z", "2030-05-17T08:31:30Z"]


@pytest.mark.parametrize("shape", ["gupshup", "meta"])
async def test_a_failed_delivery_says_why(sandbox: Sandbox, clock: Clock, shape: Any) -> None:
    """A message that can't be delivered is accepted all the same; its status says the reason, in either integration's shape."""
    sandbox.inject(faults.failed_delivery(Failure(reason="Not on WhatsApp", shape=shape, code=131026)), times=1)
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
    """A day after a customer's last words only templates are delivered; anything else fails with 131047."""
    sandbox.account.receive("Where is my parcel?", sender="+31612345678")
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
    """A deleted message is gone from the history and can't be deleted twice, by either of its ids; the test still sees it."""
    first, second = await send(sandbox), await send(sandbox)
    assert (await ask(sandbox, "DELETE", f"/messages/{first}"))[0] == 204
    assert (await ask(sandbox, "DELETE", f"/messages/wamid.{second}"))[0] == 204
    assert (await ask(sandbox, "DELETE", f"/messages/{first}"))[0] == 404
    contact = (await get(sandbox, "/contacts"))["contacts"][0]["uuid"]
    assert (await get(sandbox, f"/contacts/{contact}/messages"))["messages"] == []
    assert (await get(sandbox, f"/messages/status/{first}"))["message"]["status"] == "deleted"
    assert [message.uuid for message in sandbox.messages] == [first, second]


async def test_a_template_s_text_is_in_the_history(sandbox: Sandbox) -> None:
    """A template is written into the history with its values; what has none stays as it is."""
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
async def test_what_is_seeded_is_all_there_is(sandbox: Sandbox, change: dict[str, Any], complaint: Any) -> None:
    """A reference to what isn't there is refused once a test has said what there is, and taken before."""
    if change.get("template_uuid") != "rejected":
        await send(sandbox, **change)
    seed(sandbox.account)
    before = len(sandbox.messages)
    assert await ask(sandbox, "POST", "/messages/send", json={**GOOD, **change}) == (400, {"error": complaint})
    assert len(sandbox.messages) == before


async def test_a_message_assigns_and_starts_the_bot(sandbox: Sandbox) -> None:
    """A message's user, team and bot status are its contact's afterwards."""
    seed(sandbox.account)
    await send(sandbox, to="123456789", assigned_user="john1@gmail.com", team_uuid="team", bot_status="bot_start")
    (contact,) = (await get(sandbox, "/contacts/contact"))["contact"]
    assert (contact["assignedUser"], contact["team"]["name"]) == ("john1@gmail.com", "General")
    assert (await get(sandbox, "/contacts/contact/bot"))["bot"]["status"] == "in_progress"
    await ask(sandbox, "POST", "/contacts/contact/bot", json={"status": "bot_end"})
    assert (await get(sandbox, "/contacts/contact/bot"))["bot"]["status"] == "ended"


async def test_a_message_comes_from_its_channel(sandbox: Sandbox) -> None:
    """The history says which number a message came from: the main channel's of its kind, or else the first one's."""
    sandbox.account.add(Channel(title="gone", discarded=True, number="1"))
    sandbox.account.add(Channel(title="second", number="2"))
    sandbox.account.add(Channel(title="main", main=True, number="3"))
    sandbox.account.add(Channel(title="telegram", type="telegram", number="4"))
    await send(sandbox)
    await send(sandbox, **{"from": "telegram"})
    await send(sandbox, **{"from": "instagram"})
    senders = [contact.history[0].sender for contact in sandbox.account.people]
    assert senders == ["3", "4", ""]


# --- pages --------------------------------------------------------------------------------------------------------------


def many(sandbox: Sandbox, count: int) -> list[str]:
    """So many contacts; their names."""
    return [
        sandbox.account.add(
            Contact(identifier=number(place), name=str(place), tags=["even"] if place % 2 == 0 else ["odd", "strange"])
        ).name
        for place in range(count)
    ]


async def test_contacts_by_page(sandbox: Sandbox) -> None:
    """Contacts come 20 a page, each once; past the last page there are none."""
    names = many(sandbox, 45)
    pages = [await get(sandbox, f"/contacts?page={page}") for page in (1, 2, 3, 4)]
    assert [len(page["contacts"]) for page in pages] == [20, 20, 5, 0]
    assert [contact["name"] for page in pages for contact in page["contacts"]] == names
    assert [page["meta"]["page"] for page in pages] == [1, 2, 3, 4]
    assert {page["meta"]["pages"] for page in pages} == {3}


async def test_the_page_limit(sandbox: Sandbox) -> None:
    """Page 500 of the contacts is the last that can be asked for, unless a cursor makes the page meaningless."""
    many(sandbox, 21)
    assert (await get(sandbox, "/contacts?page=500"))["contacts"] == []
    limit = (400, {"error": "Pagination limit exceeded"})
    assert await ask(sandbox, "GET", "/contacts?page=501") == limit
    cursor = (await get(sandbox, "/contacts"))["meta"]["next"]
    assert len((await get(sandbox, f"/contacts?page=501&after={cursor}"))["contacts"]) == 1


async def test_contacts_by_cursor(sandbox: Sandbox) -> None:
    """Cursors lead through all contacts, each once, although some come and go on the way; `null` ends it."""
    names = many(sandbox, 45)
    found: list[str] = []
    path = "/contacts"
    while True:
        page = await get(sandbox, path)
        found += [contact["name"] for contact in page["contacts"]]
        if page["meta"]["next"] is None:
            break
        if len(found) == 20:
            await ask(sandbox, "DELETE", f"/contacts/{page['contacts'][-1]['uuid']}")
            sandbox.account.add(Contact(identifier="+1", name="late"))
        path = f"/contacts?after={page['meta']['next']}"
    assert found == [*names, "late"]


async def test_filters_hold_beside_a_cursor(sandbox: Sandbox) -> None:
    """The filters are not in the cursor: they are sent with it each time."""
    names = many(sandbox, 90)
    first = await get(sandbox, "/contacts?tags=odd,strange&source=whatsapp")
    second = await get(sandbox, f"/contacts?tags=odd,strange&source=whatsapp&after={first['meta']['next']}")
    assert [contact["name"] for page in (first, second) for contact in page["contacts"]] == names[1:80:2]
    assert (await get(sandbox, "/contacts?tags=odd,even"))["contacts"] == []
    assert (await get(sandbox, "/contacts?team_uuid=x"))["contacts"] == []


@pytest.mark.parametrize("cursor", ["", "x", "%00", "é", "Y29udGFjdHM6MQ", "a" * 5000])
async def test_a_bad_cursor(sandbox: Sandbox, cursor: str) -> None:
    """A cursor that the sandbox did not give is refused in Callbell's words."""
    assert await ask(sandbox, "GET", f"/contacts?after={cursor}") == (400, {"error": "Invalid pagination cursor"})


async def test_an_account_without_cursors(sandbox: Sandbox) -> None:
    """Such accounts exist: their answers have no `next`, and they are paged by number."""
    many(sandbox, 21)
    sandbox.account.contacts_have_cursors = False
    assert (await get(sandbox, "/contacts?page=2&after=x"))["meta"] == {"page": 2, "pages": 2}


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "", "٣", "9" * 5000])
async def test_a_bad_page(sandbox: Sandbox, page: str) -> None:
    """A page that is no number from 1 is refused by field, in every list."""
    expected = (400, {"error": {"page": ["must be a whole number from 1"]}})
    assert await ask(sandbox, "GET", f"/contacts?page={page}") == expected
    assert await ask(sandbox, "GET", f"/channels?page={page}") == expected


@pytest.mark.parametrize("has_meta", [False, True])
async def test_history_by_page(sandbox: Sandbox, clock: Clock, has_meta: bool) -> None:
    """A history comes newest first, in pages, without `meta` as documented or with it as seen."""
    sandbox.account.history_has_meta = has_meta
    seed(sandbox.account)
    for place in range(25):
        await ask(sandbox, "POST", "/contacts/contact/conversation/note", json={"text": str(place)})
        clock.now += 1
    pages = [await get(sandbox, f"/contacts/contact/messages?page={page}") for page in (1, 2, 3)]
    assert [line["text"] for page in pages for line in page["messages"]] == [str(24 - place) for place in range(25)]
    assert [page.get("meta") for page in pages] == (
        [{"page": page, "pages": 2} for page in (1, 2, 3)] if has_meta else [None] * 3
    )


# --- contacts -----------------------------------------------------------------------------------------------------------


async def test_a_contact_s_life(sandbox: Sandbox, clock: Clock) -> None:
    """A contact is created, changed only where it is said, closed, opened, moved and destroyed, and each step is seen afterwards."""
    seed(sandbox.account)
    body = {"identifier": "+44 7700 900001", "source": "whatsapp", "name": "Ann", "tags": ["a"], "note": "VIP"}
    _, created = await ask(sandbox, "POST", "/contacts", json={**body, "custom_fields": {"Size": "M"}})
    path = f"/contacts/{created['contact'][0]['uuid']}"
    assert created["contact"][0]["note"] == "VIP"

    async def change(**changes: Any) -> Any:
        status, document = await ask(sandbox, "PATCH", path, json=changes)
        assert status == 200, document
        (contact,) = document["contact"]
        assert (await get(sandbox, path))["contact"] == [contact]
        return contact

    changed = await change(custom_fields={"Features": ["a", "b"]}, assigned_user="john1@gmail.com", team_uuid="team")
    assert (changed["name"], changed["tags"], changed["note"]) == ("Ann", ["a"], "VIP")
    assert changed["customFields"] == {"Size": "M", "Features": '["a", "b"]'}
    assert changed["assignedUser"] == "john1@gmail.com"
    changed = await change(name="Anna", tags=[], note="", unassign_user=True, bot_status="bot_start")
    assert (changed["name"], changed["tags"], changed["assignedUser"]) == ("Anna", [], None)
    assert "note" not in changed

    clock.now += 60
    _, closed = await ask(sandbox, "POST", f"{path}/conversation/close")
    clock.now += 60
    _, again = await ask(sandbox, "POST", f"{path}/conversation/close")
    assert closed["contact"]["closedAt"] == again["contact"]["closedAt"] == "2026-01-01T12:01:00Z"
    assert (await get(sandbox, path))["contact"][0]["closedAt"] == "2026-01-01T12:01:00Z"
    _, moved = await ask(sandbox, "PUT", f"{path}/conversation/update_funnel", json={"funnel_id": "funnel"})
    assert moved["contact"][0]["funnelId"] == "funnel"
    unknown = {"error": {"funnel_id": ["is unknown"]}}
    assert await ask(sandbox, "PUT", f"{path}/conversation/update_funnel", json={"funnel_id": "x"}) == (400, unknown)
    _, opened = await ask(sandbox, "POST", f"{path}/conversation/open")
    assert opened["contact"][0]["closedAt"] is None

    assert (await ask(sandbox, "DELETE", path))[1] == {"status": "contact was destroyed"}
    assert (await ask(sandbox, "GET", path))[0] == 404
    assert (await ask(sandbox, "GET", "/contacts/phone/447700900001"))[0] == 404
    assert (await ask(sandbox, "POST", "/contacts", json=body))[0] == 200


async def test_field_types(sandbox: Sandbox) -> None:
    """Types and options of custom fields come when they are asked for; a checkbox's value is a list only there."""
    seed(sandbox.account)
    (contact,) = (await get(sandbox, "/contacts/contact?include_field_types=true"))["contact"]
    assert contact["customFieldsMetadata"] == {
        "Address": {"value": "Oxford Street 123", "type": "text"},
        "Features": {
            "value": ["Dark Mode", "Notifications"],
            "type": "checkbox",
            "options": ["Dark Mode", "Notifications", "Analytics"],
        },
    }
    assert contact["customFields"]["Features"] == '["Dark Mode", "Notifications"]'
    assert "customFieldsMetadata" not in (await get(sandbox, "/contacts/contact"))["contact"][0]


async def test_a_contact_s_channel(sandbox: Sandbox) -> None:
    """A contact created for a channel tells it, and is found by its number on that channel only."""
    seed(sandbox.account)
    body = {"identifier": "447700900001", "source": "whatsapp", "name": "Ann", "channel_uuid": "channel"}
    _, created = await ask(sandbox, "POST", "/contacts", json=body)
    assert created["contact"][0]["channel"]["title"] == "phone_number_1"
    await get(sandbox, "/contacts/phone/447700900001?channel_uuid=channel")
    assert (await ask(sandbox, "GET", "/contacts/phone/447700900001?channel_uuid=old-channel"))[0] == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"identifier": " "}, "identifier"),
        ({"identifier": "+123456789"}, "identifier"),
        ({"name": 5}, "name"),
        ({"source": "pigeon"}, "source"),
        ({"source": ["whatsapp"]}, "source"),
        ({"tags": "a,b"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"custom_fields": ["a"]}, "custom_fields"),
        ({"custom_fields": {"a": 1}}, "custom_fields"),
        ({"assigned_user": "nobody@example.com"}, "assigned_user"),
        ({"team_uuid": "nobody"}, "team_uuid"),
        ({"channel_uuid": "nowhere"}, "channel_uuid"),
        ({"bot_status": "bot"}, "bot_status"),
        ({"note": "x" * 1001}, "note"),
        ({"note": ["x"]}, "note"),
    ],
)
async def test_a_contact_s_fields_are_checked(sandbox: Sandbox, change: dict[str, Any], field: str) -> None:
    """Each documented rule has its complaint, and nothing is created."""
    seed(sandbox.account)
    body = {"identifier": "447700900001", "source": "whatsapp", "name": "Ann", **change}
    status, document = await ask(sandbox, "POST", "/contacts", json=body)
    assert (status, list(document["error"])) == (400, [field])
    assert len(sandbox.account.people) == 2


# --- the rest -----------------------------------------------------------------------------------------------------------


async def test_channels_are_filtered(sandbox: Sandbox) -> None:
    """Channels are found by type, and by being active."""
    seed(sandbox.account)
    sandbox.account.add(Channel(uuid="telegram", title="bot", type="telegram"))

    async def found(query: str) -> list[str]:
        return [channel["uuid"] for channel in (await get(sandbox, f"/channels?{query}"))["channels"]]

    assert await found("type=whatsapp") == ["channel", "old-channel"]
    assert await found("active=true") == ["channel", "telegram"]
    assert await found("active=false&type=whatsapp") == ["old-channel"]
    assert (await ask(sandbox, "GET", "/channels?type=pigeon"))[0] == 400
    assert (await ask(sandbox, "GET", "/channels?active=perhaps"))[0] == 400


async def test_seeds_take_the_place_of_what_every_sandbox_has(sandbox: Sandbox) -> None:
    """An account is of use as it comes; the first seed of a kind makes an end of that, of this kind only."""
    assert len((await get(sandbox, "/channels"))["channels"]) == 4
    assert len((await get(sandbox, "/templates"))["templates"]) == 1
    sandbox.account.add(Channel(title="mine"))
    assert [channel["title"] for channel in (await get(sandbox, "/channels"))["channels"]] == ["mine"]
    assert len((await get(sandbox, "/templates"))["templates"]) == 1


async def test_lists_are_paged(sandbox: Sandbox) -> None:
    """Templates, teams, channels and custom statuses come 20 a page; the funnels all at once."""
    for place in range(21):
        sandbox.account.add(Template(title=str(place)))
        sandbox.account.add(Team(name=str(place)))
        sandbox.account.add(Channel(title=str(place)))
        sandbox.account.add(CustomStatus(name=str(place)))
        sandbox.account.add(Funnel(name=str(place)))
    for path, key in [("templates",) * 2, ("teams",) * 2, ("channels",) * 2, ("custom_statuses", "customStatuses")]:
        second = await get(sandbox, f"/{path}?page=2")
        assert len(second[key]) == 1
        assert second["meta"] == {"page": 2, "pages": 2}
    assert len((await get(sandbox, "/funnels"))["funnels"]) == 21


async def test_members_and_their_statuses(sandbox: Sandbox, clock: Clock) -> None:
    """A status that a user takes is seen among the team's members, and gone when it is given back or destroyed."""
    seed(sandbox.account)
    sandbox.account.add(Team(uuid="night", name="Night"))
    sandbox.account.add(User(email="owl@example.com", teams=["night"]))
    assert [user["email"] for user in (await get(sandbox, "/teams/night/members"))["users"]] == ["owl@example.com"]
    assert [team["members"] for team in (await get(sandbox, "/teams"))["teams"]] == [2, 1]
    clock.now += 60
    body = {"available": False, "custom_status_uuid": "status"}
    _, answered = await ask(sandbox, "PUT", "/users/user/status", json=body)
    assert answered["user_status"]["appearance"]["last_updated_at"] == "2026-01-01T13:01:00.000+01:00"
    away = (await get(sandbox, "/teams/team/members?status=away"))["users"]
    assert [user["userCustomStatus"]["name"] for user in away] == ["Vacationing", "Vacationing"]
    assert (await get(sandbox, "/teams/team/members?status=available"))["users"] == []
    assert (await ask(sandbox, "GET", "/teams/team/members?status=asleep"))[0] == 400
    _, given_back = await ask(sandbox, "PUT", "/users/user/status", json={"custom_status_uuid": None})
    assert given_back["user_status"]["custom_status"] is None
    assert (await ask(sandbox, "PUT", "/users/user/status", json={"custom_status_uuid": "x"}))[0] == 400
    await ask(sandbox, "DELETE", "/custom_statuses/status")
    members = (await get(sandbox, "/teams/team/members"))["users"]
    assert not any("userCustomStatus" in user for user in members)


async def test_custom_statuses_change(sandbox: Sandbox, clock: Clock) -> None:
    """A custom status is created, changed with its date, and gone once destroyed."""
    _, created = await ask(sandbox, "POST", "/custom_statuses", json={"name": "Lunch", "emoji": "🍙"})
    path = f"/custom_statuses/{created['customStatus']['id']}"
    clock.now += 60
    await ask(sandbox, "PUT", path, json={"name": "Dinner"})
    assert (await get(sandbox, path))["customStatus"] == {
        "id": created["customStatus"]["id"],
        "name": "Dinner",
        "emoji": "🍙",
        "createdAt": "2026-01-01 13:00:00 +0100",
        "updatedAt": "2026-01-01 13:01:00 +0100",
    }
    await ask(sandbox, "DELETE", path)
    assert (await ask(sandbox, "GET", path))[0] == 404


async def test_titles_stay_changed(sandbox: Sandbox) -> None:
    """New titles and names of channels, templates and teams are there the next time."""
    seed(sandbox.account)
    await ask(sandbox, "PATCH", "/channels/channel", json={"title": "New"})
    await ask(sandbox, "PATCH", "/templates/template", json={"title": "New"})
    await ask(sandbox, "PATCH", "/teams/team", json={"name": "New"})
    assert (await get(sandbox, "/channels/channel"))["channel"]["title"] == "New"
    assert (await get(sandbox, "/templates/template"))["template"]["title"] == "New"
    assert (await get(sandbox, "/teams/team"))["team"]["name"] == "New"


async def test_one_webhook_an_account(sandbox: Sandbox) -> None:
    """A subscription replaces the one before; it ends once."""
    for name in ("message_created", "contact_deleted"):
        body = {"url": f"https://example.com/{name}", "subscriptions": [name]}
        _, answered = await ask(sandbox, "POST", "/webhooks/subscribe", json=body)
        assert answered["webhook"]["enabled"] is True
    assert sandbox.account.webhook is not None
    assert sandbox.account.webhook.url == "https://example.com/contact_deleted"
    assert (await ask(sandbox, "DELETE", "/webhooks/unsubscribe"))[1] == {"status": "webhook was destroyed"}
    assert (await ask(sandbox, "DELETE", "/webhooks/unsubscribe"))[0] == 404


@pytest.mark.parametrize(
    ("url", "subscriptions", "fields"),
    [
        ("ftp://example.com", ["message_created"], {"url"}),
        ("https://", ["message_created"], {"url"}),
        ("https://[", ["message_created"], {"url"}),
        ("http://localhost:8000/", ["message_created"], {"url"}),
        ("http://app.localhost/", ["message_created"], {"url"}),
        ("http://127.0.0.1/", ["message_created"], {"url"}),
        (5, ["message_created"], {"url"}),
        ("https://example.com", [], {"subscriptions"}),
        ("https://example.com", "message_created", {"subscriptions"}),
        ("https://example.com", ["message_eaten"], {"subscriptions"}),
        (None, None, {"url", "subscriptions"}),
    ],
)
async def test_a_webhook_is_checked(sandbox: Sandbox, url: Any, subscriptions: Any, fields: set[str]) -> None:
    """A URL that Callbell can't reach, or no event that it knows, is refused by field."""
    body = {"url": url, "subscriptions": subscriptions}
    status, document = await ask(sandbox, "POST", "/webhooks/subscribe", json=body)
    assert (status, document["error"].keys()) == (400, fields)
    assert sandbox.account.webhook is None


async def test_webhook_events_are_filtered(sandbox: Sandbox) -> None:
    """Deliveries come newest first, by success and by event, so many a page."""
    for event, good in [("message_created", True), ("contact_created", False), ("contact_deleted", True)]:
        sandbox.account.add(WebhookEvent(event=event, payload={}, success=good))

    async def found(query: str) -> list[str]:
        return [event["event"] for event in (await get(sandbox, f"/webhooks/events?{query}"))["webhook_events"]]

    assert await found("") == ["contact_deleted", "contact_created", "message_created"]
    assert await found("status=failed") == ["contact_created"]
    assert await found("subscriptions=message_created,contact_deleted") == ["contact_deleted", "message_created"]
    assert await found("items=2&page=2") == ["message_created"]
    assert (await ask(sandbox, "GET", "/webhooks/events?status=lost"))[0] == 400
    assert (await ask(sandbox, "GET", "/webhooks/events?items=0"))[0] == 400
