"""A webhook as an ASGI application: by the protocol itself, alone under uvicorn, and mounted into Starlette and FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from callbell_async.webhooks import WebhookApp, sign
from tests.support.apps import served_by_uvicorn
from tests.support.calls import until
from tests.support.webhooks import SECRET, Gate, Hook, message_body, texts

NAME = b"x-callbell-signature"


def scope(*headers: tuple[bytes, bytes], method: str = "POST", path: str = "/hook") -> dict[str, Any]:
    """An HTTP connection's scope."""
    return {"type": "http", "method": method, "path": path, "headers": list(headers)}


def body_in(*parts: bytes) -> list[dict[str, Any]]:
    """The messages of a request with a body in these parts."""
    more = [True] * (len(parts) - 1) + [False]
    return [{"type": "http.request", "body": part, "more_body": some} for part, some in zip(parts, more, strict=True)]


async def conversation(
    app: WebhookApp, scope: dict[str, Any], messages: Iterable[dict[str, Any]]
) -> tuple[list[Any], int]:
    """Return what the application sends for these messages, and the number of messages that it did not request."""
    waiting, sent = list(messages), list[Any]()

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent, len(waiting)


async def status(app: WebhookApp, scope: dict[str, Any], *parts: bytes) -> int:
    """Return the status of the response to a request with this body."""
    (start, _), _ = await conversation(app, scope, body_in(*parts))
    return int(start["status"])


async def posted(url: str, body: bytes, **options: Any) -> tuple[int, bytes]:
    """Post a signed body, and return the status and the body of the response."""
    headers = {"X-Callbell-Signature": sign(body, SECRET)}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers, allow_redirects=False, **options) as response,
    ):
        return response.status, await response.read()


# --- the protocol -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(), (0,), (5, 5), (1, 10, 50)])
async def test_an_event_is_handled(cuts: tuple[int, ...]) -> None:
    """A body in any number of parts is received; the response has a type and a length."""
    body = message_body("Hi")
    parts = [body[start:end] for start, end in zip((0, *cuts), (*cuts, None), strict=True)]
    gate = Gate(is_open=True)
    async with WebhookApp(gate, secret=SECRET) as app:
        sent, left = await conversation(app, scope((NAME, sign(body, SECRET).encode())), body_in(*parts))
    assert sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"16")],
        },
        {"type": "http.response.body", "body": b'{"status": "ok"}'},
    ]
    assert (left, texts(gate.handled)) == (0, ["Hi"])


async def test_the_keys_of_a_message_have_defaults() -> None:
    """A message without `body` and `more_body` is an empty body, which is a probe."""
    app = WebhookApp(secret=SECRET)
    (start, _), _ = await conversation(app, scope(), [{"type": "http.request"}])
    assert start["status"] == 200


async def test_an_unsigned_event_is_refused() -> None:
    """An event without a signature, with a wrong one or with two gets 401."""
    app = WebhookApp(Gate(), secret=SECRET)
    good = (NAME, sign(message_body(), SECRET).encode())
    for headers in ([], [(NAME, b"t=1,v1=00")], [(NAME, b"\xff")], [good, good]):
        assert await status(app, scope(*headers), message_body()) == 401
    assert app.receiver.pending == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(method: str) -> None:
    """A method other than POST, GET and HEAD gets 405, and its body is not read."""
    (start, _), left = await conversation(WebhookApp(unsigned=True), scope(method=method), body_in(b"{}"))
    assert start["status"] == 405
    assert (b"allow", b"GET, HEAD, POST") in start["headers"]
    assert left == 1


@pytest.mark.parametrize(("method", "body"), [("GET", b'{"status": "ok"}'), ("HEAD", b"")])
async def test_get_and_head_get_200(method: str, body: bytes) -> None:
    """Callbell may verify a URL with GET: no signature is needed, and the length is the same for both."""
    app = WebhookApp(secret=SECRET)
    (start, end), _ = await conversation(app, scope(method=method), body_in(b""))
    assert (start["status"], end["body"]) == (200, body)
    assert start["headers"] == [(b"content-type", b"application/json"), (b"content-length", b"16")]
    assert app.receiver.stats.received == 0


