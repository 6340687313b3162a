"""The sandbox: it responds as Callbell does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from callbell_async import CallbellClient, RateLimitError, RetryPolicy, TextMessage
from callbell_async.sandbox import Sandbox, faults
from callbell_async.sandbox.api.validation import check_message

GOOD: dict[str, Any] = {"to": "+31612345678", "from": "whatsapp", "type": "text", "content": {"text": "Hello!"}}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose clock does not move."""
    async with Sandbox(limit=5, clock=lambda: 0.0) as running:
        yield running


async def post(
    sandbox: Sandbox,
    path: str = "/messages/send",
    *,
    token: str = "sandbox",
    host: str | None = None,
    origin: str | None = None,
    **body: Any,
) -> tuple[int, Any]:
    """Return the status and the document of the response to a POST."""
    headers = {"Authorization": f"Bearer {token}"}
    headers |= {name: value for name, value in (("Host", host), ("Origin", origin)) if value is not None}
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.url + path, headers=headers, **body) as response,
    ):
        return response.status, await response.json()


async def test_accepts_a_message(sandbox: Sandbox) -> None:
    """A valid message is enqueued, kept with its body, and found by its uuid."""
    status, response = await post(sandbox, json=GOOD)
    assert status == 200
    assert response["message"]["status"] == "enqueued"
    assert [(message.uuid, message.body) for message in sandbox.messages] == [(response["message"]["uuid"], GOOD)]
    async with CallbellClient("sandbox", base_url=sandbox.url) as callbell:
        found = await callbell.request("GET", f"/messages/status/{response['message']['uuid']}")
    assert response["message"].items() <= found["message"].items()


async def test_refuses_another_token(sandbox: Sandbox) -> None:
    """A wrong token gets Callbell's own 401."""
    assert await post(sandbox, token="other", json=GOOD) == (401, {"error": "not authorized"})


async def test_refuses_what_is_not_json(sandbox: Sandbox) -> None:
    """A body that is not JSON is the client's error, never the sandbox's."""
    assert await post(sandbox, data=b"{") == (400, {"error": "the body is not JSON"})


@pytest.mark.parametrize("path", ["/nowhere", "/messages/status/nothing"])
async def test_other_paths_are_not_found(sandbox: Sandbox, path: str) -> None:
    """An unknown path or uuid gets a JSON response, not the server's page."""
    headers = {"Authorization": "Bearer sandbox"}
    async with aiohttp.ClientSession() as session, session.get(sandbox.url + path, headers=headers) as response:
        assert (response.status, await response.json()) == (404, {"error": "not found"})


async def test_refuses_another_method(sandbox: Sandbox) -> None:
    """A known path with a wrong method gets JSON too."""
    status, response = await post(sandbox, "/messages/status/x")
    assert (status, response) == (405, {"error": "method not allowed"})


async def test_errors_are_listed_by_field(sandbox: Sandbox) -> None:
    """Wrong parameters get an error in Callbell's form: a list of texts for each field."""
    status, response = await post(sandbox, json={**GOOD, "template_uuid": ""})
    assert status == 400
    assert response == {
        "error": {
            "template_uuid": ["must be present and not empty"],
            "optin_contact": ["must be present and true"],
        }
    }
    assert not sandbox.messages


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": ""}, "to"),
        ({"from": "pigeon"}, "from"),
        ({"type": "song", "content": {"url": "https://example.com/a.mp3"}}, "type"),
        ({"content": "Hello!"}, "content"),
        ({"content": {"text": " "}}, "content.text"),
        ({"type": "image"}, "content.url"),
        ({"template_uuid": "x"}, "optin_contact"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {str(number): "x" for number in range(11)}}, "metadata"),
        ({"metadata": {"k" * 51: "x"}}, "metadata"),
        ({"metadata": {"k": "x" * 501}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
    ],
)
def test_checks_each_parameter(change: dict[str, Any], field: str) -> None:
    """Each documented rule has its error."""
    assert list(check_message({**GOOD, **change})) == [field]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"to": None, "bsuid": "US.13491208655302741918"},
        {"template_uuid": "x", "optin_contact": True, "content": {"text": ""}},
        {"type": "document", "content": {"url": "https://example.com/a.mp3"}},
        {"metadata": {"k" * 50: "x" * 500}},
    ],
)
def test_accepts_what_is_documented(change: dict[str, Any]) -> None:
    """Every body that Callbell's page allows is accepted."""
    assert check_message({**GOOD, **change}) == {}


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_requires_an_object(body: Any) -> None:
    """A body that is JSON but not an object is refused."""
    assert list(check_message(body)) == ["body"]


