"""Fields of webhook events as they were seen in captured events: other forms than documented."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from callbell_async import (
    Attachment,
    AttachmentKind,
    Channel,
    Contact,
    ContactCard,
    ContactCardPhone,
    Conversation,
    InteractiveList,
    Location,
    MessageContext,
    MessageCreated,
    MessageFailure,
    MessageReceipt,
    MessageStatus,
    MessageStatusUpdated,
    ReplyButton,
    ReplyOption,
    Team,
    TeamMembershipUpdated,
)
from tests.fixtures.event_documents import created, documented, parse, status_updated


def test_the_outer_date_is_kept() -> None:
    """The `createdAt` beside the event is `sent_at`; any other value is left out."""
    assert parse({**documented("contact_deleted"), "createdAt": "2025-12-18 20:00:19 +0100"}).sent_at == datetime(
        2025, 12, 18, 19, 0, 19, tzinfo=UTC
    )
    assert parse({**documented("contact_deleted"), "createdAt": "yesterday"}).sent_at is None
    assert parse({**documented("contact_deleted"), "createdAt": 5}).sent_at is None


@pytest.mark.parametrize(("value", "incoming"), [("received", True), ("sent", False), ("note", False), (None, False)])
def test_a_message_knows_its_direction(value: str | None, incoming: bool) -> None:
    """Only a `received` message is incoming; messages of users and bots are `sent`."""
    event = created(status=value)
    assert (event.is_incoming, event.status) == (incoming, value)


@pytest.mark.parametrize("identifier", ["wamid.HBgLMzE2MTIzNDU2NzgVAgASGBQ=", "adf3d1216d4c4dcd908199d6700f2381"])
def test_a_uuid_is_an_opaque_string(identifier: str) -> None:
    """Both forms are kept unchanged."""
    assert created(uuid=identifier).uuid == identifier


@pytest.mark.parametrize("number", ["+31 6 12345678", "31612345678", None])
def test_a_number_is_as_callbell_writes_it(number: str | None) -> None:
    """Numbers keep their blanks, in the message and in its contact; null is `None`."""
    event = created(**{"from": number}, contact={"uuid": "u", "phoneNumber": number, "name": None})
    assert event.sender == number
    assert event.contact == Contact(uuid="u", phone_number=number)


def test_a_number_may_be_a_json_number() -> None:
    """A number without quotes is read as a string."""
    assert created(to=31612345678).recipient == "31612345678"


def test_a_contact_s_channel_is_an_object_and_a_message_s_a_name() -> None:
    """A message's channel is a name and its contact's channel an object, in one event."""
    channel = {"main": True, "type": "whatsapp", "uuid": "c", "title": "Shop", "discardedAt": None}
    event = created(
        channel="whatsapp", contact={"uuid": "u", "channel": channel, "team": {"uuid": "t", "name": "Sales"}}
    )
    assert event.channel == "whatsapp"
    assert event.contact == Contact(
        uuid="u",
        channel=Channel(main=True, type="whatsapp", uuid="c", title="Shop"),
        team=Team(uuid="t", name="Sales"),
    )


@pytest.mark.parametrize("contact", [{"uuid": "u"}, [{"uuid": "u"}], '{"uuid":"u"}'], ids=["object", "list", "string"])
def test_an_object_may_come_in_a_list_or_a_string(contact: Any) -> None:
    """An object is read as it is, as the one item of a list, and as a JSON string."""
    assert created(contact=contact).contact == Contact(uuid="u")


@pytest.mark.parametrize("contact", [None, {}, [], "u", 5, [{"uuid": "u"}, {"uuid": "v"}]], ids=repr)
def test_a_value_that_is_not_an_object_is_none(contact: Any) -> None:
    """An empty, ambiguous or other value in place of a contact is `None`."""
    assert created(contact=contact).contact is None


@pytest.mark.parametrize("key", ["messageContext", "mesageContext"])
@pytest.mark.parametrize("boxed", [True, False])
def test_a_context_is_spelt_both_ways(key: str, boxed: bool) -> None:
    """The context is read under its name and under the documented misspelling."""
    target = {"text": "How much?", "createdAt": "2025-12-18 20:00:19 +0100", "status": "sent"}
    event = created(**{key: {"target": target} if boxed else target})
    assert event.context == MessageContext(
        text="How much?", created_at=datetime(2025, 12, 18, 19, 0, 19, tzinfo=UTC), status="sent"
    )


def test_the_right_spelling_wins() -> None:
    """With both spellings, the right one counts, unless it is null."""
    assert created(messageContext=None, mesageContext={"target": {"text": "a"}}).context == MessageContext(text="a")
    assert created(messageContext={"text": "b"}, mesageContext={"text": "a"}).context == MessageContext(text="b")


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
    """Only `true` means forwarded."""
    assert created(messageForward=forward).is_forwarded is read


METADATA = {"order": "15", "paid": True, "total": 2.5, "count": 3, "none": None, "nested": {"b": [1], "a": None}}


@pytest.mark.parametrize("form", [METADATA, orjson.dumps(METADATA).decode()], ids=["object", "JSON string"])
@pytest.mark.parametrize("event", ["message_created", "message_status_updated"])
def test_metadata_are_strings_in_either_form(event: str, form: Any) -> None:
    """Metadata are read from an object and from a JSON string; other values become their JSON text, and null is left out."""
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
    """Metadata of another type are empty, and kept in `raw`."""
    event = created(metadata=form)
    assert event.metadata == {}
    assert event.raw["payload"]["metadata"] == form


def test_a_list_s_metadata_may_be_an_object() -> None:
    """The interactive list is read from the documented JSON string, and from an object."""
    inner = orjson.loads(documented("message_created")["payload"]["messageInteractiveList"]["metadata"])
    event = parse(documented("message_created"))
    assert isinstance(event, MessageCreated)
    assert created(messageInteractiveList={"metadata": inner}).interactive_list == event.interactive_list


def test_reply_buttons_may_come_as_a_json_string() -> None:
    """The reply buttons are read from a JSON string, as the list is."""
    inner = documented("message_created")["payload"]["messageReplyButton"]["metadata"]
    event = parse(documented("message_created"))
    assert isinstance(event, MessageCreated)
    boxed = created(messageReplyButton={"metadata": orjson.dumps(inner).decode()})
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
    """Latitude and longitude are numbers or strings of numbers; an empty place is `None`."""
    assert created(messageLocation=value).location == read


def test_parts_of_a_message_that_cannot_be_read_are_left_out() -> None:
    """A card, phone, button or section that can't be read is left out, and the others are kept."""
    event = created(
        messageContactCard={"contactsInfo": [None, "x", {"name": "A", "phones": [5, {"phone": 31612345678}]}, {}]},
        messageReplyButton={"metadata": {"options": ["x", {"title": "Yes"}], "content": "x"}},
        messageInteractiveList={"metadata": {"buttons": ["Go", {}, {"title": "On"}], "sections": [[], {"items": 5}]}},
    )
    assert event.contact_cards == (ContactCard(name="A", phones=(ContactCardPhone(phone="31612345678"),)),)
    assert event.reply_button == ReplyButton(options=(ReplyOption(title="Yes"),))
    assert event.interactive_list == InteractiveList(buttons=("Go", "On"))


