"""The sandbox's contacts: every change is visible in each response that contains the contact."""

from __future__ import annotations

from typing import Any

import pytest

from callbell_async.sandbox import Sandbox, SandboxContact
from tests.fixtures.sandbox import Clock, ask, get, seed


async def test_a_contact_s_life(sandbox: Sandbox, clock: Clock) -> None:
    """A contact is created, changed in the given fields only, closed, opened, moved and deleted, and each step is visible afterwards."""
    seed(sandbox.account)
    body = {"identifier": "+44 7700 900001", "source": "whatsapp", "name": "Ann", "tags": ["a"], "note": "VIP"}
    _, created = await ask(sandbox, "POST", "/contacts", json={**body, "custom_fields": {"Size": "M"}})
    path = f"/contacts/{created['contact'][0]['uuid']}"
    assert created["contact"][0]["note"] == "VIP"

    async def change(**changes: Any) -> Any:
        status, document = await ask(sandbox, "PATCH", path, json=changes)
        assert status == 200, document
        assert (await get(sandbox, path))["contact"] == document["contact"]
        return document["contact"]

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
    assert (await get(sandbox, path))["contact"]["closedAt"] == "2026-01-01T12:01:00Z"
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


async def test_seeded_contacts_with_one_identifier(sandbox: Sandbox) -> None:
    """A number or a bsuid that two seeded contacts share leads to the last one, also after the first one was deleted."""
    first, last = (
        sandbox.account.seed(SandboxContact(identifier="+31612345678", name=name, bsuid="NL.1")) for name in "AB"
    )
    assert (await ask(sandbox, "DELETE", f"/contacts/{first.uuid}"))[0] == 200
    for path in ("/contacts/phone/31612345678", "/contacts/bsuid/NL.1"):
        assert (await get(sandbox, path))["contact"]["uuid"] == last.uuid
    assert (await ask(sandbox, "DELETE", f"/contacts/{last.uuid}"))[0] == 200
    for path in ("/contacts/phone/31612345678", "/contacts/bsuid/NL.1"):
        assert (await ask(sandbox, "GET", path))[0] == 404


async def test_a_contact_as_documented(sandbox: Sandbox) -> None:
    """The service responds with an object; an account can be set to the list of one that its documentation shows."""
    seed(sandbox.account)
    path = "/contacts/contact"
    served = [(await get(sandbox, path))["contact"], (await ask(sandbox, "PATCH", path, json={}))[1]["contact"]]
    assert [contact["uuid"] for contact in served] == ["contact", "contact"]
    sandbox.account.contact_in_list = True
    listed = [(await get(sandbox, path))["contact"], (await ask(sandbox, "PATCH", path, json={}))[1]["contact"]]
    assert listed == [[contact] for contact in served]


async def test_numbers_in_custom_fields(sandbox: Sandbox) -> None:
    """A number in a custom field is accepted, as in the documented example, and kept as a string."""
    seed(sandbox.account)
    body = {"custom_fields": {"Age": 42, "Size": 1.5}}
    _, changed = await ask(sandbox, "PATCH", "/contacts/contact", json=body)
    assert {name: changed["contact"]["customFields"][name] for name in body["custom_fields"]} == {
        "Age": "42",
        "Size": "1.5",
    }


@pytest.mark.parametrize(
    "query",
    ["tags=sales", "tags=SALES,Lead", "tags[]=Sales", "tags%5B%5D=lead&tags%5B%5D=SALES", "tags=lead&tags[]=sales"],
)
async def test_contacts_by_tag(sandbox: Sandbox, query: str) -> None:
    """The filter finds the contacts with all tags, in any case, and also in the form `tags[]`."""
    seed(sandbox.account)
    sandbox.account.seed(SandboxContact(identifier="+31612345678", name="Other", tags=["other"]))
    found = (await get(sandbox, f"/contacts?{query}"))["contacts"]
    assert [contact["uuid"] for contact in found] == ["contact"]
    assert (await get(sandbox, f"/contacts?{query}&tags[]=other"))["contacts"] == []


async def test_field_types(sandbox: Sandbox) -> None:
    """The types and options of custom fields are included on request; a checkbox has a list only there."""
    seed(sandbox.account)
    contact = (await get(sandbox, "/contacts/contact?include_field_types=true"))["contact"]
    assert contact["customFieldsMetadata"] == {
        "Address": {"value": "Oxford Street 123", "type": "text"},
        "Features": {
            "value": ["Dark Mode", "Notifications"],
            "type": "checkbox",
            "options": ["Dark Mode", "Notifications", "Analytics"],
        },
    }
    assert contact["customFields"]["Features"] == '["Dark Mode", "Notifications"]'
    assert "customFieldsMetadata" not in (await get(sandbox, "/contacts/contact"))["contact"]


async def test_a_contact_s_channel(sandbox: Sandbox) -> None:
    """A contact created for a channel contains it, and is found by its number on that channel only."""
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
        ({"custom_fields": {"a": True}}, "custom_fields"),
        ({"custom_fields": {"a": None}}, "custom_fields"),
        ({"custom_fields": {"a": [1]}}, "custom_fields"),
        ({"assigned_user": "nobody@example.com"}, "assigned_user"),
        ({"team_uuid": "nobody"}, "team_uuid"),
        ({"channel_uuid": "nowhere"}, "channel_uuid"),
        ({"assigned_user": ["nobody"]}, "assigned_user"),
        ({"team_uuid": ["nobody"]}, "team_uuid"),
        ({"channel_uuid": {"uuid": "nowhere"}}, "channel_uuid"),
        ({"bot_status": "bot"}, "bot_status"),
        ({"note": "x" * 1001}, "note"),
        ({"note": ["x"]}, "note"),
    ],
)
async def test_a_contact_s_fields_are_checked(sandbox: Sandbox, change: dict[str, Any], field: str) -> None:
    """Each documented rule has its error, and nothing is created."""
    seed(sandbox.account)
    body = {"identifier": "447700900001", "source": "whatsapp", "name": "Ann", **change}
    status, document = await ask(sandbox, "POST", "/contacts", json=body)
    assert (status, list(document["error"])) == (400, [field])
    assert len(sandbox.account.contacts) == 2
