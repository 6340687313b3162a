"""Whatever is sent to the sandbox: it answers as documented, never with 500, and keeps its state."""

from __future__ import annotations

import asyncio
import copy
import io
import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callbell_async.sandbox import Account, Sandbox
from callbell_async.sandbox.checks import check_message
from callbell_async.sandbox.exchange import Reply, SandboxRequest
from callbell_async.sandbox.routes import OPERATIONS, answer
from tests.fixtures.sandbox import GOOD, Clock, ask, number, seed

quick = settings(max_examples=150, derandomize=True, deadline=None)

# --- requests of every kind -----------------------------------------------------------------------------------------------

IDS = ("contact", "hidden", "channel", "template", "team", "user", "status", "funnel", "+123456789", "bsuid_abc123")

any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)

KEYS = (
    *(
        "to",
        "bsuid",
        "from",
        "type",
        "content",
        "template_uuid",
        "optin_contact",
        "template_values",
        "fields",
        "metadata",
    ),
    *(
        "identifier",
        "source",
        "name",
        "tags",
        "custom_fields",
        "assigned_user",
        "team_uuid",
        "channel_uuid",
        "bot_status",
    ),
    *(
        "note",
        "unassign_user",
        "text",
        "funnel_id",
        "status",
        "title",
        "emoji",
        "available",
        "custom_status_uuid",
        "url",
    ),
    "subscriptions",
)

near_values = any_json | st.sampled_from(
    [
        *("whatsapp", "text", "image", "bot_start", "bot_end", "contact,conversation", *IDS, "", " ", "\0", "x" * 1001),
        *(True, False, None, 0, [], {}, ["a"], {"text": "x"}, {"url": "x"}, {"url": "https://example.com"}),
        *({"k": "v"}, {"k": ["v"]}, ["message_created"], "https://example.com/hook", "http://127.0.0.1"),
    ]
)
near_bodies = st.dictionaries(st.sampled_from(KEYS), near_values, max_size=8)
near_messages = st.builds(lambda changes: {**GOOD, **changes}, near_bodies)

bodies = st.one_of(
    st.binary(max_size=200),
    any_json.map(lambda value: json.dumps(value).encode()),
    near_bodies.map(lambda value: json.dumps(value).encode()),
    near_messages.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"", b"{", b"[" * 5000, b'{"a":1}{', b"\xff\xfe", b'{"to": "\\ud800"}', b'{"to": NaN}', b"1e999", b"null"]
    ),
)

near_paths = st.sampled_from(sorted(OPERATIONS)).flatmap(
    lambda name: st.lists(st.sampled_from(IDS) | st.text(max_size=8), min_size=1, max_size=1).map(
        lambda ids: "/".join(ids[0] if part.startswith(":") else part for part in name.split()[1].split("/"))
    )
)
paths = near_paths | st.text(max_size=30).map(lambda text: "/" + text)

queries = st.dictionaries(
    st.sampled_from(
        ["page", "after", "items", "tags", "source", "type", "active", "status", "subscriptions", "team_uuid"]
    ),
    st.text(max_size=12)
    | st.sampled_from(["1", "2", "500", "501", "0", "-1", "999999999999", "whatsapp", "true", "away"]),
    max_size=4,
)

requests = st.builds(
    SandboxRequest,
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]),
    path=paths,
    query=queries,
    headers=st.dictionaries(st.just("authorization"), st.text(st.characters(exclude_categories=()), max_size=20)),
    body=bodies,
)

operation_requests = st.sampled_from(sorted(OPERATIONS)).flatmap(
    lambda name: st.builds(
        SandboxRequest,
        method=st.just(name.split()[0]),
        path=st.sampled_from(IDS).map(
            lambda one: "/".join(one if part.startswith(":") else part for part in name.split()[1].split("/"))
        ),
        query=queries,
        body=bodies,
    )
)


def seeded_account() -> Account:
    """An account with something of everything, on a clock that stands still."""
    account = Account(clock=Clock())
    seed(account)
    account.receive("Hello", sender="+123456789")
    return account


def everything(account: Account) -> dict[str, Any]:
    """All that an account holds."""
    kept = {name: value for name, value in vars(account).items() if name not in ("calendar", "_by_id")}
    return copy.deepcopy({name: list(value) if hasattr(value, "__iter__") else value for name, value in kept.items()})


