"""The sandbox's faults: the effect of each on a connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
import attrs
import pytest
import trustme

from callbell_async import (
    CallbellClient,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RetryPolicy,
    TextMessage,
    TransportError,
)
from callbell_async.sandbox import DeliveryFailure, Fault, Sandbox, SandboxResponse, faults
from tests.fixtures.sandbox import GOOD, ask
from tests.support.calls import until
from tests.support.clock import current_loop

HELLO = TextMessage(to="+31612345678", text="Hello!")
RECEIPT = SandboxResponse(200, {"message": {"uuid": "fixed", "status": "enqueued"}})


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a limit."""
    async with Sandbox(limit=None) as running:
        yield running


async def raw_response(sandbox: Sandbox, body: bytes | None = None, head: str = "") -> bytes:
    """Return all bytes until the end of the connection, after a valid request; a reset adds `b"reset"`."""
    content = b'{"to": "1", "from": "whatsapp", "type": "text", "content": {"text": "x"}}' if body is None else body
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
    request = f"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {sandbox.token}\r\n"
    writer.write(f"{request}{head or f'Content-Length: {len(content)}'}\r\n\r\n".encode() + content)
    received = b""
    try:
        while piece := await reader.read(65536):
            received += piece
    except ConnectionResetError:
        received += b"reset"
    writer.close()
    return received


@attrs.frozen
class Wire:
    """A fault's effect: the `first` and `last` bytes, whether the request is counted, and whether it is accepted."""

    fault: Fault
    first: bytes = b""
    last: bytes = b""
    counted: bool = True
    accepted: bool = False


WIRE = {
    "close before reading": Wire(faults.close_before_reading(), counted=False),
    "close after reading": Wire(faults.close_after_reading()),
    "accept, then close": Wire(faults.accept_then_close(), accepted=True),
    "reset before reading": Wire(faults.reset_before_reading(), b"reset", b"reset", counted=False),
    "reset after reading": Wire(faults.reset_after_reading(), b"reset", b"reset"),
    "accept, then reset": Wire(faults.reset_after_reading(accept=True), b"reset", b"reset", accepted=True),
    "half a response": Wire(
        faults.truncated_response(),
        b'HTTP/1.1 200 Sandbox\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 75\r\n\r\n{"message":{"uuid":"',
        accepted=True,
    ),
    "half of a given response": Wire(faults.truncated_response(RECEIPT), b"HTTP/1.1 200", b'{"message":{"uuid":"fixe'),
    "half a response, then reset": Wire(faults.truncated_response(reset=True), last=b"reset", accepted=True),
    "raw bytes": Wire(faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), b"SSH", b"\r\n\r\n"),
    "raw bytes before reading": Wire(
        faults.raw(b"HTTP/1.1 200 OK\r\nCont", read=False), b"HTTP", b"Cont", counted=False
    ),
    "dropped while idle": Wire(faults.drop_idle_connection(), b"HTTP/1.1 200", b'"enqueued"}}', accepted=True),
    "dropped after an error": Wire(faults.drop_idle_connection(faults.respond(503)), b"HTTP/1.1 503", b"\r\n\r\n"),
}


@pytest.mark.parametrize("wire", WIRE.values(), ids=WIRE)
async def test_faults_that_end_the_connection(sandbox: Sandbox, wire: Wire) -> None:
    """Each of these faults sends these bytes, ends the connection in its own way, and accepts the message or not; the next request succeeds."""
    rule = sandbox.inject(wire.fault, times=1)
    received = await raw_response(sandbox)
    assert received.startswith(wire.first)
    assert received.endswith(wire.last)
    assert bool(received) == bool(wire.first or wire.last)
    assert len(sandbox.requests) == wire.counted
    assert len(sandbox.messages) == wire.accepted
    assert rule.applied == 1
    await sandbox.wait_disconnected()
    assert (await ask(sandbox, "POST", "/messages/send", json=GOOD))[0] == 200
    assert sandbox.connections == 2


RESPONSES = {
    "an error with its headers": (faults.respond(503, {"error": "later"}, {"Retry-After": "7"}), 503, False),
    "an error after accepting": (faults.respond(504, b"", accept=True), 504, True),
    "no content with a body": (faults.respond(204, b"abc"), 204, False),
    "not modified with a body": (faults.respond(304, {"a": "b"}), 304, False),
    "HTML": (faults.html(), 502, False),
    "a revoked token": (faults.token_revoked(), 401, False),
    "a slow_response": (faults.slow_response(), 200, True),
    "a given slow_response": (faults.slow_response(RECEIPT), 200, False),
    "nothing": (faults.no_fault(), 200, True),
    "a failed delivery": (faults.failed_delivery(DeliveryFailure(reason="no")), 200, True),
    "a oversized_response": (faults.oversized_response(1_000_000), 200, False),
}


