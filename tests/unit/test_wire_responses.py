"""Responses: every documented body, both forms of each quirk, and bodies that are not documented."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    Account,
    Bot,
    Channel,
    Contact,
    Conversation,
    CustomField,
    CustomStatus,
    DeletionResponse,
    Funnel,
    HistoryMessage,
    MessageReceipt,
    Page,
    Plan,
    ResponseDecodeError,
    SuccessResponse,
    Team,
    TeamMember,
    Template,
    TemplateStatus,
    TemplateType,
    UserStatus,
    Webhook,
    WebhookDelivery,
    WebhookResponse,
)
from callbell_async.http.pagination import load_page
from callbell_async.http.requests import Request
from callbell_async.http.responses import Response, read_response
from callbell_async.wire import WireError, dump_model, load_one, load_receipt, load_user_status, load_whole
from callbell_async.wire.converter import structure
from tests.fixtures.strategies import brief, quick

RESPONSES = Path(__file__).parents[1] / "fixtures" / "responses"

MODELS = [
    Account,
    Bot,
    Channel,
    Contact,
    Conversation,
    CustomField,
    CustomStatus,
    DeletionResponse,
    Funnel,
    HistoryMessage,
    Plan,
    SuccessResponse,
    Team,
    TeamMember,
    Template,
    UserStatus,
    Webhook,
    WebhookDelivery,
    WebhookResponse,
]

LOADERS: dict[str, Callable[[Any], Any]] = {
    "auth/get_me": load_whole(Account),
    "channels/get_channel": load_one(Channel, "channel"),
    "channels/get_channels": load_page(Channel, "channels"),
    "channels/patch_channel": load_one(Channel, "channel"),
    "contacts/delete_contact": load_whole(DeletionResponse),
    "contacts/get_contact": load_one(Contact, "contact"),
    "contacts/get_contact.include_field_types": load_one(Contact, "contact"),
    "contacts/get_contact_bot": load_one(Bot, "bot"),
    "contacts/get_contact_by_bsuid": load_one(Contact, "contact"),
    "contacts/get_contact_by_phone": load_one(Contact, "contact"),
    "contacts/get_contact_messages": load_page(HistoryMessage, "messages"),
    "contacts/get_contacts": load_page(Contact, "contacts"),
    "contacts/get_contacts.include_field_types": load_page(Contact, "contacts"),
    "contacts/patch_contact": load_one(Contact, "contact"),
    "contacts/post_contact": load_one(Contact, "contact"),
    "contacts/post_contact_bot": load_one(Bot, "bot"),
    "contacts/post_conversation_close": load_one(Contact, "contact"),
    "contacts/post_conversation_note": load_whole(SuccessResponse),
    "contacts/post_conversation_open": load_one(Contact, "contact"),
    "contacts/put_conversation_update_funnel": load_one(Contact, "contact"),
    "custom_statuses/delete_custom_status": load_whole(DeletionResponse),
    "custom_statuses/get_custom_status": load_one(CustomStatus, "customStatus"),
    "custom_statuses/get_custom_statuses": load_page(CustomStatus, "customStatuses"),
    "custom_statuses/post_custom_status": load_one(CustomStatus, "customStatus"),
    "custom_statuses/put_custom_status": load_one(CustomStatus, "customStatus"),
    "funnels/get_funnels": load_page(Funnel, "funnels"),
    "messages/get_status": load_receipt,
    "messages/post_send": load_receipt,
    "messages/post_send.fields=contact": load_receipt,
    "messages/post_send.fields=conversation": load_receipt,
    "messages/post_send.fields=conversation,contact": load_receipt,
    "plan/get_plan": load_whole(Plan),
    "teams/get_team": load_one(Team, "team"),
    "teams/get_team_members": load_page(TeamMember, "users"),
    "teams/get_teams": load_page(Team, "teams"),
    "teams/patch_team": load_one(Team, "team"),
    "templates/get_template": load_one(Template, "template", "templates"),
    "templates/get_templates": load_page(Template, "templates"),
    "templates/patch_template": load_one(Template, "template", "templates"),
    "users/put_user_status": load_user_status,
    "webhooks/delete_unsubscribe": load_whole(DeletionResponse),
    "webhooks/get_events": load_page(WebhookDelivery, "webhook_events"),
    "webhooks/post_subscribe": load_one(Webhook, "webhook"),
}


def documented(name: str) -> Any:
    """A documented body."""
    return orjson.loads((RESPONSES / f"{name}.json").read_bytes())


def test_every_documented_body_has_its_reader() -> None:
    """Every documented body has a reader."""
    assert sorted(LOADERS) == sorted(
        str(path.relative_to(RESPONSES).with_suffix("")) for path in RESPONSES.rglob("*.json")
    )


@pytest.mark.parametrize("name", LOADERS, ids=str)
def test_nothing_documented_is_lost(name: str) -> None:
    """The model of a documented body, written again, has every key and value that was not null or empty."""
    document = documented(name)
    loaded = LOADERS[name](document)
    models = loaded.items if isinstance(loaded, Page) else (loaded,)
    assert models
    for model in models:
        if not isinstance(model, UserStatus):  # its snake_case is tested below
            assert_kept(model.raw, orjson.loads(orjson.dumps(dump_model(model))))


def assert_kept(came: Any, kept: Any) -> None:
    """Every value of the original JSON is in the JSON of the model; dates may have another form."""
    if isinstance(came, dict):
        for key, value in came.items():
            if value not in (None, [], {}):
                alias = {"phone": "phoneNumber"}.get(key, key)
                assert_kept(value, kept[alias])
    elif isinstance(came, list):
        assert len(came) == len(kept)
        for one, other in zip(came, kept, strict=True):
            assert_kept(one, other)
    elif came != kept:
        assert datetime.fromisoformat(came.replace(" +", "+")) == datetime.fromisoformat(kept)


CONTACT = {"uuid": "u", "name": "John Doe", "createdAt": "2020-11-13T21:08:53Z"}


@pytest.mark.parametrize("value", [CONTACT, [CONTACT]], ids=["object", "list of one"])
def test_a_contact_comes_as_an_object_or_a_list_of_one(value: Any) -> None:
    """Both documented forms are the same contact."""
    contact = load_one(Contact, "contact")({"contact": value})
    assert contact == Contact(uuid="u", name="John Doe", created_at=datetime(2020, 11, 13, 21, 8, 53, tzinfo=UTC))
    assert contact.raw == CONTACT


@pytest.mark.parametrize("value", [[], [CONTACT, CONTACT]])
def test_a_list_of_none_or_two_contacts_is_refused(value: Any) -> None:
    """A list of none or two contacts raises `WireError`."""
    with pytest.raises(WireError):
        load_one(Contact, "contact")({"contact": value})


@pytest.mark.parametrize("key", ["template", "templates"])
def test_a_template_comes_under_either_name(key: str) -> None:
    """The response to a PATCH has the plural; both are read."""
    assert load_one(Template, "template", "templates")({key: {"uuid": "t"}}).uuid == "t"


@pytest.mark.parametrize(
    ("team", "read"), [({}, None), (None, None), ({"uuid": "t", "members": 2}, Team(uuid="t", members=2))]
)
def test_a_contact_s_team_may_be_empty(team: Any, read: Team | None) -> None:
    """`{}` and null mean no team."""
    assert structure({"team": team}, Contact).team == read


def test_a_contact_s_channel_is_an_object_or_a_name() -> None:
    """An object is a `Channel`, a name is a string."""
    assert structure({"channel": "whatsapp"}, Contact).channel == "whatsapp"
    assert structure({"channel": {"uuid": "c", "main": True}}, Contact).channel == Channel(uuid="c", main=True)


@pytest.mark.parametrize(
    ("value", "discarded"), [(True, True), (False, False), (None, False), ("2024-02-16T10:12:55Z", True)]
)
def test_a_channel_is_discarded_by_boolean_or_date(value: Any, discarded: bool) -> None:
    """`discardedAt` is read in both documented forms."""
    assert structure({"discardedAt": value}, Channel).discarded is discarded


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("2020-11-13T21:08:53Z", datetime(2020, 11, 13, 21, 8, 53, tzinfo=UTC)),
        ("2022-10-18T12:06:29.000+02:00", datetime(2022, 10, 18, 12, 6, 29, tzinfo=timezone(timedelta(hours=2)))),
        ("2025-12-18 20:00:19 +0100", datetime(2025, 12, 18, 20, 0, 19, tzinfo=timezone(timedelta(hours=1)))),
        ("yesterday", None),
        (5, None),
    ],
)
def test_dates_come_in_all_documented_forms(value: Any, read: datetime | None) -> None:
    """Each form is an aware date; any other value is left out, and kept in `raw`."""
    funnel = structure({"createdAt": value}, Funnel)
    assert funnel.created_at == read
    assert funnel.raw == {"createdAt": value}


def test_a_member_s_date_is_spelt_both_ways() -> None:
    """Some bodies have `lastUpdateAt` instead of `lastUpdatedAt`."""
    assert structure({"lastUpdateAt": "2024-02-06T15:02:30Z"}, TeamMember).last_updated_at == datetime(
        2024, 2, 6, 15, 2, 30, tzinfo=UTC
    )


def test_a_user_s_status_is_a_flat_model() -> None:
    """The nested snake_case response is one flat model; without a custom status it has `None`."""
    status = load_user_status(documented("users/put_user_status"))
    assert (status.available, status.custom_status and status.custom_status.name) == (False, "Vacationing")
    assert status.available_updated_at is not None
    assert status.raw == documented("users/put_user_status")["user_status"]
    bare = {"user_status": {"custom_status": None, "appearance": {"available": True}}}
    assert load_user_status(bare) == UserStatus(available=True)


def test_a_checkbox_has_its_list_in_the_metadata() -> None:
    """`custom_fields` keeps Callbell's JSON string, `custom_fields_metadata` the list, its type and its options."""
    contact = load_one(Contact, "contact")(documented("contacts/get_contact.include_field_types"))
    assert contact.custom_fields["Features"] == '["Dark Mode", "Notifications"]'
    assert contact.custom_fields_metadata["Features"] == CustomField(
        value=["Dark Mode", "Notifications"], type="checkbox", options=("Dark Mode", "Notifications", "Analytics")
    )


