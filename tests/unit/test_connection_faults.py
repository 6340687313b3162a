"""Faulty connections: those that can't be opened, those dropped while idle, and those cut off while in use."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from callbell_async import (
    CallbellError,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RequestTimeoutError,
)
from callbell_async.sandbox import Exchange, Fault, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import drop_idle_connection, no_fault, no_response, reset_before_reading
from tests.support.calls import (
    MESSAGE,
    NUMBER,
    ONCE,
    TOKEN,
    client_for,
    half_a_minute_passes,
    nobody_listening,
    session_with_hooks,
    ticks,
    until,
)
from tests.support.clock import current_loop
from tests.support.sandbox_factory import local_callbell

pytestmark = pytest.mark.usefixtures("http_path")

# --- it never left ----------------------------------------------------------------------------------------------------


def assert_never_sent(error: CallbellError, raised: type[CallbellError], *, attempts: int = 5) -> None:
    """Assert that the request never left, and was retried, because that is safe."""
    assert type(error) is raised
    assert error.outcome is Outcome.NEVER_SENT
    assert error.attempts == attempts


async def test_connection_refused() -> None:
    """If nobody listens, nothing is sent."""
    with nobody_listening() as url:
        async with client_for(url) as callbell:
            with pytest.raises(ConnectError, match=r"no connection to 127\.0\.0\.1:\d+") as caught:
                await callbell.send(MESSAGE)
    assert_never_sent(caught.value, ConnectError)


class Nowhere(AbstractResolver):
    """A resolver that knows no name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Fail as the system's resolver does."""
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        """Close nothing."""


async def test_name_not_found() -> None:
    """If the name is not found, nothing is sent."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Nowhere())) as session,
        client_for("https://callbell.invalid", session=session) as callbell,
    ):
        with pytest.raises(ConnectError, match=r"the name 'callbell\.invalid' was not found") as caught:
            await callbell.send(MESSAGE)
    assert_never_sent(caught.value, ConnectError)


async def test_certificate_refused() -> None:
    """A server with an untrusted certificate gets nothing."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with local_callbell(tls=tls) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectError, match="the server's TLS certificate was refused") as caught:
            await callbell.send(MESSAGE)
    assert_never_sent(caught.value, ConnectError)
    assert server.requests == []


async def test_no_tls_at_all() -> None:
    """A server that does not speak TLS gets nothing."""
    async with local_callbell() as server, client_for(server.url.replace("http", "https")) as callbell:
        with pytest.raises(ConnectError, match="the TLS handshake failed") as caught:
            await callbell.send(MESSAGE)
    assert_never_sent(caught.value, ConnectError)
    assert server.requests == []


async def test_no_connection_in_time() -> None:
    """A server that accepts the connection and never speaks TLS times out after `connect_timeout`, and gets nothing."""
    heard = b""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        try:
            heard = await reader.read(1)
            current_loop().advance(6)
            heard += await reader.read()
        finally:
            writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client_for(f"https://127.0.0.1:{port}", retry=ONCE) as callbell:
            with pytest.raises(RequestTimeoutError, match="no connection") as caught:
                await callbell.send(MESSAGE)
        await until(lambda: len(heard) > 1)
    assert_never_sent(caught.value, RequestTimeoutError, attempts=1)
    # The first record of TLS, and no request.
    assert heard.startswith(b"\x16")
    assert TOKEN.encode() not in heard


async def test_pool_exhausted() -> None:
    """A call that finds no free connection in time was never sent; the one that holds the connection may have been accepted."""
    async with (
        local_callbell(no_response()) as server,
        client_for(server.url, max_connections=1, retry=ONCE) as callbell,
    ):
        first = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        second = asyncio.create_task(callbell.send(MESSAGE))
        await asyncio.sleep(0)
        half_a_minute_passes()
        held, queued = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(held, RequestTimeoutError)
    assert held.outcome is Outcome.UNKNOWN
    assert isinstance(queued, RequestTimeoutError)
    assert_never_sent(queued, RequestTimeoutError, attempts=1)
    assert "no free connection" in str(queued)
    assert (len(server.requests), server.connections) == (1, 1)


# --- a connection that was kept alive ---------------------------------------------------------------------------------


async def test_a_connection_dropped_while_idle_is_not_used_again() -> None:
    """An idle connection that the server dropped costs nothing: the next request takes a new one at its first attempt."""
    async with (
        local_callbell(drop_idle_connection(), no_fault()) as server,
        client_for(server.url, retry=ONCE) as callbell,
    ):
        await callbell.send(MESSAGE)
        await server.wait_disconnected()
        await callbell.send(MESSAGE)
    assert (len(server.requests), server.connections) == (2, 2)


async def test_a_connection_reset_as_the_next_request_comes() -> None:
    """An idle connection that breaks under the next request leaves that request `UNKNOWN`: it was written."""
    async with local_callbell(no_fault(), reset_before_reading()) as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 1)
    assert (len(server.requests), server.connections) == (1, 1)


async def test_a_connection_that_ends_before_the_body_is_written() -> None:
    """A connection that ends between being chosen and being written on has sent nothing, so the request is retried."""
    drop = asyncio.Event()

    async def accept_and_drop_on_event(exchange: Exchange) -> None:
        await exchange.send(exchange.execute())
        await drop.wait()
        exchange.end_writing()
        await exchange.client_gone()

    server = local_callbell(Fault("dropped on event", accept_and_drop_on_event), no_fault())

    async def let_it_end(*_: object) -> None:
        # aiohttp has chosen the kept connection for the second request, and written nothing yet.
        if server.requests and not drop.is_set():
            drop.set()
            await server.wait_disconnected()

    async with (
        server,
        session_with_hooks(on_request_headers_sent=let_it_end) as session,
        client_for(server.url, session=session) as callbell,
    ):
        await callbell.send(MESSAGE)
        report = await callbell.send_many([MESSAGE])
    assert [(result.outcome, result.attempts) for result in report.results] == [(Outcome.ACCEPTED, 2)]
    assert (len(server.requests), server.connections) == (2, 2)


# --- cancelled --------------------------------------------------------------------------------------------------------


def running_tasks() -> set[asyncio.Task[Any]]:
    """Return all tasks but the test's own."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.mark.parametrize(
    "after", [b"", response_head(SandboxResponse(200), 99) + b"{"], ids=["waiting", "in mid-response"]
)
async def test_a_cancelled_send_leaves_nothing_behind(after: bytes) -> None:
    """A send cancelled in flight ends at once, closes its connection, leaves no task, and the pool serves the next call."""
    server = local_callbell(no_response(after=after), no_fault())
    async with server, client_for(server.url, max_connections=1) as callbell:
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        await ticks()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await callbell.send(MESSAGE)).uuid == server.assert_sent_once(to=NUMBER).uuid
    await ticks()
    assert (len(server.requests), server.connections) == (2, 2)
    assert running_tasks() == set()


async def test_a_send_cancelled_in_the_pools_queue_leaves_it() -> None:
    """A send cancelled while it waits for a connection sends nothing, and the other calls get theirs."""
    go_on = asyncio.Event()
    server = local_callbell(no_response(until=go_on))
    async with server, client_for(server.url, max_connections=1) as callbell:
        first, second, third = (asyncio.create_task(callbell.send(MESSAGE)) for _ in range(3))
        await until(lambda: server.requests)
        await ticks()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        await asyncio.gather(first, third)
    assert (len(server.requests), server.connections) == (2, 1)
