"""Any bytes sent to the sandbox: it responds as documented or refuses them, never with 500, and keeps its state."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async.sandbox import Sandbox, faults
from callbell_async.sandbox.exchange import SandboxResponse
from tests.fixtures.sandbox import GOOD, Clock, ask, seed
from tests.fixtures.sandbox.raw_requests import RawRequest, raw_requests
from tests.fixtures.sandbox.requests import everything, is_documented
from tests.fixtures.strategies import quick
from tests.support.calls import ticks

# --- requests as bytes ----------------------------------------------------------------------------------------------------


@attrs.frozen
class Received:
    """A response; `by_the_parser`: aiohttp's response to bytes that are not HTTP, which ends the connection."""

    status: int
    by_the_parser: bool
    body: bytes

    @property
    def is_documented(self) -> bool:
        """Whether it has a form that Callbell or docs/reference/sandbox-assumptions.md documents."""
        if self.by_the_parser:
            return self.status == 400
        if self.status in (401, 413):
            return orjson.loads(self.body)["error"] in ("not authorized", "request entity too large")
        if self.status == 403:
            return any(name in orjson.loads(self.body)["error"] for name in ("Host", "Origin"))
        return is_documented(SandboxResponse(self.status, orjson.loads(self.body) if self.body else None))


async def first_response(sandbox: Sandbox, raw: RawRequest) -> Received | None:
    """Return the first response to a request on a new connection; `None` if the connection ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
    try:
        writer.write(raw.data)
        if raw.unfinished:
            writer.write_eof()
        lines = [b"HTTP/1.1 100 Continue"]
        while lines[0].split(b" ")[1] == b"100":
            lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:])}
        by_the_parser = headers.get(b"content-type", b"").startswith(b"text/plain")
        length = 0 if raw.method == b"HEAD" and not by_the_parser else int(headers.get(b"content-length", 0))
        response = Received(int(lines[0].split(b" ")[1]), by_the_parser, await reader.readexactly(length))
        if by_the_parser:
            assert await reader.read() == b""
        return response
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.close()


@pytest.mark.slow
@quick
@given(st.lists(raw_requests(), min_size=1, max_size=5))
async def test_every_request_gets_a_response(asked: Sequence[RawRequest]) -> None:
    """Any request gets a documented response, or a 400 that ends the connection; only a 2xx changes the account.

    Every request that HTTP allows is among the sandbox's requests, with its unchanged target and headers.
    """
    async with Sandbox(clock=Clock(), limit=None) as sandbox:
        # Events in the queue would change the account at any time.
        sandbox.account.on_event = None
        seed(sandbox.account)
        for raw in asked:
            before, count = everything(sandbox.account), len(sandbox.requests)
            response = await first_response(sandbox, raw)
            if response is None:
                assert raw.unfinished
            elif raw.method != b"HEAD":
                assert response.is_documented, response
            if response is None or response.status >= 400 or raw.method == b"GET":
                assert everything(sandbox.account) == before
            if response is not None and not response.by_the_parser:
                request = sandbox.requests[count]
                assert request.status == response.status
                assert request.target.encode("utf-8", "surrogateescape") == raw.target
                found = [
                    tuple(part.encode("utf-8", "surrogateescape") for part in pair) for pair in request.raw_headers
                ]
                assert found == [(name, value.strip(b" \t")) for name, value in raw.headers]
        assert (await ask(sandbox, "GET", "/plan"))[0] == 200


BROKEN = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a line and no more": b"GET /v1/plan\r\n\r\n",
    "no version": b"GET /v1/plan HTTP/9\r\n\r\n",
    "a path of a proxy's": b"GET http://api.callbell.eu/v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}\r\n",
    "no path": b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}\r\n",
    "a path of bytes": b"GET /v1/contacts/\xff\xfe%zz%80 HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}\r\n",
    "a query of bytes": b"GET /v1/contacts?after=\xff%ff&&=&page HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}\r\n",
    "a token of bytes": b"GET /v1/auth/me HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    "a header without a name": b"GET /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\n: x\r\n\r\n",
    "a head too long": b"GET /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    "a path too long": b"GET /v1/" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no number for a length": b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    "chunks that are none": b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "no gzip": b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "a body too large": b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Content-Length: 2000000\r\n\r\n"
    + b"x" * 2_000_000,
    "half a body": b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Content-Length: 500\r\n\r\n{",
    "an upgrade": b"GET /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a tunnel": b"CONNECT api.callbell.eu:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}\r\n",
}


async def exchange(sandbox: Sandbox, data: bytes) -> bytes:
    """Return the head of the response to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
    response = b""
    try:
        writer.write(data.replace(b"{auth}", b"Authorization: Bearer sandbox\r\n"))
        if b"500\r\n" in data:
            writer.write_eof()
        response = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), None)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()
    return response


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_broken_requests_break_nothing(data: bytes) -> None:
    """Bytes that are not a request, or half of one, get a 4xx status or no response, and the next request is served."""
    async with Sandbox() as sandbox:
        response = await exchange(sandbox, data)
        allowed = {
            b"400",
            b"404",
            b"405",
            b"413",
            b"401",
            b"200" if b"auth/me" in data or b"Upgrade" in data else b"400",
        }
        assert not response or response.split(b" ")[1] in allowed
        assert not sandbox.messages
        assert (await ask(sandbox, "POST", "/messages/send", json=GOOD))[0] == 200


