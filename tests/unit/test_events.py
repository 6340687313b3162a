"""Webhook events: every documented one and each of its quirks, and what no documentation promises."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    AgentSessionUpdated,
    AgentStatusUpdated,
    Attachment,
    AttachmentKind,
    CallbellError,
    Channel,
    Contact,
    ContactCard,
    ContactCardPhone,
    ContactCreated,
    ContactDeleted,
    ContactUpdated,
    Conversation,
    ConversationClosed,
    ConversationOpened,
    CustomStatus,
    Event,
    EventDecodeError,
    InteractiveList,
    ListItem,
    ListSection,
    Location,
    MembershipReason,
    MessageContext,
    MessageCreated,
    MessageFailure,
    MessageReceipt,
    MessageStatus,
    MessageStatusUpdated,
    ReplyButton,
    ReplyOption,
    SessionAction,
    Team,
    TeamMember,
    TeamMembershipUpdated,
    UnknownEvent,
)
from callbell_async.webhooks import parse_event
from tests.fixtures.strategies import any_json, brief, quick

EVENTS = Path(__file__).parents[1] / "fixtures" / "events"

KINDS: dict[str, type[Event]] = {
    "agent_session_updated": AgentSessionUpdated,
    "agent_status_updated": AgentStatusUpdated,
    "contact_created": ContactCreated,
    "contact_deleted": ContactDeleted,
    "contact_updated": ContactUpdated,
    "conversation_closed": ConversationClosed,
    "conversation_opened": ConversationOpened,
    "message_created": MessageCreated,
    "message_status_updated": MessageStatusUpdated,
    "team_membership_updated": TeamMembershipUpdated,
}

JOHN = Contact(
    uuid="eb2b914a977e4ab896e7b886698b3eac",
    name="John Doe",
    phone_number="331122334455",
    created_at=datetime(2022, 10, 12, 15, 57, 16, tzinfo=UTC),
    source="whatsapp",
    href="https://dash.callbell.eu/contacts/eb2b914a977e4ab896e7b886698b3eac",
    conversation_href="https://dash.callbell.eu/chat/f3670b13446b412796238b1cd78899f9",
    tags=("Lead",),
)
CHAT = "https://dash.callbell.eu/chat/f3670b13446b412796238b1cd78899f9"
CLOSED = datetime(2023, 11, 20, 17, 14, 22, tzinfo=UTC)


def documented(name: str) -> Any:
    """A documented event."""
    return orjson.loads((EVENTS / f"{name}.json").read_bytes())


def parse(document: Any) -> Event:
    """The event in a document."""
    return parse_event(orjson.dumps(document))


def message(**payload: Any) -> MessageCreated:
    """A `message_created` with this payload."""
    event = parse({"event": "message_created", "payload": payload})
    assert isinstance(event, MessageCreated)
    return event


def status(**payload: Any) -> MessageStatusUpdated:
    """A `message_status_updated` with this payload."""
    event = parse({"event": "message_status_updated", "payload": payload})
    assert isinstance(event, MessageStatusUpdated)
    return event


# --- what is documented -----------------------------------------------------------------------------------------------


def test_every_documented_event_has_its_kind() -> None:
    """No documented event is left unread."""
    assert sorted(KINDS) == sorted(path.stem for path in EVENTS.glob("*.json"))


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_documented_event_is_of_its_kind(name: str, kind: type[Event]) -> None:
    """Each is given as its own class, under Callbell's name for it, with the whole untouched JSON."""
    event = parse(documented(name))
    assert type(event) is kind
    assert event.name == name
    assert event.raw == documented(name)
    assert event.sent_at is None


def test_a_documented_message() -> None:
    """All that the documented message carries is there, taken out of its boxes."""
    event = parse(documented("message_created"))
    assert event == MessageCreated(
        key=event.key,
        text="Hello",
        status="received",
        channel="whatsapp",
        sender="335544332211",
        recipient="331122334455",
        created_at=datetime(2022, 10, 18, 12, 6, 29, tzinfo=timezone(timedelta(hours=2))),
        contact=JOHN,
        location=Location(
            latitude=-23.605403621614,
            longitude=-46.637346962613,
            map_url=documented("message_created")["payload"]["messageLocation"]["googleMapsLocation"],
        ),
        contact_cards=(
            ContactCard(
                name="Peter Parker", phones=(ContactCardPhone(phone="3331122336699", wa_id="", type="MOBILE"),)
            ),
        ),
        reply_button=ReplyButton(
            type="quick_reply",
            header="header",
            text="hello text",
            caption="caption",
            url="https://url.com/uploads/conversation_attachment/url/12389/file.png",
            filename="file.png",
            content_type="image",
            options=tuple(
                ReplyOption(title=title, type="text", postback_text="", postback_url="")
                for title in ("Yes", "No", "Maybe")
            ),
        ),
        interactive_list=InteractiveList(
            header="Welcome to our restaurant",
            body="Have a look at our menu",
            buttons=("click here",),
            sections=(ListSection(title="Breakfast", items=(ListItem(header="Yogurt"), ListItem(header="Pancakes"))),),
        ),
    )


