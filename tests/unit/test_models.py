"""Messages as values: building them, refusing wrong input, and their repr."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    AudioMessage,
    BotStatus,
    CallbellError,
    Contact,
    CustomMessage,
    Document,
    DocumentMessage,
    Image,
    ImageMessage,
    InvalidMessageError,
    Message,
    MessageReceipt,
    MessageStatus,
    TemplateMessage,
    TextMessage,
    Video,
    VideoMessage,
)
from callbell_async.wire import dump_message
from tests.fixtures.refusals import HALF, refusal, taken_or_refused
from tests.fixtures.strategies import any_text, junk, message_arguments, messages, quick

TO = "+31612345678"
BSUID = "US.13491208655302741918"
URL = "https://example.com/my_image.jpeg"
TEMPLATE: dict[str, Any] = {"to": TO, "template_uuid": "d980fb66fd5043d3ace1aa06ba044342", "optin_contact": True}
LOCATION: dict[str, Any] = {"to": TO, "type": "location", "content": {"latitude": 52.37}}


def text(**arguments: Any) -> TextMessage:
    """A valid text message, with these arguments changed."""
    return TextMessage(**{"to": TO, "text": "Hello!", **arguments})


# --- recipients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["facebook", "instagram", "telegram", "viber"])
@pytest.mark.parametrize("to", ["17841400000000000", "john.doe", " (0) 31-6 ", "0031612345678"])
def test_another_channels_identifier_is_left_alone(channel: str, to: str) -> None:
    """Only WhatsApp's numbers lose their punctuation; an identifier of another platform stays as it is."""
    assert text(channel=channel, to=to).to == to


def test_a_bsuid_is_a_recipient() -> None:
    """WhatsApp's own identifier is enough without a number, and stays as it is."""
    message = TextMessage(bsuid=BSUID, text="Hello!")
    assert (message.to, message.bsuid) == (None, BSUID)


def test_number_and_bsuid_go_together() -> None:
    """Both may be given; the number loses its punctuation, because Callbell prefers it."""
    assert text(to="0031 6-12345678", bsuid=BSUID).to == TO
    assert refusal(text, to="John", bsuid=BSUID).field == "to"


@pytest.mark.parametrize("channel", ["whatsapp", "telegram"])
def test_a_message_without_recipient_is_refused(channel: str) -> None:
    """A message needs `to` or `bsuid`."""
    error = refusal(TextMessage, text="Hello!", channel=channel)
    assert str(error) == "to: no recipient; give to= (a telephone number or platform identifier) or bsuid="


# --- what is refused, field by field ----------------------------------------------------------------------------------

STRING = "must be a string, not int"
BLANK = "must not be blank"
HTTP = "must be an absolute URL that begins with http:// or https:// and has no blanks in it"
OPTIN = "must be True, which confirms that the contact opted in; Callbell sends templates to no other contact"

