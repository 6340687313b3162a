"""JSON text: what is written, what is read, and what is repaired before it is read."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import EventDecodeError, InvalidMessageError, MessageCreated, ResponseDecodeError, UnknownEvent
from callbell_async.endpoints.messages import read_receipt
from callbell_async.http.pagination import load_page
from callbell_async.http.requests import Request
from callbell_async.http.responses import Response
from callbell_async.models.contacts import Contact
from callbell_async.webhooks import parse_event
from callbell_async.wire import WireError, dump_json, load_json
from tests.fixtures.strategies import any_json, quick
from tests.support.recorder import recorded_client

REQUEST = Request("POST", "/messages/send", b"{}")


def nested(depth: int, *, inner: str = "1") -> bytes:
    """A document with `depth` levels of objects."""
    return b'{"a":' * depth + inner.encode() + b"}" * depth


@given(any_json)
@quick
def test_json_is_written_and_read_again(value: Any) -> None:
    """Any value that can be written is read again as it was; only whole numbers beyond 64 bits can't be written."""
    try:
        written = dump_json(value, field="json")
    except InvalidMessageError as error:
        refused = error
    else:
        assert load_json(written) == value
        return
    assert "64-bit" in refused.reason


@pytest.mark.parametrize("body", [b"", b"<html>Hello", b"{", b"\xff", b"[" * 5000, b'{"a":1,}', b'"Hello', b"NaNa"])
def test_other_text_is_refused_without_quoting_it(body: bytes) -> None:
    """The error has the position, and nothing of the body, not even in its cause or its context."""
    with pytest.raises(WireError, match=r"^not JSON: .* at character \d+$") as caught:
        load_json(body)
    assert "Hello" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1}\xef\xbb\xbf', {"a": 1}),
        (b'{"a":"x\xffy"}', {"a": "x\ufffdy"}),
        (b'{"x\xff":1}', {"x\ufffd": 1}),
        ('{"a":"Zoë"}'.encode("latin-1"), {"a": "Zo\ufffd"}),
        (b'{"a":"x\\ud83dy"}', {"a": "x\ufffdy"}),
        (b'{"a":"\\udc4b"}', {"a": "\ufffd"}),
        (b'{"a":"\\ud83d\\ud83d\\udc4b"}', {"a": "\ufffd👋"}),
        (b'{"a":"\\ud83d\\udc4b","b":NaN}', {"a": "👋", "b": None}),
        (b'{"a":"\xed\xa0\xbd"}', {"a": "\ufffd\ufffd\ufffd"}),
        (b'{"a":NaN,"b":-Infinity,"c":[Infinity,1.5]}', {"a": None, "b": None, "c": [None, 1.5]}),
        (b'{"a":1e999,"b":-1e999,"c":2e3}', {"a": None, "b": None, "c": 2000.0}),
        (b"NaN", None),
        (b'{"a":"NaN, \xef\xbb\xbf, 1e999","b":NaN}', {"a": "NaN, \ufeff, 1e999", "b": None}),
        (b'{"a":"one\ntwo\tthree\x00"}', {"a": "one\ntwo\tthree\x00"}),
        (b'{"a":"it\\\'s \\x41 \\u12"}', {"a": "it\\'s \\x41 \\u12"}),
        (b'{"a":"\\\\ud83d \\" \\/ \\n","b":NaN}', {"a": '\\ud83d " / \n', "b": None}),
    ],
)
def test_one_bad_character_does_not_cost_the_document(body: bytes, value: Any) -> None:
    """Half characters, bytes that are not UTF-8, byte order marks, control characters and infinite numbers are repaired, and nothing else changes."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)
    assert load_json(body) == value
    assert load_json(dump_json(value, field="json")) == value


@given(any_json.map(lambda value: json.dumps(value, ensure_ascii=False).encode()), st.binary(max_size=3), st.data())
@quick
def test_a_repaired_document_can_be_written(document: bytes, noise: bytes, data: st.DataObject) -> None:
    """Whatever bytes come into a document, it is refused, or read as a value that JSON can hold."""
    at = data.draw(st.integers(0, len(document)))
    try:
        value = load_json(document[:at] + noise + document[at:])
    except WireError:
        return
    assert load_json(dump_json(value, field="json")) == value


@pytest.mark.parametrize("body", [b'"' * 200_001, b'"' + b'\\"' * 200_000, b"\\ud83d" * 100_000, b"[NaN" * 100_000])
def test_a_crafted_document_takes_linear_time(body: bytes) -> None:
    """Text that makes a careless parser start again at each character is refused, in one pass."""
    with pytest.raises(WireError):
        load_json(body)


def test_a_send_is_accepted_although_its_response_has_a_bad_character() -> None:
    """A receipt with a half character in it is a receipt: the message is `ACCEPTED`, not `UNKNOWN`."""
    body = b'\xef\xbb\xbf{"message":{"uuid":"u","status":"enqueued","contact":{"name":"Zo\xeb \\ud83d","score":NaN}}}'
    receipt = read_receipt(REQUEST, Response(200, {}, body))
    assert receipt.uuid == "u"
    assert receipt.contact == Contact(name="Zo\ufffd \ufffd")
    assert receipt.raw["contact"]["score"] is None


async def test_a_list_goes_past_a_bad_character() -> None:
    """A contact whose name has a half character is listed, and so are those after it."""
    async with recorded_client() as (callbell, recorder):
        recorder.respond_with(b'{"contacts":[{"uuid":"a","name":"\\ud83d"},{"uuid":"b"}],"meta":{"next":null}}')
        assert [(contact.uuid, contact.name) async for contact in callbell.contacts.list()] == [
            ("a", "\ufffd"),
            ("b", None),
        ]


def test_an_event_with_a_bad_character_is_an_event() -> None:
    """A webhook event is read although a text in it can't be decoded, and both deliveries of it have one key."""
    body = b'\xef\xbb\xbf{"event":"message_created","payload":{"uuid":"u","text":"Zo\xeb \\ud83d"}}'
    event = parse_event(body)
    assert isinstance(event, MessageCreated)
    assert (event.uuid, event.text) == ("u", "Zo\ufffd \ufffd")
    assert event.key == parse_event(body).key


