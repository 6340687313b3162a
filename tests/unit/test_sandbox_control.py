"""The control API of the sandbox, over HTTP."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import aiohttp
import pytest
from yarl import URL

from callbell_async import CallbellClient, ConnectionLostError, TextMessage
from callbell_async.sandbox import Sandbox, SandboxContact
from callbell_async.sandbox.control.fault_names import OFFERED
from tests.fixtures.sandbox import Clock
from tests.support.webhook_listener import Listen

Call = Callable[..., Awaitable[tuple[int, Any]]]

TO = "+31612345678"


@pytest.fixture
async def call(sandbox: Sandbox) -> AsyncIterator[Call]:
    """Sends a request to the control API, and returns the status and the JSON of its response."""
    async with aiohttp.ClientSession() as session:

        async def send(method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
            url = f"{sandbox.inbox_url}{path}"
            async with session.request(method, url, json=document, headers=headers) as response:
                return response.status, await response.json() if response.status != 204 else None

        yield send


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        yield callbell


async def test_a_customer_writes(sandbox: Sandbox, call: Call, listen: Listen) -> None:
    """A text, an attachment and a place of a customer are in the history, and the webhook gets each of them."""
    listener = await listen()
    location = {"latitude": 52.08, "longitude": 4.31}
    assert (await call("POST", "receive", {"sender": TO, "text": "Hi"}))[0] == 200
    await call("POST", "receive", {"sender": TO, "attachments": ["https://example.com/a.jpg"]})
    _, response = await call("POST", "receive", {"sender": TO, "location": location})
    assert response["message"]["location"] == {
        **location,
        "map_url": "https://www.google.com/maps/search/?api=1&query=52.08,4.31",
    }
    await sandbox.wait_delivered()
    _, about = await call("GET", f"deliveries?message={response['message']['uuid']}")
    assert [delivery["event"] for delivery in about["deliveries"]] == ["message_created"]
    payloads = listener.payloads("message_created")
    assert sorted(payload["text"] for payload in payloads) == ["", "", "Hi"]
    assert {url for payload in payloads for url in payload["attachments"]} == {"https://example.com/a.jpg"}
    (place,) = [payload["messageLocation"] for payload in payloads if "messageLocation" in payload]
    assert place["coordinates"] == {"x": 52.08, "y": 4.31}
    contact = sandbox.account.contacts.by_identifier("whatsapp", TO)
    assert contact is not None
    assert len(contact.history) == 3


@pytest.mark.parametrize(
    ("path", "document", "error"),
    [
        ("receive", {"text": "Hi"}, {"sender": ["must be present and not empty"]}),
        ("receive", {"sender": TO, "text": " "}, "text"),
        ("receive", {"sender": TO, "text": "Hi", "channel": "sms"}, "channel"),
        ("receive", {"sender": TO, "location": {"latitude": 91, "longitude": 0}}, "location"),
        ("receive", {"sender": TO, "attachments": "a"}, {"attachments": ["must be a list of strings"]}),
        ("receive", [], {"body": ["must be a JSON object"]}),
        ("clock", {"seconds": -1}, "seconds"),
        ("clock", {"seconds": True}, "seconds"),
        ("faults", {"faults": []}, "faults"),
        ("faults", {"faults": [{"name": "other"}]}, "faults"),
        ("faults", {"faults": [{"name": ["delay"]}]}, "faults"),
        ("faults", {"faults": [{"name": "respond", "status": 42}]}, "status"),
        ("faults", {"faults": [{"name": "respond", "headers": {"A": "b\nc"}}]}, "headers"),
        ("faults", {"faults": [{"name": "delay", "second": 1}]}, "second"),
        ("faults", {"faults": [{"name": "failed_delivery", "shape": "other"}]}, "shape"),
        ("faults", {"faults": [{"name": "no_fault"}], "times": 0}, "times"),
        ("faults", {"faults": [{"name": "no_fault"}], "probability": 2}, "probability"),
        ("faults", {"faults": [{"name": "close_before_reading"}], "to": TO}, "to"),
        ("records", [], "must be a JSON object"),
        ("records", {"contact": []}, "contact: unknown"),
        ("records", {"contacts": {}}, "contacts: must be a list"),
        ("records", {"contacts": [{"name": "Ann"}]}, "contacts[0].identifier: is missing"),
        ("records", {"contacts": [{"name": 1, "identifier": TO}]}, "contacts[0].name: must be a string"),
        ("records", {"users": [{"email": "a@b.example", "available": "false"}]}, "users[0].available: must be true"),
        ("records", {"channels": [{"title": "A", "type": "sms"}]}, "channels[0].type: must be one of"),
        ("records", {"templates": [{"title": "A", "created_at": "now"}]}, "templates[0].created_at: must be a date"),
        (
            "records",
            {"contacts": [{"name": "A", "identifier": TO, "created_at": "0001-01-01"}]},
            "created_at: must be a date from",
        ),
        (
            "records",
            {"funnels": [{"name": "A", "created_at": "9999-12-31T23:59:59Z"}]},
            "created_at: must be a date from",
        ),
        ("records", {"contacts": [{"name": "A", "identifier": TO, "history": []}]}, "unknown field: history"),
    ],
)
async def test_a_wrong_body_names_the_field(sandbox: Sandbox, call: Call, path: str, document: Any, error: Any) -> None:
    """A wrong body gets 400, which names the field, and changes nothing."""
    status, response = await call("POST", path, document)
    found = response["error"]
    assert status == 400
    assert error in found if isinstance(error, str) else error == found
    assert len(sandbox.account.contacts) == 0
    assert list(sandbox.fault_rules) == []


async def test_records_of_every_kind_are_listed_as_they_were_seeded(sandbox: Sandbox, call: Call) -> None:
    """Seeded records are listed with their values and their defaults, and can be seeded again."""
    given: dict[str, Any] = {
        "channels": [{"title": "Main", "main": True}],
        "templates": [{"title": "Parcel", "text": "Hello {{1}}", "uuid": "parcel"}],
        "teams": [{"name": "Sales", "uuid": "sales"}],
        "users": [{"email": "ann@example.com", "teams": ["sales"], "updated_at": "2026-01-01T12:00:00Z"}],
        "custom_statuses": [{"name": "Away", "emoji": None}],
        "funnels": [{"name": "New", "position": 2}],
        "contacts": [{"identifier": TO, "name": "Bob", "tags": ["vip"], "custom_fields": {"Size": ["S", "M"]}}],
        "webhooks": [{"url": "http://127.0.0.1:9/", "subscriptions": ["message_created"]}],
    }
    assert await call("POST", "records", {**given, "custom_fields": {"Size": {"type": "checkbox"}}}) == (
        200,
        {"added": 9},
    )
    listed = {kind: (await call("GET", f"records/{kind}"))[1][kind] for kind in given}
    for kind, (record,) in given.items():
        assert listed[kind][0].items() >= record.items()
    assert Sandbox().seed(listed) == 8
    assert sandbox.account.custom_fields["Size"].type == "checkbox"
    assert (await call("GET", "records/other"))[0] == 404


async def test_one_wrong_record_adds_none(sandbox: Sandbox) -> None:
    """A document with a wrong record leaves the account as it was."""
    with pytest.raises(ValueError, match=r"contacts\[1\]\.name: is missing"):
        sandbox.seed({"contacts": [{"identifier": TO, "name": "Ann"}, {"identifier": "+447700900123"}]})
    assert len(sandbox.account.contacts) == 0


async def test_messages_are_read_with_their_request(sandbox: Sandbox, call: Call, client: CallbellClient) -> None:
    """The accepted messages come by page and by recipient; one of them has the raw request and response, without the token."""
    for to in (TO, "+447700900123"):
        await client.send(TextMessage(to=to, text="Hello!"))
    _, listed = await call("GET", "messages?size=1&page=2")
    assert listed["meta"] == {"page": 2, "pages": 2, "total": 2}
    assert listed["messages"][0]["to"] == "+447700900123"
    _, found = await call("GET", "messages?to=31%20612345678")
    (message,) = found["messages"]
    _, one = await call("GET", f"messages/{message['uuid']}")
    request = one["request"]
    assert one["message"]["body"]["content"] == {"text": "Hello!"}
    assert (request["method"], request["target"], request["status"]) == ("POST", "/v1/messages/send", 200)
    assert message["uuid"] in request["response"]["body"]
    headers = {name.lower(): value for name, value in request["headers"]}
    assert headers["authorization"] == "Bearer …"
    assert (await call("GET", "messages/none"))[0] == 404


async def test_a_fault_is_applied_and_removed(sandbox: Sandbox, call: Call, client: CallbellClient) -> None:
    """A fault for one recipient applies to its requests only, is listed with its count, and ends when it is removed."""
    _, response = await call("POST", "faults", {"faults": [{"name": "accept_then_close"}], "to": TO})
    rule = response["fault"]
    await client.send(TextMessage(to="+447700900123", text="Hello!"))
    with pytest.raises(ConnectionLostError):
        await client.send(TextMessage(to=TO, text="Hello!"))
    _, listed = await call("GET", "faults")
    assert [(one["id"], one["applied"], one["faults"]) for one in listed["faults"]] == [(1, 1, ["accept_then_close"])]
    assert (await call("DELETE", f"faults/{rule['id']}"))[0] == 204
    assert (await call("DELETE", f"faults/{rule['id']}"))[0] == 404
    await client.send(TextMessage(to=TO, text="Hello!"))
    sandbox.assert_sent(3)


async def test_all_faults_are_removed(sandbox: Sandbox, call: Call, client: CallbellClient) -> None:
    """Without an id, all rules end."""
    for status in (500, 503):
        await call("POST", "faults", {"faults": [{"name": "respond", "status": status, "body": {"error": "x"}}]})
    assert (await call("DELETE", "faults"))[0] == 204
    await client.send(TextMessage(to=TO, text="Hello!"))


@pytest.mark.parametrize("name", OFFERED)
async def test_every_offered_fault_can_be_chosen(sandbox: Sandbox, call: Call, name: str) -> None:
    """Each offered fault can be applied with the default values of its arguments, which are listed."""
    _, listed = await call("GET", "faults")
    (offered,) = [fault for fault in listed["offered"] if fault["name"] == name]
    status, response = await call("POST", "faults", {"faults": [{"name": name, **offered["arguments"]}], "times": 2})
    assert (status, response["fault"]["times"], response["fault"]["applied"]) == (200, 2, 0)


async def test_the_clock_moves(sandbox: Sandbox, call: Call, client: CallbellClient, listen: Listen) -> None:
    """A day later, a customer's 24 hours are over, a message has been read, and the webhook was notified without a wait."""
    listener = await listen()
    await call("POST", "receive", {"sender": TO, "text": "Hi"})
    receipt = await client.send(TextMessage(to=TO, text="Hello!"))
    before = (await call("GET", "state"))[1]["time"]
    _, response = await call("POST", "clock", {"seconds": 86400})
    assert (before, response["time"]) == ("2026-01-01T12:00:00.000Z", "2026-01-02T12:00:00.000Z")
    await sandbox.wait_delivered(statuses=True)
    assert sorted(payload["status"] for payload in listener.payloads("message_status_updated")) == [
        "delivered",
        "read",
        "sent",
    ]
    assert (await client.messages.status(receipt.uuid)).status == "read"
    (conversation,) = (await call("GET", "conversations"))[1]["conversations"]
    assert conversation["window"]["open"] is False


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_the_clock_moves_forward_only(seconds: float) -> None:
    """A negative or infinite step of the clock is refused."""
    with pytest.raises(ValueError, match="must be a number from 0"):
        Sandbox().advance(seconds)


