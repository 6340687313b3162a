"""The direct path: when it is used, what it writes, and which connections it uses again."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import aiohttp
import attrs
import pytest
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from callbell_async import APIError, ConnectionLostError, Outcome, PermissionDeniedError, RequestTimeoutError
from callbell_async.http.direct import DirectPath, open_direct_path
from callbell_async.http.options import TransportOptions
from callbell_async.http.requests import CallState, Request
from callbell_async.http.transport import Transport
from callbell_async.sandbox import Exchange, Fault, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import no_fault, no_response, raw, respond
from tests.support.calls import MESSAGE, ONCE, TOKEN, client_for, half_a_minute_passes, ticks, until
from tests.support.http_paths import count_session_requests, wrap_sessions
from tests.support.sandbox_factory import local_callbell

both_paths = pytest.mark.usefixtures("http_path")

RECEIPT = b'{"message": {"uuid": "f00d", "status": "enqueued"}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(RECEIPT), RECEIPT)


def options_for(url: str) -> TransportOptions:
    """Return options for one connection without a time limit."""
    headers = CIMultiDict({"Authorization": f"Bearer {TOKEN}"})
    return TransportOptions(base_url=url, headers=headers, timeout=None, connect_timeout=None, max_connections=1)


# --- when it is used --------------------------------------------------------------------------------------------------


async def test_an_own_session_uses_the_direct_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the installed version of aiohttp, a client without a caller's session sends nothing over aiohttp's session."""
    sent = count_session_requests(monkeypatch)
    async with local_callbell() as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        await callbell.request("GET", "/plan")
    assert (len(server.requests), len(sent)) == (2, 0)


async def test_a_callers_session_is_always_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of a client with a caller's session goes over that session."""
    sent = count_session_requests(monkeypatch)
    async with (
        local_callbell() as server,
        aiohttp.ClientSession() as session,
        client_for(server.url, session=session) as callbell,
    ):
        await callbell.send(MESSAGE)
    assert len(sent) == 1


def another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another minor version of aiohttp is installed."""
    monkeypatch.setattr(aiohttp, "__version__", "3.99.1")


def traced_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session gets a trace config, as OpenTelemetry and Sentry arrange it."""
    add_to_sessions(monkeypatch, trace_configs=[aiohttp.TraceConfig()])


def sessions_with_a_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session gets a middleware."""

    async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    add_to_sessions(monkeypatch, middlewares=[pass_on])


def add_to_sessions(monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """Give every session more options."""
    initialize = aiohttp.ClientSession.__init__

    def initialize_with_more(session: aiohttp.ClientSession, **options: Any) -> None:
        initialize(session, **options, **more)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", initialize_with_more)


def replaced_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public method of all sessions is replaced, as a test's mock does."""
    request = aiohttp.ClientSession.request
    monkeypatch.setattr(
        aiohttp.ClientSession, "request", lambda session, *arguments, **options: request(session, *arguments, **options)
    )


def replaced_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of sessions is replaced by a subclass."""
    with pytest.deprecated_call():
        subclass = type("TracedSession", (aiohttp.ClientSession,), {})
    monkeypatch.setattr(aiohttp, "ClientSession", subclass)


@pytest.mark.parametrize(
    "arrange",
    [another_version, traced_sessions, sessions_with_a_middleware, wrap_sessions, replaced_method, replaced_class],
)
async def test_the_session_is_used_where_somebody_relies_on_it(
    arrange: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go over aiohttp's session with an untested version, and if its requests are traced, changed or replaced."""
    arrange(monkeypatch)
    sent = count_session_requests(monkeypatch)
    async with local_callbell() as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
    assert (len(server.requests), len(sent)) == (1, 1)


