"""`with_options`: a client with other options over the same pool, rate limiter, retry budget and pauses."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callbell_async import (
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    Journal,
    Outcome,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TextMessage,
    TransportError,
)
from callbell_async.http.retry import MAX_PAUSE
from callbell_async.sandbox import Sandbox
from callbell_async.sandbox.faults import no_fault, no_response, respond
from tests.support.calls import MESSAGE, NUMBER, ONCE, TOKEN, client_for, ticks, until
from tests.support.clock import current_loop
from tests.support.observers import RecordingObserver
from tests.support.sandbox_factory import local_callbell
from tests.support.scripted_transport import LimiterLog


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    """Run a sandbox that accepts any token."""
    async with local_callbell() as running:
        yield running


async def test_the_pool_is_shared(server: Sandbox, http_path: str) -> None:
    """Requests of both clients go over the same connection."""
    async with client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        await callbell.with_options(timeout=3.0, headers={"X-Shop": "7"}).send(MESSAGE)
        await callbell.send(MESSAGE)
    assert server.connections == 1


async def test_the_derived_client_may_send_first(server: Sandbox, http_path: str) -> None:
    """The pool opens with the first call, whichever client makes it."""
    async with client_for(server.url) as callbell:
        await callbell.with_options(timeout=3.0).send(MESSAGE)
        await callbell.send(MESSAGE)
    assert server.connections == 1


async def test_the_rate_limiter_is_shared(server: Sandbox) -> None:
    """Requests of both clients take slots of one rate limiter."""
    limiter = LimiterLog()
    async with client_for(server.url, rate_limit=limiter) as callbell:
        await callbell.send(MESSAGE)
        await callbell.with_options(retry=ONCE).send(MESSAGE)
    assert (limiter.taken, limiter.ends) == (2, ["response", "response"])


async def test_a_429_pauses_both() -> None:
    """A pause after a 429 holds the calls of both clients, whichever got it."""
    refusing = respond(429, b"{}", {"Retry-After": "60"})
    async with local_callbell(refusing, no_fault()) as server, client_for(server.url) as callbell:
        first = asyncio.create_task(callbell.with_options(timeout=7.0).send(MESSAGE))
        await until(lambda: server.requests)
        await ticks()
        second = asyncio.create_task(callbell.send(MESSAGE))
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 1
        current_loop().advance(21)
        await asyncio.gather(first, second)
    assert len(server.requests) == 3


@pytest.mark.usefixtures("http_path")
async def test_another_timeout() -> None:
    """The derived client has its own limit for one attempt, and the client keeps its own."""
    async with local_callbell(no_response()) as server, client_for(server.url, retry=ONCE) as callbell:
        short = asyncio.ensure_future(callbell.with_options(timeout=5.0).send(MESSAGE))
        long = asyncio.ensure_future(callbell.send(MESSAGE))
        endless = asyncio.ensure_future(callbell.with_options(timeout=None).send(MESSAGE))
        await until(lambda: len(server.requests) == 3)
        current_loop().advance(6)
        with pytest.raises(RequestTimeoutError):
            await short
        await ticks()
        assert not long.done()
        current_loop().advance(25)
        with pytest.raises(RequestTimeoutError):
            await long
        await ticks()
        assert not endless.done()
        endless.cancel()


async def test_another_retry_policy() -> None:
    """The derived client retries by its own policy."""
    async with local_callbell(respond(503, {})) as server, client_for(server.url) as callbell:
        with pytest.raises(ServerError) as caught:
            await callbell.with_options(retry=ONCE).send(MESSAGE)
        assert caught.value.attempts == 1
        with pytest.raises(ServerError) as caught:
            await callbell.send(MESSAGE)
        assert caught.value.attempts == 5


@pytest.mark.usefixtures("http_path")
@pytest.mark.parametrize("own_session", [False, True])
async def test_headers_are_added(server: Sandbox, own_session: bool) -> None:
    """Headers are sent with each request of the derived client, next to those of the client, and with no other request."""
    session = aiohttp.ClientSession() if own_session else None
    async with client_for(server.url, session=session) as callbell:
        first = callbell.with_options(headers={"X-Shop": "7", "traceparent": "00-1"})
        second = first.with_options(headers={"x-shop": "8"})
        for client in (first, second, callbell):
            await client.send(MESSAGE)
            await client.plan.get()
    if session is not None:
        await session.close()
    heads = [request.headers for request in server.requests]
    assert [head.get("x-shop") for head in heads] == ["7", "7", "8", "8", None, None]
    assert [head.get("traceparent") for head in heads] == ["00-1"] * 4 + [None] * 2
    assert all(head["authorization"] == f"Bearer {TOKEN}" for head in heads)
    assert [head.get("content-type") for head in heads] == ["application/json", None] * 3


async def test_options_that_are_not_given_stay(server: Sandbox) -> None:
    """A derived client has the options of the client from which it comes, except those given; observers are added."""
    first, second = RecordingObserver(), RecordingObserver()
    async with local_callbell(no_response()) as silent, client_for(silent.url, observer=first, retry=ONCE) as callbell:
        derived = callbell.with_options(timeout=5.0).with_options(observer=second)
        sending = asyncio.ensure_future(derived.send(MESSAGE))
        await until(lambda: silent.requests)
        current_loop().advance(6)
        with pytest.raises(RequestTimeoutError) as caught:
            await sending
    assert caught.value.attempts == 1
    assert first.names == second.names == ["call_started", "attempt_started", "attempt_ended", "call_ended"]


async def test_an_observer_that_is_given_twice_is_called_once(server: Sandbox) -> None:
    """An observer of a client that is also given to its derived client, or twice in a sequence, sees each moment once."""
    observer, other = RecordingObserver(), RecordingObserver()
    async with client_for(server.url, observer=[observer, observer, other]) as callbell:
        await callbell.with_options(observer=[other, observer]).send(MESSAGE)
    assert observer.names == other.names == ["call_started", "attempt_started", "attempt_ended", "call_ended"]


async def test_every_kind_of_call_has_the_options(server: Sandbox, tmp_path: Path) -> None:
    """The options apply to endpoints, paginators, requests, runs and journalled messages."""
    async with client_for(server.url) as callbell:
        derived = callbell.with_options(headers={"X-Shop": "7"})
        await derived.send(MESSAGE)
        await derived.messages.send(MESSAGE)
        await derived.send(TextMessage(to=NUMBER, text="once"), journal=Journal(tmp_path / "single.db"))
        await derived.send_many([TextMessage(to=NUMBER, text="run")])
        await derived.send_many([TextMessage(to=NUMBER, text="run")], journal=Journal(tmp_path / "run.db"))
        await derived.contacts.list().to_list()
        await derived.request("GET", "/plan")
        await derived.auth.me()
    assert len(server.requests) >= 8
    assert {request.headers.get("x-shop") for request in server.requests} == {"7"}


async def test_a_journal_opened_by_either_is_closed_with_the_client(server: Sandbox, tmp_path: Path) -> None:
    """A journal that `send` of a derived client has opened stays open for both, and closes with the client."""
    journal = Journal(tmp_path / "a.db")
    message = TextMessage(to=NUMBER, text="once")
    async with client_for(server.url) as callbell:
        first = await callbell.with_options(timeout=5.0).send(message, journal=journal)
        assert await callbell.send(message, journal=journal) == first
    assert not journal._writer.is_open
    assert len(server.requests) == 1


# --- the life of a derived client ------------------------------------------------------------------------------------


async def test_it_can_not_be_closed_or_entered(server: Sandbox) -> None:
    """Closing or entering a derived client is refused with the remedy, and the client stays open."""
    async with client_for(server.url) as callbell:
        derived = callbell.with_options(timeout=5.0)
        with pytest.raises(ConfigurationError, match=r"^close: .* use the client from which it comes"):
            await derived.close()
        with pytest.raises(ConfigurationError, match=r"^`async with`: "):
            await derived.__aenter__()
        await derived.send(MESSAGE)
        assert not callbell.closed


async def test_it_closes_with_its_client(server: Sandbox) -> None:
    """A derived client is closed when its client is, and its calls are refused."""
    callbell = client_for(server.url)
    derived = callbell.with_options(timeout=5.0)
    await derived.send(MESSAGE)
    assert not derived.closed
    await callbell.close()
    assert derived.closed
    assert repr(derived) == f"<CallbellClient {server.url} closed with_options>"
    with pytest.raises(ClientClosedError):
        await derived.send(MESSAGE)


@pytest.mark.usefixtures("http_path")
async def test_closing_ends_its_requests_and_runs() -> None:
    """Closing the client ends a request and a run of a derived client at once."""
    async with local_callbell(no_response()) as server:
        callbell = client_for(server.url, retry=ONCE)
        derived = callbell.with_options(timeout=None)
        sending = asyncio.ensure_future(derived.send(MESSAGE))
        run = derived.send_many([MESSAGE], shutdown_timeout=0.0)
        collecting = asyncio.ensure_future(anext(aiter(run)))
        await until(lambda: len(server.requests) == 2)
        await callbell.close()
        results = await asyncio.gather(sending, collecting, return_exceptions=True)
    assert isinstance(results[0], TransportError)
    assert results[0].outcome is Outcome.UNKNOWN
    assert run.report.unknown == 1


async def test_its_client_is_not_collected(server: Sandbox) -> None:
    """A derived client keeps the client alive from which it comes: a collected client would close the pool."""
    derived = client_for(server.url).with_options(timeout=5.0)
    await derived.send(MESSAGE)
    gc.collect()
    await derived.send(MESSAGE)
    assert server.connections == 1
    base = derived._base
    assert base is not None
    await base.close()


async def test_derived_clients_leave_nothing_behind(server: Sandbox) -> None:
    """A thousand derived clients with the same timeout share one timer."""
    async with client_for(server.url) as callbell:
        await callbell.with_options(timeout=5.0).send(MESSAGE)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(1000):
            callbell.with_options(timeout=5.0)
        gc.collect()
        assert len(gc.get_objects()) - before < 100
        assert len(callbell._transport._shared_timeouts) == 2


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        *(({"timeout": value}, "timeout=") for value in (0, -1, True, "5", math.inf, math.nan)),
        *(({"retry": value}, "retry: must be RetryPolicy") for value in (3, False, RetryPolicy)),
        *(({"headers": value}, "headers: must be a mapping") for value in ("X-Shop: 7", [("X-Shop", "7")], 3)),
        *(
            ({"headers": {name: "7"}}, "headers: a name must be one word")
            for name in ("", "X Shop", "X-Shop:", "tëst", 3, "X\r\nY")
        ),
        *(
            ({"headers": {"X-Shop": value}}, "headers: X-Shop: ")
            for value in (7, None, "", "a\r\nb: c", "smörgås", b"7")
        ),
        *(
            ({"headers": {name: "secret-7"}}, f"headers: {name} can't be set here: ")
            for name in (
                "Authorization",
                "authorization",
                "Content-Type",
                "Content-Length",
                "Content-Encoding",
                "Transfer-Encoding",
                "Host",
                "Connection",
                "Accept",
                "Accept-Encoding",
                "User-Agent",
                "Expect",
            )
        ),
    ],
)
def test_options_are_checked_by_name(arguments: dict[str, Any], text: str) -> None:
    """An option of another type or out of range is refused by name; no header that the library sets can be replaced."""
    with pytest.raises(ConfigurationError) as caught:
        CallbellClient(TOKEN).with_options(**arguments)
    assert str(caught.value).startswith(text)
    assert "secret-7" not in str(caught.value)


def test_the_presets_of_a_retry_policy() -> None:
    """A web request has few and short waits; a batch waits as long as a client ever pauses."""
    web, batch = RetryPolicy.web_request(), RetryPolicy.batch()
    assert (web.attempts, web.timeout) == (3, 5.0)
    assert sum(web.backoff(number, jitter=1.0) for number in range(1, web.attempts)) == pytest.approx(0.3)
    assert (batch.attempts, batch.timeout) == (10, MAX_PAUSE)
    assert sum(batch.backoff(number, jitter=1.0) for number in range(1, batch.attempts)) == 243.0
    default = RetryPolicy()
    for preset in (web, batch):
        assert (preset.statuses, preset.resend_unknown) == (default.statuses, default.resend_unknown)
