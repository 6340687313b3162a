"""A webhook in an aiohttp application, over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from callbell_async import webhooks
from callbell_async.webhooks import Event, WebhookReceiver, add_webhook_route, sign
from tests.support.apps import served_by_aiohttp
from tests.support.calls import ticks, until
from tests.support.webhooks import SECRET, Gate, Hook, message_body, texts

OK = (200, "application/json", b'{"status": "ok"}')


async def posted(url: str, body: Any, *, signed: bool = True, **headers: str) -> tuple[int, str, bytes]:
    """Post a body, and return the status, the type and the body of the response."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if signed:
        headers["X-Callbell-Signature"] = sign(body, SECRET)
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return response.status, response.content_type, await response.read()


async def in_pieces(count: int, size: int) -> AsyncIterator[bytes]:
    """A body without a length."""
    for _ in range(count):
        yield b" " * size


def test_aiohttp_is_imported_when_the_route_is_used() -> None:
    """Nothing of aiohttp is imported before `add_webhook_route` is used; an unknown name is an error."""
    code = (
        "import sys, callbell_async.webhooks as webhooks; "
        "assert not [name for name in sys.modules if name.startswith('aiohttp')]; "
        "webhooks.add_webhook_route; assert 'aiohttp.web' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="add_webhook_rout"):
        _ = webhooks.add_webhook_rout  # type: ignore[attr-defined]


async def test_an_event_is_handled() -> None:
    """A signed event at the path gets 200, and is passed to the handler."""
    gate, app = Gate(is_open=True), web.Application()
    assert isinstance(add_webhook_route(app, "/hook", gate, secret=SECRET), WebhookReceiver)
    async with served_by_aiohttp(app) as url:
        assert await posted(f"{url}/hook", message_body("Hi")) == OK
    assert texts(gate.handled) == ["Hi"]


async def test_an_unsigned_event_is_refused() -> None:
    """An event without a signature, with a wrong one or with two gets 401; a probe gets 200."""
    gate, app = Gate(), web.Application()
    add_webhook_route(app, "/hook", gate, secret=SECRET)
    async with served_by_aiohttp(app) as url, aiohttp.ClientSession() as session:
        good = ("X-Callbell-Signature", sign(message_body(), SECRET))
        for headers in ([], [("X-Callbell-Signature", "t=1,v1=00")], [good, good]):
            async with session.post(f"{url}/hook", data=message_body(), headers=headers) as response:
                assert response.status == 401
        assert await posted(f"{url}/hook", b"", signed=False) == OK
    assert gate.began == []


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "identity, gzip", "rot13"])
async def test_an_encoded_body_is_refused(encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    """A `Content-Encoding` gets 415 and the reason, whether the body can be decoded or not: the signature is over the raw body."""
    gate, app = Gate(), web.Application()
    receiver = add_webhook_route(app, "/hook", gate, secret=SECRET)
    body = message_body()
    signature = sign(body, SECRET)
    async with served_by_aiohttp(app) as url:
        for raw in (b"no gzip", gzip.compress(body), zlib.compress(body)):
            headers = {"Content-Encoding": encoding, "X-Callbell-Signature": signature}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{url}/hook", data=raw, headers=headers) as response,
            ):
                assert (response.status, response.headers["Accept-Encoding"]) == (415, "identity")
                assert "Content-Encoding" in (await response.json())["error"]
    assert receiver.stats.refused == 3
    assert [record.getMessage() for record in caplog.records if record.name == "aiohttp.server"] == []
    assert gate.began == []


async def test_the_encoding_identity_is_no_encoding() -> None:
    """`Content-Encoding: identity` is the same as none."""
    gate, app = Gate(is_open=True), web.Application()
    add_webhook_route(app, "/hook", gate, secret=SECRET)
    async with served_by_aiohttp(app) as url:
        assert await posted(f"{url}/hook", message_body("Hi"), content_encoding="identity") == OK
    assert texts(gate.handled) == ["Hi"]


async def test_an_incomplete_body_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """A body that breaks off is not handled, and the server logs no error of its own."""
    gate, app = Gate(), web.Application()
    add_webhook_route(app, "/hook", gate, secret=SECRET)
    async with served_by_aiohttp(app) as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"POST /hook HTTP/1.1\r\nHost: hook\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert [record.getMessage() for record in caplog.records if record.name == "aiohttp.server"] == []
    assert gate.began == []


async def test_a_body_that_never_ends_gets_408() -> None:
    """After `read_timeout` the response is 408, the connection is closed, and nothing is handled."""
    gate, app = Gate(), web.Application()
    receiver = add_webhook_route(app, "/hook", gate, secret=SECRET, read_timeout=0.01)
    async with served_by_aiohttp(app) as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"POST /hook HTTP/1.1\r\nHost: hook\r\nContent-Length: 100\r\n\r\n{")
        assert (await reader.readline()).split()[1] == b"408"
        assert b"\r\nConnection: close\r\n" in await reader.read()
        writer.close()
    assert (receiver.stats.refused, gate.began) == (1, [])


