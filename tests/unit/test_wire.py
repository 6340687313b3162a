"""Messages written as JSON, and receipts read from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    Contact,
    Conversation,
    InvalidMessageError,
    Message,
    MessageReceipt,
    MessageStatus,
    ResponseDecodeError,
    TextMessage,
)
from callbell_async.endpoints.messages import read_receipt
from callbell_async.http.requests import Request
from callbell_async.http.responses import Response
from callbell_async.wire import WireError, dump_json, dump_message, load_receipt
from tests.fixtures import response_body, response_names
from tests.fixtures.strategies import nearly_receipts, quick

TO = "+31612345678"
UUID = "adf3d1216d4c4dcd908199d6700f2381"
REQUEST = Request("POST", "/messages/send", b"{}")


def receipt(**message: Any) -> MessageReceipt:
    """The receipt in a response with such a message."""
    return load_receipt({"message": {"uuid": UUID, "status": "enqueued", **message}})


def contact(**members: Any) -> Contact | None:
    """The contact of a receipt with such a contact."""
    return receipt(contact=members).contact


# --- messages, on the way out -----------------------------------------------------------------------------------------


def test_arguments_not_given_are_not_written() -> None:
    """Nulls and empty lists are not written."""
    assert json.loads(dump_message(TextMessage(to=TO, text="Hello!"))) == {
        "to": TO,
        "from": "whatsapp",
        "type": "text",
        "content": {"text": "Hello!"},
    }


def test_a_subclass_is_written_as_its_base_class() -> None:
    """A subclass of a message is written as its base class."""

    @attrs.frozen(kw_only=True)
    class Reminder(TextMessage):
        appointment: int

    reminder = Reminder(to=TO, text="Hello!", appointment=12)
    assert dump_message(reminder) == dump_message(TextMessage(to=TO, text="Hello!"))


def test_a_direct_subclass_of_message_is_refused() -> None:
    """A direct subclass of `Message` is refused; the error names `CustomMessage`."""

    class Sticker(Message):
        pass

    with pytest.raises(InvalidMessageError, match="Sticker can't be sent; build CustomMessage"):
        dump_message(Sticker(to=TO))


@pytest.mark.parametrize("value", [None, "Hello!", {"to": TO}, InvalidMessageError("text", "must not be blank")])
def test_a_value_that_is_not_a_message_is_refused(value: Any) -> None:
    """The error names the type, and does not quote the value."""
    with pytest.raises(InvalidMessageError) as caught:
        dump_message(value)
    assert str(caught.value) == f"message: must be a message such as TextMessage(...), not {type(value).__name__}"


@pytest.mark.parametrize("value", [object(), {"a": {1}}, {1: "a"}, "\ud83d", 2**64])
def test_a_value_that_json_cannot_hold_is_refused(value: Any) -> None:
    """The error of `dump_json` names the field."""
    with pytest.raises(InvalidMessageError) as caught:
        dump_json(value, field="json")
    assert caught.value.field == "json"
    assert caught.value.reason.startswith("can't be written as JSON: ")


def test_a_circle_is_refused() -> None:
    """An endless structure is refused like any other."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidMessageError):
        dump_json(value, field="json")


# --- receipts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", response_names("messages"))
def test_each_documented_response_is_read(name: str) -> None:
    """Every documented response is a receipt, with its untouched JSON in `raw`."""
    document = json.loads(response_body("messages", name))
    read = load_receipt(document)
    assert (read.uuid, read.status) == (UUID, MessageStatus.ENQUEUED)
    assert document == json.loads(response_body("messages", name))
    assert read.raw is document["message"]


