"""All 40 operations: the request that is sent, and the model that is returned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from callbell_async import (
    UNSET,
    Account,
    Bot,
    BotStatus,
    CallbellClient,
    Channel,
    ConfigurationError,
    Contact,
    CustomStatus,
    DeletionResponse,
    Funnel,
    HistoryMessage,
    MessageReceipt,
    NotFoundError,
    Page,
    Paginator,
    Plan,
    ResponseDecodeError,
    SuccessResponse,
    Team,
    TeamMember,
    Template,
    TextMessage,
    UserStatus,
    Webhook,
    WebhookDelivery,
)
from tests.support.recorder import Recorded, Recorder, recorded_client

RESPONSES = Path(__file__).parents[1] / "fixtures" / "responses"

UUID = "414a6d692bd645ed803f2e7ce360d4c8"
ODD = "a/b ?#+é"
"""An identifier that is dangerous in a path."""
ENCODED = "a%2Fb%20%3F%23%2B%C3%A9"


def documented(name: str) -> Any:
    """A documented body."""
    return orjson.loads((RESPONSES / f"{name}.json").read_bytes())


@attrs.frozen
class Operation:
    """One operation: the call, the request, the documented response (its file, or a status), and the value returned."""

    call: Callable[[CallbellClient], Awaitable[Any] | Paginator[Any]]
    method: str
    target: str
    response: str | int
    model: type | None
    json: Any = None


OPERATIONS = {
    "POST /messages/send": Operation(
        lambda c: c.messages.send(TextMessage(to="+31612345678", text="Hello!")),
        "POST",
        "/messages/send",
        "messages/post_send",
        MessageReceipt,
        {"to": "+31612345678", "from": "whatsapp", "type": "text", "content": {"text": "Hello!"}},
    ),
    "GET /messages/status/:uuid": Operation(
        lambda c: c.messages.status(ODD), "GET", f"/messages/status/{ENCODED}", "messages/get_status", MessageReceipt
    ),
    "DELETE /messages/:uuid": Operation(lambda c: c.messages.delete(ODD), "DELETE", f"/messages/{ENCODED}", 204, None),
    "GET /contacts": Operation(
        lambda c: c.contacts.list(
            source="whatsapp", tags=["lead", "hot & new"], team_uuid="t", include_field_types=True
        ),
        "GET",
        "/contacts?source=whatsapp&tags=lead%2Chot%20%26%20new&team_uuid=t&include_field_types=true",
        "contacts/get_contacts",
        Contact,
    ),
    "POST /contacts": Operation(
        lambda c: c.contacts.create(
            identifier="+31612345678", source="whatsapp", name="John Doe", tags=["lead"], note="n"
        ),
        "POST",
        "/contacts",
        "contacts/post_contact",
        Contact,
        {"identifier": "+31612345678", "source": "whatsapp", "name": "John Doe", "tags": ["lead"], "note": "n"},
    ),
    "GET /contacts/:uuid": Operation(
        lambda c: c.contacts.get(ODD, include_field_types=True),
        "GET",
        f"/contacts/{ENCODED}?include_field_types=true",
        "contacts/get_contact",
        Contact,
    ),
    "GET /contacts/phone/:number": Operation(
        lambda c: c.contacts.get_by_phone("+31612345678", channel_uuid="c"),
        "GET",
        "/contacts/phone/%2B31612345678?channel_uuid=c",
        "contacts/get_contact_by_phone",
        Contact,
    ),
    "GET /contacts/bsuid/:bsuid": Operation(
        lambda c: c.contacts.get_by_bsuid(ODD),
        "GET",
        f"/contacts/bsuid/{ENCODED}",
        "contacts/get_contact_by_bsuid",
        Contact,
    ),
    "PATCH /contacts/:uuid": Operation(
        lambda c: c.contacts.update(ODD, name="UPDATE Doe"),
        "PATCH",
        f"/contacts/{ENCODED}",
        "contacts/patch_contact",
        Contact,
        {"name": "UPDATE Doe"},
    ),
    "DELETE /contacts/:uuid": Operation(
        lambda c: c.contacts.delete(ODD), "DELETE", f"/contacts/{ENCODED}", "contacts/delete_contact", DeletionResponse
    ),
    "GET /contacts/:uuid/messages": Operation(
        lambda c: c.contacts.messages(ODD),
        "GET",
        f"/contacts/{ENCODED}/messages",
        "contacts/get_contact_messages",
        HistoryMessage,
    ),
    "POST /contacts/:uuid/conversation/open": Operation(
        lambda c: c.contacts.open_conversation(ODD),
        "POST",
        f"/contacts/{ENCODED}/conversation/open",
        "contacts/post_conversation_open",
        Contact,
        {},
    ),
    "POST /contacts/:uuid/conversation/close": Operation(
        lambda c: c.contacts.close_conversation(ODD),
        "POST",
        f"/contacts/{ENCODED}/conversation/close",
        "contacts/post_conversation_close",
        Contact,
        {},
    ),
    "POST /contacts/:uuid/conversation/note": Operation(
        lambda c: c.contacts.add_note(ODD, "@Jane look"),
        "POST",
        f"/contacts/{ENCODED}/conversation/note",
        "contacts/post_conversation_note",
        SuccessResponse,
        {"text": "@Jane look"},
    ),
    "PUT /contacts/:uuid/conversation/update_funnel": Operation(
        lambda c: c.contacts.move_to_funnel(ODD, "f"),
        "PUT",
        f"/contacts/{ENCODED}/conversation/update_funnel",
        "contacts/put_conversation_update_funnel",
        Contact,
        {"funnel_id": "f"},
    ),
    "GET /contacts/:uuid/bot": Operation(
        lambda c: c.contacts.get_bot(ODD), "GET", f"/contacts/{ENCODED}/bot", "contacts/get_contact_bot", Bot
    ),
    "POST /contacts/:uuid/bot": Operation(
        lambda c: c.contacts.set_bot(ODD, BotStatus.BOT_START),
        "POST",
        f"/contacts/{ENCODED}/bot",
        "contacts/post_contact_bot",
        Bot,
        {"status": "bot_start"},
    ),
    "GET /auth/me": Operation(lambda c: c.auth.me(), "GET", "/auth/me", "auth/get_me", Account),
    "GET /channels": Operation(
        lambda c: c.channels.list(type="whatsapp", active=False),
        "GET",
        "/channels?type=whatsapp&active=false",
        "channels/get_channels",
        Channel,
    ),
    "GET /channels/:uuid": Operation(
        lambda c: c.channels.get(ODD), "GET", f"/channels/{ENCODED}", "channels/get_channel", Channel
    ),
    "PATCH /channels/:uuid": Operation(
        lambda c: c.channels.update(ODD, title="New title"),
        "PATCH",
        f"/channels/{ENCODED}",
        "channels/patch_channel",
        Channel,
        {"title": "New title"},
    ),
    "GET /templates": Operation(lambda c: c.templates.list(), "GET", "/templates", "templates/get_templates", Template),
    "GET /templates/:uuid": Operation(
        lambda c: c.templates.get(ODD), "GET", f"/templates/{ENCODED}", "templates/get_template", Template
    ),
    "PATCH /templates/:uuid": Operation(
        lambda c: c.templates.update(ODD, title="New title"),
        "PATCH",
        f"/templates/{ENCODED}",
        "templates/patch_template",
        Template,
        {"title": "New title"},
    ),
    "GET /teams": Operation(lambda c: c.teams.list(), "GET", "/teams", "teams/get_teams", Team),
    "GET /teams/:uuid": Operation(lambda c: c.teams.get(ODD), "GET", f"/teams/{ENCODED}", "teams/get_team", Team),
    "PATCH /teams/:uuid": Operation(
        lambda c: c.teams.update(ODD, name="New name"),
        "PATCH",
        f"/teams/{ENCODED}",
        "teams/patch_team",
        Team,
        {"name": "New name"},
    ),
    "GET /teams/:uuid/members": Operation(
        lambda c: c.teams.members(ODD, status="away"),
        "GET",
        f"/teams/{ENCODED}/members?status=away",
        "teams/get_team_members",
        TeamMember,
    ),
    "GET /custom_statuses": Operation(
        lambda c: c.custom_statuses.list(),
        "GET",
        "/custom_statuses",
        "custom_statuses/get_custom_statuses",
        CustomStatus,
    ),
    "POST /custom_statuses": Operation(
        lambda c: c.custom_statuses.create(name="Lunch", emoji="🍙"),
        "POST",
        "/custom_statuses",
        "custom_statuses/post_custom_status",
        CustomStatus,
        {"name": "Lunch", "emoji": "🍙"},
    ),
    "GET /custom_statuses/:id": Operation(
        lambda c: c.custom_statuses.get(ODD),
        "GET",
        f"/custom_statuses/{ENCODED}",
        "custom_statuses/get_custom_status",
        CustomStatus,
    ),
    "PUT /custom_statuses/:id": Operation(
        lambda c: c.custom_statuses.update(ODD, name="Back in a bit"),
        "PUT",
        f"/custom_statuses/{ENCODED}",
        "custom_statuses/put_custom_status",
        CustomStatus,
        {"name": "Back in a bit"},
    ),
    "DELETE /custom_statuses/:id": Operation(
        lambda c: c.custom_statuses.delete(ODD),
        "DELETE",
        f"/custom_statuses/{ENCODED}",
        "custom_statuses/delete_custom_status",
        DeletionResponse,
    ),
    "PUT /users/:uuid/status": Operation(
        lambda c: c.users.set_status(ODD, available=False, custom_status_uuid="s"),
        "PUT",
        f"/users/{ENCODED}/status",
        "users/put_user_status",
        UserStatus,
        {"available": False, "custom_status_uuid": "s"},
    ),
    "DELETE /users/:uuid/status": Operation(
        lambda c: c.users.clear_status(ODD), "DELETE", f"/users/{ENCODED}/status", 200, None
    ),
    "GET /funnels": Operation(lambda c: c.funnels.list(), "GET", "/funnels", "funnels/get_funnels", Funnel),
    "GET /plan": Operation(lambda c: c.plan.get(), "GET", "/plan", "plan/get_plan", Plan),
    "POST /webhooks/subscribe": Operation(
        lambda c: c.webhooks.subscribe("https://my-app.com/my-webhook-endpoint", ["message_created"]),
        "POST",
        "/webhooks/subscribe",
        "webhooks/post_subscribe",
        Webhook,
        {"url": "https://my-app.com/my-webhook-endpoint", "subscriptions": ["message_created"]},
    ),
    "DELETE /webhooks/unsubscribe": Operation(
        lambda c: c.webhooks.unsubscribe(),
        "DELETE",
        "/webhooks/unsubscribe",
        "webhooks/delete_unsubscribe",
        DeletionResponse,
    ),
    "GET /webhooks/events": Operation(
        lambda c: c.webhooks.events(status="failed", subscriptions=["message_created", "contact_created"], items=50),
        "GET",
        "/webhooks/events?status=failed&subscriptions=message_created%2Ccontact_created&items=50",
        "webhooks/get_events",
        WebhookDelivery,
    ),
}


@pytest.fixture
async def api() -> AsyncIterator[tuple[CallbellClient, Recorder]]:
    """A client, and the server that records what it sends."""
    async with recorded_client() as both:
        yield both


def test_there_are_forty() -> None:
    """The table has every documented operation once."""
    assert len(OPERATIONS) == 40


@pytest.mark.parametrize("name", OPERATIONS)
async def test_each_operation_sends_its_request_and_returns_its_model(
    api: tuple[CallbellClient, Recorder], name: str
) -> None:
    """Each operation sends its documented request, with the path encoded, and returns its model with the untouched JSON."""
    callbell, recorder = api
    operation = OPERATIONS[name]
    document = documented(operation.response) if isinstance(operation.response, str) else b""
    recorder.respond_with(document, status=200 if isinstance(operation.response, str) else operation.response)
    in_flight = operation.call(callbell)
    if isinstance(in_flight, Paginator):
        page: Page[Any] = await anext(in_flight.pages())
        assert page.raw == document
        loaded: tuple[Any, ...] = page.items
        assert len(loaded) == len(next(value for value in page.raw.values() if isinstance(value, list)))
    else:
        loaded = (await in_flight,)
    assert recorder.requests == [Recorded(operation.method, "/v1" + operation.target, operation.json)]
    assert [type(model) for model in loaded] == [operation.model or type(None)] * len(loaded)
    for model in loaded if operation.model else ():
        assert contains(document, model.raw), "raw is not what came"


def contains(document: Any, part: Any) -> bool:
    """Whether a piece of JSON is part of another."""
    if document == part:
        return True
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return any(contains(value, part) for value in inner)


@pytest.mark.parametrize(
    "name", [name for name, operation in OPERATIONS.items() if operation.model is not None], ids=str
)
@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[]", b"null", b"7"], ids=repr)
async def test_a_response_of_another_shape_is_refused(
    api: tuple[CallbellClient, Recorder], name: str, body: bytes
) -> None:
    """A 200 response of another shape raises `ResponseDecodeError` with the body."""
    callbell, recorder = api
    recorder.respond_with(body)
    in_flight = OPERATIONS[name].call(callbell)
    with pytest.raises(ResponseDecodeError) as caught:
        await (anext(aiter(in_flight)) if isinstance(in_flight, Paginator) else in_flight)
    assert caught.value.body == body


@pytest.mark.parametrize("name", OPERATIONS, ids=str)
async def test_a_refusal_is_raised(api: tuple[CallbellClient, Recorder], name: str) -> None:
    """Each operation raises Callbell's refusal."""
    callbell, recorder = api
    recorder.respond_with({"error": "not found"}, status=404)
    in_flight = OPERATIONS[name].call(callbell)
    with pytest.raises(NotFoundError):
        await (anext(aiter(in_flight)) if isinstance(in_flight, Paginator) else in_flight)