def test_enums_are_enums_until_callbell_adds_to_them() -> None:
    """A known value is a member of the enum, an unknown one a plain string."""
    template = structure({"status": "approved", "templateType": "image"}, Template)
    assert template.status is TemplateStatus.APPROVED
    assert template.template_type is TemplateType.IMAGE
    assert structure({"status": "sleeping"}, Template).status == "sleeping"


@pytest.mark.parametrize("count", [True, 1.5, 1e19, "3", [3]], ids=repr)
def test_a_count_is_a_whole_number(count: Any) -> None:
    """A value that only looks like a whole number is left out, not rounded."""
    assert structure({"members": count}, Team) == Team()


@pytest.mark.parametrize("payload", ["message_object", {"uuid": "u"}])
def test_a_delivery_s_payload_is_a_string_or_an_object(payload: Any) -> None:
    """Both documented forms are kept unchanged."""
    assert structure({"payload": payload}, WebhookDelivery).payload == payload


def test_a_value_of_another_type_counts_as_missing() -> None:
    """One field that can't be read leaves the others as they are."""
    team = structure({"uuid": "t", "members": {}, "default": "yes", "name": ["x"]}, Team)
    assert team == Team(uuid="t")
    assert team.raw["default"] == "yes"


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_unknown_keys_are_ignored_and_null_is_missing(cls: type[Any]) -> None:
    """A key that Callbell adds is ignored; null and missing are the same."""
    assert structure({"somethingNew": {"a": 1}}, cls) == cls()
    assert structure(dict.fromkeys(dump_keys(cls)), cls) == cls()


