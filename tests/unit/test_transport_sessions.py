"""The transport's sessions: a caller's own is used as it is and left alone, the library's own ends with the client."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from callbell_async import (
    BadRequestError,
    CallbellClient,
    CallbellError,
    ClientClosedError,
    ConnectionLostError,
    NotFoundError,
    Outcome,
    RateLimiter,
    ResponseDecodeError,
)
from callbell_async.sandbox import Exchange, Fault, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import no_response, raw, respond
from tests.support.calls import MESSAGE, ONCE, TOKEN, client_for, session_telling, ticks, until
from tests.support.clock import current_loop
from tests.support.memory import traced_memory
from tests.support.sandbox_factory import local_callbell
from tests.support.threaded_sandbox import sandbox_in_a_thread

RECEIPT = {"message": {"uuid": "f00d", "status": "enqueued"}}

# --- a caller's own session -------------------------------------------------------------------------------------------


async def test_a_callers_session_stays_open() -> None:
    """A session that was passed in is used, and not closed with the client."""
    async with local_callbell(respond(200, RECEIPT)) as server, session_telling() as session:
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
async def test_a_callers_session_may_be_set_up_otherwise(options: dict[str, Any]) -> None:
    """How a caller's session was set up for other services changes neither what Callbell gets nor what comes back."""
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


async def test_what_a_callers_session_adds_goes_along() -> None:
    """Headers of the caller's own, for a proxy say, are sent beside the library's."""
    async with (
        local_callbell() as server,
        aiohttp.ClientSession(headers={"X-Tenant": "mill"}) as session,
        client_for(server.url, session=session) as callbell,
    ):
        await callbell.send(MESSAGE)
    assert server.requests[0].headers["x-tenant"] == "mill"


async def test_a_session_that_was_closed_sends_nothing() -> None:
    """A call over a caller's session that is closed fails at once, and is not tried again."""
    session = session_telling()
    await session.close()
    async with local_callbell() as server, client_for(server.url, session=session) as callbell:
        with pytest.raises(ClientClosedError, match="the aiohttp session is closed") as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.NEVER_SENT, 1)
    assert server.connections == 0


async def test_a_session_that_is_closed_under_a_call() -> None:
    """Closing a caller's session ends what is under way: `UNKNOWN` if it was written, and never by a cancellation nobody asked for."""
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
async def test_a_session_that_is_closed_in_mid_answer(status: int, raises: type[Any], outcome: Outcome) -> None:
    """Closing a caller's session between the head of an answer and its body leaves a success `UNKNOWN`, and a refusal a refusal."""
    sessions: list[aiohttp.ClientSession] = []

    async def close_it(*_: object) -> None:
        await sessions[0].close()

    sessions.append(session_telling(on_request_end=close_it))
    async with (
        local_callbell(no_response(after=response_head(SandboxResponse(status), 99))) as server,
        client_for(server.url, session=sessions[0]) as callbell,
    ):
        with pytest.raises(raises) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (outcome, 1)


async def test_a_cancellation_that_was_asked_for_stays_one() -> None:
    """A call that is cancelled while its session is closed was cancelled."""
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


# --- answers that are packed ------------------------------------------------------------------------------------------


def gzipped(body: bytes) -> bytes:
    """The body as gzip packs it."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("own", [True, False], ids=["own session", "a caller's session"])
async def test_packed_answers_are_unpacked(own: bool) -> None:
    """An answer in gzip is read like any other."""
    body = gzipped(b'{"message": {"uuid": "f00d", "status": "enqueued"}}')
    async with (
        local_callbell(respond(200, body, {"Content-Encoding": "gzip"})) as server,
        session_telling() as session,
        client_for(server.url, session=None if own else session) as callbell,
    ):
        assert (await callbell.send(MESSAGE)).uuid == "f00d"


@pytest.mark.parametrize(("status", "raises"), [(400, BadRequestError), (200, ResponseDecodeError)])
async def test_an_answer_that_unpacks_to_very_much_is_bounded(status: int, raises: type[Any]) -> None:
    """Of 60 MB packed into 60 KB no more is unpacked than is wanted of such an answer."""
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

UNDER_WAY = {
    "waiting for an answer": no_response(),
    "in mid-answer": no_response(after=response_head(SandboxResponse(200), 99) + b'{"message"'),
    "between two chunks": no_response(after=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
}


@pytest.mark.parametrize("timeout", [30.0, None], ids=["limited", "unlimited"])
@pytest.mark.parametrize("fault", UNDER_WAY.values(), ids=UNDER_WAY)
async def test_closing_the_client_ends_what_is_under_way(fault: Fault, timeout: float | None) -> None:
    """Closing the client lets nobody wait for ever: what was written is `UNKNOWN`, what queued for a connection was never sent."""
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
    """Lets requests through when it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def acquire(self) -> None:
        """Wait for the opening."""
        await self.opened.wait()

    def release(self, *, answered: bool) -> None:
        """Count nothing."""

    def refund(self) -> None:
        """Count nothing."""


