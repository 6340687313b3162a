"""The key of a message in a journal: its own key, or one computed from its body."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given

from callbell_async import CustomMessage, InvalidMessageError, Message, TemplateMessage, TextMessage
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA, dump_keyed_message, dump_message
from tests.fixtures.strategies import messages, quick


def text(**changes: Any) -> TextMessage:
    """Return a text message with changed arguments."""
    return TextMessage(**{"to": "+31612345678", "text": "Hello!", **changes})


JOURNAL = "0123456789abcdef"


def key_of(message: Message, *, journal: str | None = JOURNAL) -> str:
    """Return the message's key in a journal."""
    return dump_keyed_message(message, journal=journal)[0]


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (text(), "50963214cdbcef278aecd1c730f4ab58"),
        (text(metadata={"order": 1, "shop": "a"}), "6e683949cc45715bfbc02483ddddc461"),
        (
            TemplateMessage(to="+31612345678", template_uuid="a1", optin_contact=True, values=["Ada", "9"]),
            "437f3a6ba55d220bead249e3142a04c8",
        ),
        (
            CustomMessage(to="+31612345678", type="poll", content={"b": 1, "a": [2]}),
            "ecb9912ffbb22fa7a426e390522a7bc7",
        ),
    ],
)
def test_a_derived_key_stays_the_same(message: Message, key: str) -> None:
    """Keys never change between versions, because several versions may use one journal."""
    assert key_of(message) == key


@given(messages())
@quick
def test_equal_messages_have_equal_keys(message: Message) -> None:
    """A message has one key of 32 hex digits, for any order of its metadata, with or without the journal's own pairs."""
    again = attrs.evolve(message, metadata=dict(reversed([*message.metadata.items()])))
    assert key_of(message) == key_of(again, journal=None)
    assert len(bytes.fromhex(key_of(message))) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "+31612345679"},
        {"text": "Hello?"},
        {"channel_uuid": "c"},
        {"metadata": {"order": 1}},
        {"bot_status": "bot_start"},
        {"fields": "contact"},
    ],
)
def test_different_messages_have_different_keys(changes: dict[str, Any]) -> None:
    """Messages with different bodies have different keys."""
    assert key_of(text(**changes)) != key_of(text())


def test_a_number_has_one_key_in_all_notations() -> None:
    """The key is computed from the body, where the number has no punctuation."""
    assert key_of(text(to="0031 (6) 1234-5678")) == key_of(text())


@pytest.mark.parametrize(
    "message",
    [text(), text(metadata={"z": '"to":"3'}), CustomMessage(to="+31612345678", type='"to":"', content={"to": "31"})],
)
def test_a_number_is_the_same_without_its_plus(message: Message) -> None:
    """A number has one key with and without its `+`, which a spreadsheet may drop; the body keeps the number as given."""
    bare = attrs.evolve(message, to="31612345678")
    assert key_of(bare) == key_of(message)
    assert orjson.loads(dump_keyed_message(bare, journal=None)[1])["to"] == "31612345678"


def test_an_identifier_keeps_its_plus() -> None:
    """On other channels a recipient is an identifier, so its `+` counts; text that looks like a recipient is not changed."""
    assert key_of(text(to="+31612345678", channel="telegram")) != key_of(text(to="31612345678", channel="telegram"))
    messages = [CustomMessage(bsuid="US.1", type="poll", content={"to": to}) for to in ("31612345678", "+31612345678")]
    assert key_of(messages[0]) != key_of(messages[1])


def test_an_own_key_is_used() -> None:
    """A message's own key is used as it is, and does not change the rest of the body."""
    assert key_of(text(key="invoice-7")) == key_of(text(text="other", key="invoice-7")) == "invoice-7"
    assert dump_message(text(key="invoice-7")) == dump_message(text())


@given(messages())
@quick
def test_the_body_is_the_message_and_its_key(message: Message) -> None:
    """The body is the same as without a journal, plus two pairs of metadata, if there is room for them."""
    key, body = dump_keyed_message(message, journal=JOURNAL)
    plain = orjson.loads(dump_message(message))
    if len(message.metadata) <= 8:
        plain["metadata"] = {**plain.get("metadata", {}), KEY_IN_METADATA: key, JOURNAL_IN_METADATA: JOURNAL}
    assert orjson.loads(body) == plain
    assert orjson.loads(dump_keyed_message(message, journal=None)[1]) == orjson.loads(dump_message(message))


@pytest.mark.parametrize(("pairs", "room"), [(8, True), (9, False), (10, False)])
def test_a_key_needs_room_in_the_metadata(pairs: int, room: bool) -> None:
    """A message with more than eight pairs of its own is sent without the key, because Callbell accepts ten pairs."""
    message = text(metadata={f"name {number}": number for number in range(pairs)})
    body = orjson.loads(dump_keyed_message(message, journal=JOURNAL)[1])
    assert len(body["metadata"]) == (pairs + 2 if room else pairs)


def test_a_key_is_encoded_as_json() -> None:
    """Quotes and other characters in a key are sent unchanged."""
    key, body = dump_keyed_message(text(key='order "7" \\ é\n'), journal=JOURNAL)
    assert orjson.loads(body)["metadata"] == {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: JOURNAL}


@pytest.mark.parametrize(("key", "why"), [("", "blank"), (" ", "blank"), ("x" * 501, "at most 500"), (7, "string")])
def test_a_wrong_key_is_refused(key: Any, why: str) -> None:
    """A key must have 1 to 500 characters, as a value of metadata; the error names the field."""
    with pytest.raises(InvalidMessageError, match=why) as caught:
        text(key=key)
    assert caught.value.field == "key"


def test_the_longest_key_fits() -> None:
    """A key of 500 characters is accepted."""
    assert key_of(text(key="x" * 500)) == "x" * 500


def test_a_key_is_not_shown() -> None:
    """A key may be a number or a name, so the repr holds its length only."""
    assert "612345" not in repr(text(key="+31612345678"))