def test_a_documented_status() -> None:
    """A status names its message, and is a receipt of it."""
    event = parse(documented("message_status_updated"))
    payload = documented("message_status_updated")["payload"]
    assert isinstance(event, MessageStatusUpdated)
    assert event == MessageStatusUpdated(
        key=event.key,
        uuid="adf3d1216d4c4dcd908199d6700f2381",
        status=MessageStatus.READ,
        status_payload=payload["messageStatusPayload"],
        contact=JOHN,
    )
    assert event.receipt == MessageReceipt(
        "adf3d1216d4c4dcd908199d6700f2381", MessageStatus.READ, payload["messageStatusPayload"], JOHN
    )
    assert event.receipt is not None
    assert event.receipt.raw == payload
    assert event.failure is None


MEMBER = TeamMember(
    email="john.doe@gmail.com",
    name="John Doe",
    available=False,
    last_updated_at=datetime(2024, 2, 21, 12, 2, 47, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("contact_created", {"contact": JOHN}),
        ("contact_updated", {"contact": JOHN}),
        (
            "contact_deleted",
            {
                "uuid": "fad77e68757b43c3b77b51cd66ec18f3",
                "deleted_at": datetime(2022, 10, 17, 15, 15, 6, 95000, tzinfo=UTC),
            },
        ),
        (
            "conversation_opened",
            {
                "conversation": Conversation(
                    source="whatsapp", href=CHAT, contact=attrs.evolve(JOHN, conversation_href=None), created_at=CLOSED
                )
            },
        ),
        (
            "conversation_closed",
            {
                "conversation": Conversation(
                    source="whatsapp",
                    href=CHAT,
                    contact=attrs.evolve(JOHN, conversation_href=None),
                    created_at=CLOSED,
                    closed_at=CLOSED,
                    closing_reason="issue_resolved",
                )
            },
        ),
        (
            "agent_status_updated",
            {
                "user": attrs.evolve(
                    MEMBER,
                    user_custom_status=CustomStatus(
                        id="0d6041a2-8b88-49ec-a99b-a88a078a16c1",
                        name="Vacationing",
                        emoji="🌴",
                        updated_at=datetime(2025, 2, 4, 20, 21, 31, tzinfo=UTC),
                    ),
                )
            },
        ),
        ("agent_session_updated", {"action": SessionAction.USER_LOGGED_IN, "user": MEMBER}),
        (
            "team_membership_updated",
            {
                "reason": MembershipReason.AGENT_ADDED,
                "team": Team(
                    uuid="35402552d90c4041b6bcb9a3249c0263",
                    name="Support Team",
                    default=False,
                    members=3,
                    created_at=datetime(2024, 2, 16, 10, 12, 55, tzinfo=UTC),
                ),
                "user": TeamMember(
                    email="john.doe@gmail.com",
                    available=True,
                    last_updated_at=datetime(2024, 2, 6, 15, 2, 30, tzinfo=UTC),
                ),
                "updated_at": datetime(2024, 2, 21, 18, 34, 18, tzinfo=UTC),
            },
        ),
    ],
)
def test_nothing_documented_is_lost(name: str, fields: dict[str, Any]) -> None:
    """What a documented event says, its fields say."""
    event = parse(documented(name))
    assert event == KINDS[name](key=event.key, **fields)


