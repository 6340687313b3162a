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
    """A request's body, in these parts."""
    more = [True] * (len(parts) - 1) + [False]
    return [{"type": "http.request", "body": part, "more_body": some} for part, some in zip(parts, more, strict=True)]


async def conversation(
    app: WebhookApp, scope: dict[str, Any], messages: Iterable[dict[str, Any]]
) -> tuple[list[Any], int]:
    """What the application sends for these messages, and how many of them it did not ask for."""
    waiting, sent = list(messages), list[Any]()

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent, len(waiting)


async def status(app: WebhookApp, scope: dict[str, Any], *parts: bytes) -> int:
    """The status that a request with this body is answered."""
    (start, _), _ = await conversation(app, scope, body_in(*parts))
    return int(start["status"])


async def posted(url: str, body: bytes, **options: Any) -> tuple[int, bytes]:
    """Post a signed body; the answer's status and body."""
    headers = {"X-Callbell-Signature": sign(body, SECRET)}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers, allow_redirects=False, **options) as response,
    ):
        return response.status, await response.read()


# --- the protocol -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(), (0,), (5, 5), (1, 10, 50)])
async def test_an_event_is_answered_and_handled(cuts: tuple[int, ...]) -> None:
    """In however many parts its body comes; the answer has a type and a length."""
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


async def test_a_request_may_say_as_little_as_possible() -> None:
    """`body` and `more_body` have defaults: this is an empty body, and so a probe."""
    app = WebhookApp(secret=SECRET)
    (start, _), _ = await conversation(app, scope(), [{"type": "http.request"}])
    assert start["status"] == 200


async def test_what_is_not_signed_is_refused() -> None:
    """No signature, a wrong one, or two of them: 401."""
    app = WebhookApp(Gate(), secret=SECRET)
    good = (NAME, sign(message_body(), SECRET).encode())
    for headers in ([], [(NAME, b"t=1,v1=00")], [(NAME, b"\xff")], [good, good]):
        assert await status(app, scope(*headers), message_body()) == 401
    assert app.receiver.pending == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_posts_are_taken(method: str) -> None:
    """Any other method is told so, and no body is read."""
    (start, _), left = await conversation(WebhookApp(unsigned=True), scope(method=method), body_in(b"{}"))
    assert start["status"] == 405
    assert (b"allow", b"POST") in start["headers"]
    assert left == 1


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    """413 before anything of it is asked for; one of just the length is read."""
    app = WebhookApp(unsigned=True, max_body=1000)
    (start, _), left = await conversation(app, scope((b"content-length", b"1001")), body_in(b""))
    assert (start["status"], left) == (413, 1)
    assert await status(app, scope((b"content-length", b"1000")), b" " * 1000) == 200


@pytest.mark.parametrize("digits", [18, 19, 4301])
async def test_a_length_of_any_digits_is_too_large(digits: int) -> None:
    """Also of more digits than Python reads as a number."""
    app = WebhookApp(unsigned=True, max_body=1000)
    (start, _), left = await conversation(app, scope((b"content-length", b"9" * digits)), body_in(b""))
    assert (start["status"], left) == (413, 1)


async def test_a_body_without_a_length_is_read_as_far_as_the_limit() -> None:
    """Also when it lies about it, or says nonsense."""
    app = WebhookApp(unsigned=True, max_body=1000)
    for headers in ([], [(b"content-length", b"5")], [(b"content-length", b"-")]):
        (start, _), left = await conversation(app, scope(*headers), body_in(b" " * 1000, b" ", b" ", b" "))
        assert (start["status"], left) == (413, 2)


async def test_a_body_that_breaks_off_is_no_event() -> None:
    """What came of it is not handled, and nobody is answered."""
    gate = Gate(is_open=True)
    async with WebhookApp(gate, unsigned=True) as app:
        half = {"type": "http.request", "body": message_body(), "more_body": True}
        assert await conversation(app, scope(), [half, {"type": "http.disconnect"}]) == ([], 0)
    assert gate.handled == []