def test_requested_fields_are_in_the_receipt() -> None:
    """`fields=conversation,contact` brings both, the contact in its short form."""
    read = load_receipt(json.loads(response_body("messages", "post_send.fields=conversation,contact")))
    assert read.contact == Contact(
        uuid="c7b3d1216d4c4dcd908199d6700f2381", name="John Doe", phone_number="+1234567890", email="john@doe.com"
    )
    assert read.conversation == Conversation(
        source="whatsapp",
        href="https://dash.callbell.eu/chat/f3670b13446b412796238b1cd78899f9",
        created_at=datetime(2024, 9, 23, 20, 9, 10, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("metadata", "read"),
    [
        ({"order": "4711"}, {"order": "4711"}),
        ('{"order": "4711"}', {"order": "4711"}),
        ({"order": 4711, "paid": True, "note": None}, {"order": "4711", "paid": "true"}),
        (None, {}),
        ("order", {}),
        (["order"], {}),
    ],
)
def test_metadata_in_a_receipt_are_strings(metadata: Any, read: dict[str, str]) -> None:
    """The metadata of a receipt are pairs of strings, from an object or its JSON text; anything else is left out."""
    assert receipt(metadata=metadata).metadata == read


def test_null_and_missing_are_the_same() -> None:
    """A receipt full of nulls equals one that has nothing but its uuid."""
    nulls = {"status": None, "messageStatusPayload": None, "contact": None, "conversation": None, "metadata": None}
    assert load_receipt({"message": {"uuid": UUID, **nulls}}) == load_receipt({"message": {"uuid": UUID}})
    assert receipt(contact={"uuid": "c7b3", "tags": None, "closedAt": None, "customFields": None}) == receipt(
        contact={"uuid": "c7b3"}
    )


def test_unknown_keys_are_ignored() -> None:
    """A key that Callbell adds is ignored at every level, and kept in `raw`."""
    document = {
        "message": {"uuid": UUID, "status": "enqueued", "price": 1, "contact": {"uuid": "c7b3", "mood": ["good"]}},
        "meta": {},
    }
    read = load_receipt(document)
    assert read == receipt(contact={"uuid": "c7b3"})
    assert read.raw["price"] == 1
    assert read.contact is not None
    assert read.contact.raw["mood"] == ["good"]


DOCUMENTED_STATUSES = ["enqueued", "sent", "delivered", "read", "failed", "mismatch", "deleted"]


@pytest.mark.parametrize("status", DOCUMENTED_STATUSES)
def test_known_statuses_are_an_enum(status: str) -> None:
    """Each documented status is a `MessageStatus`, and each `MessageStatus` is documented."""
    assert receipt(status=status).status is MessageStatus[status.upper()]
    assert {known.value for known in MessageStatus} == set(DOCUMENTED_STATUSES)


@pytest.mark.parametrize(("status", "read"), [("on_hold", "on_hold"), ("", ""), (None, None), (1, None), ({}, None)])
def test_unknown_statuses_are_strings(status: Any, read: str | None) -> None:
    """A status that Callbell adds is a plain string; a value of another type is left out."""
    assert receipt(status=status).status == read
    assert not isinstance(receipt(status=status).status, MessageStatus)


@pytest.mark.parametrize(
    "payload", [{"id": "1", "payload": {"ts": 1}}, [{"errors": [{"code": 131047}]}], "raw", 0, False]
)
def test_the_integrations_report_is_left_as_it_came(payload: Any) -> None:
    """`status_payload` keeps the integration's form."""
    assert receipt(messageStatusPayload=payload).status_payload == payload


@pytest.mark.parametrize("uuid", [None, "", 12, 0, True, [UUID], {"uuid": UUID}])
def test_a_receipt_without_uuid_is_refused(uuid: Any) -> None:
    """A missing or empty uuid, or one of another type, raises `WireError`: the message may or may not have been accepted."""
    with pytest.raises(WireError, match="no uuid"):
        load_receipt({"message": {"uuid": uuid, "status": "enqueued"}})
    with pytest.raises(WireError, match="no uuid"):
        load_receipt({"message": {"status": "enqueued"}})


@pytest.mark.parametrize(
    "document", [None, 1, "enqueued", [], {}, {"message": None}, {"message": [UUID]}, {"uuid": UUID}]
)
def test_a_response_without_a_message_is_refused(document: Any) -> None:
    """Any document other than `{"message": {…}}` raises `WireError`."""
    with pytest.raises(WireError, match='no object "message"'):
        load_receipt(document)


# --- contacts and conversations in a receipt --------------------------------------------------------------------------


def test_a_list_of_one_is_that_one() -> None:
    """A contact comes as an object or as a list of one, and so may a conversation."""
    one = {"uuid": "c7b3", "name": "John Doe"}
    assert receipt(contact=[one]).contact == receipt(contact=one).contact == Contact(uuid="c7b3", name="John Doe")
    assert receipt(conversation=[{"source": "whatsapp"}]).conversation == Conversation(source="whatsapp")


def test_a_contact_is_read_whole() -> None:
    """Every documented key that a contact has here is read under its Python name."""
    read = contact(
        uuid="414a",
        name="John Doe",
        phoneNumber="+123 456 789",
        email="john@doe.com",
        avatarUrl="https://example.com/a.png",
        blockedAt="2020-11-13T21:08:53Z",
        createdAt="2020-11-13T21:08:53Z",
        source="whatsapp",
        funnelId=12,
        closedAt="2020-11-13T21:08:53Z",
        href="https://dash.callbell.eu/contacts/414a",
        conversationHref="https://dash.callbell.eu/chat/f367",
        tags=["sales", "lead"],
        assignedUser="john.doe@email.com",
        customFields={"VAT": "ABC123DCE456", "Sizes": '["S", "M"]'},
        bsuid="US.13491208655302741918",
        note="call back",
    )
    moment = datetime(2020, 11, 13, 21, 8, 53, tzinfo=UTC)
    assert read == Contact(
        uuid="414a",
        name="John Doe",
        phone_number="+123 456 789",
        email="john@doe.com",
        avatar_url="https://example.com/a.png",
        blocked_at=moment,
        created_at=moment,
        source="whatsapp",
        funnel_id="12",
        closed_at=moment,
        href="https://dash.callbell.eu/contacts/414a",
        conversation_href="https://dash.callbell.eu/chat/f367",
        tags=("sales", "lead"),
        assigned_user="john.doe@email.com",
        custom_fields={"VAT": "ABC123DCE456", "Sizes": '["S", "M"]'},
        bsuid="US.13491208655302741918",
        note="call back",
    )


@pytest.mark.parametrize(
    ("members", "number"),
    [
        ({"phoneNumber": "1"}, "1"),
        ({"phone": "2"}, "2"),
        ({"phoneNumber": "1", "phone": "2"}, "1"),
        ({"phoneNumber": None, "phone": "2"}, "2"),
        ({"phoneNumber": None, "phone": None}, None),
    ],
)
def test_a_number_has_two_spellings(members: dict[str, Any], number: str | None) -> None:
    """`phoneNumber` counts before the short form's `phone`."""
    read = contact(uuid="c7b3", **members)
    assert read is not None
    assert read.phone_number == number


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2020-11-13T21:08:53Z", datetime(2020, 11, 13, 21, 8, 53, tzinfo=UTC)),
        (
            "2022-10-18T12:06:29.000+02:00",
            datetime(2022, 10, 18, 12, 6, 29, tzinfo=timezone(timedelta(hours=2))),
        ),
        (
            "2024-11-26T20:14:40.649+01:00",
            datetime(2024, 11, 26, 20, 14, 40, 649_000, tzinfo=timezone(timedelta(hours=1))),
        ),
        ("2025-12-18 20:00:19 +0100", datetime(2025, 12, 18, 20, 0, 19, tzinfo=timezone(timedelta(hours=1)))),
        ("2022-10-18 17:01:20 -0330", datetime(2022, 10, 18, 20, 31, 20, tzinfo=UTC)),
        ("2020-11-13T21:08:53", datetime(2020, 11, 13, 21, 8, 53, tzinfo=UTC)),
    ],
)
def test_each_documented_date_is_aware(written: str, moment: datetime) -> None:
    """Every form is read as a moment with its offset; without an offset it is UTC."""
    read = contact(createdAt=written)
    assert read is not None
    assert read.created_at is not None
    assert read.created_at == moment
    assert read.created_at.tzinfo is not None