def test_an_event_is_taken_apart_by_match() -> None:
    """A `match` statement reaches every level of an event, enums included."""

    def told(event: Event) -> str:
        match event:
            case MessageCreated(is_incoming=True, text=str(text), contact=Contact(name=str(name))):
                return f"{name}: {text}"
            case MessageStatusUpdated(status=MessageStatus.READ, uuid=uuid):
                return f"{uuid} was read"
            case ConversationClosed(contact=Contact(uuid=str(uuid)), conversation=Conversation(closing_reason=reason)):
                return f"{uuid}: {reason}"
            case AgentSessionUpdated(action="user_logged_in"):
                return "hello"
            case UnknownEvent(name=name, payload={"a": value}):
                return f"{name} {value}"
        return "?"

    assert told(parse(documented("message_created"))) == "John Doe: Hello"
    assert told(parse(documented("message_status_updated"))) == "adf3d1216d4c4dcd908199d6700f2381 was read"
    assert told(parse(documented("conversation_closed"))) == "eb2b914a977e4ab896e7b886698b3eac: issue_resolved"
    assert told(parse(documented("agent_session_updated"))) == "hello"
    assert told(parse({"event": "call_missed", "payload": {"a": 1}})) == "call_missed 1"


@pytest.mark.parametrize("name", KINDS)
def test_events_are_values(name: str) -> None:
    """An event is frozen, equal to what was parsed from the same bytes, fit for a set, and survives a copy and another process."""
    event = parse(documented(name))
    again = parse(documented(name))
    assert {event, again} == {event}
    assert pickle.loads(pickle.dumps(event)) == event == copy.deepcopy(event)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.key = ""  # type: ignore[misc]


# --- what was seen in captured events ---------------------------------------------------------------------------------


def test_the_outer_date_is_kept() -> None:
    """The `createdAt` beside the event is when it was sent; what is no date is none."""
    assert parse({**documented("contact_deleted"), "createdAt": "2025-12-18 20:00:19 +0100"}).sent_at == datetime(
        2025, 12, 18, 19, 0, 19, tzinfo=UTC
    )
    assert parse({**documented("contact_deleted"), "createdAt": "yesterday"}).sent_at is None
    assert parse({**documented("contact_deleted"), "createdAt": 5}).sent_at is None


@pytest.mark.parametrize(("value", "incoming"), [("received", True), ("sent", False), ("note", False), (None, False)])
def test_a_message_knows_its_direction(value: str | None, incoming: bool) -> None:
    """`received` is the customer's; own and bot messages are `sent`, and anything else is not incoming."""
    event = message(status=value)
    assert (event.is_incoming, event.status) == (incoming, value)


@pytest.mark.parametrize("identifier", ["wamid.HBgLMzE2MTIzNDU2NzgVAgASGBQ=", "adf3d1216d4c4dcd908199d6700f2381"])
def test_a_uuid_is_an_opaque_string(identifier: str) -> None:
    """Both forms are kept as they came."""
    assert message(uuid=identifier).uuid == identifier


@pytest.mark.parametrize("number", ["+57 319 2754701", "5492954602920", None])
def test_a_number_is_as_callbell_writes_it(number: str | None) -> None:
    """Blanks and all, in the message and in its contact; null is none."""
    event = message(**{"from": number}, contact={"uuid": "u", "phoneNumber": number, "name": None})
    assert event.sender == number
    assert event.contact == Contact(uuid="u", phone_number=number)


def test_a_number_may_be_a_json_number() -> None:
    """A number without its quotes is the same number."""
    assert message(to=5492954602920).recipient == "5492954602920"


def test_a_contact_s_channel_is_an_object_and_a_message_s_a_name() -> None:
    """In one event both forms stand."""
    channel = {"main": True, "type": "whatsapp", "uuid": "c", "title": "Shop", "discardedAt": None}
    event = message(
        channel="whatsapp", contact={"uuid": "u", "channel": channel, "team": {"uuid": "t", "name": "Sales"}}
    )
    assert event.channel == "whatsapp"
    assert event.contact == Contact(
        uuid="u",
        channel=Channel(main=True, type="whatsapp", uuid="c", title="Shop"),
        team=Team(uuid="t", name="Sales"),
    )


@pytest.mark.parametrize("contact", [{"uuid": "u"}, [{"uuid": "u"}], '{"uuid":"u"}'], ids=["object", "list", "string"])
def test_an_object_may_be_boxed(contact: Any) -> None:
    """An object is read as it is, in a list of its own, and as a JSON string."""
    assert message(contact=contact).contact == Contact(uuid="u")


@pytest.mark.parametrize("contact", [None, {}, [], "u", 5, [{"uuid": "u"}, {"uuid": "v"}]], ids=repr)
def test_an_object_that_is_none_is_none(contact: Any) -> None:
    """What is empty, of another kind or ambiguous is no contact."""
    assert message(contact=contact).contact is None


