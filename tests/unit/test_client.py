"""The client: arguments, life cycle, and the event loop it belongs to."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import warnings
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from callbell_async import (
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    NotFoundError,
    RateLimiter,
    RetryPolicy,
    TextMessage,
)
from callbell_async.sandbox import Sandbox, faults
from tests.support.calls import ticks, until
from tests.support.clock import current_loop

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
HELLO = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that accepts the tests' token."""
    async with Sandbox(token=TOKEN) as running:
        yield running


async def test_sends_a_message(sandbox: Sandbox) -> None:
    """One message goes out and comes back with its receipt."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        receipt = await callbell.send(HELLO)
    assert [message.uuid for message in sandbox.messages] == [receipt.uuid]


async def test_send_is_a_short_name_for_messages_send(sandbox: Sandbox) -> None:
    """`send` and `messages.send` do the same."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        await callbell.messages.send(HELLO)
        await callbell.send(HELLO)
    first, second = sandbox.messages
    assert first.body == second.body


async def test_request_reaches_what_has_no_method(sandbox: Sandbox) -> None:
    """`request` gives the JSON as it came, and the same exceptions as everywhere."""
    sandbox.account.status_has_contact = False
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        receipt = await callbell.send(HELLO)
        document = await callbell.request("get", f"/messages/status/{receipt.uuid}", query={"unused": None})
        assert document == {"message": {"uuid": receipt.uuid, "status": "enqueued"}}
        with pytest.raises(NotFoundError):
            await callbell.request("GET", "/nowhere", query={"tags": ["a", "b"], "page": 1})


async def test_request_posts_json(sandbox: Sandbox) -> None:
    """`request` sends JSON bodies as well."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        body = {"to": "+31612345678", "from": "whatsapp", "type": "text", "content": {"text": "Hi"}}
        await callbell.request("POST", "/messages/send", json=body)
    assert sandbox.messages[0].body == body


async def test_request_wants_a_path(sandbox: Sandbox) -> None:
    """A path without its slash is refused before anything is sent."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        with pytest.raises(ConfigurationError, match="path"):
            await callbell.request("GET", "channels")


@pytest.mark.parametrize("pasted", [TOKEN, f"Bearer {TOKEN}", f"  bearer   {TOKEN}\n", f"\t{TOKEN} "])
async def test_a_pasted_token_is_cleaned(sandbox: Sandbox, pasted: str) -> None:
    """Blanks around the token and the `Bearer ` that the dashboard shows before it are dropped."""
    async with CallbellClient(pasted, base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)


async def test_token_and_address_come_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`CALLBELL_TOKEN` and `CALLBELL_BASE_URL` stand in for arguments that are not given."""
    monkeypatch.setenv("CALLBELL_TOKEN", TOKEN)
    monkeypatch.setenv("CALLBELL_BASE_URL", sandbox.url + "/")
    async with CallbellClient() as callbell:
        await callbell.send(HELLO)
    assert len(sandbox.messages) == 1


@pytest.mark.parametrize("token", [None, "", "   ", "Bearer", "bearer  "])
def test_no_token_is_said_with_the_remedy(token: str | None) -> None:
    """Without a token the client can't be built, and the error names the variable to set."""
    with pytest.raises(ConfigurationError, match="CALLBELL_TOKEN"):
        CallbellClient(token)


@pytest.mark.parametrize("token", ["two\nlines", "nul\0", "tök\x7fen"])
def test_a_token_that_fits_no_header_is_refused_unseen(token: str) -> None:
    """A token with a line break is refused, by an error that does not show it."""
    with pytest.raises(ConfigurationError) as caught:
        CallbellClient(token)
    assert token not in repr(caught.value)
    assert str(caught.value).startswith("token:")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"base_url": "api.callbell.eu"}, "base_url"),
        ({"base_url": "http://[::1"}, "base_url"),
        ({"base_url": "ftp://api.callbell.eu/v1"}, "base_url"),
        ({"base_url": "https://api.callbell.eu/v1?x=1"}, "base_url"),
        ({"base_url": "https://user:secret@api.callbell.eu/v1"}, "base_url"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": 1.5}, "max_connections"),
        ({"rate_limit": 0}, "rate limit"),
        ({"rate_limit": 2.5}, "rate_limit"),
        ({"rate_limit": True}, "rate limit"),
        ({"retry": 3}, "retry"),
        ({"user_agent": "two\nlines"}, "user_agent"),
    ],
)
def test_arguments_are_checked_by_name(arguments: dict[str, object], name: str) -> None:
    """An argument that can't be used is refused when the client is built, by name."""
    with pytest.raises(ConfigurationError, match=name) as caught:
        CallbellClient(TOKEN, **arguments)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


