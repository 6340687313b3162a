"""What a journal knows a message by: its own key, or one that follows from what would be sent."""

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
    """A message, but for what is changed."""
    return TextMessage(**{"to": "+31612345678", "text": "Hello!", **changes})


JOURNAL = "0123456789abcdef"


def key_of(message: Message, *, journal: str | None = JOURNAL) -> str:
    """The key a journal knows it by."""
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
    """A journal begun with one version is gone on with by another: these keys never change, unless the journal's version does."""
    assert key_of(message) == key


@given(messages())
@quick
def test_equal_messages_have_equal_keys(message: Message) -> None:
    """Whatever the order of its metadata, and with the journal's own pair or without, a message has one key of 32 hex digits."""
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
    """Whatever would be sent differently makes another message."""
    assert key_of(text(**changes)) != key_of(text())


def test_numbers_written_differently_are_one() -> None:
    """The key follows from what is sent, not from how the number was written."""
    assert key_of(text(to="0031 (6) 1234-5678")) == key_of(text())


@pytest.mark.parametrize(
    "message",
    [text(), text(metadata={"z": '"to":"3'}), CustomMessage(to="+31612345678", type='"to":"', content={"to": "31"})],
)
def test_a_number_is_the_same_without_its_plus(message: Message) -> None:
    """A spreadsheet that drops the + of each number makes no second campaign; what is sent is what was given."""
    bare = attrs.evolve(message, to="31612345678")
    assert key_of(bare) == key_of(message)
    assert orjson.loads(dump_keyed_message(bare, journal=None)[1])["to"] == "31612345678"


def test_what_is_no_number_keeps_its_plus() -> None:
    """On other channels a recipient is an identifier, whatever it begins with; and what only looks like a recipient is none."""
    assert key_of(text(to="+31612345678", channel="telegram")) != key_of(text(to="31612345678", channel="telegram"))
    messages = [CustomMessage(bsuid="US.1", type="poll", content={"to": to}) for to in ("31612345678", "+31612345678")]
    assert key_of(messages[0]) != key_of(messages[1])


def test_a_key_of_ones_own_wins() -> None:
    """Two messages with one key are one to the journal, and it is no part of what is sent otherwise."""
    assert key_of(text(key="invoice-7")) == key_of(text(text="other", key="invoice-7")) == "invoice-7"
    assert dump_message(text(key="invoice-7")) == dump_message(text())


@given(messages())
@quick
def test_the_body_is_the_message_and_its_key(message: Message) -> None:
    """What goes out is what would go out without a journal, and two pairs of metadata more, if there is room for them."""
    key, body = dump_keyed_message(message, journal=JOURNAL)
    plain = orjson.loads(dump_message(message))
    if len(message.metadata) <= 8:
        plain["metadata"] = {**plain.get("metadata", {}), KEY_IN_METADATA: key, JOURNAL_IN_METADATA: JOURNAL}
    assert orjson.loads(body) == plain
    assert orjson.loads(dump_keyed_message(message, journal=None)[1]) == orjson.loads(dump_message(message))


@pytest.mark.parametrize(("pairs", "room"), [(8, True), (9, False), (10, False)])
def test_a_key_needs_room(pairs: int, room: bool) -> None:
    """Callbell takes ten pairs: a message with more than eight of its own is sent as it is, key or no key."""
    message = text(metadata={f"name {number}": number for number in range(pairs)})
    body = orjson.loads(dump_keyed_message(message, journal=JOURNAL)[1])
    assert len(body["metadata"]) == (pairs + 2 if room else pairs)


def test_a_key_is_written_as_json() -> None:
    """Quotes and other characters in a caller's key arrive as they are."""
    key, body = dump_keyed_message(text(key='order "7" \\ é\n'), journal=JOURNAL)
    assert orjson.loads(body)["metadata"] == {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: JOURNAL}


@pytest.mark.parametrize(("key", "why"), [("", "blank"), (" ", "blank"), ("x" * 501, "at most 500"), (7, "string")])
def test_a_wrong_key_is_refused(key: Any, why: str) -> None:
    """A key is 1 to 500 characters, which is what fits into metadata; the error names the field."""
    with pytest.raises(InvalidMessageError, match=why) as caught:
        text(key=key)
    assert caught.value.field == "key"


def test_the_longest_key_fits() -> None:
    """500 characters are taken."""
    assert key_of(text(key="x" * 500)) == "x" * 500


def test_a_key_is_not_shown() -> None:
    """It may be a number or a name: a repr says how long it is."""
    assert "612345" not in repr(text(key="+31612345678"))