async def test_the_clock_ends_before_the_calendar_does(sandbox: Sandbox, call: Call) -> None:
    """A step of the clock to a date that can't be written is refused, in Python and over HTTP, and changes nothing."""
    for seconds in (1e12, 1e300):
        with pytest.raises(ValueError, match="after the year 9998"):
            sandbox.advance(seconds)
    sandbox.advance((datetime(9990, 1, 1, tzinfo=UTC) - sandbox.account.calendar.now()).total_seconds())
    status, answer = await call("POST", "clock", {"seconds": 10 * 365 * 86400})
    assert (status, "after the year 9998" in answer["error"]) == (400, True)
    _, answer = await call("POST", "clock", {"seconds": 8 * 365 * 86400})
    assert answer["time"].startswith("9997-")


async def test_reset(clock: Clock) -> None:
    """A reset leaves the records of the start, and no message, request, fault, delivery or count."""
    records = {"contacts": [{"identifier": TO, "name": "Ann"}]}
    async with Sandbox(clock=clock, records=records) as sandbox, aiohttp.ClientSession() as session:
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as client:
            await client.webhooks.subscribe("http://127.0.0.1:9/", ["message_created"])
            await client.send(TextMessage(to="+447700900123", text="Hello!"))
            sandbox.seed({"templates": [{"title": "Parcel"}]})
            sandbox.inject(*[fault.make() for name, fault in OFFERED.items() if name == "token_revoked"])
            async with session.post(f"{sandbox.inbox_url}reset") as response:
                assert response.status == 204
            assert [contact.name for contact in sandbox.account.contacts] == ["Ann"]
            assert [template.title for template in sandbox.account.templates] == ["Template title"]
            assert (sandbox.messages, sandbox.requests, sandbox.account.webhook) == ([], [], None)
            assert (sandbox.deliveries.waiting, sandbox.deliveries.failed) == (0, 0)
            await client.send(TextMessage(to=TO, text="Hello again!"))
        sandbox.assert_sent(1)


