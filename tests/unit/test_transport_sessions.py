"""The transport's sessions: a caller's session is used and left open, the library's own is closed with the client."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from callbell_async import (
    BadRequestError,
    CallbellClient,
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    ConnectionLostError,
    NotFoundError,
    Outcome,
    RateLimiter,
    ResponseDecodeError,
)
from callbell_async.sandbox import Exchange, Fault, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import no_response, raw, respond
from tests.support.calls import MESSAGE, ONCE, TOKEN, client_for, session_with_hooks, ticks, until
from tests.support.clock import current_loop
from tests.support.memory import traced_memory
from tests.support.sandbox_factory import local_callbell
from tests.support.threaded_sandbox import sandbox_in_a_thread

pytestmark = pytest.mark.usefixtures("http_path")

RECEIPT = {"message": {"uuid": "f00d", "status": "enqueued"}}

# --- a caller's own session -------------------------------------------------------------------------------------------


async def test_a_callers_session_stays_open() -> None:
    """A caller's session is used, and not closed with the client."""
    async with local_callbell(respond(200, RECEIPT)) as server, session_with_hooks() as session:
        async with client_for(server.url, session=session) as callbell:
            await callbell.send(MESSAGE)
        assert not session.closed
        async with session.get(f"{server.url}/mine", headers={"Authorization": "Bearer mine"}) as mine:
            assert mine.status == 200
    assert [request.path for request in server.requests] == ["/messages/send", "/mine"]
    assert server.connections == 1


ODDITIES: dict[str, dict[str, Any]] = {
    "raise_for_status": {"raise_for_status": True},
    "auto_decompress": {"auto_decompress": False},
    "timeout": {"timeout": aiohttp.ClientTimeout(total=1, sock_read=1)},
    "base_url": {"base_url": "http://elsewhere.invalid/"},
    "headers": {
        "headers": {
            "Authorization": "Basic bm9ib2R5Og==",
            "Accept": "text/html",
            "Content-Type": "text/plain",
            "X-Mine": "yes",
        }
    },
    "skip_auto_headers": {"skip_auto_headers": ["Content-Type", "User-Agent", "Accept"]},
    "cookies": {"cookies": {"mine": "yes"}},
    "json_serialize": {"json_serialize": repr},
    "version": {"version": aiohttp.HttpVersion10},
}


@pytest.mark.parametrize("options", ODDITIES.values(), ids=ODDITIES)
async def test_a_callers_session_may_have_other_settings(options: dict[str, Any]) -> None:
    """The settings of a caller's session change neither the request nor the value returned."""
    packed = SandboxResponse(404, None, {"Content-Encoding": "deflate"}, zlib.compress(b'{"error": "gone"}'))

    async def refuse_slowly(exchange: Exchange) -> None:
        current_loop().advance(5)
        await exchange.send(packed)

    async with (
        local_callbell(Fault("refused slowly", refuse_slowly), respond(200, RECEIPT)) as server,
        aiohttp.ClientSession(**options) as session,
        client_for(server.url, session=session) as callbell,
    ):
        with pytest.raises(NotFoundError) as caught:
            await callbell.send(MESSAGE)
        assert (await callbell.send(MESSAGE)).uuid == "f00d"
        assert await callbell.request("POST", "/messages/send") == RECEIPT
    assert caught.value.message == "gone"
    *full, bare = server.requests
    for request in server.requests:
        assert (request.below_v1, request.path) == (True, "/messages/send")
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["accept"] == "application/json"
        assert request.headers["user-agent"].startswith("callbell-async/")
    for request in full:
        assert request.headers["content-type"] == "application/json"
        assert request.body.startswith(b"{")
    assert bare.body == b""


async def test_headers_of_a_callers_session_are_sent_too() -> None:
    """Headers of a caller's session, for example for a proxy, are sent beside the library's."""
    async with (
        local_callbell() as server,
        aiohttp.ClientSession(headers={"X-Tenant": "mill"}) as session,
        client_for(server.url, session=session) as callbell,
    ):
        await callbell.send(MESSAGE)
    assert server.requests[0].headers["x-tenant"] == "mill"


async def test_credentials_from_netrc_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that takes credentials from `.netrc` sends nothing, and the error names the file and the remedy."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login mill password flour\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        local_callbell() as server,
        aiohttp.ClientSession(trust_env=True) as session,
        client_for(server.url, session=session) as callbell,
    ):
        with pytest.raises(ConfigurationError, match=r"\.netrc \(trust_env=True\).*proxy=") as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, server.requests) == (Outcome.NEVER_SENT, [])
    assert "flour" not in str(caught.value)


async def test_a_proxy_of_a_callers_session_is_used() -> None:
    """`proxy=` sends the request to the proxy, with Callbell's URL and token."""
    seen = []

    async def respond(request: web.BaseRequest) -> web.Response:
        seen.append((request.raw_path, request.headers["Authorization"]))
        return web.json_response(RECEIPT)

    async with (
        RawTestServer(respond, host="127.0.0.1") as proxy,
        aiohttp.ClientSession(proxy=proxy.make_url("/")) as session,
        client_for("http://127.0.0.1:1/v1", session=session) as callbell,
    ):
        assert (await callbell.send(MESSAGE)).uuid == "f00d"
    assert seen == [("http://127.0.0.1:1/v1/messages/send", f"Bearer {TOKEN}")]


