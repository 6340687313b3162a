"""The sandbox's 40 operations: each is called over HTTP, and responds in the form of its documented example."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest

from callbell_async.sandbox import Sandbox
from callbell_async.sandbox.api.router import OPERATIONS
from tests.fixtures.sandbox import GOOD, Clock, ask, documented, same_shape, seed


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox in documented form, with records of every kind, three items in a contact's history, and a webhook."""
    clock = Clock()
    async with Sandbox(clock=clock) as running:
        seed(running.account)
        running.account.history_has_meta = running.account.status_has_contact = False
        running.account.contact_in_list = True
        await ask(running, "POST", "/messages/send", json={**GOOD, "to": "+123456789"})
        running.account.add_note(
            running.account.contacts.get("contact"), "Conversation was assigned to John Doe", system=True
        )
        running.account.receive_message("Hello there", sender="+123456789")
        await ask(running, "POST", "/contacts/contact/bot", json={"status": "bot_start"})
        await ask(running, "POST", "/webhooks/subscribe", json=WEBHOOK)
        clock.now += 2.0
        yield running


WEBHOOK = {"url": "https://my-app.com/my-webhook-endpoint", "subscriptions": ["message_created"]}


@attrs.frozen
class Case:
    """One request, and the example of its response; `{message}` is replaced by the uuid of a message."""

    operation: str
    path: str
    example: str | None = None
    body: Any = None
    status: int = 200


CASES = [
    Case("POST /messages/send", "/messages/send", "messages/post_send", GOOD),
    Case("POST /messages/send", "/messages/send", "messages/post_send.fields=contact", {**GOOD, "fields": "contact"}),
    Case(
        "POST /messages/send",
        "/messages/send",
        "messages/post_send.fields=conversation",
        {**GOOD, "fields": "conversation"},
    ),
    Case(
        "POST /messages/send",
        "/messages/send",
        "messages/post_send.fields=conversation,contact",
        {**GOOD, "fields": "conversation,contact"},
    ),
    Case("GET /messages/status/:uuid", "/messages/status/{message}", "messages/get_status"),
    Case("DELETE /messages/:uuid", "/messages/{message}", status=204),
    Case("GET /contacts", "/contacts?tags=sales", "contacts/get_contacts"),
    Case("GET /contacts", "/contacts?tags=lead&include_field_types=true", "contacts/get_contacts.include_field_types"),
    Case(
        "POST /contacts",
        "/contacts",
        "contacts/post_contact",
        {"identifier": "123", "source": "whatsapp", "name": "John Doe"},
    ),
    Case("GET /contacts/:uuid", "/contacts/contact", "contacts/get_contact"),
    Case(
        "GET /contacts/:uuid", "/contacts/contact?include_field_types=true", "contacts/get_contact.include_field_types"
    ),
    Case("GET /contacts/phone/:number", "/contacts/phone/+123456789", "contacts/get_contact_by_phone"),
    Case("GET /contacts/bsuid/:bsuid", "/contacts/bsuid/bsuid_abc123", "contacts/get_contact_by_bsuid"),
    Case("PATCH /contacts/:uuid", "/contacts/contact", "contacts/patch_contact", {"name": "UPDATE Doe"}),
    Case("DELETE /contacts/:uuid", "/contacts/contact", "contacts/delete_contact"),
    Case("GET /contacts/:uuid/messages", "/contacts/contact/messages", "contacts/get_contact_messages"),
    Case(
        "POST /contacts/:uuid/conversation/open",
        "/contacts/contact/conversation/open",
        "contacts/post_conversation_open",
    ),
    Case(
        "POST /contacts/:uuid/conversation/close",
        "/contacts/contact/conversation/close",
        "contacts/post_conversation_close",
    ),
    Case(
        "POST /contacts/:uuid/conversation/note",
        "/contacts/contact/conversation/note",
        "contacts/post_conversation_note",
        {"text": "Call @John"},
    ),
    Case(
        "PUT /contacts/:uuid/conversation/update_funnel",
        "/contacts/contact/conversation/update_funnel",
        "contacts/put_conversation_update_funnel",
        {"funnel_id": "funnel"},
    ),
    Case("GET /contacts/:uuid/bot", "/contacts/contact/bot", "contacts/get_contact_bot"),
    Case("POST /contacts/:uuid/bot", "/contacts/contact/bot", "contacts/post_contact_bot", {"status": "bot_start"}),
    Case("GET /auth/me", "/auth/me", "auth/get_me"),
    Case("GET /channels", "/channels", "channels/get_channels"),
    Case("GET /channels/:uuid", "/channels/channel", "channels/get_channel"),
    Case("PATCH /channels/:uuid", "/channels/channel", "channels/patch_channel", {"title": "New title"}),
    Case("GET /templates", "/templates", "templates/get_templates"),
    Case("GET /templates/:uuid", "/templates/template", "templates/get_template"),
    Case("PATCH /templates/:uuid", "/templates/template", "templates/patch_template", {"title": "New title"}),
    Case("GET /teams", "/teams", "teams/get_teams"),
    Case("GET /teams/:uuid", "/teams/team", "teams/get_team"),
    Case("PATCH /teams/:uuid", "/teams/team", "teams/patch_team", {"name": "New name"}),
    Case("GET /teams/:uuid/members", "/teams/team/members", "teams/get_team_members"),
    Case("GET /custom_statuses", "/custom_statuses", "custom_statuses/get_custom_statuses"),
    Case(
        "POST /custom_statuses",
        "/custom_statuses",
        "custom_statuses/post_custom_status",
        {"name": "Lunch", "emoji": "🍙"},
    ),
    Case("GET /custom_statuses/:id", "/custom_statuses/status", "custom_statuses/get_custom_status"),
    Case(
        "PUT /custom_statuses/:id",
        "/custom_statuses/status",
        "custom_statuses/put_custom_status",
        {"name": "Back in a bit"},
    ),
    Case("DELETE /custom_statuses/:id", "/custom_statuses/status", "custom_statuses/delete_custom_status"),
    Case(
        "PUT /users/:uuid/status",
        "/users/user/status",
        "users/put_user_status",
        {"available": False, "custom_status_uuid": "status"},
    ),
    Case("DELETE /users/:uuid/status", "/users/away/status", status=204),
    Case("GET /funnels", "/funnels", "funnels/get_funnels"),
    Case("GET /plan", "/plan", "plan/get_plan"),
    Case("POST /webhooks/subscribe", "/webhooks/subscribe", "webhooks/post_subscribe", WEBHOOK),
    Case("DELETE /webhooks/unsubscribe", "/webhooks/unsubscribe", "webhooks/delete_unsubscribe"),
    Case("GET /webhooks/events", "/webhooks/events", "webhooks/get_events"),
]