async def test_it_can_be_kept_to_one_path() -> None:
    """Where there is no secret but the URL, every other path is unknown, whatever is sent there."""
    app = WebhookApp(Gate(), unsigned=True, path="/hook/3Vf0")
    assert await status(app, scope(path="/hook/3Vf0"), b"") == 200
    for path in ("/hook", "/", "/hook/3Vf0/", "/hook/3Vf1"):
        assert await status(app, scope(path=path), message_body()) == 404
        assert await status(app, scope(path=path, method="GET"), b"") == 404
    assert app.receiver.pending == 0


async def test_it_lives_with_its_server() -> None:
    """The lifespan's start needs nothing; its end closes the receiver, and is told when all is handled."""
    gate = Gate(is_open=True)
    app = WebhookApp(gate, unsigned=True)
    assert await status(app, scope(), message_body("Hi")) == 200
    sent, _ = await conversation(
        app, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    )
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert texts(gate.handled) == ["Hi"]
    assert await status(app, scope(), message_body("too late")) == 503


async def test_no_websocket_is_taken() -> None:
    """It is closed before it opens."""
    sent, _ = await conversation(WebhookApp(unsigned=True), {"type": "websocket"}, [])
    assert sent == [{"type": "websocket.close"}]


async def test_what_asgi_adds_next_is_not_known() -> None:
    """As the specification asks."""
    with pytest.raises(NotImplementedError, match="telepathy"):
        await conversation(WebhookApp(unsigned=True), {"type": "telepathy"}, [])


# --- alone, and mounted -----------------------------------------------------------------------------------------------


async def test_alone_under_uvicorn() -> None:
    """Events are answered, refused and handled; the server's shutdown drains what is queued."""
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
                assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert app.receiver.pending == 2
        gate.open()
    assert texts(gate.handled) == ["1", "2"]
    assert app.receiver.pending == 0


@asynccontextmanager
async def closing(webhook: WebhookApp) -> AsyncIterator[None]:
    """What a lifespan does."""
    async with webhook:
        yield


async def test_mounted_into_starlette() -> None:
    """As a route it has a path without a slash at the end; the host's lifespan closes it."""
    gate = Gate()
    webhook = WebhookApp(gate, secret=SECRET)
    host = Starlette(routes=[Route("/route", webhook), Mount("/mount", webhook)], lifespan=lambda app: closing(webhook))
    async with served_by_uvicorn(host) as url:
        assert await posted(f"{url}/route", message_body("1")) == (200, b'{"status": "ok"}')
        assert await posted(f"{url}/mount/", message_body("2")) == (200, b'{"status": "ok"}')
        # Why the docs recommend a route: nobody promises that Callbell follows this.
        assert (await posted(f"{url}/mount", message_body("3")))[0] == 307
        asyncio.get_running_loop().call_soon(gate.open)
    assert texts(gate.handled) == ["1", "2"]


async def test_mounted_into_fastapi() -> None:
    """The same in FastAPI, whose own routes go on as ever."""
    gate, hook = Gate(), Hook()
    webhook = WebhookApp(gate, secret=SECRET, respond_after="handler", on_error=hook)
    host = FastAPI(lifespan=lambda app: closing(webhook))
    host.router.routes.append(Route("/callbell", webhook))

    @host.post("/other")
    async def other() -> str:
        return "another route"

    async with served_by_uvicorn(host) as url:
        answer = asyncio.ensure_future(posted(f"{url}/callbell", message_body("1")))
        await until(lambda: gate.began or answer.done())
        assert await posted(f"{url}/other", b"") == (200, b'"another route"')
        assert not answer.done()
        gate.open()
        assert await answer == (200, b'{"status": "ok"}')
    assert texts(gate.handled) == ["1"]
    assert (await status(webhook, scope((NAME, sign(message_body(), SECRET).encode())), message_body())) == 503
    assert hook.told == []