async def test_a_replacement_counts_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock that is installed and removed while a client is open gets the requests in between."""
    sent = count_session_requests(monkeypatch)
    async with local_callbell() as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        with monkeypatch.context() as during:
            wrap_sessions(during)
            await callbell.send(MESSAGE)
        await callbell.send(MESSAGE)
    assert (len(server.requests), len(sent)) == (3, 1)
    assert server.connections == 1


async def test_a_method_outside_the_api_goes_over_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEAD has a rule of its own for the response, and goes over aiohttp's session."""
    sent = count_session_requests(monkeypatch)
    async with (
        local_callbell(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")) as server,
        client_for(server.url) as callbell,
    ):
        assert await callbell.request("HEAD", "/plan") is None
    assert [request.method for request in sent] == ["HEAD"]


# --- what it writes ---------------------------------------------------------------------------------------------------


@attrs.define
class Heard:
    """The bytes of all requests that a server got, and the number of its connections.

    `unread` are the sizes of the bodies that it reads only after `client_gone` was set.
    """

    url: str = ""
    requests: list[bytes] = attrs.field(factory=list)
    connections: int = 0
    unread: list[int] = attrs.field(factory=list)
    client_gone: asyncio.Event = attrs.field(factory=asyncio.Event)


@asynccontextmanager
async def listener(reply: bytes = OK, *, whole: bool = True) -> AsyncIterator[Heard]:
    """A server that keeps the bytes of each request, and sends the same reply to all; if not `whole`, before it reads the body."""
    heard = Heard()
    ended: list[asyncio.Task[Any] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        ended.append(asyncio.current_task())
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                lines = request.lower().split(b"\r\n")
                length = next(line for line in lines if line.startswith(b"content-length: "))
                heard.requests.append(request + await reader.readexactly(int(length[16:]) if whole else 0))
                writer.write(reply)
                if not whole:
                    await heard.client_gone.wait()
                    heard.unread.append(len(await reader.read()))
        except asyncio.IncompleteReadError:
            return
        except ConnectionResetError:
            heard.unread.append(0)
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        heard.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield heard
        heard.client_gone.set()
    await asyncio.gather(*filter(None, ended))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", [None, {"text": "h\u00e9llo"}], ids=["bare", "with a body"])
async def test_both_paths_write_the_same(method: str, body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The direct path writes the same request line, headers and body as aiohttp's session, in any order of headers."""
    async with listener() as heard, client_for(heard.url) as callbell:
        await callbell.request(method, "/contacts/a%2Fb?page=2&q=%20", json=body)
        wrap_sessions(monkeypatch)
        await callbell.request(method, "/contacts/a%2Fb?page=2&q=%20", json=body)
    direct, session = heard.requests

    def taken_apart(request: bytes) -> tuple[bytes, list[bytes], bytes]:
        top, _, rest = request.partition(b"\r\n\r\n")
        line, *headers = top.split(b"\r\n")
        return line, sorted(headers), rest

    assert taken_apart(direct) == taken_apart(session)
    assert heard.connections == 1


class StubConnector(aiohttp.BaseConnector):
    """A connector whose connections write to a mock, and are as `prepare` leaves them."""

    def __init__(self, prepare: Callable[[ResponseHandler], object] = lambda protocol: None) -> None:
        super().__init__()
        self.written = Mock(
            spec=asyncio.Transport, **{"is_closing.return_value": False, "get_extra_info.return_value": None}
        )
        self._prepare = prepare

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        protocol = ResponseHandler(asyncio.get_running_loop())
        protocol.connection_made(self.written)
        self.written.close.side_effect = lambda: protocol.connection_lost(None)
        self._prepare(protocol)
        return protocol


def path_over(session: aiohttp.ClientSession) -> DirectPath:
    """Return the direct path of a session."""
    path = open_direct_path(session, options_for("http://callbell.invalid"), aiohttp.ClientTimeout())
    assert path is not None
    return path


URL_OF_SEND = URL("http://callbell.invalid/messages/send")


async def test_head_and_body_leave_in_one_write() -> None:
    """Head and body are written at once, and `written` is set by then, and not before."""
    protocols: list[ResponseHandler] = []
    connector = StubConnector(protocols.append)
    call = CallState(Request("POST", "/messages/send", b'{"to": 1}'))
    written_before: list[bool] = []

    def receive(data: bytes) -> None:
        written_before.append(call.written)
        protocols[0].data_received(OK)

    connector.written.write.side_effect = receive
    async with aiohttp.ClientSession(connector=connector) as session:
        assert not call.written
        response = await path_over(session).request(call, URL_OF_SEND)
        assert await response.read() == RECEIPT
    (((data,), _),) = connector.written.write.call_args_list
    assert data.startswith(b"POST /messages/send HTTP/1.1\r\nHost: callbell.invalid\r\n")
    assert data.endswith(b'\r\nContent-Length: 9\r\n\r\n{"to": 1}')
    assert written_before == [True]


UNUSABLE: dict[str, Callable[[ResponseHandler], object]] = {
    "closing": lambda protocol: protocol.transport.is_closing.configure_mock(return_value=True),  # type: ignore[union-attr]
    "lost": lambda protocol: protocol.connection_lost(None),
    "failed": lambda protocol: protocol.set_exception(ConnectionResetError()),
    "response before the request": lambda protocol: protocol.data_received(OK),
}


@pytest.mark.parametrize("prepare", UNUSABLE.values(), ids=UNUSABLE)
async def test_nothing_is_written_on_an_unusable_connection(prepare: Callable[[ResponseHandler], object]) -> None:
    """On a connection that has ended, or on which a response came before the request, nothing is written."""
    connector = StubConnector(prepare)
    call = CallState(Request("POST", "/messages/send", b"{}"))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(ConnectionResetError):
            await path_over(session).request(call, URL_OF_SEND)
    connector.written.write.assert_not_called()
    assert not call.written


async def test_a_base_url_with_a_line_break_is_refused() -> None:
    """A control character in the base URL's path never reaches a request."""
    async with listener() as heard:
        transport = Transport(options_for(f"{heard.url}/a\x01b"))
        with pytest.raises(Exception, match="must be percent-encoded") as caught:
            await transport.exchange(CallState(Request("GET", "/plan")))
        await transport.close()
    assert (heard.connections, caught.value.outcome) == (0, Outcome.NEVER_SENT)  # type: ignore[attr-defined]


# --- what it reads ----------------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    9,
    RECEIPT[:9],
    len(RECEIPT) - 9,
    RECEIPT[9:],
)
FORMS = {
    "after interim responses": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
    "in chunks": CHUNKED,
    "until the end of the connection": b"HTTP/1.1 200 OK\r\n\r\n" + RECEIPT,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + RECEIPT,
}


@both_paths
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_every_form_of_a_response_is_read(form: bytes) -> None:
    """A response is read in every form that HTTP/1.1 allows, also after interim responses."""
    async with local_callbell(raw(form)) as server, client_for(server.url) as callbell:
        assert (await callbell.send(MESSAGE)).uuid == "f00d"
    assert len(server.requests) == 1


@both_paths
@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_every_encoding_of_a_response_is_read(encoding: str, wbits: int) -> None:
    """A compressed response is decoded, in both forms of `deflate`."""
    packer = zlib.compressobj(wbits=wbits)
    body = packer.compress(RECEIPT) + packer.flush()
    async with (
        local_callbell(respond(200, body, {"Content-Encoding": encoding})) as server,
        client_for(server.url) as callbell,
    ):
        assert (await callbell.send(MESSAGE)).uuid == "f00d"


@both_paths
@pytest.mark.parametrize(
    ("status", "raises", "outcome"),
    [(200, RequestTimeoutError, Outcome.UNKNOWN), (403, PermissionDeniedError, Outcome.REJECTED)],
)
async def test_a_response_whose_rest_never_comes(status: int, raises: type[APIError], outcome: Outcome) -> None:
    """After the timeout an incomplete success is `UNKNOWN`; an incomplete refusal is a refusal by its status."""
    half = no_response(after=response_head(SandboxResponse(status), 99) + b"{")
    async with local_callbell(half) as server, client_for(server.url, retry=ONCE) as callbell:
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        await ticks()
        half_a_minute_passes()
        with pytest.raises(raises) as caught:
            await sending
        await server.wait_disconnected()
    assert caught.value.outcome is outcome


# --- which connections it uses again ----------------------------------------------------------------------------------


@both_paths
@pytest.mark.parametrize(("header", "connections"), [("keep-alive", 1), ("close", 3)])
async def test_the_server_decides_whether_a_connection_is_used_again(header: str, connections: int) -> None:
    """A connection is used for the next request, unless the response has `Connection: close`."""
    reply = OK.replace(b"\r\n", f"\r\nConnection: {header}\r\n".encode(), 1)
    async with listener(reply) as heard, client_for(heard.url) as callbell:
        for _ in range(3):
            await callbell.send(MESSAGE)
    assert (len(heard.requests), heard.connections) == (3, connections)


async def test_a_response_to_no_request_is_not_taken_for_the_next() -> None:
    """A response that comes on an idle connection is discarded with it: the next request was never sent there, and succeeds elsewhere."""
    go_on = asyncio.Event()

    async def respond_twice(exchange: Exchange) -> None:
        await exchange.send(exchange.execute())
        await go_on.wait()
        await exchange.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await exchange.client_gone()

    server = local_callbell(Fault("responds twice", respond_twice), no_fault())
    async with server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        go_on.set()
        await ticks()
        report = await callbell.send_many([MESSAGE])
    assert [(result.outcome, result.attempts) for result in report.results] == [(Outcome.ACCEPTED, 2)]
    assert (len(server.requests), server.connections) == (2, 2)


async def test_a_response_before_the_end_of_the_request_ends_the_connection() -> None:
    """If the server responds before it has read the request, the rest is not written, and the connection is not used again."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    async with listener(refusal, whole=False) as heard, client_for(heard.url, max_connections=1) as callbell:
        for _ in range(2):
            with pytest.raises(APIError) as caught:
                # More than the buffers of two sockets hold.
                await callbell.request("POST", "/messages/send", json="x" * 20_000_000)
            assert (caught.value.status, caught.value.outcome) == (413, Outcome.REJECTED)
    assert (len(heard.requests), heard.connections) == (2, 2)
    assert len(heard.unread) == 2
    assert max(heard.unread) < 20_000_000


# --- cancelled --------------------------------------------------------------------------------------------------------


@both_paths
@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "kept-alive connection"])
async def test_a_call_can_be_cancelled_at_every_moment(warm: bool) -> None:
    """Whenever a call is cancelled, a request that reached the server is marked as written, and the only place in the pool is free."""
    async with local_callbell() as server:
        calls = []
        for rounds in range(1000):
            transport = Transport(options_for(server.url))
            if warm:
                await transport.exchange(CallState(Request("GET", "/plan")))
            before = len(server.requests)
            call = CallState(Request("GET", f"/plan?{rounds}"))
            task = asyncio.create_task(transport.exchange(call))
            await ticks(rounds)
            task.cancel()
            await asyncio.wait([task])
            # The pool has one place.
            assert (await transport.exchange(CallState(Request("GET", "/plan")))).ok
            await transport.close()
            calls.append(call)
            assert call.written or len(server.requests) == before + 1
            if not task.cancelled():
                break
    assert not calls[0].written
    assert len(calls) > 2


@both_paths
async def test_a_call_that_fails_shows_when_it_was_written() -> None:
    """A connection that the server closes unread leaves a request `UNKNOWN`: part of it may have been read."""
    async with local_callbell(raw(b"", read=False)) as server, client_for(server.url, retry=ONCE) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.send(MESSAGE)
    assert caught.value.outcome is Outcome.UNKNOWN