def is_documented(reply: Reply) -> bool:
    """Whether an answer has a form that Callbell documents: a document, an empty 204, or an error in words or by field."""
    if reply.status in (200, 204):
        return isinstance(reply.document, dict) == (reply.status == 200)
    if reply.status not in (400, 404, 405) or list(reply.document) != ["error"]:
        return False
    error = reply.document["error"]
    by_field = isinstance(error, dict) and all(
        isinstance(complaints, list) and complaints and all(isinstance(one, str) for one in complaints)
        for complaints in error.values()
    )
    return isinstance(error, str) or (by_field and bool(error))


@quick
@given(requests | operation_requests)
def test_every_request_is_answered_as_documented(request_: SandboxRequest) -> None:
    """Any request at all has a documented answer that can be written as JSON; one that is refused changes nothing."""
    account = seeded_account()
    before = everything(account)
    reply = answer(account, request_)
    assert is_documented(reply)
    assert isinstance(reply.content, bytes)
    if reply.status >= 400 or request_.method == "GET":
        assert everything(account) == before


@quick
@given(near_messages)
def test_a_message_is_taken_or_complained_of(body: dict[str, Any]) -> None:
    """A body nearly right is either accepted, and is in the contact's history, or refused with complaints about keys that exist."""
    account = seeded_account()
    request_ = SandboxRequest(method="POST", path="/messages/send", body=json.dumps(body).encode())
    reply = answer(account, request_)
    if reply.status == 200:
        (message,) = account.messages
        assert message.body == body
        assert account.people.entry(message.uuid) is not None
    else:
        assert not account.messages
        complaints = reply.document["error"]
        assert {name.split(".")[0] for name in complaints} <= {*KEYS, "body"}
        assert check_message(body) in ({}, complaints)


@attrs.frozen
class Step:
    """One thing done to the contacts."""

    name: str
    place: int


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["send", "create", "delete", "note", "close", "open", "remove message"]),
        st.integers(0, 5),
    ),
    max_size=25,
)


@quick
@given(steps)
def test_the_state_holds_together(done: list[Step]) -> None:
    """After any sequence of operations, every list, history and lookup agrees with what was done."""
    account = Account(clock=Clock())
    alive: dict[str, list[str]] = {}
    notes: dict[str, int] = {}
    closed: set[str] = set()

    def call(method: str, path: str, **body: Any) -> Reply:
        return answer(account, SandboxRequest(method=method, path=path, body=json.dumps(body).encode()))

    for step in done:
        to = number(step.place)
        found = account.people.by_identifier("whatsapp", to)
        assert (found is not None) == (to in alive)
        path = f"/contacts/{'nobody' if found is None else found.uuid}"
        match step.name:
            case "send":
                document = call("POST", "/messages/send", **{**GOOD, "to": to}).document
                alive.setdefault(to, []).append(document["message"]["uuid"])
                notes.setdefault(to, 0)
                closed.discard(to)
            case "create":
                reply = call("POST", "/contacts", identifier=to, source="whatsapp", name=to)
                assert reply.status == (400 if to in alive else 200)
                alive.setdefault(to, [])
                notes.setdefault(to, 0)
            case "delete":
                assert call("DELETE", path).status == (200 if to in alive else 404)
                alive.pop(to, None)
                notes.pop(to, None)
                closed.discard(to)
            case "note":
                assert call("POST", f"{path}/conversation/note", text="x").status == (200 if to in alive else 404)
                if to in alive:
                    notes[to] += 1
            case "close" | "open":
                assert call("POST", f"{path}/conversation/{step.name}").status == (200 if to in alive else 404)
                if to in alive:
                    (closed.add if step.name == "close" else closed.discard)(to)
            case "remove message":
                if alive.get(to):
                    assert call("DELETE", f"/messages/{alive[to].pop()}").status == 204
    listed = call("GET", "/contacts").document["contacts"]
    assert [contact["phoneNumber"] for contact in listed] == sorted(alive, key=[c["phoneNumber"] for c in listed].index)
    assert {contact["phoneNumber"] for contact in listed if contact.get("closedAt")} == closed
    for contact in listed:
        to = contact["phoneNumber"]
        assert call("GET", f"/contacts/phone/{to}").document["contact"]["uuid"] == contact["uuid"]
        lines = call("GET", f"/contacts/{contact['uuid']}/messages").document["messages"]
        assert sorted(line["uuid"] for line in lines if line["status"] == "sent") == sorted(alive[to])
        assert sum(line["status"] == "note" for line in lines) == notes[to]


