"""Tracebacks with local variables, as error reporters keep them, show no secret, whatever a send fails with."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp.web
import pytest
import trustme

from callbell_async import (
    CallbellClient,
    ConfigurationError,
    Journal,
    JournalError,
    MessageCreated,
    RetryPolicy,
    SignatureError,
    TemplateMessage,
    TransportError,
    limits,
)
from callbell_async.limits import PostgresRateLimiter, RedisRateLimiter
from callbell_async.sandbox import Fault, Sandbox, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import (
    close_after_reading,
    no_response,
    raw,
    reset_after_reading,
    respond,
    truncated_response,
)
from callbell_async.webhooks import WebhookApp, WebhookReceiver, add_webhook_route, sign, verify_signature
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
    ticks,
    until,
)
from tests.support.sandbox_factory import local_callbell
from tests.support.secrets import assert_no_secrets, assert_no_secrets_in_locals

pytestmark = pytest.mark.usefixtures("http_path")

Scenario = Callable[[], AbstractAsyncContextManager[CallbellClient]]

EVERYTHING = f"{TOKEN} {NUMBER} {TEXT}"
ECHO = {"X-Echo": EVERYTHING}


@asynccontextmanager
async def refused() -> AsyncIterator[CallbellClient]:
    """Nobody listens."""
    with nobody_listening() as url:
        async with client_for(url, retry=ONCE) as callbell:
            yield callbell


@asynccontextmanager
async def unknown_name() -> AsyncIterator[CallbellClient]:
    """The name does not exist."""
    async with client_for("https://callbell.invalid", retry=ONCE) as callbell:
        yield callbell


@asynccontextmanager
async def untrusted() -> AsyncIterator[CallbellClient]:
    """The certificate is not trusted."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with local_callbell(tls=tls) as server, client_for(server.url, retry=ONCE) as callbell:
        yield callbell


@asynccontextmanager
async def no_tls() -> AsyncIterator[CallbellClient]:
    """The server does not speak TLS."""
    async with local_callbell() as server, client_for(server.url.replace("http", "https"), retry=ONCE) as callbell:
        yield callbell


@asynccontextmanager
async def paused() -> AsyncIterator[CallbellClient]:
    """The client pauses for longer than a call may wait."""
    policy = RetryPolicy(attempts=1, timeout=0.0)
    slow_down = respond(429, {"error": "slower"}, {"Retry-After": "800"})
    async with local_callbell(slow_down) as server, client_for(server.url, retry=policy) as callbell:
        await asyncio.gather(callbell.request("GET", "/plan"), return_exceptions=True)
        yield callbell