REFUSED: list[tuple[type[Message], dict[str, Any], str, str]] = [
    (TextMessage, {"to": "John", "text": "Hello!"}, "to", "is not a telephone number"),
    (TextMessage, {"to": 31612345678, "text": "Hello!"}, "to", STRING),
    (TextMessage, {"to": " ", "text": "Hello!"}, "to", BLANK),
    (TextMessage, {"to": "", "channel": "telegram", "text": "Hello!"}, "to", BLANK),
    (TextMessage, {"to": 1, "channel": "telegram", "text": "Hello!"}, "to", STRING),
    (TextMessage, {"bsuid": "", "text": "Hello!"}, "bsuid", BLANK),
    (TextMessage, {"bsuid": 1, "text": "Hello!"}, "bsuid", STRING),
    (TextMessage, {"to": TO, "channel": " ", "text": "Hello!"}, "channel", BLANK),
    (TextMessage, {"to": TO, "channel": None, "text": "Hello!"}, "channel", "must be a string, not NoneType"),
    (TextMessage, {"to": TO, "channel_uuid": "", "text": "Hello!"}, "channel_uuid", BLANK),
    (TextMessage, {"to": TO, "assigned_user": 1, "text": "Hello!"}, "assigned_user", STRING),
    (TextMessage, {"to": TO, "team_uuid": "\t", "text": "Hello!"}, "team_uuid", BLANK),
    (TextMessage, {"to": TO, "fields": "contact,", "text": "Hello!"}, "fields[1]", BLANK),
    (TextMessage, {"to": TO, "fields": [1], "text": "Hello!"}, "fields[0]", STRING),
    (TextMessage, {"to": TO, "fields": {"contact": True}, "text": "Hello!"}, "fields", "must be a list of strings, not dict"),
    (TextMessage, {"to": TO, "fields": None, "text": "Hello!"}, "fields", "must be a list of strings, not NoneType"),
    (TextMessage, {"to": TO, "bot_status": "start", "text": "Hello!"}, "bot_status", "must be 'bot_start' or 'bot_end'"),
    (TextMessage, {"to": TO, "bot_status": ["bot_end"], "text": "Hello!"}, "bot_status", "must be 'bot_start' or 'bot_end'"),
    (TextMessage, {"to": TO, "metadata": [], "text": "Hello!"}, "metadata", "must be a mapping of strings to strings, not list"),
    (TextMessage, {"to": TO, "metadata": {"a": None}, "text": "Hello!"}, "metadata['a']", "must be a string, a number or a boolean"),
    (TextMessage, {"to": TO, "metadata": dict.fromkeys("abcdefghijk", ""), "text": "Hello!"}, "metadata", "has 11 pairs"),
    (TextMessage, {"to": TO, "metadata": {"k" * 51: ""}, "text": "Hello!"}, "metadata", "has a key of 51 characters"),
    (TextMessage, {"to": TO, "metadata": {"k": "v" * 501}, "text": "Hello!"}, "metadata['k']", "has 501 characters"),
    (TextMessage, {"to": TO, "text": " \n"}, "text", BLANK),
    (TextMessage, {"to": TO, "text": None}, "text", "must be a string, not NoneType"),
    (TextMessage, {"to": TO, "text": HALF}, "text", "holds half a character (a lone surrogate)"),
    (ImageMessage, {"to": TO, "url": "example.com/my_image.jpeg"}, "url", HTTP),
    (ImageMessage, {"to": TO, "url": URL, "caption": ""}, "caption", BLANK),
    (DocumentMessage, {"to": TO, "url": "ftp://example.com/a.pdf"}, "url", HTTP),
    (DocumentMessage, {"to": TO, "url": URL, "caption": 1}, "caption", STRING),
    (AudioMessage, {"to": TO, "url": ""}, "url", BLANK),
    (AudioMessage, {"to": TO, "url": URL, "type": "video"}, "type", "must be 'document' or 'audio'"),
    (VideoMessage, {"to": TO, "url": "https://"}, "url", HTTP),
    (VideoMessage, {"to": TO, "url": URL, "type": None}, "type", "must be 'document' or 'video'"),
    (VideoMessage, {"to": TO, "url": URL, "caption": " "}, "caption", BLANK),
    (TemplateMessage, {**TEMPLATE, "template_uuid": ""}, "template_uuid", BLANK),
    (TemplateMessage, {**TEMPLATE, "optin_contact": False}, "optin_contact", OPTIN),
    (TemplateMessage, {**TEMPLATE, "optin_contact": None}, "optin_contact", OPTIN),
    (TemplateMessage, {**TEMPLATE, "optin_contact": "true"}, "optin_contact", OPTIN),
    (TemplateMessage, {**TEMPLATE, "optin_contact": 1}, "optin_contact", OPTIN),
    (TemplateMessage, {**TEMPLATE, "values": "John Doe"}, "values", "must be a list of strings, not str"),
    (TemplateMessage, {**TEMPLATE, "values": {"1": "John"}}, "values", "must be a list of strings, not dict"),
    (TemplateMessage, {**TEMPLATE, "values": {"John", "12 March"}}, "values", "must be a list of strings, not set"),
    (TemplateMessage, {**TEMPLATE, "values": ["John", ""]}, "values[1]", BLANK),
    (TemplateMessage, {**TEMPLATE, "values": [12]}, "values[0]", STRING),
    (TemplateMessage, {**TEMPLATE, "media": URL}, "media", "must be Image(url), Document(url) or Video(url)"),
    (TemplateMessage, {**TEMPLATE, "media": Image}, "media", "must be Image(url), Document(url) or Video(url)"),
    (CustomMessage, {**LOCATION, "type": ""}, "type", BLANK),
    (CustomMessage, {**LOCATION, "content": "here"}, "content", "must be a mapping, not str"),
    (CustomMessage, {**LOCATION, "content": None}, "content", "must be a mapping, not NoneType"),
    (CustomMessage, {**LOCATION, "content": {"at": float("nan")}}, "content['at']", "must be a finite number"),
    (CustomMessage, {**LOCATION, "content": {"at": datetime(2024, 9, 23, tzinfo=UTC)}}, "content['at']", "can't be written as JSON: datetime"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "arguments", "field", "reason"),
    REFUSED,
    ids=[f"{kind.__name__}-{field}-{number}" for number, (kind, _, field, _) in enumerate(REFUSED)],
)
def test_wrong_input_is_refused(kind: type[Message], arguments: dict[str, Any], field: str, reason: str) -> None:
    """A wrong value raises `InvalidMessageError` when the message is built, with the field and the remedy."""
    error = refusal(kind, **arguments)
    assert error.field == field
    assert error.reason.startswith(reason)
    assert isinstance(error, ValueError)
    assert isinstance(error, CallbellError)