# --- attachments ------------------------------------------------------------------------------------------------------


def test_attachments_are_urls() -> None:
    """Each attachment has its URL; a voice note is an audio file with an empty text."""
    event = created(text="", attachments=["https://x.example/a/voice.mp3?sig=a.pdf"])
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
def test_other_values_among_attachments_are_left_out(value: Any, urls: list[str]) -> None:
    """A single attachment and objects with a URL are read; other items are left out."""
    assert [attachment.url for attachment in created(attachments=value).attachments] == urls


@pytest.mark.parametrize(
    "item",
    [
        {"url": "https://x.example/1", "content_type": "image/png", "file_name": "a.png", "size": 12},
        {"url": "https://x.example/1", "contentType": "image/png", "fileName": "a.png", "size": "12"},
        {"url": "https://x.example/1", "mime_type": "image/png", "filename": "a.png", "file_size": 12, "new": {}},
    ],
)
def test_an_attachment_may_be_an_object(item: Any) -> None:
    """An attachment given as an object has its content type, its file name and its size in bytes."""
    (attachment,) = created(attachments=[item]).attachments
    expected = Attachment(url="https://x.example/1", content_type="image/png", file_name="a.png", size=12)
    assert attachment == expected
    assert attachment.kind is AttachmentKind.IMAGE
    assert "a.png" not in repr(attachment)


@pytest.mark.parametrize("size", [-1, True, 1.5, "big", "", "9" * 5000, [], None])
def test_a_wrong_size_is_none(size: Any) -> None:
    """A size that is not a whole number of bytes is left out; the rest of the attachment is read."""
    (attachment,) = created(attachments=[{"url": "u", "size": size, "content_type": 5, "file_name": []}]).attachments
    assert attachment.size is None
    assert attachment.url == "u"