# --- nesting ----------------------------------------------------------------------------------------------------------


def test_as_deep_as_is_read_can_be_used() -> None:
    """254 levels are read, and what was read can be written, shown, compared, copied and pickled."""
    value = load_json(nested(254))
    assert load_json(dump_json(value, field="json")) == value
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
    assert repr(value).endswith("}" * 254)


@pytest.mark.parametrize("depth", [255, 990, 1_000, 1_025, 100_000])
@pytest.mark.parametrize("spoilt", [False, True])
def test_deeper_nesting_is_refused(depth: int, spoilt: bool) -> None:
    """A document of more levels is refused, a repaired one as well; it never ends in a `RecursionError`."""
    for body in (nested(depth, inner="NaN" if spoilt else "1"), b"[" * depth + b"]" * depth):
        with pytest.raises(WireError, match=r"nested more than 254 levels deep|not JSON: "):
            load_json(body)


def test_many_brackets_are_not_deep() -> None:
    """Only levels count, not the number of objects and lists."""
    document = {"items": [{"a": [{}], "b": "[[[{{{"} for _ in range(2_000)]}
    assert load_json(orjson.dumps(document)) == document


@pytest.mark.parametrize("depth", [300, 990, 1_020])
async def test_a_list_nested_too_deep_is_unreadable(depth: int) -> None:
    """A page that is nested too deep raises `ResponseDecodeError`, as any page that can't be read."""
    async with recorded_client() as (callbell, recorder):
        recorder.respond_with(b'{"contacts":[' + nested(depth) + b"]}")
        with pytest.raises(ResponseDecodeError, match="nested more than 254 levels deep"):
            await anext(aiter(callbell.contacts.list()))


def test_a_page_as_deep_as_is_read_is_a_page() -> None:
    """A page of 254 levels is read, with its `raw`."""
    document = load_json(b'{"contacts":[' + nested(252) + b"]}")
    page = load_page(Contact, "contacts")(document)
    assert page.raw is document
    assert repr(page.raw)


@pytest.mark.parametrize("name", ["message_created", "call_missed"])
def test_an_event_nested_too_deep_is_unreadable(name: str) -> None:
    """An event that is nested too deep raises `EventDecodeError`; one of 254 levels is read, and can be pickled and compared."""
    body = b'{"event":"%s","payload":{"metadata":{"a":%s,"b":"c"}}}'
    event = parse_event(body % (name.encode(), nested(251)))
    assert pickle.loads(pickle.dumps(event)) == event == copy.deepcopy(event)
    assert isinstance(event, MessageCreated | UnknownEvent)
    if isinstance(event, MessageCreated):
        assert event.metadata["a"].count("{") == 251
    for depth in (252, 990, 1_020):
        with pytest.raises(EventDecodeError, match="nested more than 254 levels deep"):
            parse_event(body % (name.encode(), nested(depth)))
