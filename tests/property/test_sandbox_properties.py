"""Any request to the sandbox: it responds as documented, and keeps its state consistent."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from callbell_async.sandbox import SandboxAccount
from callbell_async.sandbox.api.router import route
from callbell_async.sandbox.api.validation import check_message
from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from tests.fixtures.sandbox import GOOD, Clock, number
from tests.fixtures.sandbox.requests import (
    KEYS,
    everything,
    is_documented,
    near_messages,
    operation_requests,
    requests,
    seeded_account,
)
from tests.fixtures.strategies import quick


@quick
@given(requests | operation_requests)
def test_every_response_is_documented(request_: SandboxRequest) -> None:
    """Any request gets a documented response that can be written as JSON; a refused one changes nothing."""
    account = seeded_account()
    before = everything(account)
    response = route(account, request_)
    assert is_documented(response)
    assert isinstance(response.content, bytes)
    if response.status >= 400 or request_.method == "GET":
        assert everything(account) == before


@quick
@given(near_messages)
def test_a_message_is_accepted_or_refused_with_errors(body: dict[str, Any]) -> None:
    """An almost valid body is accepted and in the contact's history, or refused with errors about keys that exist."""
    account = seeded_account()
    request_ = SandboxRequest(method="POST", path="/messages/send", body=json.dumps(body).encode())
    response = route(account, request_)
    if response.status == 200:
        (message,) = account.messages
        assert message.body == body
        assert account.contacts.find_message(message.uuid) is not None
    else:
        assert not account.messages
        errors = response.document["error"]
        assert {name.split(".")[0] for name in errors} <= {*KEYS, "body"}
        assert check_message(body) in ({}, errors)


@attrs.frozen
class Step:
    """One operation on a contact."""

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
def test_the_state_is_consistent(done: list[Step]) -> None:
    """After any sequence of operations, every list, history and lookup agrees with the operations."""
    account = SandboxAccount(clock=Clock())
    alive: dict[str, list[str]] = {}
    notes: dict[str, int] = {}
    closed: set[str] = set()

    def call(method: str, path: str, **body: Any) -> SandboxResponse:
        return route(account, SandboxRequest(method=method, path=path, body=json.dumps(body).encode()))

    for step in done:
        to = number(step.place)
        found = account.contacts.by_identifier("whatsapp", to)
        assert (found is not None) == (to in alive)
        path = f"/contacts/{'nobody' if found is None else found.uuid}"
        match step.name:
            case "send":
                document = call("POST", "/messages/send", **{**GOOD, "to": to}).document
                alive.setdefault(to, []).append(document["message"]["uuid"])
                notes.setdefault(to, 0)
                closed.discard(to)
            case "create":
                response = call("POST", "/contacts", identifier=to, source="whatsapp", name=to)
                assert response.status == (400 if to in alive else 200)
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