async def test_a_session_that_was_closed_sends_nothing() -> None:
    """A call over a closed session of a caller fails at once, and is not retried."""
    session = session_with_hooks()
    await session.close()
    async with local_callbell() as server, client_for(server.url, session=session) as callbell:
        with pytest.raises(ClientClosedError, match="the aiohttp session is closed") as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.NEVER_SENT, 1)
    assert server.connections == 0


async def test_a_session_that_is_closed_under_a_call() -> None:
    """Closing a caller's session ends its requests: a written one is `UNKNOWN`, and none raises `CancelledError`."""
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        local_callbell(no_response()) as server,
        aiohttp.ClientSession(connector=connector) as session,
        client_for(server.url, session=session) as callbell,
    ):
        written = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        queued = asyncio.create_task(callbell.send(MESSAGE))
        await ticks()
        await session.close()
        first, second = await asyncio.gather(written, queued, return_exceptions=True)
    assert isinstance(first, ConnectionLostError)
    assert first.outcome is Outcome.UNKNOWN
    assert isinstance(second, ClientClosedError)
    assert (second.outcome, second.attempts) == (Outcome.NEVER_SENT, 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "raises", "outcome"),
    [(200, ConnectionLostError, Outcome.UNKNOWN), (404, NotFoundError, Outcome.REJECTED)],
)
async def test_a_session_that_is_closed_during_a_response(status: int, raises: type[Any], outcome: Outcome) -> None:
    """Closing a caller's session between head and body of a response leaves a success `UNKNOWN`, and a refusal a refusal."""
    sessions: list[aiohttp.ClientSession] = []

    async def close_it(*_: object) -> None:
        await sessions[0].close()

    sessions.append(session_with_hooks(on_request_end=close_it))
    async with (
        local_callbell(no_response(after=response_head(SandboxResponse(status), 99))) as server,
        client_for(server.url, session=sessions[0]) as callbell,
    ):
        with pytest.raises(raises) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (outcome, 1)


async def test_a_cancelled_call_stays_cancelled() -> None:
    """A call that is cancelled while its session closes raises `CancelledError`."""
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        local_callbell(no_response()) as server,
        aiohttp.ClientSession(connector=connector) as session,
        client_for(server.url, session=session) as callbell,
    ):
        tasks = [asyncio.create_task(callbell.send(MESSAGE)) for _ in range(2)]
        await until(lambda: server.requests)
        await ticks()
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait([*tasks, closing])
    assert all(task.cancelled() for task in tasks)


# --- compressed responses ---------------------------------------------------------------------------------------------


def gzipped(body: bytes) -> bytes:
    """Return the body compressed by gzip."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("own", [True, False], ids=["own session", "a caller's session"])
async def test_compressed_responses_are_read(own: bool) -> None:
    """A response in gzip is read like any other."""
    body = gzipped(b'{"message": {"uuid": "f00d", "status": "enqueued"}}')
    async with (
        local_callbell(respond(200, body, {"Content-Encoding": "gzip"})) as server,
        session_with_hooks() as session,
        client_for(server.url, session=None if own else session) as callbell,
    ):
        assert (await callbell.send(MESSAGE)).uuid == "f00d"


@pytest.mark.parametrize(("status", "raises"), [(400, BadRequestError), (200, ResponseDecodeError)])
async def test_a_response_that_expands_to_a_huge_body_is_bounded(status: int, raises: type[Any]) -> None:
    """Of 60 MB compressed to 60 KB no more is expanded than the limit of such a response."""
    bomb = gzipped(bytes(60_000_000))
    async with (
        local_callbell(respond(status, bomb, {"Content-Encoding": "gzip"})) as server,
        client_for(server.url, retry=ONCE) as callbell,
    ):
        with traced_memory():
            with pytest.raises(raises) as caught:
                await callbell.send(MESSAGE)
            _, peak = tracemalloc.get_traced_memory()
    assert caught.value.body == bytes(65536)
    assert peak < (4_000_000 if status == 400 else 45_000_000)


# --- the library's own session ----------------------------------------------------------------------------------------

IN_FLIGHT = {
    "waiting for a response": no_response(),
    "in mid-response": no_response(after=response_head(SandboxResponse(200), 99) + b'{"message"'),
    "between two chunks": no_response(after=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
}


@pytest.mark.parametrize("timeout", [30.0, None], ids=["limited", "unlimited"])
@pytest.mark.parametrize("fault", IN_FLIGHT.values(), ids=IN_FLIGHT)
async def test_closing_the_client_ends_requests_in_flight(fault: Fault, timeout: float | None) -> None:
    """Closing the client ends every call: a written request is `UNKNOWN`, one that queued for a connection was never sent."""
    async with local_callbell(fault) as server:
        callbell = client_for(server.url, max_connections=1, timeout=timeout)
        written = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        queued = asyncio.create_task(callbell.send(MESSAGE))
        await ticks()
        await callbell.close()
        first, second = await asyncio.gather(written, queued, return_exceptions=True)
    assert isinstance(first, ConnectionLostError)
    assert (first.outcome, first.attempts) == (Outcome.UNKNOWN, 1)
    assert "the client was closed" in str(first)
    assert isinstance(second, ClientClosedError)
    assert (second.outcome, second.attempts) == (Outcome.NEVER_SENT, 1)
    assert len(server.requests) == 1


class Gate(RateLimiter):
    """A rate limiter that has no slot until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def acquire(self) -> None:
        """Wait until it is opened."""
        await self.opened.wait()

    def release(self, *, has_response: bool) -> None:
        """Count nothing."""

    def refund(self) -> None:
        """Count nothing."""