def example_for(case: Case) -> Any:
    """Return the documented body; those of the field types are excerpts, which are merged with the complete ones."""
    assert case.example is not None
    example: dict[str, Any] = documented(case.example)
    if case.example.endswith(".include_field_types"):
        whole = documented(case.example.removesuffix(".include_field_types"))
        ((key, documents),) = example.items()
        example = {key: [{**whole[key][0], **document} for document in documents]}
    if case.operation == "GET /contacts":
        # The documentation describes it without an example.
        example["meta"] = {"page": 1, "pages": 1, "next": None}
    return example


def test_all_forty_operations_are_tested() -> None:
    """The table below has each of the documented operations, and the sandbox has no others."""
    assert len(OPERATIONS) == 40
    assert {case.operation for case in CASES} == OPERATIONS.keys()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation} {case.example or ''}")
async def test_responds_as_documented(sandbox: Sandbox, case: Case) -> None:
    """The keys, types, lists of one and forms of dates are those of the documented example."""
    path = case.path.format(message=sandbox.messages[0].uuid)
    status, found = await ask(sandbox, case.operation.split()[0], path, json=case.body)
    assert status == case.status
    if case.example is None:
        assert found is None
    else:
        assert same_shape(found, example_for(case)) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.body is not None and "?" not in case.path][4:])
async def test_required_fields(sandbox: Sandbox, case: Case) -> None:
    """An empty body gets an error for each required field, or changes nothing if all fields are optional."""
    status, found = await ask(sandbox, case.operation.split()[0], case.path, json={})
    optional = case.operation in ("PATCH /contacts/:uuid", "PUT /custom_statuses/:id", "PUT /users/:uuid/status")
    if optional:
        assert status == 200
    else:
        assert status == 400
        assert found["error"].keys() <= case.body.keys()
        assert {error for errors in found["error"].values() for error in errors} == {"must be present and not empty"}


@pytest.mark.parametrize("name", sorted(name for name in OPERATIONS if ":" in name))
async def test_an_unknown_id_is_not_found(sandbox: Sandbox, name: str) -> None:
    """Every operation on an unknown id gets 404."""
    method, path = name.split()
    path = "/".join("nothing" if part.startswith(":") else part for part in path.split("/"))
    assert await ask(sandbox, method, path, json={}) == (404, {"error": "not found"})


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_every_operation_requires_the_token(sandbox: Sandbox, name: str) -> None:
    """A wrong token gets 401, and nothing is changed."""
    method, path = name.split()
    assert await ask(sandbox, method, path, token="wrong", json=GOOD) == (401, {"error": "not authorized"})
    assert len(sandbox.messages) == 1


async def test_a_wrong_method_is_refused(sandbox: Sandbox) -> None:
    """A known path with another method gets 405, in JSON."""
    assert await ask(sandbox, "PUT", "/contacts/contact") == (405, {"error": "method not allowed"})
    assert await ask(sandbox, "GET", "/contacts/phone/") == (404, {"error": "not found"})