@pytest.mark.parametrize("key", ["messageContext", "mesageContext"])
@pytest.mark.parametrize("boxed", [True, False])
def test_a_context_is_spelt_both_ways(key: str, boxed: bool) -> None:
    """The message replied to is read under its name and under the documented misspelling."""
    target = {"text": "How much?", "createdAt": "2025-12-18 20:00:19 +0100", "status": "sent"}
    event = message(**{key: {"target": target} if boxed else target})
    assert event.context == MessageContext(
        text="How much?", created_at=datetime(2025, 12, 18, 19, 0, 19, tzinfo=UTC), status="sent"
    )


def test_the_right_spelling_wins() -> None:
    """Where both spellings stand, a null does not hide the other."""
    assert message(messageContext=None, mesageContext={"target": {"text": "a"}}).context == MessageContext(text="a")
    assert message(messageContext={"text": "b"}, mesageContext={"text": "a"}).context == MessageContext(text="b")


@pytest.mark.parametrize(
    ("forward", "read"),
    [
        ({"forwarded": True}, True),
        ({"forwarded": False}, False),
        ({}, False),
        (None, False),
        ({"forwarded": "no"}, False),
    ],
)
def test_a_message_may_be_forwarded(forward: Any, read: bool) -> None:
    """Only a plain yes is one."""
    assert message(messageForward=forward).is_forwarded is read


METADATA = {"order": "15", "paid": True, "total": 2.5, "count": 3, "none": None, "nested": {"b": [1], "a": None}}


@pytest.mark.parametrize("form", [METADATA, orjson.dumps(METADATA).decode()], ids=["object", "JSON string"])
@pytest.mark.parametrize("event", ["message_created", "message_status_updated"])
def test_metadata_are_strings_in_either_form(event: str, form: Any) -> None:
    """An object and a JSON string of one give the same pairs; what is no string is written as JSON, and null is left out."""
    read = parse({"event": event, "payload": {"metadata": form}})
    assert isinstance(read, MessageCreated | MessageStatusUpdated)
    assert read.metadata == {
        "order": "15",
        "paid": "true",
        "total": "2.5",
        "count": "3",
        "nested": '{"a":null,"b":[1]}',
    }


@pytest.mark.parametrize("form", [None, "", "order 15", "[1]", "{", 5, []], ids=repr)
def test_metadata_of_another_kind_are_none(form: Any) -> None:
    """What is no object has no pairs, and stays in `raw`."""
    event = message(metadata=form)
    assert event.metadata == {}
    assert event.raw["payload"]["metadata"] == form


def test_a_list_s_metadata_may_be_an_object() -> None:
    """The interactive list is read from the documented JSON string, and from an object."""
    inner = orjson.loads(documented("message_created")["payload"]["messageInteractiveList"]["metadata"])
    event = parse(documented("message_created"))
    assert isinstance(event, MessageCreated)
    assert message(messageInteractiveList={"metadata": inner}).interactive_list == event.interactive_list


def test_reply_buttons_may_come_as_a_json_string() -> None:
    """As the list's, so the buttons'."""
    inner = documented("message_created")["payload"]["messageReplyButton"]["metadata"]
    event = parse(documented("message_created"))
    assert isinstance(event, MessageCreated)
    boxed = message(messageReplyButton={"metadata": orjson.dumps(inner).decode()})
    assert boxed.reply_button == event.reply_button


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"coordinates": {"x": 52, "y": 4.9}}, Location(latitude=52.0, longitude=4.9)),
        ({"coordinates": {"x": "52.1", "y": "4.9"}}, Location(latitude=52.1, longitude=4.9)),
        ({"coordinates": {"x": True, "y": "inf"}, "googleMapsLocation": "u"}, Location(map_url="u")),
        ({"coordinates": None, "googleMapsLocation": "u"}, Location(map_url="u")),
        ({"coordinates": {"x": "north", "y": []}}, None),
        ({}, None),
        ("52.1,4.9", None),
    ],
    ids=repr,
)
def test_a_place_has_two_numbers(value: Any, read: Location | None) -> None:
    """Latitude and longitude are numbers, written as such or as strings; a place of nothing is none."""
    assert message(messageLocation=value).location == read


def test_what_a_message_carries_is_read_as_far_as_it_goes() -> None:
    """One card, phone, button or section that can't be read costs no other."""
    event = message(
        messageContactCard={"contactsInfo": [None, "x", {"name": "A", "phones": [5, {"phone": 31612345678}]}, {}]},
        messageReplyButton={"metadata": {"options": ["x", {"title": "Yes"}], "content": "x"}},
        messageInteractiveList={"metadata": {"buttons": ["Go", {}, {"title": "On"}], "sections": [[], {"items": 5}]}},
    )
    assert event.contact_cards == (ContactCard(name="A", phones=(ContactCardPhone(phone="31612345678"),)),)
    assert event.reply_button == ReplyButton(options=(ReplyOption(title="Yes"),))
    assert event.interactive_list == InteractiveList(buttons=("Go", "On"))


