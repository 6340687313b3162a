"""Webhook events that nobody documented: unknown, incomplete, or of another shape; and their repr."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    AttachmentKind,
    CallbellError,
    Contact,
    Conversation,
    Event,
    EventDecodeError,
    MessageCreated,
    MessageStatus,
    MessageStatusUpdated,
    TeamMember,
    UnknownEvent,
)
from callbell_async.webhooks import parse_event
from tests.fixtures.event_documents import KINDS, documented, parse
from tests.fixtures.strategies import any_json, brief, quick


@pytest.mark.parametrize("payload", [{"a": 1}, [1], "x", 5, None], ids=repr)
def test_an_unknown_event_is_kept(payload: Any) -> None:
    """An event that Callbell adds is an `UnknownEvent` with its name and its JSON."""
    document = {"event": "call_missed", "payload": payload}
    event = parse(document)
    assert event == UnknownEvent(key=event.key, name="call_missed", payload=payload)
    assert event.raw == document


def test_an_event_without_a_payload_is_kept() -> None:
    """An event without a payload is an `UnknownEvent`, also under a known name."""
    for name in ("call_missed", "message_created", ""):
        event = parse({"event": name})
        assert event == UnknownEvent(key=event.key, name=name)


@pytest.mark.parametrize("payload", [[1], "x", 5, None, True, [{}, {}]], ids=repr)
@pytest.mark.parametrize("name", KINDS)
def test_a_known_event_without_an_object_is_kept_as_unknown(name: str, payload: Any) -> None:
    """A known event whose payload is not an object is an `UnknownEvent` with that payload."""
    event = parse({"event": name, "payload": payload})
    assert event == UnknownEvent(key=event.key, name=name, payload=payload)


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_an_empty_payload_is_an_event_of_nothing(name: str, kind: type[Event]) -> None:
    """Every field may be missing; a field that is the payload itself is an empty model."""
    event = parse({"event": name, "payload": {}})
    assert type(event) is kind
    models = {Contact(), Conversation(), TeamMember()}
    given_fields = set(attrs.asdict(event, recurse=False)) - {"name", "key", "raw"}
    assert [value for field in given_fields if (value := getattr(event, field)) and value not in models] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "no event: not JSON"),
        (b"{", "no event: not JSON"),
        (b"status=ok", "no event: not JSON"),
        (b'{"event": "335544332211" "a"}', "no event: not JSON"),
        (b'\xff\xfe{"event": "335544332211"}', "no event: not JSON"),
        (b'["335544332211"]', "no event: an object was expected, not list"),
        (b'"335544332211"', "no event: an object was expected, not str"),
        (b"null", "no event: an object was expected, not NoneType"),
        (b"{}", 'no event: the document has no string "event"'),
        (b'{"event": null, "payload": {"335544332211": 1}}', 'no event: the document has no string "event"'),
        (b'{"event": ["335544332211"]}', 'no event: the document has no string "event"'),
        (b"[" * 100_000, "no event: not JSON"),
    ],
)
def test_a_body_that_holds_no_event_is_refused(body: bytes, expected: str) -> None:
    """A body that is not a JSON object with a string `event` is refused, and the error does not quote it."""
    with pytest.raises(EventDecodeError) as caught:
        parse_event(body)
    assert str(caught.value).startswith(expected)
    assert "335544332211" not in f"{caught.value!s}{caught.value!r}"
    assert isinstance(caught.value, CallbellError)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_payload_without_its_envelope_is_recognised(name: str) -> None:
    """The inner payload of an event, as Callbell's dashboard shows it, is refused with an error that names the missing envelope."""
    same_payload = {"contact_updated": "contact_created"}
    with pytest.raises(EventDecodeError, match=r"only the payload.* put it into its envelope") as caught:
        parse_event(orjson.dumps(documented(name)["payload"]))
    assert f'"event": "{same_payload.get(name, name)}"' in str(caught.value)


@pytest.mark.parametrize(
    "document", [{}, {"status": "ok"}, {"ping": True}, {"event": 7, "from": 1, "to": 2, "status": ""}]
)
def test_another_document_is_no_payload(document: Any) -> None:
    """A probe, or a document with a wrong `event`, is not taken for a payload."""
    with pytest.raises(EventDecodeError, match=r'no string "event"$'):
        parse_event(orjson.dumps(document))


@pytest.mark.parametrize("depth", [10, 200])
@pytest.mark.parametrize("name", ["message_created", "call_missed"])
def test_a_payload_may_be_nested_deeply(name: str, depth: int) -> None:
    """A payload of many levels is read, with its nested metadata as JSON text."""
    nested = b'{"metadata":{"a":' + b'{"a":' * depth + b"1" + b"}" * depth + b',"b":"c"}}'
    body = b'{"event":"%s","payload":%s}' % (name.encode(), nested)
    event = parse_event(body)
    assert len(event.key) == 32
    assert event.key == parse_event(body).key
    assert isinstance(event, KINDS.get(name, UnknownEvent))
    if isinstance(event, MessageCreated):
        assert event.metadata["b"] == "c"


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def changed(document: Any, path: tuple[Any, ...], value: Any = None, *, remove: bool = False) -> Any:
    """A copy of a document with the value at a path replaced or removed."""
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
"""Values of other types than documented."""


@pytest.mark.parametrize("name", KINDS)
def test_no_value_in_an_event_is_required(name: str) -> None:
    """With any value missing, null, empty or of another type, the rest of the event is read."""
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
def test_additions_of_callbell_change_nothing(name: str) -> None:
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
    """Any JSON under a known or unknown name is an event of that name, with a hash, a repr and all properties."""
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
    """Any bytes are an event, or raise `EventDecodeError` and no other exception."""
    try:
        event = parse_event(body)
    except EventDecodeError:
        return
    assert isinstance(event, Event)


# --- what is shown ----------------------------------------------------------------------------------------------------

SHOWN = {"uuid", "status", "channel", "createdAt", "deleted", "lastUpdateAt", "action", "reason", "type", "contentType"}
"""The keys whose values may be in a repr."""


def marked(value: Any, key: str = "") -> Any:
    """A JSON value with a mark in all strings and numbers, except those that may be shown."""
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
    """The repr of an event and of its parts holds no number, text or name."""
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
    for shown in (event, *(item for item in carried if type(item).__module__.endswith("models.message_parts"))):
        assert "¤" not in repr(shown)
        assert "9182736450" not in repr(shown)
    assert repr(event).startswith(type(event).__name__)
    assert event.key in repr(event)