@pytest.mark.parametrize("attachment", [Image, Document, Video])
def test_an_attachment_needs_a_url(attachment: type[Any]) -> None:
    """The URL of a template's media is checked when the media is built."""
    error = refusal(attachment, "my_image.jpeg")
    assert (error.field, error.reason) == ("media.url", HTTP)


def test_a_subclass_of_media_is_refused() -> None:
    """Callbell has three kinds of media; a subclass would have no type in the request."""

    class Sticker(Image):
        pass

    assert refusal(TemplateMessage, **TEMPLATE, media=Sticker(URL)).field == "media"


@pytest.mark.parametrize(
    ("kind", "arguments", "name"),
    [
        (TextMessage, {}, "text"),
        (ImageMessage, {}, "url"),
        (TemplateMessage, {"template_uuid": "d980"}, "optin_contact"),
        (CustomMessage, {"type": "location"}, "content"),
    ],
)
def test_an_argument_without_default_is_required(kind: type[Message], arguments: dict[str, Any], name: str) -> None:
    """A message without `optin_contact`, text, URL or content is an error of the program: a `TypeError` that names the argument."""
    with pytest.raises(TypeError, match=f"required .* '{name}'"):
        kind(to=TO, **arguments)


@pytest.mark.parametrize(
    "kind",
    [TextMessage, ImageMessage, DocumentMessage, AudioMessage, VideoMessage, TemplateMessage, CustomMessage],
)
def test_arguments_have_names(kind: type[Any]) -> None:
    """Arguments are keyword-only, so a number and a text can't be confused."""
    parameters = inspect.signature(kind).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}


def test_message_itself_is_refused() -> None:
    """Only its subclasses can be sent."""
    assert refusal(Message, to=TO).field == "message"


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", ["contact,conversation", "contact, conversation", ["contact", "conversation"]])
def test_fields_are_a_tuple(fields: Any) -> None:
    """A list and Callbell's own comma-separated string are read alike."""
    assert text(fields=fields).fields == ("contact", "conversation")


def test_bot_status_is_an_enum() -> None:
    """A plain string becomes a `BotStatus`."""
    assert text(bot_status="bot_start").bot_status is BotStatus.BOT_START


def test_values_may_come_from_anything_with_an_order() -> None:
    """A generator is read once, when the message is built."""
    message = TemplateMessage(**TEMPLATE, values=(name for name in ("John", "Doe")))
    assert message.values == ("John", "Doe")


def test_a_later_change_of_an_argument_changes_no_message() -> None:
    """Metadata, values and content are copied."""
    metadata, values, content = {"order": 1}, ["John"], {"labels": ["a"]}
    built = (
        text(metadata=metadata),
        TemplateMessage(**TEMPLATE, values=values),
        CustomMessage(to=TO, type="list", content=content),
    )
    before = [dump_message(message) for message in built]
    metadata["order"] = 2
    values.append("Doe")
    content["labels"].append("b")
    assert [dump_message(message) for message in built] == before


def test_an_empty_mapping_of_any_kind_is_no_metadata() -> None:
    """It is kept as a plain dictionary, which can be pickled."""
    message = text(metadata=MappingProxyType({}))
    assert pickle.loads(pickle.dumps(message)) == text()


@given(messages())
@quick
def test_messages_are_values(message: Message) -> None:
    """A message and its copies by pickle, `copy` and `evolve` are equal and have one hash."""
    for twin in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message), attrs.evolve(message)):
        assert twin == message
        assert hash(twin) == hash(message)
        assert dump_message(twin) == dump_message(message)