async def test_conversations_come_by_page(sandbox: Sandbox, call: Call) -> None:
    """Conversations are listed by page, the most recent first, and found by name or number."""
    for number in range(120):
        sandbox.account.seed(SandboxContact(identifier=f"+447700900{number:03}", name=f"Contact {number}"))
    _, second = await call("GET", "conversations?page=2")
    assert second["meta"] == {"page": 2, "pages": 3, "total": 120}
    assert [one["name"] for one in second["conversations"]][:2] == ["Contact 69", "Contact 68"]
    _, found = await call("GET", "conversations?search=900117")
    assert [one["name"] for one in found["conversations"]] == ["Contact 117"]


async def test_a_history_is_read_from_its_end(sandbox: Sandbox, call: Call) -> None:
    """The last items of a history come first; `before` leads to earlier ones."""
    items = [sandbox.account.receive_message(str(number), sender=TO) for number in range(120)]
    uuid = items[0].contact.uuid
    _, last = await call("GET", f"conversations/{uuid}")
    _, earlier = await call("GET", f"conversations/{uuid}?before={last['start']}&size=100")
    assert (last["start"], last["items"], last["history"][-1]["text"]) == (70, 120, "119")
    assert [one["text"] for one in earlier["history"]] == [str(number) for number in range(70)]
    assert (await call("GET", "conversations/none"))[0] == 404


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
@pytest.mark.parametrize("path", ["", "state", "changes"])
async def test_other_pages_are_refused(sandbox: Sandbox, call: Call, path: str, headers: dict[str, str]) -> None:
    """A request of another web page, or under another name of this machine, gets 403."""
    assert (await call("GET", path, **headers))[0] == 403