def dump_keys(cls: type[Any]) -> list[str]:
    """The keys a model is read from, in camelCase."""
    words = (name.split("_") for name in cls.__slots__ if not name.startswith("__"))
    return [head + "".join(map(str.capitalize, tail)) for head, *tail in words]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def hostile(cls: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the model's keys and any values."""
    return st.dictionaries(st.sampled_from([*dump_keys(cls), "from", "to", "user_email", "phone"]), JSON, max_size=6)


@pytest.mark.parametrize("name", LOADERS, ids=str)
@brief
@given(data=st.data())
def test_any_json_gives_a_model_or_a_decode_error(name: str, data: st.DataObject) -> None:
    """Any JSON in a response is a model, or raises `ResponseDecodeError` and no other exception."""
    document = documented(name)
    key = next(iter(document))
    body = data.draw(
        JSON
        | st.builds(lambda value: {key: value}, JSON)
        | st.builds(lambda value: {key: value, "meta": value}, st.lists(JSON, max_size=2))
        | st.builds(lambda value: {key: [value], "message": value}, st.sampled_from(MODELS).flatmap(hostile))
        | st.builds(lambda value: {key: value}, st.sampled_from(MODELS).flatmap(hostile))
    )
    response = Response(200, {}, orjson.dumps(body))
    try:
        loaded = read_response(Request("GET", "/x"), response, LOADERS[name])
    except ResponseDecodeError:
        return
    assert isinstance(loaded, (MessageReceipt, Page, *MODELS))


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
@brief
@given(data=st.data())
def test_models_survive_a_round_trip(cls: type[Any], data: st.DataObject) -> None:
    """A model that was read, written as JSON and read again is equal to itself."""
    model = structure(data.draw(hostile(cls)), cls)
    assert structure(orjson.loads(orjson.dumps(dump_model(model))), cls) == model


@quick
@given(
    moment=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    names=st.lists(st.text(min_size=1), max_size=3),
    member=st.builds(TeamMember, email=st.text(), available=st.booleans()),
)
def test_dates_lists_and_models_survive_too(moment: datetime, names: list[str], member: TeamMember) -> None:
    """Dates, lists and models are equal after a round trip."""
    contact = Contact(created_at=moment, tags=tuple(names), team=Team(name="Support", members=3), channel="whatsapp")
    assert structure(orjson.loads(orjson.dumps(dump_model(contact))), Contact) == contact
    assert structure(orjson.loads(orjson.dumps(dump_model(member))), TeamMember) == member
