"""The client: its calls, its life cycle, and its event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from callbell_async import (
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    InvalidMessageError,
    NotFoundError,
    RetryPolicy,
    TextMessage,
)
from callbell_async.sandbox import Sandbox, faults
from tests.support.calls import TOKEN, ticks, until
from tests.support.clock import current_loop

HELLO = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that accepts the tests' token."""
    async with Sandbox(token=TOKEN) as running:
        yield running


async def test_sends_a_message(sandbox: Sandbox) -> None:
    """One message is sent, and its receipt is returned."""
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
    """`request` returns the untouched JSON, and raises the same exceptions as the methods."""
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


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"size": (1, -math.inf)}], ids=str)
async def test_a_number_that_is_not_finite_is_refused(sandbox: Sandbox, value: Any) -> None:
    """NaN and infinity in the JSON of a request are refused before anything is sent: as null they would erase a field."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        for call in (
            callbell.request("PATCH", "/contacts/u", json={"custom_fields": {"size": value}}),
            callbell.contacts.update("u", custom_fields={"size": value}),
        ):
            with pytest.raises(InvalidMessageError, match=r"json: has a number that is not finite"):
                await call
        assert sandbox.requests == []
        with pytest.raises(NotFoundError):
            await callbell.request("PATCH", "/contacts/u", json={"assigned_user": None, "custom_fields": {"size": 1.5}})


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "channels", "path"),
        ("GET", "", "path"),
        ("GET", 3, "path"),
        ("", "/channels", "method"),
        ("GET /", "/channels", "method"),
        (None, "/channels", "method"),
    ],
)
async def test_request_checks_its_arguments(sandbox: Sandbox, method: Any, path: Any, name: str) -> None:
    """A path without its slash, or a method that is not a word, is refused before anything is sent."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        with pytest.raises(ConfigurationError, match=f"^{name}: "):
            await callbell.request(method, path)
    assert not sandbox.requests


async def test_never_shows_the_token(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the repr nor the log shows the token, and no log a recipient."""
    caplog.set_level(logging.DEBUG)
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)
        await callbell.send_many([HELLO])
    assert TOKEN not in repr(callbell)
    assert TOKEN not in caplog.text
    assert "+31612345678" not in caplog.text


def test_the_repr_shows_the_state() -> None:
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
    """Without `async with`, the first call opens the client, and `close` closes it."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.send(HELLO)
    assert not callbell.closed
    await callbell.close()
    await callbell.close()
    assert callbell.closed


async def test_a_closed_client_stays_closed(sandbox: Sandbox) -> None:
    """After closing every call raises `ClientClosedError`."""
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
    """Cancelled while it waits for a run to end, `close` still closes every connection."""
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
    """Several runs that are closed share one shutdown time, instead of one after another."""
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
    """A client that was used and never closed gives one warning when it is garbage-collected, and its pool is closed."""
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
    """A client that was only built has opened nothing, and gives no warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CallbellClient(TOKEN)
        gc.collect()
    assert not caught


async def test_a_second_event_loop_is_refused(sandbox: Sandbox) -> None:
    """Used on another event loop than its first, a client raises an error that names the cause."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:

        def elsewhere() -> None:
            asyncio.run(callbell.send(HELLO))

        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
    assert not sandbox.messages


async def test_a_callers_session_stays_open(sandbox: Sandbox) -> None:
    """A session that was passed to the client is used, and stays open."""
    async with ClientSession() as session:
        async with CallbellClient(TOKEN, base_url=sandbox.url, session=session) as callbell:
            await callbell.send(HELLO)
        assert not session.closed
    assert len(sandbox.messages) == 1


async def test_many_calls_share_a_small_pool(sandbox: Sandbox) -> None:
    """More calls than connections wait for a free one, and all succeed."""
    async with CallbellClient(
        TOKEN, base_url=sandbox.url, max_connections=2, retry=RetryPolicy(attempts=1)
    ) as callbell:
        receipts = await asyncio.gather(*(callbell.send(HELLO) for _ in range(50)))
    assert len({receipt.uuid for receipt in receipts}) == 50