@pytest.mark.parametrize("encoding", [b"gzip", b"BR", b"identity, gzip"])
async def test_an_encoded_body_is_refused(encoding: bytes) -> None:
    """A `Content-Encoding` other than `identity` gets 415, and the body is not read: the signature is over the raw body."""
    app = WebhookApp(secret=SECRET)
    signature = (NAME, sign(message_body(), SECRET).encode())
    request = scope(signature, (b"content-encoding", encoding))
    (start, end), left = await conversation(app, request, body_in(message_body()))
    assert (start["status"], left) == (415, 1)
    assert b"Content-Encoding" in end["body"]
    assert (b"accept-encoding", b"identity") in start["headers"]
    assert await status(app, scope(signature, (b"content-encoding", b"identity")), message_body()) == 200
    assert app.receiver.stats.refused == 1


@pytest.mark.virtual_time
async def test_a_body_that_never_ends_gets_408() -> None:
    """After `read_timeout` seconds, 30 by default, the response is 408, and the connection is closed."""
    app = WebhookApp(Gate(), secret=SECRET)
    messages = [{"type": "http.request", "body": b"{", "more_body": True}] * 5
    loop = asyncio.get_running_loop()
    began = loop.time()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(7)
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope(), receive, send)
    assert (sent[0]["status"], loop.time() - began) == (408, 30.0)
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize(("version", "closes"), [("1.0", True), ("1.1", True), ("2", False), ("3", False)])
async def test_only_http_1_has_a_header_that_closes(version: str, closes: bool) -> None:
    """A response before the end of the body closes a connection of HTTP/1; HTTP/2 forbids that header."""
    request = {**scope((b"content-length", b"9" * 9)), "http_version": version}
    (start, _), _ = await conversation(WebhookApp(secret=SECRET), request, body_in(b""))
    assert start["status"] == 413
    assert ((b"connection", b"close") in start["headers"]) is closes


async def test_a_body_announced_as_too_large_is_not_read() -> None:
    """A `Content-Length` over the limit gets 413 before the body is requested; a length at the limit is read."""
    app = WebhookApp(unsigned=True, max_body=1000)
    (start, _), left = await conversation(app, scope((b"content-length", b"1001")), body_in(b""))
    assert (start["status"], left) == (413, 1)
    assert await status(app, scope((b"content-length", b"1000")), b" " * 1000) == 200


@pytest.mark.parametrize("digits", [18, 19, 4301])
async def test_a_length_of_any_digits_is_too_large(digits: int) -> None:
    """A length of more digits than Python reads as a number gets 413, too."""
    app = WebhookApp(unsigned=True, max_body=1000)
    (start, _), left = await conversation(app, scope((b"content-length", b"9" * digits)), body_in(b""))
    assert (start["status"], left) == (413, 1)


async def test_a_body_without_a_length_is_read_as_far_as_the_limit() -> None:
    """A body over the limit gets 413 without a length, with a wrong one, and with one that is not a number."""
    app = WebhookApp(unsigned=True, max_body=1000)
    for headers in ([], [(b"content-length", b"5")], [(b"content-length", b"-")]):
        (start, _), left = await conversation(app, scope(*headers), body_in(b" " * 1000, b" ", b" ", b" "))
        assert (start["status"], left) == (413, 2)


async def test_the_first_part_of_a_body_is_not_handled() -> None:
    """When the client disconnects before the end of the body, nothing is handled, and no response is sent."""
    gate = Gate(is_open=True)
    async with WebhookApp(gate, unsigned=True) as app:
        half = {"type": "http.request", "body": message_body(), "more_body": True}
        assert await conversation(app, scope(), [half, {"type": "http.disconnect"}]) == ([], 0)
    assert gate.handled == []


async def test_only_one_path_may_be_served() -> None:
    """With `path`, which may hold the secret of an unsigned webhook, any other path gets 404."""
    app = WebhookApp(Gate(), unsigned=True, path="/hook/3Vf0")
    assert await status(app, scope(path="/hook/3Vf0"), b"") == 200
    for path in ("/hook", "/", "/hook/3Vf0/", "/hook/3Vf1"):
        assert await status(app, scope(path=path), message_body()) == 404
        assert await status(app, scope(path=path, method="GET"), b"") == 404
    assert app.receiver.pending == 0