@pytest.mark.parametrize("uuid", ["", "  ", ".", "..", None, "\ud800"])
async def test_an_identifier_that_leads_elsewhere_is_refused(api: tuple[CallbellClient, Recorder], uuid: Any) -> None:
    """A blank identifier must not turn "delete this one" into a request to the whole list."""
    callbell, recorder = api
    with pytest.raises(ConfigurationError, match="not an identifier") as raised:
        await callbell.contacts.delete(uuid)
    assert str(raised.value).encode()
    assert not recorder.requests


@pytest.mark.parametrize(
    ("call", "json"),
    [
        (lambda c: c.contacts.update(UUID), {}),
        (lambda c: c.contacts.update(UUID, note=""), {"note": ""}),
        (lambda c: c.contacts.update(UUID, tags=[]), {"tags": []}),
        (lambda c: c.contacts.update(UUID, unassign_user=True), {"unassign_user": True}),
        (lambda c: c.contacts.update(UUID, custom_fields={"VAT": None}), {"custom_fields": {"VAT": None}}),
        (lambda c: c.users.set_status(UUID, custom_status_uuid=None), {"custom_status_uuid": None}),
        (lambda c: c.users.set_status(UUID, available=True), {"available": True}),
        (lambda c: c.custom_statuses.create(name="Lunch"), {"name": "Lunch"}),
        (lambda c: c.custom_statuses.update(UUID, emoji="🍙"), {"emoji": "🍙"}),
    ],
)
async def test_only_given_arguments_are_sent(
    api: tuple[CallbellClient, Recorder], call: Callable[[CallbellClient], Awaitable[Any]], json: Any
) -> None:
    """An argument that was not given is not in the body; null, an empty text and an empty list are."""
    callbell, recorder = api
    recorder.respond_with(
        {"contact": {"uuid": UUID}, "customStatus": {"id": UUID}, "user_status": {"appearance": {"available": True}}}
    )
    await call(callbell)
    assert [request.json for request in recorder.requests] == [json]


async def test_the_token_is_in_no_repr_of_the_account(api: tuple[CallbellClient, Recorder]) -> None:
    """The account's response holds the API token, which is in no repr."""
    callbell, recorder = api
    recorder.respond_with(documented("auth/get_me"))
    account = await callbell.auth.me()
    assert account.api_key == "test_1234567890"
    assert "test_1234567890" not in repr(account)


def test_unset_has_a_name_and_is_false() -> None:
    """The default of an optional argument is `UNSET` in a signature, and false."""
    assert repr(UNSET) == "UNSET"
    assert not UNSET