# --- attachments ------------------------------------------------------------------------------------------------------


def test_attachments_are_urls() -> None:
    """Each is an object with its URL; a voice note is an audio file beside an empty text."""
    event = message(text="", attachments=["https://x.example/a/voice.mp3?sig=a.pdf"])
    assert (event.text, event.attachments) == ("", (Attachment(url="https://x.example/a/voice.mp3?sig=a.pdf"),))
    assert event.attachments[0].kind is AttachmentKind.AUDIO


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        (["a", None, 5, "", {"url": "b"}, {}, "c"], ["a", "b", "c"]),
        ("a", ["a"]),
        ({"url": "a"}, ["a"]),
        (None, []),
        ([], []),
        (5, []),
    ],
    ids=repr,
)
def test_what_is_no_attachment_is_left_out(value: Any, urls: list[str]) -> None:
    """One alone, objects with a URL and gaps are all taken for what they are."""
    assert [attachment.url for attachment in message(attachments=value).attachments] == urls


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://x.example/photo.JPG", AttachmentKind.IMAGE),
        ("https://x.example/sticker.webp#f.mp4", AttachmentKind.IMAGE),
        ("https://x.example/voice.ogg?x=y.png", AttachmentKind.AUDIO),
        ("https://x.example/clip.mp4", AttachmentKind.VIDEO),
        ("https://x.example/a.b/invoice.v2.pdf", AttachmentKind.DOCUMENT),
        ("photo.png", AttachmentKind.IMAGE),
        ("https://x.example/a.pdf/raw", None),
        ("https://x.example/file", None),
        ("https://x.example/file.xyz", None),
        ("https://x.mp3", None),
        ("https://[::1/a.mp3", None),
        ("", None),
    ],
)
def test_an_attachment_s_kind_is_in_its_path(url: str, kind: AttachmentKind | None) -> None:
    """The ending of the path tells, in any case; the host and the query don't, and what tells nothing is `None`."""
    assert Attachment(url=url).kind is kind


# --- statuses ---------------------------------------------------------------------------------------------------------

GUPSHUP = {"id": "i", "gsId": "g", "type": "failed", "payload": {"code": 1002, "reason": "No such number"}}
META = {
    "messaging": {
        "value": {
            "statuses": [
                {"errors": [{"code": 131047, "title": "Re-engagement message", "error_data": {"details": "Too late"}}]}
            ]
        }
    }
}


@pytest.mark.parametrize(
    ("report", "failure"),
    [
        (GUPSHUP, MessageFailure(code="1002", reason="No such number")),
        (META, MessageFailure(code="131047", reason="Re-engagement message", details="Too late")),
        (None, MessageFailure()),
        ("?", MessageFailure()),
    ],
    ids=["Gupshup", "Meta", "none", "unreadable"],
)
def test_a_failed_status_says_why(report: Any, failure: MessageFailure) -> None:
    """Both integrations' shapes give a failure, in the event and in its receipt; without a report its reason is not known."""
    event = status(uuid="u", status="failed", messageStatusPayload=report)
    assert event.failure == failure
    assert event.receipt is not None
    assert event.receipt.failure == failure


@pytest.mark.parametrize("report", [GUPSHUP, META])
def test_a_report_may_be_a_json_string(report: Any) -> None:
    """It is read like one that is an object; one that is neither is kept as it came."""
    event = status(uuid="u", status="failed", messageStatusPayload=orjson.dumps(report).decode())
    assert event.status_payload == report
    assert event.failure == status(uuid="u", status="failed", messageStatusPayload=report).failure
    assert event.failure != MessageFailure()
    for other in ("no number", "[1]", 5, [1, 2]):
        assert status(status="failed", messageStatusPayload=other).status_payload == other


@pytest.mark.parametrize("value", ["sent", "mismatch", "on its way", None])
def test_only_a_failed_status_has_a_failure(value: str | None) -> None:
    """A report without the status `failed` is no failure."""
    assert status(uuid="u", status=value, messageStatusPayload=GUPSHUP).failure is None


def test_a_status_without_a_uuid_is_no_receipt() -> None:
    """A receipt names a message; the failure is known all the same."""
    event = status(status="failed", messageStatusPayload=META)
    assert event.receipt is None
    assert event.failure is not None
    assert event.failure.outside_reply_window