async def test_the_control_api_is_apart(sandbox: Sandbox, call: Call) -> None:
    """Its requests are not recorded and get no fault; other methods and paths get 405 and 404, below `/v1` there is nothing."""
    await call("POST", "faults", {"faults": [{"name": "close_before_reading"}]})
    assert (await call("GET", "state"))[0] == 200
    assert (await call("PUT", "state"))[0] == 405
    assert (await call("GET", "other"))[0] == 404
    body = io.BytesIO(b"a" * 2**21)
    async with aiohttp.ClientSession() as session, session.post(f"{sandbox.inbox_url}receive", data=body) as response:
        assert response.status == 413
    assert sandbox.requests == []


async def test_changes_are_reported(sandbox: Sandbox) -> None:
    """Each change of the account is a server-sent event; a look at the account is none."""
    async with aiohttp.ClientSession() as session, session.get(f"{sandbox.inbox_url}changes") as changes:
        assert changes.headers["Content-Type"] == "text/event-stream"

        async def next_event() -> int:
            line = await changes.content.readline()
            assert await changes.content.readline() == b"\n"
            return int(line.removeprefix(b"data: "))

        first = await next_event()
        async with session.get(f"{sandbox.inbox_url}state") as response:
            await response.read()
        sandbox.account.receive_message("Hi", sender=TO)
        second = await next_event()
        assert second > first
        assert sandbox.account.revision == second


async def test_every_file_of_the_inbox_is_served(sandbox: Sandbox) -> None:
    """Each file of the page is served unchanged; a path that leads out of its folder is not found."""
    folder = files("callbell_async.sandbox") / "web"
    names = [file.name for file in folder.iterdir()]
    assert {"index.html", "inbox.js", "inbox.css"} <= set(names)
    async with aiohttp.ClientSession() as session:
        for name in names:
            async with session.get(f"{sandbox.inbox_url}{name}") as response:
                assert await response.read() == (folder / name).read_bytes()
        for path in ("../server.py", "%2e%2e/server.py", "..%2fserver.py"):
            async with session.get(URL(f"{sandbox.inbox_url}{path}", encoded=True)) as response:
                assert response.status == 404


async def test_the_inbox_is_found_without_the_slash_at_the_end(sandbox: Sandbox) -> None:
    """The address without the last `/` leads to the page, so that a browser finds its other files."""
    address = sandbox.inbox_url
    async with aiohttp.ClientSession() as session, session.get(address.removesuffix("/")) as response:
        assert (response.status, str(response.url)) == (200, address)


async def test_the_inbox_has_a_strict_policy(sandbox: Sandbox) -> None:
    """The page and the API forbid scripts of others, frames and guesses of the type."""
    async with aiohttp.ClientSession() as session:
        for path, type_ in (("", "text/html"), ("inbox.js", "text/javascript"), ("state", "application/json")):
            async with session.get(f"{sandbox.inbox_url}{path}") as response:
                assert response.content_type == type_
                policy = response.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self';")
                assert "unsafe" not in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
