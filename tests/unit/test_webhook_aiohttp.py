"""A webhook in an aiohttp application, over real HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
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
    """Post a body; the answer's status, type and body."""
    if signed:
        headers["X-Callbell-Signature"] = sign(body, SECRET)
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return response.status, response.content_type, await response.read()


async def in_pieces(count: int, size: int) -> AsyncIterator[bytes]:
    """A body that doesn't say how long it is."""
    for _ in range(count):
        yield b" " * size


def test_who_needs_no_aiohttp_does_not_load_it() -> None:
    """Nothing of aiohttp is imported before the route is asked for; what there is not, is not."""
    code = (
        "import sys, callbell_async.webhooks as webhooks; "
        "assert not [name for name in sys.modules if name.startswith('aiohttp')]; "
        "webhooks.add_webhook_route; assert 'aiohttp.web' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="add_webhook_rout"):
        _ = webhooks.add_webhook_rout


async def test_an_event_is_answered_and_handled() -> None:
    """A signed event at the path is answered, and handed to the handler."""
    gate, app = Gate(is_open=True), web.Application()
    assert isinstance(add_webhook_route(app, "/hook", gate, secret=SECRET), WebhookReceiver)
    async with served_by_aiohttp(app) as url:
        assert await posted(f"{url}/hook", message_body("Hi")) == OK
    assert texts(gate.handled) == ["Hi"]


async def test_what_is_not_signed_is_refused() -> None:
    """No signature, a wrong one, or two of them: 401. A probe is answered."""
    gate, app = Gate(), web.Application()
    add_webhook_route(app, "/hook", gate, secret=SECRET)
    async with served_by_aiohttp(app) as url, aiohttp.ClientSession() as session:
        good = ("X-Callbell-Signature", sign(message_body(), SECRET))
        for headers in ([], [("X-Callbell-Signature", "t=1,v1=00")], [good, good]):
            async with session.post(f"{url}/hook", data=message_body(), headers=headers) as response:
                assert response.status == 401
        assert await posted(f"{url}/hook", b"", signed=False) == OK
    assert gate.began == []


async def test_a_body_that_cannot_be_read_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """One that is not encoded as it says, or that breaks off: 400, nothing is handled, and the server doesn't take it for its own failure."""
    gate, app = Gate(), web.Application()
    add_webhook_route(app, "/hook", gate, secret=SECRET)
    async with served_by_aiohttp(app) as url:
        headers = {"Content-Encoding": "gzip"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/hook", data=b"no gzip", headers=headers) as response,
        ):
            assert (response.status, await response.json()) == (400, {"error": "the body can't be read"})
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"POST /hook HTTP/1.1\r\nHost: hook\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert [record.getMessage() for record in caplog.records if record.name == "aiohttp.server"] == []
    assert gate.began == []


async def test_the_handler_and_the_options_are_passed_on() -> None:
    """Whatever the receiver takes can be given; without a handler the events can be iterated over."""
    hook, app = Hook(), web.Application()
    receiver = add_webhook_route(app, "/hook", unsigned=True, on_error=hook, max_body=200, queue_size=1)
    async with served_by_aiohttp(app) as url:
        assert await posted(f"{url}/hook", message_body("1"), signed=False) == OK
        assert (await posted(f"{url}/hook", message_body("2"), signed=False))[0] == 503
        assert (await posted(f"{url}/hook", b"{" * 201, signed=False))[0] == 413
        assert texts([await anext(aiter(receiver))]) == ["1"]
        assert await posted(f"{url}/hook", b"{", signed=False) == OK
    assert len(hook.told) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_posts_are_taken(method: str) -> None:
    """Any other method is told so."""
    app = web.Application()
    add_webhook_route(app, "/hook", Gate(), secret=SECRET)
    async with (
        served_by_aiohttp(app) as url,
        aiohttp.ClientSession() as session,
        session.request(method, f"{url}/hook") as response,
    ):
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    """413 before the first byte of it has come."""
    app = web.Application()
    add_webhook_route(app, "/hook", Gate(), unsigned=True, max_body=1000)
    async with served_by_aiohttp(app) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"413"
        # aiohttp waits for a while for what is still to come, to let the client read the answer.
        writer.write(b" " * 1001)
        assert b"\r\nConnection: close\r\n" in await reader.read()
        writer.close()


async def test_a_body_without_a_length_is_read_as_far_as_the_limit() -> None:
    """413 while it is still coming; one within the limit is taken in pieces."""
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


async def test_a_body_that_breaks_off_is_no_event() -> None:
    """What came of it is not handled, even where nothing has to be signed; the next request is served."""
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
    """What is queued is handled, and only then does the application clean up what its handlers may use."""
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


async def test_a_shutdown_answers_first() -> None:
    """Requests that wait for their event are answered when it is handled, with the server on its way down."""
    gate, app = Gate(), web.Application()
    receiver = add_webhook_route(app, "/hook", gate, secret=SECRET, respond_after="handler")

    async def shutting_down(app: web.Application) -> None:
        asyncio.get_running_loop().call_soon(gate.open)

    app.on_shutdown.append(shutting_down)
    app.on_shutdown.reverse()
    async with served_by_aiohttp(app) as url:
        answers = [asyncio.ensure_future(posted(f"{url}/hook", message_body(text))) for text in "12"]
        await until(lambda: receiver.pending == 2)
    assert [await answer for answer in answers] == [OK, OK]
