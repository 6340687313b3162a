"""Keys of webhook events: equal for two deliveries of one event, different for two events."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from callbell_async.webhooks import parse_event
from tests.fixtures.event_documents import KINDS, documented, parse


def test_a_second_delivery_has_the_same_key() -> None:
    """Blanks, the order of keys and, for a message with a uuid, the outer date do not change the key."""
    document = documented("message_created")
    document["payload"]["uuid"] = "wamid.A"
    key = parse(document).key
    turned = {"createdAt": "2025-12-18 20:00:19 +0100", "payload": dict(reversed(document["payload"].items()))}
    again = parse_event(orjson.dumps({**turned, "event": "message_created"}, option=orjson.OPT_INDENT_2))
    assert again.key == key
    assert len(bytes.fromhex(key)) == 16


def test_other_events_have_other_keys() -> None:
    """The name and every value in the payload change the key."""
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


def test_the_outer_date_distinguishes_later_events() -> None:
    """Events with different outer dates have different keys, for example a user's second login."""
    document = documented("agent_session_updated")
    first, second = ({**document, "createdAt": f"2025-12-1{day} 20:00:19 +0100"} for day in (7, 8))
    assert len({parse(document).key, parse(first).key, parse(second).key}) == 3
    assert parse(first).key == parse({**first}).key


@pytest.mark.parametrize("name", ["message_created", "message_status_updated"])
def test_the_outer_date_of_a_message_s_event_does_not_count(name: str) -> None:
    """An event about a message with a uuid has one key, whatever the date of its delivery."""
    document = documented(name)
    document["payload"]["uuid"] = "wamid.A"
    for payload in (document["payload"], orjson.dumps(document["payload"]).decode()):
        event = {**document, "payload": payload}
        assert parse({**event, "createdAt": "2025-12-18 20:00:19 +0100"}).key == parse(event).key


@pytest.mark.parametrize("name", ["message_created", "message_status_updated"])
@pytest.mark.parametrize("uuid", [None, ""])
def test_the_outer_date_distinguishes_messages_without_a_uuid(name: str, uuid: str | None) -> None:
    """Two messages without a uuid and with the same text have different keys when their outer dates differ."""
    document = documented(name)
    document["payload"]["uuid"] = uuid
    first, second = ({**document, "createdAt": f"2025-12-18T20:00:19.{part}Z"} for part in (100, 900))
    assert parse(first).key != parse(second).key
    assert parse(first).key == parse({**first}).key


def test_a_key_stays_the_same_between_versions() -> None:
    """Keys never change between versions, because they are stored."""
    assert parse(documented("contact_deleted")).key == "0e4533520aeca413bccc0d883323bfc5"