@given(messages())
@quick
def test_messages_are_frozen(message: Message) -> None:
    """No field can be set or added, so a checked message stays valid."""
    for name in (*attrs.fields_dict(type(message)), "note"):
        with pytest.raises(AttributeError):
            setattr(message, name, "x")


def test_messages_of_different_kinds_differ() -> None:
    """An image differs from a document with the same fields."""
    image: Message = ImageMessage(to=TO, url=URL)
    assert image != DocumentMessage(to=TO, url=URL)
    assert text() != text(text="Hello")
    assert text(metadata={"order": 1}) != text()


def test_evolve_checks_again() -> None:
    """A changed copy is refused like a new message."""
    with pytest.raises(InvalidMessageError, match="text: must not be blank"):
        attrs.evolve(text(), text="")


# --- what is shown ----------------------------------------------------------------------------------------------------


@given(messages())
@quick
def test_the_repr_shows_neither_number_nor_text(message: Message) -> None:
    """A repr may end in logs and tracebacks, so it holds neither recipient nor text."""
    assert message.to is not None
    assert message.to.lstrip("+") not in repr(message)
    assert "¤" not in repr(message)
    assert type(message).__name__ in repr(message)


def test_the_repr_distinguishes_messages() -> None:
    """The repr holds lengths, numbers of items, and the values that are not personal."""
    assert repr(text(team_uuid="a6e1", metadata={"order": 1})) == (
        "TextMessage(to=<12 characters>, bsuid=None, channel='whatsapp', channel_uuid=None, assigned_user=None, "
        "team_uuid='a6e1', fields=(), bot_status=None, metadata=<1 items>, key=None, text=<6 characters>)"
    )


def test_the_repr_of_a_receipt_shows_no_number() -> None:
    """The integration's report and the contact hold the recipient's number."""
    receipt = MessageReceipt(
        "adf3d1216d4c4dcd908199d6700f2381",
        MessageStatus.ENQUEUED,
        {"destination": "31612345678"},
        Contact(name="John Doe", phone_number=TO, email="john@doe.com", bsuid=BSUID, note="call 31612345678"),
        raw={"contact": {"phone": TO}},
    )
    shown = repr(receipt)
    assert "adf3d1216d4c4dcd908199d6700f2381" in shown
    for secret in ("31612345678", "John Doe", "john@doe.com", BSUID):
        assert secret not in shown


def test_receipts_are_values() -> None:
    """Receipts with the same content are equal and have one hash, whatever their `raw`."""
    receipt = MessageReceipt("adf3", MessageStatus.SENT, {"id": "1"}, Contact(custom_fields={"a": ["b"]}), raw={"a": 1})
    twin = pickle.loads(pickle.dumps(receipt))
    assert twin == attrs.evolve(receipt, raw={}) == receipt
    assert hash(twin) == hash(receipt)
    assert twin.raw == {"a": 1}


# --- whatever is passed -----------------------------------------------------------------------------------------------


@given(message_arguments(), st.data())
@quick
def test_one_wrong_value_is_refused_or_harmless(
    built: tuple[type[Message], dict[str, Any]], data: st.DataObject
) -> None:
    """Whatever the value of a field, the message is refused with `InvalidMessageError`, or can be written and sent."""
    kind, arguments = built
    name = data.draw(st.sampled_from(sorted(field.name for field in attrs.fields(kind))))
    message, error = taken_or_refused(kind, **{**arguments, name: data.draw(junk | any_text)})
    if error is None:
        body = json.loads(dump_message(message))
        assert body["from"] == message.channel
        assert isinstance(body["content"], dict)
        assert None not in body.values()
        assert pickle.loads(pickle.dumps(message)) == message
    else:
        # Numbers in `content` are the one thing the arguments may have had wrong from the start.
        assert error.field.startswith((name, "content"))


@given(any_text, any_text)
@quick
def test_any_text_is_refused_or_sent_unchanged(to: str, words: str) -> None:
    """Any text makes a message or an `InvalidMessageError`; nothing in it is lost in the JSON."""
    message, error = taken_or_refused(TextMessage, to=to, channel="telegram", text=words)
    if error is None:
        assert json.loads(dump_message(message)) == {
            "to": to,
            "from": "telegram",
            "type": "text",
            "content": {"text": words},
        }
    else:
        assert error.field in ("to", "text")