@pytest.mark.parametrize(
    "broken",
    [
        {"createdAt": "yesterday"},
        {"createdAt": 1605301733},
        {"createdAt": ["2020-11-13T21:08:53Z"]},
        {"name": {"first": "John"}},
        {"tags": "sales,lead"},
        {"tags": [None]},
        {"customFields": ["VAT"]},
        "John Doe",
        12,
        [{"uuid": "1"}, {"uuid": "2"}],
        [["nested"]],
    ],
)
def test_a_broken_contact_leaves_the_receipt_whole(broken: Any) -> None:
    """A contact or conversation that can't be read is left out, and kept in `raw`; the receipt is valid."""
    read = receipt(contact=broken, conversation={"contact": {"createdAt": "yesterday"}, "source": "whatsapp"})
    assert (read.uuid, read.status) == (UUID, MessageStatus.ENQUEUED)
    assert read.contact == (Contact() if isinstance(broken, dict) else None)
    assert read.conversation == Conversation(source="whatsapp")
    assert read.raw["contact"] == broken


def test_one_wrong_value_leaves_the_rest_of_a_contact() -> None:
    """One wrong value leaves the others as they are."""
    assert contact(uuid="c7b3", createdAt="yesterday", tags="sales,lead", name="John Doe") == Contact(
        uuid="c7b3", name="John Doe"
    )


@pytest.mark.parametrize("nothing", [{}, [], [{}], [None], "", 0, False])
def test_an_empty_contact_is_none(nothing: Any) -> None:
    """An empty object is the same as null."""
    assert receipt(contact=nothing, conversation=nothing) == receipt()


# --- whatever comes ---------------------------------------------------------------------------------------------------


@given(nearly_receipts)
@quick
def test_any_json_is_a_receipt_or_refused(document: Any) -> None:
    """Any JSON is a receipt with a uuid, or raises `WireError`; it is never changed."""
    before = json.dumps(document)
    try:
        read = load_receipt(document)
    except WireError:
        message = document.get("message") if isinstance(document, dict) else None
        named = message.get("uuid") if isinstance(message, dict) else None
        assert not named or not isinstance(named, str)
    else:
        assert read.uuid == document["message"]["uuid"]
        assert read.raw is document["message"]
    assert json.dumps(document) == before


@given(nearly_receipts.map(lambda document: json.dumps(document).encode()) | st.binary())
@quick
def test_any_response_is_a_receipt_or_unreadable(body: bytes) -> None:
    """For any body of a 2xx response, the only exception is `ResponseDecodeError`, which keeps the body."""
    try:
        read = read_receipt(REQUEST, Response(200, {}, body))
    except ResponseDecodeError as error:
        unreadable = error
    else:
        assert json.loads(body)["message"] == read.raw
        return
    assert (unreadable.status, unreadable.body) == (200, body)