async def test_never_shows_the_token(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the repr nor the log shows the token, and no log a recipient."""
    caplog.set_level(logging.DEBUG)
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)
        await callbell.send_many([HELLO])
    assert TOKEN not in repr(callbell)
    assert TOKEN not in caplog.text
    assert "+31612345678" not in caplog.text


def test_says_its_state() -> None:
    """The repr names the address and the state."""
    assert repr(CallbellClient(TOKEN)) == "<CallbellClient https://api.callbell.eu/v1 not opened yet>"


def test_may_be_built_outside_a_loop() -> None:
    """A module may build its client before there is a loop; the first call opens it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    callbell = CallbellClient(TOKEN, base_url=f"http://127.0.0.1:{port}/v1")

    async def use() -> int:
        async with Sandbox(token=TOKEN, port=port) as sandbox, callbell:
            await callbell.send(HELLO)
        return len(sandbox.messages)

    assert asyncio.run(use()) == 1


async def test_opened_by_the_first_call(sandbox: Sandbox) -> None:
    """Without `async with` the first call opens the client, and `close` ends it."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.send(HELLO)
    assert not callbell.closed
    await callbell.close()
    await callbell.close()
    assert callbell.closed


async def test_a_closed_client_stays_closed(sandbox: Sandbox) -> None:
    """After closing every call says so."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.close()
    with pytest.raises(ClientClosedError):
        await callbell.send(HELLO)
    with pytest.raises(ClientClosedError):
        await callbell.request("GET", "/channels")
    with pytest.raises(ClientClosedError):
        await callbell.send_many([HELLO])
    with pytest.raises(ClientClosedError):
        async with callbell:
            pass


async def test_a_close_that_is_cancelled_still_closes_the_pool() -> None:
    """Cancelled while it waits for a run to end, `close` leaves no connection open all the same."""
    read = asyncio.Event()
    async with Sandbox(token=TOKEN) as sandbox:
        sandbox.inject(faults.no_response(read.set))
        callbell = CallbellClient(TOKEN, base_url=sandbox.url)
        run = asyncio.ensure_future(callbell.send_many([HELLO], shutdown_timeout=1000.0))
        await read.wait()
        closing = asyncio.create_task(callbell.close())
        await ticks()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(ClientClosedError):
            await run
        await sandbox.wait_disconnected()


async def test_runs_are_closed_together() -> None:
    """Several runs under way at the close share their grace time, instead of taking turns."""
    async with Sandbox(token=TOKEN) as sandbox:
        sandbox.inject(faults.no_response())
        callbell = CallbellClient(TOKEN, base_url=sandbox.url)
        runs = [asyncio.ensure_future(callbell.send_many([HELLO], shutdown_timeout=30.0)) for _ in range(4)]
        await until(lambda: len(sandbox.requests) == 4)
        closing = asyncio.create_task(callbell.close())
        await ticks()
        current_loop().advance(31)
        await closing
        for run in runs:
            with pytest.raises(ClientClosedError):
                await run


async def test_a_forgotten_close_gives_one_warning(sandbox: Sandbox) -> None:
    """A client that was used and never closed warns once when it is collected, and its pool with it."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.send(HELLO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del callbell
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "unclosed <CallbellClient" in str(caught[0].message)


def test_a_client_that_was_never_used_needs_no_close() -> None:
    """Building a client opens nothing, so there is nothing to warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CallbellClient(TOKEN)
        gc.collect()
    assert not caught


async def test_a_second_event_loop_is_refused(sandbox: Sandbox) -> None:
    """Used from another loop than its first, a client says so instead of failing somewhere inside."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:

        def elsewhere() -> None:
            asyncio.run(callbell.send(HELLO))

        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
    assert not sandbox.messages


async def test_a_callers_session_stays_open(sandbox: Sandbox) -> None:
    """A session that was handed in is used, and is its owner's to close."""
    async with ClientSession() as session:
        async with CallbellClient(TOKEN, base_url=sandbox.url, session=session) as callbell:
            await callbell.send(HELLO)
        assert not session.closed
    assert len(sandbox.messages) == 1


async def test_a_rate_limiter_of_ones_own_is_asked(sandbox: Sandbox) -> None:
    """A `RateLimiter` that was handed in lets each request through, and hears of its end."""
    heard = []

    class Limiter(RateLimiter):
        async def acquire(self) -> None:
            heard.append("acquire")

        def release(self, *, answered: bool) -> None:
            heard.append(f"release {answered}")

        def refund(self) -> None:
            heard.append("refund")

    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=Limiter()) as callbell:
        await callbell.send(HELLO)
    assert heard == ["acquire", "release True"]


async def test_many_calls_share_a_small_pool(sandbox: Sandbox) -> None:
    """More calls than connections wait for one; all succeed."""
    async with CallbellClient(
        TOKEN, base_url=sandbox.url, max_connections=2, retry=RetryPolicy(attempts=1)
    ) as callbell:
        receipts = await asyncio.gather(*(callbell.send(HELLO) for _ in range(50)))
    assert len({receipt.uuid for receipt in receipts}) == 50
