"""No exception holds the token, and no text of one shows the recipient's number or the message's text."""

from __future__ import annotations

import aiohttp
import orjson
import pytest

from callbell_async import (
    APIError,
    AuthenticationError,
    CallbellClient,
    CallbellError,
    ConnectError,
    PermissionDeniedError,
    RequestTimeoutError,
    ResponseDecodeError,
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
    session_with_hooks,
)
from tests.support.sandbox_factory import local_callbell
from tests.support.secrets import assert_no_secrets

pytestmark = pytest.mark.usefixtures("http_path")


def echoing(status: int, *, json: bool = True) -> Fault:
    """Return a response that repeats the whole request in its head and its body."""

    async def act(exchange: Exchange) -> None:
        request = exchange.request
        words = f"{request.path} {dict(request.headers)} {request.body.decode()} {NUMBER} {TEXT}"
        body = orjson.dumps({"error": words}) if json else words.encode()
        await exchange.send(SandboxResponse(status, None, {"X-Echo": request.headers["authorization"]}, body))

    return Fault("echo", act)


EVERYTHING = f"{TOKEN} {NUMBER} {TEXT}"
OK = "HTTP/1.1 200 OK\r\n"
LEAKS = {
    "a refusal": echoing(422),
    "a refusal that isn't JSON": echoing(403, json=False),
    "a success": echoing(200),
    "a success that isn't JSON": echoing(200, json=False),
    "what isn't HTTP": raw(f"{EVERYTHING}\r\n\r\n".encode()),
    "the head of half a response": raw(f"{OK}X-Echo: {EVERYTHING}\r\n".encode()),
    "a head that is too long": raw(f"{OK}X-Echo: {EVERYTHING * 500}".encode()),
    "a chunk": raw(f"{OK}Transfer-Encoding: chunked\r\n\r\n{EVERYTHING}\r\n".encode()),
    "a refusal that can't be unpacked": respond(403, b"no", {"Content-Encoding": "gzip", "X-Echo": EVERYTHING}),
    "half a response": truncated_response(SandboxResponse(200, raw=EVERYTHING.encode())),
    "a reset": reset_after_reading(),
    "an end": close_after_reading(),
    "silence": no_response(half_a_minute_passes),
}


@pytest.mark.parametrize("fault", LEAKS.values(), ids=LEAKS)
async def test_no_exception_shows_a_secret(fault: Fault) -> None:
    """Whatever the server does or echoes, no exception holds the token, and no text shows the number or the message."""
    errors = []
    async with local_callbell(fault) as server, client_for(server.url, retry=ONCE) as callbell:
        for calling in (
            callbell.send(MESSAGE),
            callbell.request("POST", f"/contacts/phone/{NUMBER}", json={"text": TEXT}),
        ):
            try:
                await calling
            except CallbellError as caught:
                errors.append(caught)
    # `request` accepts any JSON.
    assert len(errors) == (1 if fault is LEAKS["a success"] else 2)
    for error in errors:
        assert_no_secrets(error)
    assert len(server.requests) == 2


async def test_the_head_of_an_incomplete_refusal_shows_no_secret() -> None:
    """The exception for a refusal whose body never came does not hold the token that its head echoed."""

    async def time_is_over(*_: object) -> None:
        half_a_minute_passes()

    async with (
        local_callbell(
            no_response(after=response_head(SandboxResponse(403, None, {"X-Echo": EVERYTHING}), 99))
        ) as server,
        session_with_hooks(on_request_end=time_is_over) as session,
        client_for(server.url, session=session) as callbell,
    ):
        with pytest.raises(PermissionDeniedError) as caught:
            await callbell.send(MESSAGE)
    assert_no_secrets(caught.value)


async def test_a_failed_connection_shows_no_secret() -> None:
    """The exception for a failed connection does not show the telephone number in the path."""
    with nobody_listening() as url:
        async with client_for(url, retry=ONCE) as callbell:
            with pytest.raises(ConnectError) as caught:
                await callbell.request("GET", f"/contacts/phone/{NUMBER}")
    assert_no_secrets(caught.value)
    assert "/contacts/phone/…" in str(caught.value)


async def test_a_connection_timeout_shows_no_secret() -> None:
    """The URL in aiohttp's error for a slow connection is not passed on."""

    async def too_long(request: aiohttp.ClientRequest, handler: object) -> aiohttp.ClientResponse:
        raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host http://127.0.0.1:1/contacts/phone/{NUMBER}")

    async with (
        aiohttp.ClientSession(middlewares=[too_long]) as session,
        client_for("http://127.0.0.1:1", session=session, retry=ONCE) as callbell,
    ):
        with pytest.raises(RequestTimeoutError) as caught:
            await callbell.request("GET", f"/contacts/phone/{NUMBER}")
    assert_no_secrets(caught.value)


async def test_the_systems_error_is_the_cause() -> None:
    """The operating system's error stays the cause of a failed connection."""
    with nobody_listening() as url:
        async with client_for(url, retry=ONCE) as callbell:
            with pytest.raises(ConnectError) as caught:
                await callbell.send(MESSAGE)
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


async def test_a_refusals_body_is_kept_but_for_the_token() -> None:
    """An exception keeps the response unchanged except for the token."""
    body = f'{{"error": "{NUMBER} is not known to {TOKEN}", "code": "{TOKEN}"}}'.encode()
    async with local_callbell(respond(500, body)) as server, client_for(server.url, retry=ONCE) as callbell:
        with pytest.raises(ServerError) as caught:
            await callbell.send(MESSAGE)
    assert caught.value.body == body.replace(TOKEN.encode(), "…".encode())
    assert caught.value.message == f"{NUMBER} is not known to …"
    assert_no_secrets(caught.value)


def escaped(text: str, form: str) -> str:
    """Return the text with all or some of its characters as JSON escapes."""
    if form == "slashes":
        return text.replace("/", "\\/")
    return "".join(
        character if form == "some" and place % 3 else f"\\u{ord(character):04{'X' if form == 'upper' else 'x'}}"
        for place, character in enumerate(text)
    )


@pytest.mark.parametrize("form", ["lower", "upper", "some", "slashes"])
@pytest.mark.parametrize("token", [TOKEN, "test_ab/cd.ef*gh+ij==/"], ids=["plain", "punctuated"])
@pytest.mark.parametrize("status", [200, 401, 500])
async def test_a_token_that_comes_back_in_escapes_is_removed(status: int, token: str, form: str) -> None:
    """JSON may write any character as an escape: a token echoed in escapes is removed as well."""
    body = f'{{"error": "bad token {escaped(token, form)}!"}}'.encode()
    async with (
        local_callbell(respond(status, body)) as server,
        CallbellClient(token, base_url=server.url, retry=ONCE) as callbell,
    ):
        with pytest.raises(CallbellError) as caught:
            await callbell.send(MESSAGE)
    assert isinstance(caught.value, APIError | ResponseDecodeError)
    assert caught.value.body == '{"error": "bad token …!"}'.encode()
    if isinstance(caught.value, APIError):
        assert caught.value.message == "bad token …!"


async def test_a_short_token_is_not_removed() -> None:
    """A token too short to be a secret is not removed from other words."""
    async with (
        local_callbell(respond(401, {"error": "bad token"})) as server,
        CallbellClient("token", base_url=server.url) as callbell,
    ):
        with pytest.raises(AuthenticationError, match="bad token"):
            await callbell.send(MESSAGE)