async def test_requests_are_kept_unchanged() -> None:
    """A request has its unchanged target and headers, beside the first header of each name; the headers are not in its `repr`."""
    async with Sandbox() as sandbox:
        lines = b"GET /v1/contacts?page=1&page=%32#x HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Twice: 1\r\n{auth}x-twice:  \xff\r\n\r\n"
        assert b" 200 " in await exchange(sandbox, lines)
        (request,) = sandbox.requests
    assert (request.path, request.query, request.target) == (
        "/contacts",
        {"page": "1"},
        "/v1/contacts?page=1&page=%32#x",
    )
    assert request.headers == {"host": "127.0.0.1", "x-twice": "1", "authorization": "Bearer sandbox"}
    assert request.raw_headers == (
        ("Host", "127.0.0.1"),
        ("X-Twice", "1"),
        ("Authorization", "Bearer sandbox"),
        ("x-twice", "\udcff"),
    )
    assert "Bearer" not in repr(request)


HALF_WAY = {
    "too large": (b"Content-Length: 2000000\r\n\r\n", b"x" * 2_000_000, 413),
    "no gzip": (b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", b"abcd", 400),
}


@pytest.mark.parametrize(("head", "rest", "status"), HALF_WAY.values(), ids=HALF_WAY)
@pytest.mark.parametrize("when", [None, lambda request: True], ids=["any", "asked"])
async def test_a_request_refused_while_reading_is_kept(head: bytes, rest: bytes, status: int, when: Any) -> None:
    """A request whose body can't be read is kept without it; it gets no fault, uses none up, and does not count within the limit."""
    async with Sandbox(limit=1, clock=Clock()) as sandbox:
        rule = sandbox.inject(faults.respond(503), times=1, when=when)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
        writer.write(b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sandbox\r\n" + head)
        # The head first: in one piece with a broken body, the server would not see a request.
        await ticks()
        writer.write(rest)
        assert (await reader.readline()).split(b" ")[1] == str(status).encode()
        (request,) = sandbox.requests
        assert (request.status, request.fault, request.body) == (status, None, b"")
        assert dict(request.raw_headers)["Authorization"] == "Bearer sandbox"
        assert rule.applied == 0
        assert (await ask(sandbox, "POST", "/messages/send", json=GOOD))[0] == 503
        writer.close()


async def test_an_announced_body_is_requested() -> None:
    """A client that waits for `100 Continue` before it sends its body, as curl does, gets it."""
    async with Sandbox() as sandbox:
        status, _ = await ask(sandbox, "POST", "/messages/send", json=GOOD, expect100=True)
        assert status == 200
        sandbox.assert_sent(1)


async def test_a_body_too_large_is_refused_in_json() -> None:
    """A body of more than a mebibyte is refused in Callbell's form."""
    async with Sandbox() as sandbox:
        status, document = await ask(sandbox, "POST", "/messages/send", data=io.BytesIO(b" " * (1024 * 1024 + 1)))
        assert (status, document) == (413, {"error": "request entity too large"})


async def test_any_token_is_accepted_if_none_is_set() -> None:
    """A sandbox without a token accepts every bearer token, also any bytes, and no other scheme."""
    async with Sandbox(token=None) as sandbox:
        assert (await ask(sandbox, "GET", "/auth/me", token="whatever"))[1]["api_key"] == "whatever"
        assert (await ask(sandbox, "GET", "/auth/me", token=sandbox.token))[0] == 200
        assert b" 200 " in await exchange(sandbox, BROKEN["a token of bytes"])
        assert b" 401 " in await exchange(
            sandbox, b"GET /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic eDp5\r\n\r\n"
        )


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/", "/contacts", "/v2/contacts", "/v1//contacts", "/v1/contacts/"]
)
async def test_only_v1_is_served(path: str) -> None:
    """A path that is not below `/v1`, or has an extra slash, is not found."""
    async with Sandbox() as sandbox:
        base = sandbox.url.removesuffix("/v1").encode()
        response = await exchange(
            sandbox, b"GET " + (path or "/").encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}\r\n"
        )
        assert base and b" 404 " in response  # noqa: PT018


@pytest.mark.parametrize(
    "header", [b"Authorization: Bearer a-secret" + b"x" * 9_000, b"Authorization: Bearer a-secret\x00", b"a-secret"]
)
async def test_no_log_quotes_a_request(header: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line for an unreadable request, without the request: it may contain the token."""
    async with Sandbox() as sandbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
        writer.write(b"GET /v1/contacts HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n\r\n" % header)
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
    assert [record.name for record in caplog.records] == ["callbell_async.sandbox"]
    assert "a-secret" not in caplog.text