def test_a_status_built_by_hand_is_a_receipt_too() -> None:
    """An event that was never JSON has a receipt as well."""
    assert MessageStatusUpdated(key="k", uuid="u", status="sent").receipt == MessageReceipt("u", "sent")


def test_enums_are_enums_until_callbell_adds_to_them() -> None:
    """A known value is the enum's, an unknown one the plain string."""
    assert status(status="delivered").status is MessageStatus.DELIVERED
    assert status(status="sleeping").status == "sleeping"
    for name, key, field in [
        ("agent_session_updated", "action", "action"),
        ("team_membership_updated", "reason", "reason"),
    ]:
        assert getattr(parse({"event": name, "payload": {key: "promoted"}}), field) == "promoted"


def test_a_membership_s_date_is_spelt_both_ways() -> None:
    """`lastUpdateAt` is documented; the other spelling is read, too."""
    event = parse({"event": "team_membership_updated", "payload": {"lastUpdatedAt": "2024-02-06T15:02:30Z"}})
    assert event == TeamMembershipUpdated(key=event.key, updated_at=datetime(2024, 2, 6, 15, 2, 30, tzinfo=UTC))


# --- what comes twice -------------------------------------------------------------------------------------------------


def test_a_second_delivery_has_the_same_key() -> None:
    """Blanks, the order of keys and, where the payload names its message, the outer date don't count: it is the same event."""
    document = documented("message_created")
    document["payload"]["uuid"] = "wamid.A"
    key = parse(document).key
    turned = {"createdAt": "2025-12-18 20:00:19 +0100", "payload": dict(reversed(document["payload"].items()))}
    again = parse_event(orjson.dumps({**turned, "event": "message_created"}, option=orjson.OPT_INDENT_2))
    assert again.key == key
    assert len(bytes.fromhex(key)) == 16


def test_other_events_have_other_keys() -> None:
    """The name and everything in the payload count."""
    payload = documented("contact_created")["payload"]
    documents: list[Any] = [
        *map(documented, KINDS),
        {"event": "contact_created"},
        {"event": "contact_created", "payload": {}},
        {"event": "contact_created", "payload": {**payload, "addedLater": 1}},
        {"event": "contact_created", "payload": {**payload, "tags": ["Lead", "New"]}},
        {"event": "contact_created", "payload": {**payload, "name": "john Doe"}},
        {"event": "contact_imported", "payload": payload},
    ]
    assert len({parse(document).key for document in documents}) == len(documents)


def test_the_outer_date_tells_later_events_apart() -> None:
    """A user's second login is another event than the first, where Callbell says when; without a date they can't be told apart."""
    document = documented("agent_session_updated")
    first, second = ({**document, "createdAt": f"2025-12-1{day} 20:00:19 +0100"} for day in (7, 8))
    assert len({parse(document).key, parse(first).key, parse(second).key}) == 3
    assert parse(first).key == parse({**first}).key


@pytest.mark.parametrize("name", ["message_created", "message_status_updated"])
def test_the_outer_date_of_a_message_s_event_does_not_count(name: str) -> None:
    """A message is created once, and has each status once: whatever date a second delivery carries, it is the same event."""
    document = documented(name)
    document["payload"]["uuid"] = "wamid.A"
    for payload in (document["payload"], orjson.dumps(document["payload"]).decode()):
        event = {**document, "payload": payload}
        assert parse({**event, "createdAt": "2025-12-18 20:00:19 +0100"}).key == parse(event).key


@pytest.mark.parametrize("name", ["message_created", "message_status_updated"])
@pytest.mark.parametrize("uuid", [None, ""])
def test_the_outer_date_tells_messages_without_a_uuid_apart(name: str, uuid: str | None) -> None:
    """Who says "Hello" twice within a second has sent two messages, though nothing but the outer date tells them apart."""
    document = documented(name)
    document["payload"]["uuid"] = uuid
    first, second = ({**document, "createdAt": f"2025-12-18T20:00:19.{part}Z"} for part in (100, 900))
    assert parse(first).key != parse(second).key
    assert parse(first).key == parse({**first}).key


def test_a_key_stays_the_same_between_versions() -> None:
    """Keys are kept in stores: what made them before makes them still."""
    assert parse(documented("contact_deleted")).key == "0e4533520aeca413bccc0d883323bfc5"