def failing_session(error: Exception) -> Scenario:
    """A middleware of the caller's session raises, beneath aiohttp's frames."""

    async def fail(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise error

    @asynccontextmanager
    async def scenario() -> AsyncIterator[CallbellClient]:
        async with (
            aiohttp.ClientSession(middlewares=[fail]) as session,
            client_for("http://127.0.0.1:1", session=session, retry=ONCE) as callbell,
        ):
            yield callbell

    return scenario


def meeting(fault: Fault) -> Scenario:
    """The server behaves so, over the client's own session."""

    @asynccontextmanager
    async def scenario() -> AsyncIterator[CallbellClient]:
        async with local_callbell(fault) as server, client_for(server.url, retry=ONCE) as callbell:
            yield callbell

    return scenario


def over_a_session(fault: Fault) -> Scenario:
    """The server behaves so, over a caller's session."""

    @asynccontextmanager
    async def scenario() -> AsyncIterator[CallbellClient]:
        async with (
            local_callbell(fault) as server,
            session_with_hooks() as session,
            client_for(server.url, session=session, retry=ONCE) as callbell,
        ):
            yield callbell

    return scenario


OK = "HTTP/1.1 200 OK\r\n"
CUT_OFF = truncated_response(SandboxResponse(200, None, ECHO, EVERYTHING.encode()), reset=True)
SCENARIOS: dict[str, Scenario] = {
    "connection refused": refused,
    "name not found": unknown_name,
    "certificate refused": untrusted,
    "no TLS": no_tls,
    "paused": paused,
    "no response in time": meeting(no_response(half_a_minute_passes)),
    "no complete response in time": meeting(
        no_response(
            half_a_minute_passes, after=response_head(SandboxResponse(200, None, ECHO), 999) + EVERYTHING.encode()
        )
    ),
    "reset": meeting(reset_after_reading()),
    "closed": meeting(close_after_reading()),
    "reset during the response": meeting(CUT_OFF),
    "reset during the response, a caller's session": over_a_session(CUT_OFF),
    "closed, a caller's session": over_a_session(close_after_reading()),
    "not HTTP": meeting(raw(f"{EVERYTHING}\r\n\r\n".encode())),
    "a long header": meeting(raw(f"{OK}X-Echo: {EVERYTHING * 2000}".encode())),
    "a bad chunk": meeting(raw(f"{OK}Transfer-Encoding: chunked\r\n\r\n{EVERYTHING}\r\n".encode())),
    "not gzip": meeting(respond(200, EVERYTHING.encode(), {"Content-Encoding": "gzip", **ECHO})),
    "not JSON": meeting(respond(200, EVERYTHING.encode(), ECHO)),
    "no uuid": meeting(respond(200, {"message": {"text": EVERYTHING}}, ECHO)),
    **{
        str(status): meeting(respond(status, {"error": EVERYTHING, "code": EVERYTHING}, ECHO))
        for status in (301, 400, 401, 402, 403, 404, 422, 429, 500, 502, 503)
    },
    "403 with HTML": meeting(respond(403, f"<html>{EVERYTHING}".encode(), ECHO)),
    "404, a caller's session": over_a_session(respond(404, {"error": EVERYTHING}, ECHO)),
    "a middleware's aiohttp error": failing_session(aiohttp.ClientOSError(104, "Connection reset by peer")),
    "a middleware's own error": failing_session(LookupError("a bug")),
    "a middleware's RuntimeError": failing_session(RuntimeError("a bug")),
}
IN_A_RUN = {name: scenario for name, scenario in SCENARIOS.items() if scenario is not paused}
"""A run waits for the end of a pause."""


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_failed_send_shows_no_secret_in_its_local_variables(scenario: Scenario) -> None:
    """Neither the token nor the number nor the text is in any local variable of the traceback of `send`."""
    async with scenario() as callbell:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each scenario has its own, and other tests name it
            await callbell.send(MESSAGE)
    assert_no_secrets(caught.value)
    assert_no_secrets_in_locals(caught.value)


@pytest.mark.parametrize("scenario", IN_A_RUN.values(), ids=IN_A_RUN)
@pytest.mark.parametrize("journalled", [False, True], ids=["no journal", "journal"])
async def test_a_failed_message_of_a_run_shows_no_secret_in_its_local_variables(
    scenario: Scenario, journalled: bool, tmp_path: Path
) -> None:
    """Neither the token nor the number nor the text is in any local variable of a result's error, with a journal or without."""
    journal = Journal(tmp_path / "run.db") if journalled else None
    async with scenario() as callbell:
        report = await callbell.send_many([MESSAGE], journal=journal, stop_on=())
    (result,) = report.results
    assert result.error is not None
    assert_no_secrets(result.error)
    assert_no_secrets_in_locals(result.error)


RECEIVED = MessageCreated(key="4f0c", status="received", channel="whatsapp", sender=NUMBER)
TEMPLATE = TemplateMessage(
    to=NUMBER, template_uuid="d980fb66fd5043d3ace1aa06ba044342", optin_contact=True, values=[TEXT]
)
COMBINED: dict[str, Callable[[CallbellClient, Journal], Awaitable[object]]] = {
    "send, journal": lambda callbell, journal: callbell.send(MESSAGE, journal=journal),
    "reply": lambda callbell, _: callbell.reply(RECEIVED, text=TEXT),
    "reply, journal": lambda callbell, journal: callbell.reply(RECEIVED, text=TEXT, journal=journal),
    "the window": lambda callbell, _: callbell.send_in_window(MESSAGE, fallback=TEMPLATE),
    "the message in the window": lambda callbell, journal: callbell.send_in_window(
        MESSAGE, fallback=TEMPLATE, contact_uuid="c", journal=journal
    ),
    "a contact": lambda callbell, _: callbell.contacts.get_by_phone(NUMBER),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("call", COMBINED.values(), ids=COMBINED)
async def test_a_failed_combined_call_shows_no_secret_in_its_local_variables(
    scenario: Scenario, call: Callable[[CallbellClient, Journal], Awaitable[object]], tmp_path: Path
) -> None:
    """The same for a message with a journal, a reply, a message with a fallback, and the contact with a number."""
    async with scenario() as callbell:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each scenario has its own, and other tests name it
            await call(callbell, Journal(tmp_path / "messages.db"))
    assert_no_secrets_in_locals(caught.value)


async def test_a_cancelled_send_shows_no_secret_in_its_local_variables() -> None:
    """A send cut off by `asyncio.timeout`, by `cancel` or by closing its session shows no secret either."""
    async with local_callbell(no_response()) as server, client_for(server.url, max_connections=1) as callbell:
        sending = [asyncio.create_task(callbell.send(MESSAGE)) for _ in range(2)]
        await until(lambda: server.requests)
        await ticks()
        for task in sending:
            task.cancel()
        with pytest.raises(TimeoutError) as timed_out:
            async with asyncio.timeout(0):
                await callbell.send(MESSAGE)
        cancelled = await asyncio.gather(*sending, return_exceptions=True)
    async with local_callbell(no_response()) as server, session_with_hooks() as session:
        callbell = client_for(server.url, session=session)
        closed = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        await session.close()
        with pytest.raises(TransportError) as cut_off:
            await closed
    for error in (timed_out.value, cut_off.value, *cancelled):
        assert isinstance(error, BaseException)
        assert_no_secrets_in_locals(error)


REFUSALS: dict[str, Callable[[], object]] = {
    "client: another argument": lambda: CallbellClient(TOKEN, timeout=-1.0),
    "client: a wrong session": lambda: CallbellClient(TOKEN, session=3),  # type: ignore[arg-type]
    "client: a wrong user agent": lambda: CallbellClient(TOKEN, user_agent="a\r\nb"),
    "client: a wrong observer": lambda: CallbellClient(TOKEN, observer=3),  # type: ignore[arg-type]
    "client: a wrong base URL": lambda: CallbellClient(TOKEN, base_url="ftp://127.0.0.1"),
    "client: quotation marks": lambda: CallbellClient(f'"{TOKEN}"'),
    "client: a name": lambda: CallbellClient(f"CALLBELL_TOKEN={TOKEN}"),
    "client: blanks inside": lambda: CallbellClient(f"{TOKEN} {TOKEN}"),
    "client: not ASCII": lambda: CallbellClient(f"{TOKEN}é"),
    "client: half a character": lambda: CallbellClient(f"{TOKEN}\ud800"),
    "client: bytes": lambda: CallbellClient(TOKEN.encode()),  # type: ignore[arg-type]
    "receiver: another argument": lambda: WebhookReceiver(print, secret=TOKEN, queue_size=0),
    "receiver: unsigned as well": lambda: WebhookReceiver(print, secret=TOKEN, unsigned=True),
    "receiver: a missing second secret": lambda: WebhookReceiver(print, secret=[TOKEN, ""]),
    "receiver: half a character": lambda: WebhookReceiver(print, secret=f"{TOKEN}\ud800"),
    "ASGI: another argument": lambda: WebhookApp(print, secret=TOKEN, queue_size=0),
    "aiohttp: another argument": lambda: add_webhook_route(
        aiohttp.web.Application(), "/hook", print, secret=TOKEN, queue_size=0
    ),
    "Redis: a parameter": lambda: RedisRateLimiter(f"redis://anna:{TOKEN}@127.0.0.1?socket_timeuot=1"),
    "Redis: a value": lambda: RedisRateLimiter(f"redis://anna:{TOKEN}@127.0.0.1?socket_timeout=soon"),
    "Redis: another argument": lambda: RedisRateLimiter(f"redis://anna:{TOKEN}@127.0.0.1", limit=0),
    "PostgreSQL: a parameter": lambda: PostgresRateLimiter(f"postgresql://anna:{TOKEN}@127.0.0.1/db?timeuot=1"),
    "a limiter: a wrong URL": lambda: limits.from_url(f"http://anna:{TOKEN}@127.0.0.1"),
    "a journal: no name": lambda: Journal.connect(f"postgresql://anna:{TOKEN}@127.0.0.1/db"),
    "a journal: a wrong URL": lambda: Journal.connect(f"postgresql://anna:@{TOKEN}@127.0.0.1/db?name=spring"),
    "a wrong signature": lambda: verify_signature(b"{}", f"t=1,v1={'0' * 64}", TOKEN),
    "a wrong tolerance": lambda: verify_signature(b"{}", None, TOKEN, tolerance=-1.0),
    "a wrong secret to sign with": lambda: sign(b"{}", f"'{TOKEN}'"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_argument_shows_no_secret_in_its_local_variables(refusal: Callable[[], object]) -> None:
    """A token, a webhook secret or a password is in no local variable when it, or another argument beside it, is refused."""
    with pytest.raises((ConfigurationError, SignatureError)) as caught:
        refusal()
    assert_no_secrets(caught.value)
    assert_no_secrets_in_locals(caught.value)


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: Sandbox(webhook_secret=TOKEN, records={"cats": []}),
        lambda: Sandbox(webhook_secret=TOKEN, token="a token", port=0, records={"contacts": TEXT[:1]}),
        lambda: Sandbox(webhook_secret=f"'{TOKEN}'"),
        lambda: setattr(Sandbox(), "webhook_secret", f"'{TOKEN}'"),
        lambda: setattr(Sandbox().deliveries, "secret", f"'{TOKEN}'"),
    ],
)
def test_a_refused_argument_of_the_sandbox_shows_no_webhook_secret(refusal: Callable[[], object]) -> None:
    """The sandbox's webhook secret is in no local variable when it, or another argument beside it, is refused."""
    with pytest.raises(ValueError, match=r"cats|contacts|webhook secret") as caught:
        refusal()
    assert_no_secrets(caught.value)
    assert_no_secrets_in_locals(caught.value)


async def test_a_journal_that_is_not_reached_shows_no_password_in_its_local_variables() -> None:
    """A password in the URL of PostgreSQL is not shown when the server can't be reached."""
    with nobody_listening() as url:
        address = url.removeprefix("http://")
        journal = Journal.connect(f"postgresql://anna:{TOKEN}@{address}/db?name=spring")
        with pytest.raises(JournalError, match="can't connect") as caught:
            await journal.open()
    assert_no_secrets(caught.value)
    assert_no_secrets_in_locals(caught.value)


def test_a_refused_token_of_the_environment_is_in_no_local_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token from `CALLBELL_TOKEN` is not shown either."""
    monkeypatch.setenv("CALLBELL_TOKEN", TOKEN)
    with pytest.raises(ConfigurationError) as caught:
        CallbellClient(timeout=-1.0)
    assert_no_secrets_in_locals(caught.value)


async def test_the_frames_of_a_callers_own_code_stay() -> None:
    """A bug in a caller's middleware can be found: its frame is in the traceback."""
    async with failing_session(LookupError("a bug"))() as callbell:
        with pytest.raises(LookupError) as caught:
            await callbell.send(MESSAGE)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "fail"
    assert "send" in frames
