"""No exception holds the token, and the text of none tells the recipient's number or the message's text."""

from __future__ import annotations

import aiohttp
import orjson
import pytest

from callbell_async import (
    AuthenticationError,
    CallbellClient,
    CallbellError,
    ConnectError,
    PermissionDeniedError,
    RequestTimeoutError,
    ServerError,
)
from callbell_async.sandbox import Exchange, Fault, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import (
    close_after_reading,
    no_response,
    raw,
    reset_after_reading,
    respond,
    truncated_response,
)
from tests.support.calls import (
    MESSAGE,
    NUMBER,
    ONCE,
    TEXT,
    TOKEN,
    client_for,
    half_a_minute_passes,
    nobody_listening,
    session_telling,
)
from tests.support.sandbox_factory import local_callbell
from tests.support.secrets import assert_no_secrets


def echoing(status: int, *, json: bool = True) -> Fault:
    """An answer that repeats all that was sent, in its head and in its body."""

    async def act(exchange: Exchange) -> None:
        request = exchange.request
        words = f"{request.path} {dict(request.headers)} {request.body.decode()} {NUMBER} {TEXT}"
        body = orjson.dumps({"error": words}) if json else words.encode()
        await exchange.send(SandboxResponse(status, None, {"X-Echo": request.headers["authorization"]}, body))

    return Fault("echo", act)


EVERYTHING = f"{TOKEN} {NUMBER} {TEXT}"
OK = "HTTP/1.1 200 OK\r\n"
INDISCREET = {
    "a refusal": echoing(422),
    "a refusal that isn't JSON": echoing(403, json=False),
    "a success": echoing(200),
    "a success that isn't JSON": echoing(200, json=False),
    "what isn't HTTP": raw(f"{EVERYTHING}\r\n\r\n".encode()),
    "the head of half an answer": raw(f"{OK}X-Echo: {EVERYTHING}\r\n".encode()),
    "a head that is too long": raw(f"{OK}X-Echo: {EVERYTHING * 500}".encode()),
    "a chunk": raw(f"{OK}Transfer-Encoding: chunked\r\n\r\n{EVERYTHING}\r\n".encode()),
    "a refusal that can't be unpacked": respond(403, b"no", {"Content-Encoding": "gzip", "X-Echo": EVERYTHING}),
    "half an answer": truncated_response(SandboxResponse(200, raw=EVERYTHING.encode())),
    "a reset": reset_after_reading(),
    "an end": close_after_reading(),
    "silence": no_response(half_a_minute_passes),
}


@pytest.mark.parametrize("fault", INDISCREET.values(), ids=INDISCREET)
async def test_no_exception_tells_a_secret(fault: Fault) -> None:
    """Whatever the server does or echoes, no exception holds the token, and no text the recipient's number or the message's."""
    errors = []
    async with local_callbell(fault) as server, client_for(server.url, retry=ONCE) as callbell:
        for calling in (
            callbell.send(MESSAGE),
            callbell.request("POST", f"/contacts/phone/{NUMBER}", json={"text": TEXT}),
        ):
            try:
                await calling
            except CallbellError as error:
                errors.append(error)
    # To `request` any JSON is a good answer.
    assert len(errors) == (1 if fault is INDISCREET["a success"] else 2)
    for told in errors:
        assert_no_secrets(told)
    assert len(server.requests) == 2


async def test_the_head_of_a_refusal_that_never_ended_tells_no_secret() -> None:
    """A refusal that is known by its head alone, because its body never came, does not hold the token it echoed either."""

    async def time_is_over(*_: object) -> None:
        half_a_minute_passes()

    async with (
        local_callbell(
            no_response(after=response_head(SandboxResponse(403, None, {"X-Echo": EVERYTHING}), 99))
        ) as server,
        session_telling(on_request_end=time_is_over) as session,
        client_for(server.url, session=session) as callbell,
    ):
        with pytest.raises(PermissionDeniedError) as caught:
            await callbell.send(MESSAGE)
    assert_no_secrets(caught.value)


async def test_no_connection_tells_a_secret() -> None:
    """An exception from before any connection does not name the path's telephone number either."""
    with nobody_listening() as url:
        async with client_for(url, retry=ONCE) as callbell:
            with pytest.raises(ConnectError) as caught:
                await callbell.request("GET", f"/contacts/phone/{NUMBER}")
    assert_no_secrets(caught.value)
    assert "/contacts/phone/…" in str(caught.value)


async def test_no_free_connection_tells_a_secret() -> None:
    """The URL that aiohttp names when a connection takes too long is not passed on."""

    async def too_long(request: aiohttp.ClientRequest, handler: object) -> aiohttp.ClientResponse:
        raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host http://127.0.0.1:1/contacts/phone/{NUMBER}")

    async with (
        aiohttp.ClientSession(middlewares=[too_long]) as session,
        client_for("http://127.0.0.1:1", session=session, retry=ONCE) as callbell,
    ):
        with pytest.raises(RequestTimeoutError) as caught:
            await callbell.request("GET", f"/contacts/phone/{NUMBER}")
    assert_no_secrets(caught.value)


async def test_what_the_system_said_is_passed_on() -> None:
    """The cause of a failed connection stays beneath it, for those who look for it."""
    with nobody_listening() as url:
        async with client_for(url, retry=ONCE) as callbell:
            with pytest.raises(ConnectError) as caught:
                await callbell.send(MESSAGE)
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


async def test_a_refusals_body_is_kept_but_for_the_token() -> None:
    """An exception keeps the answer as it came, except where the token stood in it."""
    body = f'{{"error": "{NUMBER} is not known to {TOKEN}", "code": "{TOKEN}"}}'.encode()
    async with local_callbell(respond(500, body)) as server, client_for(server.url, retry=ONCE) as callbell:
        with pytest.raises(ServerError) as caught:
            await callbell.send(MESSAGE)
    assert caught.value.body == body.replace(TOKEN.encode(), "…".encode())
    assert caught.value.message == f"{NUMBER} is not known to …"
    assert_no_secrets(caught.value)


async def test_a_word_for_a_token_is_left_in_place() -> None:
    """A token too short to be one is not cut out of other words."""
    async with (
        local_callbell(respond(401, {"error": "bad token"})) as server,
        CallbellClient("token", base_url=server.url) as callbell,
    ):
        with pytest.raises(AuthenticationError, match="bad token"):
            await callbell.send(MESSAGE)