# --- what nobody promised ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{"a": 1}, [1], "x", 5, None], ids=repr)
def test_an_unknown_event_is_kept(payload: Any) -> None:
    """What Callbell adds arrives with its name and its JSON."""
    document = {"event": "call_missed", "payload": payload}
    event = parse(document)
    assert event == UnknownEvent(key=event.key, name="call_missed", payload=payload)
    assert event.raw == document


def test_an_event_without_a_payload_is_kept() -> None:
    """Neither a known nor an unknown event needs one."""
    for name in ("call_missed", "message_created", ""):
        event = parse({"event": name})
        assert event == UnknownEvent(key=event.key, name=name)


@pytest.mark.parametrize("payload", [[1], "x", 5, None, True, [{}, {}]], ids=repr)
@pytest.mark.parametrize("name", KINDS)
def test_a_known_event_without_an_object_is_kept_as_unknown(name: str, payload: Any) -> None:
    """A payload that is no object has no fields to read: it is handed on as it came."""
    event = parse({"event": name, "payload": payload})
    assert event == UnknownEvent(key=event.key, name=name, payload=payload)


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_an_empty_payload_is_an_event_of_nothing(name: str, kind: type[Event]) -> None:
    """Every field may be missing; those that are the payload itself are empty models."""
    event = parse({"event": name, "payload": {}})
    assert type(event) is kind
    models = {Contact(), Conversation(), TeamMember()}
    given_fields = set(attrs.asdict(event, recurse=False)) - {"name", "key", "raw"}
    assert [value for field in given_fields if (value := getattr(event, field)) and value not in models] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no event: not JSON"),
        (b"{", "no event: not JSON"),
        (b"status=ok", "no event: not JSON"),
        (b'{"event": "\xff335544332211"}', "no event: not JSON"),
        (b'{"event": "335544332211" "a"}', "no event: not JSON"),
        (b'{"event": "\\ud800335544332211"}', "no event: not JSON"),
        (b'\xef\xbb\xbf{"event": "x"}', "no event: not JSON"),
        (b'["335544332211"]', "no event: an object was expected, not list"),
        (b'"335544332211"', "no event: an object was expected, not str"),
        (b"null", "no event: an object was expected, not NoneType"),
        (b"{}", 'no event: the document has no string "event"'),
        (b'{"event": null, "payload": {"335544332211": 1}}', 'no event: the document has no string "event"'),
        (b'{"event": ["335544332211"]}', 'no event: the document has no string "event"'),
        (b"[" * 100_000, "no event: not JSON"),
    ],
)
def test_a_body_that_holds_no_event_is_refused(body: bytes, said: str) -> None:
    """Only what is no JSON object with a string `event` is refused, and the refusal quotes nothing of it."""
    with pytest.raises(EventDecodeError) as caught:
        parse_event(body)
    assert str(caught.value).startswith(said)
    assert "335544332211" not in f"{caught.value!s}{caught.value!r}"
    assert isinstance(caught.value, CallbellError)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("depth", [10, 300, 900])
@pytest.mark.parametrize("name", ["message_created", "call_missed"])
def test_a_payload_may_be_nested_deeply(name: str, depth: int) -> None:
    """What can be parsed is an event with a key, however deep it goes."""
    nested = b'{"metadata":{"a":' + b'{"a":' * depth + b"1" + b"}" * depth + b',"b":"c"}}'
    body = b'{"event":"%s","payload":%s}' % (name.encode(), nested)
    event = parse_event(body)
    assert len(event.key) == 32
    assert event.key == parse_event(body).key
    assert isinstance(event, KINDS.get(name, UnknownEvent))
    if isinstance(event, MessageCreated):
        assert event.metadata["b"] == "c"


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of everything within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def changed(document: Any, path: tuple[Any, ...], value: Any = None, *, remove: bool = False) -> Any:
    """A copy of a document with something else at a place, or nothing."""
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


WRONG: list[Any] = [None, "", [], {}, 5, True, 1e300, "x", [None], [[]]]
"""What may stand where something else is documented."""


@pytest.mark.parametrize("name", KINDS)
def test_nothing_in_an_event_is_needed(name: str) -> None:
    """Whatever is missing, null, empty or of another kind in a documented payload, the rest of the event is read."""
    document = documented(name)
    for path in paths(document["payload"], ("payload",)):
        variants = [changed(document, path, remove=True), *(changed(document, path, value) for value in WRONG)]
        for variant in variants:
            event = parse(variant)
            assert type(event) is KINDS[name]
            assert event.raw == variant
            for model in (event, getattr(event, "receipt", None), getattr(event, "failure", None)):
                hash(model)
                repr(model)