async def test_a_closed_client_opens_no_connection() -> None:
    """A call that waited for its slot while the client was closed fails, and opens no connection."""
    gate = Gate()
    async with local_callbell() as server:
        callbell = client_for(server.url, rate_limit=gate)
        waiting = asyncio.create_task(callbell.send(MESSAGE))
        await ticks()
        await callbell.close()
        gate.opened.set()
        with pytest.raises(ClientClosedError) as caught:
            await waiting
        assert caught.value.outcome is Outcome.NEVER_SENT
        assert server.connections == 0


async def test_closing_the_client_lets_calls_over_a_callers_session_end() -> None:
    """Over a caller's session, closing the client leaves requests in flight their connection and their time limit."""
    async with local_callbell(no_response()) as server, session_with_hooks() as session:
        callbell = client_for(server.url, session=session)
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        await callbell.close()
        await ticks()
        assert not sending.done()
        current_loop().advance(31)
        with pytest.raises(Exception, match="no response in time"):
            await sending


@pytest.mark.parametrize("status", [101, 200, 204, 404])
async def test_every_response_is_released(status: int) -> None:
    """No response is left for the garbage collector to release."""
    asyncio.get_running_loop().set_debug(True)
    fault = raw(f"HTTP/1.1 {status} Response\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n".encode())
    async with local_callbell(fault) as server, client_for(server.url) as callbell:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with contextlib.suppress(CallbellError):
                await callbell.send(MESSAGE)
            gc.collect()
    assert [str(warning.message) for warning in caught] == []


# --- a client that nobody closed --------------------------------------------------------------------------------------


def warnings_of(act: Callable[[], object]) -> list[str]:
    """Return the warnings that `act` causes, also in the garbage collector."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
        gc.collect()
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


async def test_an_unclosed_client_warns_once() -> None:
    """An unclosed client warns once and closes its connections, without a warning of aiohttp."""
    async with local_callbell() as server:
        clients = [client_for(server.url)]
        await asyncio.gather(*(clients[0].send(MESSAGE) for _ in range(3)))
        texts = warnings_of(clients.clear)
        await server.wait_disconnected()
    assert len(texts) == 1
    assert texts[0].startswith("ResourceWarning: unclosed <CallbellClient http://127.0.0.1")
    assert "async with" in texts[0]


@pytest.mark.parametrize("session", [True, False], ids=["a caller's session", "never used"])
async def test_a_client_without_connections_of_its_own_does_not_warn(session: bool) -> None:
    """A client that opened no connection need not be closed."""
    async with local_callbell() as server, session_with_hooks() as own:
        clients = [client_for(server.url, session=own if session else None)]
        if session:
            await clients[0].send(MESSAGE)
        assert warnings_of(clients.clear) == []


def test_a_client_unclosed_in_a_coroutine_warns_once() -> None:
    """A client that is collected with its coroutine warns once, and its connections are closed."""
    # Its thread keeps the connection after the client's event loop has ended.
    with sandbox_in_a_thread(TOKEN) as server:

        async def send_and_forget() -> None:
            await client_for(server.url).send(MESSAGE)

        texts = warnings_of(lambda: asyncio.run(send_and_forget()))
    assert len(texts) == 1
    assert "CallbellClient" in texts[0]


def test_a_client_that_outlives_its_loop_warns_once() -> None:
    """After its event loop was closed an unclosed client warns once too; asyncio names the connection, aiohttp nothing."""
    with sandbox_in_a_thread(TOKEN) as server:
        clients: list[CallbellClient] = []

        async def send_and_forget() -> None:
            clients.append(client_for(server.url))
            await clients[0].send(MESSAGE)

        asyncio.run(send_and_forget())
        texts = warnings_of(clients.clear)
    ours = [warning for warning in texts if "CallbellClient" in warning]
    assert len(ours) == 1
    assert all(
        "unclosed transport" in warning or "unclosed <socket" in warning for warning in texts if warning not in ours
    )
    assert len(texts) <= 3