async def test_a_closed_client_opens_nothing_again() -> None:
    """A call that waited for its turn while the client was closed finds it closed; no new connection is opened for it."""
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
    """Where the session stays open, what is under way keeps its connection, and its time limit too."""
    async with local_callbell(no_response()) as server, session_telling() as session:
        callbell = client_for(server.url, session=session)
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        await callbell.close()
        await ticks()
        assert not sending.done()
        current_loop().advance(31)
        with pytest.raises(Exception, match="no answer in time"):
            await sending


@pytest.mark.parametrize("status", [101, 200, 204, 404])
async def test_every_answer_is_released(status: int) -> None:
    """Of no answer anything is left that the garbage collector would have to release."""
    asyncio.get_running_loop().set_debug(True)
    fault = raw(f"HTTP/1.1 {status} Answer\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n".encode())
    async with local_callbell(fault) as server, client_for(server.url) as callbell:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with contextlib.suppress(CallbellError):
                await callbell.send(MESSAGE)
            gc.collect()
    assert [str(warning.message) for warning in caught] == []


# --- a client that nobody closed --------------------------------------------------------------------------------------


def warnings_of(act: Callable[[], object]) -> list[str]:
    """What warnings `act` gives rise to, in the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
        gc.collect()
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


async def test_a_forgotten_client_is_mentioned_once() -> None:
    """A client that is dropped unclosed warns once and closes its connections, and aiohttp has nothing to add."""
    async with local_callbell() as server:
        clients = [client_for(server.url)]
        await asyncio.gather(*(clients[0].send(MESSAGE) for _ in range(3)))
        said = warnings_of(clients.clear)
        await server.wait_disconnected()
    assert len(said) == 1
    assert said[0].startswith("ResourceWarning: unclosed <CallbellClient http://127.0.0.1")
    assert "async with" in said[0]


@pytest.mark.parametrize("session", [True, False], ids=["a caller's session", "never used"])
async def test_a_client_without_connections_of_its_own_may_be_forgotten(session: bool) -> None:
    """A client that opened nothing has nothing to close."""
    async with local_callbell() as server, session_telling() as own:
        clients = [client_for(server.url, session=own if session else None)]
        if session:
            await clients[0].send(MESSAGE)
        assert warnings_of(clients.clear) == []


def test_a_client_forgotten_in_a_coroutine_is_mentioned_once() -> None:
    """A client that goes out of sight with the coroutine that made it warns once, and its connections are closed in time."""
    # It keeps its connection when the client's event loop is gone.
    with sandbox_in_a_thread(TOKEN) as server:

        async def send_and_forget() -> None:
            await client_for(server.url).send(MESSAGE)

        said = warnings_of(lambda: asyncio.run(send_and_forget()))
    assert len(said) == 1
    assert "CallbellClient" in said[0]


def test_a_client_that_outlived_its_loop_is_mentioned_once() -> None:
    """After its event loop was closed a forgotten client warns once too; besides, asyncio names the connection, aiohttp nothing."""
    with sandbox_in_a_thread(TOKEN) as server:
        clients: list[CallbellClient] = []

        async def send_and_forget() -> None:
            clients.append(client_for(server.url))
            await clients[0].send(MESSAGE)

        asyncio.run(send_and_forget())
        said = warnings_of(clients.clear)
    ours = [warning for warning in said if "CallbellClient" in warning]
    assert len(ours) == 1
    assert all(
        "unclosed transport" in warning or "unclosed <socket" in warning for warning in said if warning not in ours
    )
    assert len(said) <= 3