# --- bytes of every kind ----------------------------------------------------------------------------------------------------

BROKEN = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a line and no more": b"GET /v1/plan\r\n\r\n",
    "no version": b"GET /v1/plan HTTP/9\r\n\r\n",
    "a path of a proxy's": b"GET http://api.callbell.eu/v1/plan HTTP/1.1\r\nHost: x\r\n{auth}\r\n",
    "no path": b"GET * HTTP/1.1\r\nHost: x\r\n{auth}\r\n",
    "a path of bytes": b"GET /v1/contacts/\xff\xfe%zz%80 HTTP/1.1\r\nHost: x\r\n{auth}\r\n",
    "a query of bytes": b"GET /v1/contacts?after=\xff%ff&&=&page HTTP/1.1\r\nHost: x\r\n{auth}\r\n",
    "a token of bytes": b"GET /v1/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    "a header without a name": b"GET /v1/plan HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n",
    "a head too long": b"GET /v1/plan HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    "a path too long": b"GET /v1/" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "no number for a length": b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "chunks that are none": b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\n{auth}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "no gzip": b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\n{auth}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "a body too large": b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 2000000\r\n\r\n"
    + b"x" * 2_000_000,
    "half a body": b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 500\r\n\r\n{",
    "an upgrade": b"GET /v1/plan HTTP/1.1\r\nHost: x\r\n{auth}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a tunnel": b"CONNECT api.callbell.eu:443 HTTP/1.1\r\nHost: x\r\n{auth}\r\n",
}


async def say(sandbox: Sandbox, data: bytes) -> bytes:
    """Everything the sandbox answers to these bytes; the sending side is ended after them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
    said = b""
    try:
        writer.write(data.replace(b"{auth}", b"Authorization: Bearer sandbox\r\n"))
        if b"500\r\n" in data:
            writer.write_eof()
        said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), None)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()
    return said


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_broken_requests_break_nothing(data: bytes) -> None:
    """Bytes that are no request, or half of one, are answered with a status of the 400s or not at all, and the next request is served."""
    async with Sandbox() as sandbox:
        said = await say(sandbox, data)
        allowed = {
            b"400",
            b"404",
            b"405",
            b"413",
            b"401",
            b"200" if b"auth/me" in data or b"Upgrade" in data else b"400",
        }
        assert not said or said.split(b" ")[1] in allowed
        assert not sandbox.messages
        assert (await ask(sandbox, "POST", "/messages/send", json=GOOD))[0] == 200


async def test_a_body_that_is_announced_is_asked_for() -> None:
    """A client that waits for `100 Continue` before it sends its body, as curl does with large ones, gets it."""
    async with Sandbox() as sandbox:
        status, _ = await ask(sandbox, "POST", "/messages/send", json=GOOD, expect100=True)
        assert status == 200
        sandbox.assert_sent(1)


async def test_a_body_too_large_is_refused_in_json() -> None:
    """A body of more than a mebibyte is refused in Callbell's form."""
    async with Sandbox() as sandbox:
        status, answered = await ask(sandbox, "POST", "/messages/send", data=io.BytesIO(b" " * (1024 * 1024 + 1)))
        assert (status, answered) == (413, {"error": "request entity too large"})


async def test_any_token_will_do_if_none_is_set() -> None:
    """A sandbox without a token takes every bearer token, of bytes too, and tells it back; no other scheme."""
    async with Sandbox(token=None) as sandbox:
        assert (await ask(sandbox, "GET", "/auth/me", token="whatever"))[1]["api_key"] == "whatever"
        assert (await ask(sandbox, "GET", "/auth/me", token=sandbox.token))[0] == 200
        assert b" 200 " in await say(sandbox, BROKEN["a token of bytes"])
        assert b" 401 " in await say(sandbox, b"GET /v1/plan HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n")


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/", "/contacts", "/v2/contacts", "/v1//contacts", "/v1/contacts/"]
)
async def test_only_v1_is_served(path: str) -> None:
    """A path that is not below `/v1`, or has a slash too many, is not found."""
    async with Sandbox() as sandbox:
        base = sandbox.url.removesuffix("/v1").encode()
        said = await say(sandbox, b"GET " + (path or "/").encode() + b" HTTP/1.1\r\nHost: x\r\n{auth}\r\n")
        assert base and b" 404 " in said  # noqa: PT018