@pytest.mark.parametrize("name", KINDS)
def test_what_callbell_adds_breaks_nothing(name: str) -> None:
    """A new key, anywhere but in the integration's raw report, leaves all fields as they were."""
    document = documented(name)
    event = parse(document)
    for path in [
        ("x",),
        *((*path, "addedLater") for path in [("payload",), *paths(document["payload"], ("payload",))]),
    ]:
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        if isinstance(inner, dict) and "messageStatusPayload" not in path:
            assert attrs.evolve(parse(changed(document, path, {"new": [1]})), key=event.key) == event


KEYS = sorted(
    {key for name in KINDS for path in paths(documented(name)["payload"]) for key in path if isinstance(key, str)}
    | {"uuid", "attachments", "metadata", "messageContext", "mesageContext", "messageForward", "target", "forwarded"}
)
nearly_payloads: st.SearchStrategy[Any] = st.recursive(
    any_json | st.sampled_from(["2025-12-18 20:00:19 +0100", '{"a":1}', "[1]", "failed", "0001-01-01T00:00:00+23:59"]),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@pytest.mark.parametrize("name", [*KINDS, "call_missed"])
@brief
@given(payload=nearly_payloads | st.dictionaries(st.sampled_from(KEYS), nearly_payloads, max_size=8), sent=any_json)
def test_any_payload_is_an_event(name: str, payload: Any, sent: Any) -> None:
    """Any JSON under a known or unknown name gives an event of that name, which can be hashed, shown and asked anything."""
    document = orjson.loads(json.dumps({"event": name, "payload": payload, "createdAt": sent}))
    event = parse(document)
    assert isinstance(event, (KINDS.get(name, UnknownEvent), UnknownEvent))
    assert (event.name, event.raw) == (name, document)
    assert event == parse(document)
    hash(event)
    repr(event)
    if isinstance(event, MessageStatusUpdated):
        assert event.receipt is None or event.receipt.uuid == event.uuid
        assert event.failure is None or event.status == MessageStatus.FAILED
    if isinstance(event, MessageCreated):
        assert all(type(value) is str for pair in event.metadata.items() for value in pair)
        assert {attachment.kind for attachment in event.attachments} <= {None, *AttachmentKind}


@quick
@given(
    body=st.binary()
    | any_json.map(json.dumps).map(str.encode)
    | st.dictionaries(st.sampled_from(["event", "payload"]), any_json).map(json.dumps).map(str.encode)
)
def test_any_body_is_an_event_or_refused(body: bytes) -> None:
    """Any bytes give an event or an `EventDecodeError`, never another exception."""
    try:
        event = parse_event(body)
    except EventDecodeError:
        return
    assert isinstance(event, Event)


# --- what is shown ----------------------------------------------------------------------------------------------------

SHOWN = {"uuid", "status", "channel", "createdAt", "deleted", "lastUpdateAt", "action", "reason", "type", "contentType"}
"""The keys whose values may stand in a repr; all others' may not."""


def marked(value: Any, key: str = "") -> Any:
    """A JSON value whose strings and numbers all hold a mark, but for those that may be shown."""
    if isinstance(value, dict):
        return {inner_key: marked(inner, inner_key) for inner_key, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, key) for inner in value]
    if key == "metadata" and isinstance(value, str):
        return orjson.dumps(marked(orjson.loads(value))).decode()
    if key in SHOWN or value is None or isinstance(value, bool):
        return value
    return 9182736450 if isinstance(value, int | float) else f"¤{value}"


@pytest.mark.parametrize("name", [*KINDS, "call_missed"])
def test_a_repr_shows_no_number_text_or_name(name: str) -> None:
    """An event can be logged: neither it nor what it holds shows who it is about, or what was said."""
    document = marked(documented(name if name in KINDS else "message_created"))
    if name == "message_created":
        document["payload"] |= {
            "attachments": ["¤https://x.example/¤"],
            "metadata": {"¤": "¤"},
            "messageContext": {"target": {"text": "¤"}},
        }
    event = parse({**document, "event": name})
    fields = [getattr(event, field.name) for field in attrs.fields(type(event)) if field.name != "raw"]
    carried = [item for value in fields for item in (value if isinstance(value, tuple) else (value,))]
    for shown in (event, *(item for item in carried if type(item).__module__.endswith("models.parts"))):
        assert "¤" not in repr(shown)
        assert "9182736450" not in repr(shown)
    assert repr(event).startswith(type(event).__name__)
    assert event.key in repr(event)
