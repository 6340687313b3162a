"""The transport: every exception of aiohttp becomes one of this library's, and none shows a secret."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http import StreamWriter
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from callbell_async import (
    CallbellClient,
    CallbellError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    NotFoundError,
    Outcome,
    RequestTimeoutError,
    TransportError,
)
from callbell_async.http.options import TransportOptions
from callbell_async.http.requests import CallState, Request
from callbell_async.http.transport import Transport
from callbell_async.sandbox.faults import no_response
from tests.support.calls import (
    MESSAGE,
    NUMBER,
    ONCE,
    TEXT,
    TOKEN,
    client_for,
    ticks,
    until,
)
from tests.support.mock_response import MockResponse
from tests.support.sandbox_factory import local_callbell
from tests.support.secrets import assert_no_secrets

pytestmark = pytest.mark.usefixtures("http_path")

# --- exceptions -------------------------------------------------------------------------------------------------------

KEY = ConnectionKey("elsewhere.example", 443, True, True, None, None, None)
ASKED = aiohttp.RequestInfo(
    URL(f"https://elsewhere.example/contacts/phone/{NUMBER}"),
    "POST",
    CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {TOKEN}"})),
    URL("https://elsewhere.example"),
)


def aiohttp_errors(base: type[Exception] = aiohttp.ClientError) -> Iterator[type[Exception]]:
    """Yield all exceptions of aiohttp's client in the installed version."""
    for cls in {base, *base.__subclasses__()}:
        if cls.__module__.startswith("aiohttp"):
            yield cls
            if cls is not base:
                yield from aiohttp_errors(cls)


def an_error(cls: type[Any]) -> Exception:
    """Return an exception of this class, built as aiohttp builds it."""
    refused = OSError(111, "Connection refused")
    arguments: dict[type[Exception], tuple[Any, ...]] = {
        aiohttp.ClientResponseError: (ASKED, ()),
        client_exceptions.UnixClientConnectorError: ("/run/some.sock", KEY, refused),
        aiohttp.ClientConnectorError: (KEY, refused),
        aiohttp.ServerFingerprintMismatch: (b"expected", b"got", "elsewhere.example", 443),
        aiohttp.InvalidURL: (ASKED.url,),
    }
    built_like = next((base for base in arguments if issubclass(cls, base)), None)
    error: Exception = cls(*arguments[built_like]) if built_like else cls("something went wrong")
    return error


LOWER_ERRORS = [
    *(an_error(cls) for cls in sorted({*aiohttp_errors()}, key=lambda cls: cls.__name__)),
    OSError(101, "Network is unreachable"),
    BrokenPipeError(32, "Broken pipe"),
    ConnectionAbortedError(103, "Software caused connection abort"),
    TimeoutError(110, "Connection timed out"),
    TimeoutError(),
    ssl.SSLError(1, "wrong version number"),
    ssl.SSLCertVerificationError(1, "self-signed certificate"),
    ssl.SSLZeroReturnError(6, "closed"),
    ValueError("no"),
    UnicodeEncodeError("idna", TOKEN, 0, 1, "label too long"),
]


