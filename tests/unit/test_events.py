"""Documented webhook events: each is read into its class, whole."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from callbell_async import (
    AgentSessionUpdated,
    Contact,
    ContactCard,
    ContactCardPhone,
    Conversation,
    ConversationClosed,
    CustomStatus,
    Event,
    InteractiveList,
    ListItem,
    ListSection,
    Location,
    MembershipReason,
    MessageCreated,
    MessageReceipt,
    MessageStatus,
    MessageStatusUpdated,
    ReplyButton,
    ReplyOption,
    SessionAction,
    Team,
    TeamMember,
    UnknownEvent,
)
from tests.fixtures.event_documents import EVENTS, KINDS, documented, parse

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


def test_every_documented_event_has_its_kind() -> None:
    """Every documented event has a class."""
    assert sorted(KINDS) == sorted(path.stem for path in EVENTS.glob("*.json"))


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_documented_event_is_of_its_kind(name: str, kind: type[Event]) -> None:
    """Each event has its own class, Callbell's name, and the whole untouched JSON."""
    event = parse(documented(name))
    assert type(event) is kind
    assert event.name == name
    assert event.raw == documented(name)
    assert event.sent_at is None


def test_a_documented_message() -> None:
    """Every value of the documented message is in a field, without the objects around it."""
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
    """A status event has the message's uuid, and its receipt."""
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
    """Every value of a documented event is in a field."""
    event = parse(documented(name))
    assert event == KINDS[name](key=event.key, **fields)


def test_an_event_is_taken_apart_by_match() -> None:
    """A `match` statement reaches every level of an event, enums included."""

    def described(event: Event) -> str:
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

    assert described(parse(documented("message_created"))) == "John Doe: Hello"
    assert described(parse(documented("message_status_updated"))) == "adf3d1216d4c4dcd908199d6700f2381 was read"
    assert described(parse(documented("conversation_closed"))) == "eb2b914a977e4ab896e7b886698b3eac: issue_resolved"
    assert described(parse(documented("agent_session_updated"))) == "hello"
    assert described(parse({"event": "call_missed", "payload": {"a": 1}})) == "call_missed 1"


@pytest.mark.parametrize("name", KINDS)
def test_events_are_values(name: str) -> None:
    """Events are frozen and hashable; events parsed from equal bytes, copied or pickled are equal."""
    event = parse(documented(name))
    again = parse(documented(name))
    assert {event, again} == {event}
    assert pickle.loads(pickle.dumps(event)) == event == copy.deepcopy(event)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.key = ""  # type: ignore[misc]