async def test_the_options_are_those_of_the_receiver() -> None:
    """Every option of the receiver can be given; without a handler, the receiver is iterated over."""
    hook, app = Hook(), web.Application()
    receiver = add_webhook_route(app, "/hook", unsigned=True, on_error=hook, max_body=200, queue_size=1)
    async with served_by_aiohttp(app) as url:
        assert await posted(f"{url}/hook", message_body("1"), signed=False) == OK
        assert (await posted(f"{url}/hook", message_body("2"), signed=False))[0] == 503
        assert (await posted(f"{url}/hook", b"{" * 201, signed=False))[0] == 413
        assert texts([await anext(aiter(receiver))]) == ["1"]
        assert await posted(f"{url}/hook", b"{", signed=False) == OK
    assert len(hook.calls) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_other_methods_are_refused(method: str) -> None:
    """A method other than POST, GET and HEAD gets 405."""
    app = web.Application()
    add_webhook_route(app, "/hook", Gate(), secret=SECRET)
    async with (
        served_by_aiohttp(app) as url,
        aiohttp.ClientSession() as session,
        session.request(method, f"{url}/hook") as response,
    ):
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD,POST")


@pytest.mark.parametrize(("method", "body"), [("GET", b'{"status": "ok"}'), ("HEAD", b"")])
async def test_get_and_head_get_200(method: str, body: bytes) -> None:
    """Callbell may verify a URL with GET: no signature is needed, nothing is handled, and the connection stays open."""
    gate, app = Gate(), web.Application()
    receiver = add_webhook_route(app, "/hook", gate, secret=SECRET)
    async with (
        served_by_aiohttp(app) as url,
        aiohttp.ClientSession() as session,
        session.request(method, f"{url}/hook") as response,
    ):
        assert (response.status, response.content_type, await response.read()) == (200, "application/json", body)
        assert "Connection" not in response.headers
    assert (receiver.stats.received, gate.began) == (0, [])


async def test_a_body_announced_as_too_large_is_not_read() -> None:
    """A `Content-Length` over the limit gets 413 before the first byte of the body arrives."""
    app = web.Application()
    add_webhook_route(app, "/hook", Gate(), unsigned=True, max_body=1000)
    async with served_by_aiohttp(app) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"413"
        # aiohttp reads the rest for a while, so that the client can read the response.
        writer.write(b" " * 1001)
        assert b"\r\nConnection: close\r\n" in await reader.read()
        writer.close()


async def test_a_body_without_a_length_is_read_as_far_as_the_limit() -> None:
    """A chunked body gets 413 as soon as it is over the limit; one within the limit is received."""
    app = web.Application()
    add_webhook_route(app, "/hook", Gate(), unsigned=True, max_body=1000)
    async with served_by_aiohttp(app) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3e9\r\n" + b" " * 1001 + b"\r\n")
        assert (await reader.readline()).split()[1] == b"413"
        writer.close()
        assert await posted(f"{url}/hook", in_pieces(10, 100), signed=False) == OK


async def test_the_first_part_of_a_body_is_not_handled() -> None:
    """A body that breaks off is not handled, even if nothing is signed; the next request is served."""
    gate, app = Gate(is_open=True), web.Application()
    receiver = add_webhook_route(app, "/hook", gate, unsigned=True)
    async with served_by_aiohttp(app) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = message_body("half")
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1) + body)
        await writer.drain()
        await ticks()
        writer.close()
        await writer.wait_closed()
        assert await posted(f"{url}/hook", message_body("whole"), signed=False) == OK
        await until(lambda: receiver.pending == 0)
    assert texts(gate.handled) == ["whole"]


async def test_a_shutdown_drains() -> None:
    """The queued events are handled before the application cleans up what its handlers use."""
    app = web.Application()
    handled: list[Event] = []
    cleaned_up_after: list[Event] = []

    async def handler(event: Event) -> None:
        await ticks(100)
        handled.append(event)

    async def context(app: web.Application) -> AsyncIterator[None]:
        yield
        cleaned_up_after.extend(handled)

    app.cleanup_ctx.append(context)
    receiver = add_webhook_route(app, "/hook", handler, unsigned=True)
    async with served_by_aiohttp(app):
        for text in "12":
            await receiver.receive(message_body(text))
    assert texts(cleaned_up_after) == ["1", "2"]


async def test_a_shutdown_responds_first() -> None:
    """During the shutdown, requests that wait for their event get their response when it is handled."""
    gate, app = Gate(), web.Application()
    receiver = add_webhook_route(app, "/hook", gate, secret=SECRET, respond_after="handler")

    async def shutting_down(app: web.Application) -> None:
        asyncio.get_running_loop().call_soon(gate.open)

    app.on_shutdown.append(shutting_down)
    app.on_shutdown.reverse()
    async with served_by_aiohttp(app) as url:
        responses = [asyncio.ensure_future(posted(f"{url}/hook", message_body(text))) for text in "12"]
        await until(lambda: receiver.pending == 2)
    assert [await response for response in responses] == [OK, OK]