@pytest.mark.parametrize(
    ("content_type", "file_name", "kind"),
    [
        ("image/jpeg", None, AttachmentKind.IMAGE),
        ("Audio/ogg; codecs=opus", None, AttachmentKind.AUDIO),
        ("video", None, AttachmentKind.VIDEO),
        ("document", None, AttachmentKind.DOCUMENT),
        ("application/octet-stream", "a.PDF", AttachmentKind.DOCUMENT),
        ("application/octet-stream", None, None),
        (None, "voice.ogg", AttachmentKind.AUDIO),
        ("", "", None),
    ],
)
def test_an_attachment_s_kind_may_be_in_its_type(content_type: Any, file_name: Any, kind: Any) -> None:
    """The content type decides, then the suffix of the URL, then that of the file name."""
    assert Attachment(url="https://x.example/1", content_type=content_type, file_name=file_name).kind is kind


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
    """The suffix of the path is the kind, in upper or lower case, not the host or the query; an unknown suffix is `None`."""
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
def test_a_failed_status_has_its_reason(report: Any, failure: MessageFailure) -> None:
    """The reports of both integrations are failures, in the event and in its receipt; without a report the failure is empty."""
    event = status_updated(uuid="u", status="failed", messageStatusPayload=report)
    assert event.failure == failure
    assert event.receipt is not None
    assert event.receipt.failure == failure


@pytest.mark.parametrize("report", [GUPSHUP, META])
def test_a_report_may_be_a_json_string(report: Any) -> None:
    """A report in a JSON string is read as an object; any other value is kept unchanged."""
    event = status_updated(uuid="u", status="failed", messageStatusPayload=orjson.dumps(report).decode())
    assert event.status_payload == report
    assert event.failure == status_updated(uuid="u", status="failed", messageStatusPayload=report).failure
    assert event.failure != MessageFailure()
    for other in ("no number", "[1]", 5, [1, 2]):
        assert status_updated(status="failed", messageStatusPayload=other).status_payload == other


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (
            {"messaging": {"value": {"statuses": [{"status": "sent"}, {"id": "x"}, {"status": "delivered"}]}}},
            "delivered",
        ),
        ({"id": "i", "type": "read", "payload": {"ts": 1}}, "read"),
        (META, None),
        ({"messaging": {"value": {"statuses": "?"}}}, None),
        ("?", None),
        (None, None),
    ],
)
def test_the_integration_s_own_status_is_typed(report: Any, status: str | None) -> None:
    """The status in the report of Meta's or Gupshup's integration is available in the event and in its receipt."""
    event = status_updated(uuid="u", status="sent", messageStatusPayload=report)
    assert event.integration_status == status
    assert event.receipt is not None
    assert event.receipt.integration_status == status


@pytest.mark.parametrize(
    ("href", "uuid"),
    [
        ("https://dash.callbell.eu/chat/f3670b13446b412796238b1cd78899f9", "f3670b13446b412796238b1cd78899f9"),
        ("https://dash.callbell.eu/chat/f367?tab=1#x", "f367"),
        ("https://dash.callbell.eu/contacts/eb2b", None),
        ("https://dash.callbell.eu/chat/", None),
        (None, None),
    ],
)
def test_a_conversation_s_uuid_is_in_its_url(href: str | None, uuid: str | None) -> None:
    """Callbell gives the identifier of a conversation only in its URL; contact and conversation have it as an attribute."""
    assert Contact(conversation_href=href).conversation_uuid == uuid
    assert Conversation(href=href).uuid == uuid


@pytest.mark.parametrize("value", ["sent", "mismatch", "on its way", None])
def test_only_a_failed_status_has_a_failure(value: str | None) -> None:
    """A report without the status `failed` is not a failure."""
    assert status_updated(uuid="u", status=value, messageStatusPayload=GUPSHUP).failure is None


def test_a_status_without_a_uuid_has_no_receipt() -> None:
    """A status event without a uuid has no receipt, but has its failure."""
    event = status_updated(status="failed", messageStatusPayload=META)
    assert event.receipt is None
    assert event.failure is not None
    assert event.failure.outside_reply_window


def test_a_status_built_by_hand_is_a_receipt_too() -> None:
    """An event that was built in Python has a receipt as well."""
    assert MessageStatusUpdated(key="k", uuid="u", status="sent").receipt == MessageReceipt("u", "sent")


def test_enums_are_enums_until_callbell_adds_to_them() -> None:
    """A known value is a member of the enum, an unknown one a plain string."""
    assert status_updated(status="delivered").status is MessageStatus.DELIVERED
    assert status_updated(status="sleeping").status == "sleeping"
    for name, key, field in [
        ("agent_session_updated", "action", "action"),
        ("team_membership_updated", "reason", "reason"),
    ]:
        assert getattr(parse({"event": name, "payload": {key: "promoted"}}), field) == "promoted"


def test_a_membership_s_date_is_spelt_both_ways() -> None:
    """`lastUpdateAt` is documented; the other spelling is read, too."""
    event = parse({"event": "team_membership_updated", "payload": {"lastUpdatedAt": "2024-02-06T15:02:30Z"}})
    assert event == TeamMembershipUpdated(key=event.key, updated_at=datetime(2024, 2, 6, 15, 2, 30, tzinfo=UTC))
