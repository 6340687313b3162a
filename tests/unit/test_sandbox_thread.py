"""A sandbox in its own thread, and webhook events without HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest

from callbell_async import CallbellClient, ConnectionLostError, TextMessage
from callbell_async.sandbox import Sandbox, SandboxContact, SandboxThread, StatusTimings, faults
from callbell_async.webhooks import SIGNATURE_HEADER, verify_signature
from tests.support.calls import until

TO = "+31612345678"
SECRET = "whsec_0123456789"


@pytest.fixture
def sandbox() -> Iterator[SandboxThread]:
    """A running sandbox in a thread."""
    with SandboxThread(Sandbox(webhook_secret=SECRET, status_timings=StatusTimings.instant())) as thread:
        yield thread


def send(sandbox: SandboxThread, text: str = "Hello!") -> str:
    """Send a message on an event loop of its own, and return its uuid."""

    async def run() -> str:
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as client:
            return (await client.send(TextMessage(to=TO, text=text))).uuid

    return asyncio.run(run())


def test_synchronous_code_uses_it(sandbox: SandboxThread) -> None:
    """Messages, assertions, faults, records, the clock and the reset work from another thread."""
    assert sandbox.seed({"contacts": [{"identifier": TO, "name": "Ann"}]}) == 1
    rule = sandbox.inject(faults.close_after_reading(), times=1)
    with pytest.raises(ConnectionLostError):
        send(sandbox)
    assert rule.applied == 1
    uuid = send(sandbox)
    assert sandbox.assert_sent_once(to=TO, text="Hello!").uuid == uuid
    sandbox.inject(faults.close_after_reading())
    sandbox.remove_faults()
    before = sandbox.account.calendar.now()
    sandbox.advance(86400)
    assert (sandbox.account.calendar.now() - before).days == 1
    item = sandbox.receive_message("Hi", sender=TO)
    assert item.contact.name == "Ann"
    sandbox.reset()
    sandbox.assert_sent(0)
    assert len(sandbox.account.contacts) == 0


def test_events_are_posted_by_a_function(sandbox: SandboxThread) -> None:
    """Signed events reach a function of the test, which is called outside of the sandbox's thread; its status is recorded."""
    posts: list[tuple[bytes, Mapping[str, str]]] = []
    threads = set()

    def post(body: bytes, headers: Mapping[str, str]) -> int:
        threads.add(threading.current_thread().name)
        posts.append((body, headers))
        return 204

    sandbox.deliver_to(post)
    send(sandbox)
    sandbox.emit("other_event", {"a": 1})
    sandbox.wait_delivered(statuses=True)
    events = [json.loads(body)["event"] for body, _ in posts]
    assert sorted(set(events)) == [
        "contact_created",
        "conversation_opened",
        "message_created",
        "message_status_updated",
        "other_event",
    ]
    for body, headers in posts:
        verify_signature(body, headers[SIGNATURE_HEADER], SECRET)
    assert "callbell-sandbox" not in threads
    assert {delivery.code for delivery in sandbox.account.webhook_events} == {204}
    assert sandbox.probe() == 204


async def test_a_function_that_fails_is_a_server_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the function counts as status 500, is logged, and the event is posted again; `None` returns to HTTP."""
    calls = 0

    async def post(body: bytes, headers: Mapping[str, str]) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("the application failed")
        return 200

    async with Sandbox() as sandbox:
        sandbox.deliveries.retry_delays = (0.0,)
        sandbox.deliver_to(post)
        sandbox.emit("other_event", {})
        await sandbox.wait_delivered()
        assert [delivery.code for delivery in sandbox.account.webhook_events] == [200, 500]
        assert "the application failed" in caplog.text
        sandbox.deliver_to(None)
        webhook = sandbox.account.webhook
        assert webhook is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            webhook.url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        assert await sandbox.probe() is None


def test_waiting_has_an_end(sandbox: SandboxThread) -> None:
    """`wait_delivered` raises `TimeoutError` while an event is not delivered, with the response to the last attempt."""
    attempted = threading.Event()
    answer = threading.Event()

    def post(body: bytes, headers: Mapping[str, str]) -> int:
        attempted.set()
        answer.wait(30.0)
        return 401

    sandbox.deliver_to(post)
    sandbox.emit("other_event", {})
    assert attempted.wait(30.0)
    with pytest.raises(
        TimeoutError, match=r"^after 0\.01 s, 1 event is still to be delivered; no attempt has ended yet$"
    ):
        sandbox.wait_delivered(timeout=0.01)
    answer.set()
    sandbox.call(until, lambda: sandbox.account.webhook_events)
    with pytest.raises(TimeoutError, match=r"1 event is still to be delivered; the last attempt got 401$"):
        sandbox.wait_delivered(timeout=0.01)


async def test_a_function_that_returns_no_status_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A function of `deliver_to` that returns a response in place of its status counts as one that fails, and the log names the remedy."""
    post: Any = AsyncMock(return_value="a response")
    async with Sandbox() as sandbox:
        sandbox.deliveries.retry_delays = ()
        sandbox.deliver_to(post)
        sandbox.emit("other_event", {})
        await sandbox.wait_delivered()
        assert [delivery.code for delivery in sandbox.account.webhook_events] == [500]
        assert sandbox.deliveries.given_up == 1
    assert "must return the status of the response as an int, not str" in caplog.text


def test_errors_come_to_the_caller(sandbox: SandboxThread) -> None:
    """A taken port is an error of the `with` statement; a call's error is raised in the caller's thread."""
    port = int(sandbox.url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(OSError, match="address already in use"), SandboxThread(Sandbox(port=port)):
        raise AssertionError("the port is taken")
    with pytest.raises(ValueError, match="contacts: must be a list"):
        sandbox.seed({"contacts": 1})
    with pytest.raises(RuntimeError, match="own thread"):
        sandbox.call(lambda: sandbox.advance(1))
    stopped = SandboxThread()
    with pytest.raises(RuntimeError, match="not running"):
        stopped.advance(1)


def test_it_ends_with_its_block() -> None:
    """After the block, the thread has ended and the port is free, also while a page listens for changes."""

    async def listen(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(f"{url}changes") as changes:
            assert (await changes.content.readline()).startswith(b"data: ")
            listening.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await changes.content.read()

    listening = threading.Event()
    with SandboxThread() as sandbox:
        sandbox.call(sandbox.account.seed, SandboxContact(identifier=TO, name="Ann"))
        listener = threading.Thread(target=asyncio.run, args=(listen(sandbox.inbox_url),))
        listener.start()
        assert listening.wait(20)
    listener.join(20)
    assert not listener.is_alive()
    assert "callbell-sandbox" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.url