@pytest.mark.parametrize(("fault", "status", "accepted"), RESPONSES.values(), ids=RESPONSES)
async def test_faults_that_send_a_response(sandbox: Sandbox, fault: Fault, status: int, accepted: bool) -> None:
    """Each of these faults sends a complete response; the connection serves the next request."""
    sandbox.inject(fault, times=1)
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for expected in (status, 200):
            async with session.post(f"{sandbox.url}/messages/send", json=GOOD) as response:
                await response.read()
                assert response.status == expected
        assert sandbox.connections == 1
    assert len(sandbox.messages) == 1 + accepted
    assert [request.status for request in sandbox.requests] == [status, 200]
    assert [request.fault for request in sandbox.requests] == [fault.name, None]


async def test_the_body_and_headers_arrive(sandbox: Sandbox) -> None:
    """The status, body and headers of a response are the given ones; an oversized response has the given length."""
    sandbox.inject(
        faults.respond(503, {"error": "later"}, {"Retry-After": "7"}), faults.html(), faults.oversized_response(100_001)
    )
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.token}"}) as session:
        async with session.get(f"{sandbox.url}/plan") as response:
            assert (await response.json(), response.headers["Retry-After"]) == ({"error": "later"}, "7")
        async with session.get(f"{sandbox.url}/plan") as response:
            assert response.content_type == "text/html"
            assert "Bad Gateway" in await response.text()
        async with session.get(f"{sandbox.url}/plan") as response:
            assert len(await response.read()) == 100_001


async def test_accept_then_close_leads_to_duplicates(sandbox: Sandbox) -> None:
    """A client that resends a possibly accepted message sends it twice; a client that does not sends it once; the assertion shows it."""
    sandbox.inject(faults.accept_then_close(), times=1)
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.send(HELLO)
    assert caught.value.outcome is Outcome.UNKNOWN
    sandbox.assert_sent_once(to="+31612345678")
    again = RetryPolicy(resend_unknown=True, wait_initial=0.0)
    sandbox.inject(faults.accept_then_close(), times=1)
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=again) as callbell:
        await callbell.send(HELLO)
    with pytest.raises(AssertionError, match="sent more than once"):
        sandbox.assert_no_duplicates()


async def test_no_response_until_the_client_leaves(sandbox: Sandbox) -> None:
    """The hook is called when the request has been read; the client's timeout ends the request."""
    sandbox.inject(faults.no_response(lambda: current_loop().advance(31), after=b"HTTP/1.1 200 OK\r\n"), times=1)
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        with pytest.raises(TransportError):
            await callbell.send(HELLO)
    await sandbox.wait_disconnected()
    assert (len(sandbox.requests), len(sandbox.messages)) == (1, 0)


@pytest.mark.parametrize("accept", [False, True])
async def test_no_response_until_it_is_released(sandbox: Sandbox, accept: bool) -> None:
    """A held request gets its response after the release; it is executed then, or before it was held."""
    read, release = asyncio.Event(), asyncio.Event()
    sandbox.inject(faults.no_response(read.set, until=release, accept=accept), times=1)
    asking = asyncio.create_task(ask(sandbox, "POST", "/messages/send", json=GOOD))
    await read.wait()
    assert len(sandbox.messages) == accept
    release.set()
    assert (await asking)[0] == 200
    sandbox.assert_sent(1)


@pytest.mark.parametrize("accept", [False, True])
async def test_no_response_until_a_fault(sandbox: Sandbox, accept: bool) -> None:
    """A held request gets another fault after the release; with any fault, the message is accepted once at most."""
    release = asyncio.Event()
    late = (faults.respond(503), faults.delay(0.0), faults.no_fault())
    sandbox.inject(*(faults.no_response(until=release, then=fault, accept=accept) for fault in late), times=3)
    asking = [asyncio.create_task(ask(sandbox, "POST", "/messages/send", json=GOOD)) for _ in late]
    await until(lambda: len(sandbox.requests) == 3)
    assert len(sandbox.messages) == 3 * accept
    release.set()
    responses = await asyncio.gather(*asking)
    assert sorted(status for status, _ in responses) == [200, 200, 503]
    sandbox.assert_sent(2 + accept)
    accepted = {document["message"]["uuid"] for status, document in responses if status == 200}
    assert accepted <= {message.uuid for message in sandbox.messages}
    assert sandbox.requests[0].fault == "no_response, then respond 503"


async def test_no_response_ends_when_the_client_has_left(sandbox: Sandbox) -> None:
    """A request whose client has left is not executed after the release."""
    read, release = asyncio.Event(), asyncio.Event()
    sandbox.inject(faults.no_response(read.set, until=release), times=1)
    asking = asyncio.create_task(ask(sandbox, "POST", "/messages/send", json=GOOD))
    await read.wait()
    asking.cancel()
    await asyncio.wait({asking})
    await sandbox.wait_disconnected()
    release.set()
    await ask(sandbox, "GET", "/plan")
    sandbox.assert_sent(0)