def session_failing(error: Exception, *, written: bool) -> aiohttp.ClientSession:
    """Return a session whose requests all fail with `error`, before or after they are written."""

    async def fail(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if written:
            (await handler(request)).close()
        raise error

    return aiohttp.ClientSession(middlewares=[fail])


def test_aiohttps_errors_are_found() -> None:
    """The search for aiohttp's exceptions finds the deepest subclasses."""
    found = {*aiohttp_errors()}
    assert {aiohttp.ClientConnectorDNSError, aiohttp.ClientPayloadError, aiohttp.NonHttpUrlRedirectClientError} <= found
    assert len(found) > 25


@pytest.mark.parametrize("written", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("error", LOWER_ERRORS, ids=lambda error: type(error).__name__)
async def test_every_lower_exception_becomes_one_of_ours(error: Exception, written: bool) -> None:
    """Any exception of aiohttp, the system or TLS becomes a `CallbellError`, whose outcome depends on whether the body was written."""
    async with (
        local_callbell() as server,
        session_failing(error, written=written) as session,
        client_for(server.url, session=session, retry=ONCE) as callbell,
    ):
        with pytest.raises(CallbellError) as caught:
            await callbell.send(MESSAGE)
    assert isinstance(caught.value, TransportError | ConfigurationError)
    assert caught.value.outcome is (Outcome.UNKNOWN if written else Outcome.NEVER_SENT)
    assert len(server.requests) == written
    assert_no_secrets(caught.value)


@pytest.mark.parametrize(
    ("error", "raises"),
    [
        (aiohttp.ClientConnectorError, ConnectError),
        (aiohttp.ClientConnectorDNSError, ConnectError),
        (aiohttp.ClientConnectorSSLError, ConnectError),
        (aiohttp.ClientConnectorCertificateError, ConnectError),
        (aiohttp.ClientProxyConnectionError, ConnectError),
        (aiohttp.ClientHttpProxyError, ConnectError),
        (aiohttp.ServerFingerprintMismatch, ConnectError),
        (client_exceptions.UnixClientConnectorError, ConnectError),
        (aiohttp.ConnectionTimeoutError, RequestTimeoutError),
        (aiohttp.SocketTimeoutError, RequestTimeoutError),
        (aiohttp.ServerDisconnectedError, ConnectionLostError),
        (aiohttp.ClientOSError, ConnectionLostError),
        (aiohttp.ClientConnectionResetError, ConnectionLostError),
        (aiohttp.ClientPayloadError, ConnectionLostError),
        (aiohttp.InvalidURL, ConfigurationError),
        (aiohttp.NonHttpUrlClientError, ConfigurationError),
        (ValueError, ConfigurationError),
    ],
)
async def test_each_kind_of_failure_has_its_exception(error: type[Exception], raises: type[CallbellError]) -> None:
    """Connecting, waiting, losing the connection and a wrong setup fail with different types."""
    async with (
        session_failing(an_error(error), written=False) as session,
        client_for("http://127.0.0.1:1", session=session, retry=ONCE) as callbell,
    ):
        with pytest.raises(CallbellError) as caught:
            await callbell.send(MESSAGE)
    assert type(caught.value) is raises


@pytest.mark.parametrize("error", [RuntimeError("a bug"), LookupError("a bug")], ids=lambda error: type(error).__name__)
async def test_a_bug_in_a_callers_own_code_is_not_covered_up(error: Exception) -> None:
    """An exception of a caller's own middleware is raised unchanged."""
    async with (
        session_failing(error, written=False) as session,
        client_for("http://127.0.0.1:1", session=session) as callbell,
    ):
        with pytest.raises(type(error)) as caught:
            await callbell.send(MESSAGE)
    assert caught.value is error


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:99999", "http://exa mple", "https://" + "x" * 64 + ".invalid"])
async def test_an_invalid_address_is_one_of_ours_too(base_url: str) -> None:
    """A base URL that can't be used fails with a `CallbellError`, and nothing is sent."""
    with pytest.raises(CallbellError) as caught:
        async with client_for(base_url, retry=ONCE) as callbell:
            await callbell.send(MESSAGE)
    assert caught.value.outcome is Outcome.NEVER_SENT


@pytest.mark.parametrize("path", ["/a\nb", "/a\r\nX-Injected: 1", "/\ud800", "/a\0b"])
async def test_a_path_that_is_not_encoded_is_refused(path: str) -> None:
    """A path with a line break, or with a character that has no encoding, is never sent, and the exception quotes nothing of it."""
    async with local_callbell() as server, client_for(server.url) as callbell:
        with pytest.raises(ConfigurationError) as caught:
            await callbell.request("POST", path, json={"to": NUMBER})
    assert caught.value.outcome is Outcome.NEVER_SENT
    assert (server.requests, server.connections) == ([], 0)
    assert_no_secrets(caught.value)


# --- the tracked payload ----------------------------------------------------------------------------------------------


def transport_for(url: str) -> Transport:
    """Return a transport with one connection and no time limit."""
    headers = CIMultiDict({"Authorization": f"Bearer {TOKEN}"})
    return Transport(
        TransportOptions(base_url=url, headers=headers, timeout=None, connect_timeout=None, max_connections=1)
    )


bodies = pytest.mark.parametrize("body", [b"{}", None], ids=["with a body", "bare"])


@bodies
async def test_a_cancelled_call_knows_whether_it_was_written(body: bytes | None) -> None:
    """A cancelled call is marked as written if its body had begun to leave, and not if it waited for a connection."""
    async with local_callbell(no_response()) as server:
        transport = transport_for(server.url)
        waiting, queued = CallState(Request("POST", "/first", body)), CallState(Request("POST", "/second", body))
        first = asyncio.create_task(transport.exchange(waiting))
        await until(lambda: server.requests)
        second = asyncio.create_task(transport.exchange(queued))
        await ticks()
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        await transport.close()
    assert (first.cancelled(), waiting.written, waiting.outcome) == (True, True, Outcome.UNKNOWN)
    assert (second.cancelled(), queued.written, queued.outcome) == (True, False, Outcome.NEVER_SENT)
    assert [request.path for request in server.requests] == ["/first"]


@bodies
async def test_a_cancelled_body_can_not_leave_later(body: bytes | None) -> None:
    """The body of a request reported as never sent can't be written afterwards."""
    kept: list[Any] = []

    async def keep_and_fail(request: aiohttp.ClientRequest, handler: object) -> aiohttp.ClientResponse:
        kept.append(request.body)
        raise aiohttp.ClientError

    headers = CIMultiDict({"Authorization": f"Bearer {TOKEN}"})
    options = TransportOptions(
        base_url="http://127.0.0.1:1", headers=headers, timeout=None, connect_timeout=None, max_connections=1
    )
    async with aiohttp.ClientSession(middlewares=[keep_and_fail]) as session:
        call = CallState(Request("POST", "/", body))
        with pytest.raises(ConnectionLostError, match="before anything was written"):
            await Transport(options, session).exchange(call)
    writer = Mock(spec=AbstractStreamWriter)
    with pytest.raises(ConnectionResetError):
        await kept[0].write_with_length(writer, None)
    writer.write.assert_not_called()
    assert not call.written


@pytest.mark.parametrize("closing", [True, False], ids=["closing", "open"])
async def test_nothing_leaves_by_a_connection_that_is_closing(closing: bool) -> None:
    """A body that aiohttp asks for while the connection is closing does not leave, and was never sent."""
    connection = Mock(
        spec=asyncio.Transport, **{"is_closing.return_value": closing, "get_extra_info.return_value": None}
    )
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.transport = connection

    async def write_there(request: aiohttp.ClientRequest, handler: object) -> aiohttp.ClientResponse:
        writer = StreamWriter(protocol, asyncio.get_running_loop())
        await writer.write_headers("POST /messages/send HTTP/1.1", CIMultiDict())
        await request.body.write_with_length(writer, None)  # type: ignore[union-attr]
        raise ConnectionResetError(104, "Connection reset by peer")

    async with (
        aiohttp.ClientSession(middlewares=[write_there]) as session,
        client_for("http://127.0.0.1:1", session=session, retry=ONCE) as callbell,
    ):
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.send(MESSAGE)
    assert caught.value.outcome is (Outcome.NEVER_SENT if closing else Outcome.UNKNOWN)
    assert connection.write.call_count == (0 if closing else 1)


async def test_a_bare_request_has_no_content_type() -> None:
    """A request with JSON has its content type; a request without a body has none."""
    async with local_callbell() as server, client_for(server.url) as callbell:
        await callbell.request("GET", "/plan")
        await callbell.send(MESSAGE)
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    bare, full = (request.headers for request in server.requests)
    assert "content-type" not in bare
    assert bare["content-length"] == "0"
    assert full["content-type"] == "application/json"


# --- aioresponses -----------------------------------------------------------------------------------------------------


async def test_works_under_aioresponses() -> None:
    """With aioresponses in users' tests, receipts and refusals arrive as over a network."""
    url = "https://api.callbell.eu/v1/messages/send"
    async with CallbellClient(TOKEN, retry=ONCE) as callbell:
        with aioresponses() as mocked:
            mocked.post(url, payload={"message": {"uuid": "f00d", "status": "enqueued"}}, response_class=MockResponse)
            mocked.post(url, status=404, payload={"error": "gone"}, response_class=MockResponse)
            assert (await callbell.send(MESSAGE)).uuid == "f00d"
            with pytest.raises(NotFoundError, match="gone"):
                await callbell.send(MESSAGE)
            first, second = (call.kwargs["data"].decode() for call in mocked.requests["POST", URL(url)])
    assert first == second
    assert TEXT in first