async def test_the_lifespan_closes_the_receiver() -> None:
    """The start of the lifespan needs nothing; at its end the receiver is closed, and all events are handled."""
    gate = Gate(is_open=True)
    app = WebhookApp(gate, unsigned=True)
    assert await status(app, scope(), message_body("Hi")) == 200
    sent, _ = await conversation(
        app, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    )
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert texts(gate.handled) == ["Hi"]
    assert await status(app, scope(), message_body("too late")) == 503


async def test_a_websocket_is_refused() -> None:
    """A WebSocket is closed before it opens."""
    sent, _ = await conversation(WebhookApp(unsigned=True), {"type": "websocket"}, [])
    assert sent == [{"type": "websocket.close"}]


async def test_an_unknown_scope_is_an_error() -> None:
    """A scope of an unknown type raises an error, as the specification requires."""
    with pytest.raises(NotImplementedError, match="telepathy"):
        await conversation(WebhookApp(unsigned=True), {"type": "telepathy"}, [])


# --- alone, and mounted -----------------------------------------------------------------------------------------------


async def test_alone_under_uvicorn() -> None:
    """Events are received, refused and handled; the server's shutdown drains the queue."""
    gate = Gate()
    app = WebhookApp(gate, secret=SECRET, max_body=100_000)
    async with served_by_uvicorn(app) as url:
        for text in "12":
            assert await posted(f"{url}/hook", message_body(text)) == (200, b'{"status": "ok"}')
        assert (await posted(url, b" " * 100_001))[0] == 413
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=message_body("3")) as response:
                assert response.status == 401
            async with session.get(url) as response:
                assert (response.status, await response.json()) == (200, {"status": "ok"})
            async with session.head(url) as response:
                assert (response.status, await response.read()) == (200, b"")
            headers = {"Content-Encoding": "gzip"}
            async with session.post(url, data=b"", headers=headers) as response:
                assert (response.status, response.headers["Connection"]) == (415, "close")
        assert app.receiver.pending == 2
        gate.open()
    assert texts(gate.handled) == ["1", "2"]
    assert app.receiver.pending == 0


@asynccontextmanager
async def closing(webhook: WebhookApp) -> AsyncIterator[None]:
    """A lifespan that closes the webhook."""
    async with webhook:
        yield


async def test_mounted_into_starlette() -> None:
    """As a route, its path needs no slash at the end; the application's lifespan closes it."""
    gate = Gate()
    webhook = WebhookApp(gate, secret=SECRET)
    host = Starlette(routes=[Route("/route", webhook), Mount("/mount", webhook)], lifespan=lambda app: closing(webhook))
    async with served_by_uvicorn(host) as url:
        assert await posted(f"{url}/route", message_body("1")) == (200, b'{"status": "ok"}')
        assert await posted(f"{url}/mount/", message_body("2")) == (200, b'{"status": "ok"}')
        # This is why the docs recommend a route: Callbell may not follow a redirect.
        assert (await posted(f"{url}/mount", message_body("3")))[0] == 307
        asyncio.get_running_loop().call_soon(gate.open)
    assert texts(gate.handled) == ["1", "2"]


async def test_mounted_into_fastapi() -> None:
    """It is a route in FastAPI, and other routes are served while it waits for a handler."""
    gate, hook = Gate(), Hook()
    webhook = WebhookApp(gate, secret=SECRET, respond_after="handler", on_error=hook)
    host = FastAPI(lifespan=lambda app: closing(webhook))
    host.router.routes.append(Route("/callbell", webhook))

    @host.post("/other")
    async def other() -> str:
        return "another route"

    async with served_by_uvicorn(host) as url:
        response = asyncio.ensure_future(posted(f"{url}/callbell", message_body("1")))
        await until(lambda: gate.began or response.done())
        assert await posted(f"{url}/other", b"") == (200, b'"another route"')
        assert not response.done()
        gate.open()
        assert await response == (200, b'{"status": "ok"}')
    assert texts(gate.handled) == ["1"]
    assert (await status(webhook, scope((NAME, sign(message_body(), SECRET).encode())), message_body())) == 503
    assert hook.calls == []