async def test_a_delay(sandbox: Sandbox) -> None:
    """A delayed request is executed at once, and its response is sent after the seconds, by the event loop's clock."""
    sandbox.inject(faults.delay(3600), times=1)
    asking = asyncio.create_task(ask(sandbox, "POST", "/messages/send", json=GOOD, timeout=None))
    await until(lambda: sandbox.messages)
    assert not asking.done()
    current_loop().advance(3600)
    assert (await asking)[0] == 200


async def test_a_slow_response(sandbox: Sandbox) -> None:
    """The bytes of a slow response are sent at the given interval."""
    sandbox.inject(faults.slow_response(SandboxResponse(204), every=60), times=1)
    loop = current_loop()
    asking = asyncio.create_task(ask(sandbox, "GET", "/plan", timeout=None))
    began = loop.time()
    while not asking.done():
        loop.advance(1)
        await asyncio.sleep(0)
    assert (await asking) == (204, None)
    assert loop.time() - began > 60 * len(b"HTTP/1.1 204 Sandbox\r\n\r\n")


async def until_read(sandbox: Sandbox) -> None:
    """Return when a request has been read."""
    await until(lambda: sandbox.requests)


async def test_leaving_the_sandbox_ends_its_faults() -> None:
    """Leaving the sandbox ends all held, slow and oversized responses at once."""
    for fault in (
        faults.no_response(),
        faults.delay(3600),
        faults.oversized_response(1 << 30),
        faults.slow_response(every=3600),
    ):
        async with Sandbox() as sandbox:
            sandbox.inject(fault)
            port = int(sandbox.url.split(":")[2].split("/")[0])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sandbox\r\n\r\n")
            await until_read(sandbox)
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        writer.close()


async def test_a_fault_before_reading_sees_the_head_only(sandbox: Sandbox) -> None:
    """A predicate for a fault before reading gets no body, and no body is waited for."""
    seen: list[bytes] = []
    sandbox.inject(faults.reset_before_reading(), when=lambda request: not seen.append(request.body))  # type: ignore[func-returns-value]
    assert await raw_response(sandbox, b"", "Content-Length: 1000000") == b"reset"
    assert seen == [b""]
    assert sandbox.requests == []


@pytest.mark.parametrize("status", [101, 204, 304])
@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_a_response_without_body_has_no_length(sandbox: Sandbox, status: int, body: bytes) -> None:
    """A response whose status has no body is sent without body and without length, as HTTP requires."""
    sandbox.inject(faults.drop_idle_connection(faults.respond(status, body, {"content-length": "3"})))
    assert await raw_response(sandbox) == f"HTTP/1.1 {status} Sandbox\r\n\r\n".encode()


@pytest.mark.parametrize("name", ["content-length", "Content-Length", "CONTENT-LENGTH"])
async def test_a_response_has_one_length(sandbox: Sandbox, name: str) -> None:
    """A length among the given headers is replaced by the true one, in any spelling."""
    sandbox.inject(faults.drop_idle_connection(faults.respond(200, b"abc", {name: "5", "X-A": "b"})))
    assert await raw_response(sandbox) == b"HTTP/1.1 200 Sandbox\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc"


async def test_stop_listening(sandbox: Sandbox) -> None:
    """Further connections are refused, open ones are served, and the sandbox ends as usual; a second call changes nothing."""
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in range(2):
            async with session.get(f"{sandbox.url}/plan") as response:
                assert response.status == 200
                await response.read()
            await sandbox.stop_listening()
            async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1)) as callbell:
                with pytest.raises(ConnectError):
                    await callbell.send(HELLO)
    assert (len(sandbox.requests), sandbox.connections) == (2, 1)
    sandbox.assert_sent(0)


async def test_it_listens_again_when_entered_again() -> None:
    """A sandbox that stopped listening, and was left, can be entered again."""
    sandbox = Sandbox()
    for _ in range(2):
        async with sandbox:
            assert (await ask(sandbox, "GET", "/plan"))[0] == 200
            await sandbox.stop_listening()


async def test_over_tls() -> None:
    """With a TLS context the sandbox serves https, faults included."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with Sandbox(tls=server) as sandbox:
        assert sandbox.url.startswith("https://")
        sandbox.inject(faults.no_fault(), faults.reset_after_reading(), faults.drop_idle_connection(), times=3)
        assert (await ask(sandbox, "GET", "/plan", ssl=client))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await ask(sandbox, "POST", "/messages/send", ssl=client, json=GOOD)
        assert (await ask(sandbox, "GET", "/plan", ssl=client))[0] == 200
        assert (await ask(sandbox, "GET", "/plan", ssl=client))[0] == 200