async def test_refuses_more_than_the_limit(sandbox: Sandbox) -> None:
    """The request after the limit in one second gets 429, which the client understands."""
    async with CallbellClient("sandbox", base_url=sandbox.url, retry=RetryPolicy(attempts=1)) as callbell:
        for _ in range(5):
            await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
        with pytest.raises(RateLimitError):
            await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
    assert len(sandbox.messages) == 5


async def test_the_limit_ends_after_a_second() -> None:
    """A further request is accepted one second later, and not a moment before."""
    now = [0.0]
    async with Sandbox(limit=1, clock=lambda: now[0]) as sandbox:
        assert (await post(sandbox, json=GOOD))[0] == 200
        now[0] = 1.0
        assert (await post(sandbox, json=GOOD))[0] == 429
        now[0] = 1.001
        assert (await post(sandbox, json=GOOD))[0] == 200


# --- other web pages ----------------------------------------------------------------------------------------------------


def host_of(sandbox: Sandbox) -> str:
    """Return the sandbox's host and port."""
    return sandbox.url.removeprefix("http://").removesuffix("/v1")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[", ""])
async def test_a_foreign_host_is_refused(sandbox: Sandbox, host: str) -> None:
    """A web page whose own name resolves to 127.0.0.1 (DNS rebinding) sends that name as the host, and reads nothing."""
    sandbox.inject(faults.respond(500))
    status, document = await post(sandbox, json=GOOD, host=host)
    assert (status, list(document)) == (403, ["error"])
    assert "Host" in document["error"]
    assert [(request.status, request.fault) for request in sandbox.requests] == [(403, None)]
    sandbox.assert_sent(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:{port}", "[::1]:{port}", "127.0.0.1:1"])
async def test_this_machine_is_accepted_as_host(sandbox: Sandbox, host: str) -> None:
    """Each name and address of the loopback interface is accepted, also with a port that a tunnel has changed."""
    status, _ = await post(sandbox, json=GOOD, host=host.format(port=host_of(sandbox).partition(":")[2]))
    assert status == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:{port}", "https://127.0.0.1:{port}"],
)
async def test_a_foreign_origin_is_refused(sandbox: Sandbox, origin: str) -> None:
    """A web page at any other address is refused, on another port of this machine too."""
    port = host_of(sandbox).partition(":")[2]
    status, document = await post(sandbox, json=GOOD, origin=origin.format(port=port))
    assert status == 403
    assert "Origin" in document["error"]
    sandbox.assert_sent(0)


async def test_the_own_origin_is_accepted(sandbox: Sandbox) -> None:
    """A web page of the sandbox itself is served, under each of the names by which it was opened."""
    port = host_of(sandbox).partition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        status, _ = await post(sandbox, json=GOOD, host=host, origin=f"http://{host}")
        assert status == 200


async def test_a_running_sandbox_is_not_entered_again(sandbox: Sandbox) -> None:
    """Entering a running sandbox is an error, and the sandbox still serves requests and ends as usual."""
    with pytest.raises(RuntimeError, match="is running already"):
        await sandbox.__aenter__()
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
    assert len(sandbox.messages) == 1


def test_has_an_address_only_while_it_runs() -> None:
    """A sandbox that is not running has no address; the error names the way to run it."""
    with pytest.raises(RuntimeError, match="async with"):
        _ = Sandbox().url
