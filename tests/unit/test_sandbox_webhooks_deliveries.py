"""The sandbox's deliveries to a webhook: signatures, records, concurrency, probes, and the end."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from callbell_async import CallbellClient, ConfigurationError, TextMessage
from callbell_async.sandbox import Sandbox, SandboxWebhookDelivery
from tests.fixtures.sandbox import get, send
from tests.support.calls import until
from tests.support.clock import current_loop
from tests.support.webhook_listener import Listen, Post, WebhookListener, failures, subscribed_to_all

HOUR = 3600.0
"""Seconds that do not elapse while a test runs."""

SECRET = "whsec_0123456789abcdef"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox on the loop's clock that signs with a constant time."""
    clock = asyncio.get_running_loop().time
    async with Sandbox(clock=clock, limit=None, webhook_secret=SECRET, webhook_time=lambda: 1_700_000_000.9) as running:
        yield running


def signature(post: Post, secret: str, at: int) -> str:
    """Return the expected header of a post."""
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + post.body, hashlib.sha256).hexdigest()}"


# --- signatures ---------------------------------------------------------------------------------------------------------


async def test_events_are_signed(sandbox: Sandbox, listen: Listen) -> None:
    """The header has the time in whole seconds, and the HMAC of the time and the raw body, keyed with the whole secret."""
    listener = await listen()
    sandbox.emit("message_created", {"text": "Grüße 🌴"})
    await sandbox.wait_delivered()
    (post,) = listener.posts
    assert post.headers["X-Callbell-Signature"] == signature(post, SECRET, 1_700_000_000)


async def test_a_signature_has_the_machine_s_time(listen: Listen) -> None:
    """By default a signature has the machine's time, independent of the sandbox's clock and date."""
    listener = await listen()
    async with Sandbox(webhook_secret=SECRET, clock=lambda: 0.0) as sandbox:
        sandbox.account.seed(subscribed_to_all(listener.url))
        sandbox.emit("message_created", {})
        await sandbox.wait_delivered()
    at = int(listener.posts[0].headers["X-Callbell-Signature"].partition(",")[0].removeprefix("t="))
    assert abs(at - time.time()) < 300


async def test_without_a_secret_nothing_is_signed(sandbox: Sandbox, listen: Listen) -> None:
    """An account without a secret sends no such header."""
    listener = await listen()
    sandbox.webhook_secret = None
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    assert "X-Callbell-Signature" not in listener.posts[0].headers


async def test_each_attempt_is_signed_again(listen: Listen) -> None:
    """A further attempt is signed with its own time and the current secret; the old secret signs nothing more."""
    listener = await listen(500)
    now = 1_000.0
    async with Sandbox(webhook_secret="whsec_old", webhook_time=lambda: now) as sandbox:
        sandbox.account.seed(subscribed_to_all(listener.url))
        sandbox.deliveries.retry_delays = (HOUR,)
        sandbox.emit("message_created", {})
        await failures(sandbox, 1)
        now, sandbox.webhook_secret = 1_001.0, "whsec_new"
        current_loop().advance(HOUR)
        await sandbox.wait_delivered()
        assert sandbox.webhook_secret == "whsec_new"
    first, second = listener.posts
    assert first.body == second.body
    assert first.headers["X-Callbell-Signature"] == signature(first, "whsec_old", 1000)
    assert second.headers["X-Callbell-Signature"] == signature(second, "whsec_new", 1001)


async def test_the_secret_is_not_shown(sandbox: Sandbox, listen: Listen) -> None:
    """The secret is in no repr and in no recorded attempt."""
    await listen()
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    shown = [
        sandbox,
        sandbox.account,
        sandbox.deliveries,
        list(sandbox.account.webhook_events),
        sandbox.account.webhook,
    ]
    assert SECRET not in repr(shown)
    assert SECRET not in json.dumps(await get(sandbox, "/webhooks/events"))


async def test_the_url_is_kept(sandbox: Sandbox, listen: Listen) -> None:
    """The URL is called exactly as it was subscribed: without signatures, receivers may compare a secret in it."""
    listener = await listen()
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    assert listener.url.endswith(listener.posts[0].path)


@pytest.mark.parametrize("secret", ["", " "])
def test_a_blank_secret_is_refused(secret: str) -> None:
    """A blank secret is refused when it is set, and not in the background."""
    with pytest.raises(ConfigurationError, match="webhook secret"):
        Sandbox(webhook_secret=secret)
    sandbox = Sandbox()
    with pytest.raises(ConfigurationError, match="webhook secret"):
        sandbox.webhook_secret = secret


# --- records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (web.Response(text='{"status": "ok"}'), {"status": "ok"}),
        (web.Response(text="Thanks"), "Thanks"),
        (web.Response(), {}),
        (web.Response(body=b"\xff"), "\ufffd"),
        (web.Response(body=b"x" * 1_000_000), "x" * 65_536),
    ],
)
async def test_each_attempt_is_recorded(sandbox: Sandbox, listen: Listen, response: web.Response, body: Any) -> None:
    """`GET /webhooks/events` has the event, the payload, and the response's code, headers and body, of which it keeps 64 KiB."""
    response.headers["X-Receiver"] = "mine"
    await listen(response)
    sandbox.emit("message_created", {"text": "Hi"})
    await sandbox.wait_delivered()
    (event,) = (await get(sandbox, "/webhooks/events"))["webhook_events"]
    assert (event["event"], event["payload"], event["success"]) == ("message_created", {"text": "Hi"}, True)
    assert (event["response"]["code"], event["response"]["body"]) == (200, body)
    assert event["response"]["headers"]["X-Receiver"] == "mine"
    assert event["createdAt"].startswith("2026-01-01T12:")


@pytest.mark.parametrize(
    ("header", "sent", "body", "recorded"),
    [
        (b"M\xfcnchen", "M\ufffdnchen", b"{}", {}),
        ("M\u00fcnchen".encode(), "M\u00fcnchen", b"{}", {}),
        (b"", "", b"[" * 300 + b"]" * 300, "[" * 300 + "]" * 300),
        (b"", "", b"[" * 250 + b"]" * 250, "[" * 250 + "]" * 250),
        (b"", "", b"[[[[[]]]]]", [[[[[]]]]]),
    ],
    ids=["a header in Latin-1", "a header in UTF-8", "deep JSON", "JSON almost too deep", "JSON not so deep"],
)
async def test_any_response_can_be_recorded(
    sandbox: Sandbox, header: bytes, sent: str, body: bytes, recorded: Any
) -> None:
    """Any bytes of a response are valid JSON in `GET /webhooks/events`: invalid UTF-8 is replaced, and JSON that is too deep is a text."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'{"text":"Hi"}}')
        writer.write(b"HTTP/1.1 200 OK\r\nX-City: %b\r\nContent-Length: %d\r\n\r\n%b" % (header, len(body), body))
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        sandbox.account.seed(subscribed_to_all(f"http://{host}:{port}/"))
        sandbox.emit("message_created", {"text": "Hi"})
        await sandbox.wait_delivered()
        (event,) = (await get(sandbox, "/webhooks/events"))["webhook_events"]
        assert (event["response"]["headers"]["X-City"], event["response"]["body"]) == (sent, recorded)


async def test_the_client_reads_what_was_delivered(sandbox: Sandbox, listen: Listen) -> None:
    """The client lists the attempts, the newest first, and the failed ones on request."""
    await listen(503)
    sandbox.deliveries.retry_delays = (0.0,)
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        codes = [event.response.code async for event in callbell.webhooks.events() if event.response]
        failed = [event.response.code async for event in callbell.webhooks.events(status="failed") if event.response]
    assert (codes, failed) == ([200, 503], [503])


async def test_the_last_ten_thousand_are_kept(sandbox: Sandbox) -> None:
    """At most 10,000 attempts are kept; the oldest are dropped."""
    for number in range(10_001):
        sandbox.account.seed(SandboxWebhookDelivery(event="message_created", payload=number))
    kept = sandbox.account.webhook_events
    assert (len(kept), kept[0].payload, kept[-1].payload) == (10_000, 10_000, 1)


# --- concurrency -------------------------------------------------------------------------------------------------------


async def test_a_slow_response_does_not_stop_the_others(sandbox: Sandbox, listen: Listen) -> None:
    """While one attempt waits for its response, other events are delivered."""
    listener = await listen(None)
    sandbox.deliveries.timeout = HOUR
    for number in range(100):
        sandbox.emit("message_created", {"number": number})
    await until(lambda: sandbox.deliveries.delivered == 99)
    assert (sandbox.deliveries.waiting, len(listener.posts)) == (1, 100)


async def test_the_concurrency_is_bounded(sandbox: Sandbox, listen: Listen) -> None:
    """At most `concurrency` attempts are in flight; the other events follow when one has ended."""
    listener = await listen(None, None, None)
    sandbox.deliveries.concurrency, sandbox.deliveries.timeout, sandbox.deliveries.retry_delays = 3, HOUR, (HOUR,)
    for number in range(5):
        sandbox.emit("message_created", {"number": number})
    await listener.posted(3)
    # A probe does not count; when its response has arrived, earlier posts would have arrived, too.
    assert await sandbox.probe() == 200
    assert (len(listener.posts), sandbox.deliveries.waiting) == (4, 5)
    # aiohttp rounds long timeouts up to a whole second.
    current_loop().advance(HOUR + 1.0)
    await failures(sandbox, 3)
    # The next step of the clock must not end the attempts of the other two.
    await until(lambda: sandbox.deliveries.delivered == 2)
    current_loop().advance(HOUR)
    await sandbox.wait_delivered()
    assert (sandbox.deliveries.delivered, sandbox.deliveries.failed) == (5, 3)


async def test_an_event_may_come_when_the_last_worker_ends(sandbox: Sandbox, listen: Listen) -> None:
    """An event that happens at the moment when the only worker finds an empty queue is delivered, too."""
    listener = await listen()
    sandbox.deliveries.concurrency = 1
    for number in range(20):
        sandbox.emit("message_created", {"number": number})
        await sandbox.wait_delivered()
    assert [payload["number"] for payload in listener.payloads("message_created")] == list(range(20))


async def test_a_thousand_events_at_once(sandbox: Sandbox, listen: Listen) -> None:
    """A thousand events in one burst are delivered, each once."""
    listener = await listen()
    for number in range(1000):
        sandbox.emit("message_created", {"number": number})
    await sandbox.wait_delivered()
    assert sorted(payload["number"] for payload in listener.payloads("message_created")) == list(range(1000))


async def test_an_event_may_come_twice(sandbox: Sandbox, listen: Listen) -> None:
    """After `duplicate()`, each event is delivered twice with the same body, so that a test can check a receiver's deduplication."""
    listener = await listen()
    sandbox.deliveries.duplicate()
    uuid = await send(sandbox)
    await sandbox.wait_delivered()
    assert [payload["uuid"] for payload in listener.payloads("message_created")] == [uuid, uuid]
    assert len({post.body for post in listener.posts}) * 2 == len(listener.posts)
    sandbox.deliveries.duplicate(0)
    sandbox.emit("agent_session_updated", {})
    await sandbox.wait_delivered()
    assert len(listener.payloads("agent_session_updated")) == 1


async def test_some_events_come_twice(sandbox: Sandbox, listen: Listen) -> None:
    """With a probability some events are delivered twice, and the same ones with the same seed."""
    runs = []
    for _ in range(2):
        listener = await listen()
        sandbox.deliveries.duplicate(0.5, seed=7)
        for number in range(40):
            sandbox.emit("message_created", number)
        await sandbox.wait_delivered()
        runs.append(sorted(listener.payloads("message_created")))
    assert runs[0] == runs[1]
    assert 40 < len(runs[0]) < 80
    assert set(runs[0]) == set(range(40))


# --- probes -------------------------------------------------------------------------------------------------------------


async def test_a_probe_is_not_an_event(sandbox: Sandbox, listen: Listen) -> None:
    """A probe posts a signed `{}`, returns the status of the response, and is not recorded."""
    listener = await listen(200, 503)
    assert [await sandbox.probe(), await sandbox.probe()] == [200, 503]
    for post in listener.posts:
        assert post.document == {}
        assert post.headers["X-Callbell-Signature"] == signature(post, SECRET, 1_700_000_000)
    assert not sandbox.account.webhook_events
    assert (sandbox.deliveries.delivered, sandbox.deliveries.failed) == (0, 0)


async def test_a_probe_needs_a_webhook(sandbox: Sandbox) -> None:
    """Without a webhook on this machine a probe raises an error."""
    with pytest.raises(LookupError, match="no webhook on this machine"):
        await sandbox.probe()
    sandbox.account.seed(subscribed_to_all("https://example.com/"))
    with pytest.raises(LookupError, match="no webhook on this machine"):
        await sandbox.probe()


async def test_a_probe_needs_a_running_sandbox() -> None:
    """A probe of a sandbox that is not running raises an error."""
    sandbox = Sandbox()
    sandbox.account.seed(subscribed_to_all("http://127.0.0.1:9/"))
    with pytest.raises(RuntimeError, match="not running"):
        await sandbox.probe()


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_it_stops_with_the_sandbox() -> None:
    """All deliveries, retries and changes of statuses end with the sandbox, which can run again afterwards."""
    sandbox = Sandbox(limit=None)
    sandbox.deliveries.concurrency = 2
    sandbox.deliveries.retry_delays = (HOUR,)
    async with WebhookListener(500, None, None) as listener:
        before = asyncio.all_tasks()
        async with sandbox:
            sandbox.account.seed(subscribed_to_all(listener.url))
            sandbox.emit("message_created", {})
            await failures(sandbox, 1)
            for _ in range(3):
                sandbox.emit("message_created", {})
            await listener.posted(3)
            await send(sandbox)
            waiting = asyncio.create_task(sandbox.wait_delivered(statuses=True))
            await asyncio.sleep(0)
            assert (sandbox.deliveries.waiting, sandbox.deliveries.changing) == (7, 1)
        await waiting
        assert (sandbox.deliveries.waiting, sandbox.deliveries.changing) == (0, 0)
        assert {task for task in asyncio.all_tasks() - before if "Deliveries" in repr(task)} == set()
        current_loop().advance(HOUR)
        async with sandbox:
            sandbox.emit("contact_painted", {})
            await sandbox.wait_delivered(statuses=True)
        assert listener.events[3:] == ["contact_painted"]
    gc.collect()


def test_it_can_run_on_another_loop() -> None:
    """A sandbox that ran on one event loop runs on another one as well, with its webhook."""
    sandbox = Sandbox()

    async def run() -> int:
        async with WebhookListener(500) as listener, sandbox:
            sandbox.deliveries.retry_delays = (0.0,)
            sandbox.account.seed(subscribed_to_all(listener.url))
            sandbox.emit("message_created", {})
            await sandbox.wait_delivered()
            return len(listener.posts)

    assert [asyncio.run(run()), asyncio.run(run())] == [2, 2]


async def test_the_command_signs() -> None:
    """`callbell-async sandbox` posts to a webhook on this machine, signed with the secret from the environment, and does not print it."""
    command = [sys.executable, "-m", "callbell_async", "sandbox", "--token", "token"]
    environment = {**os.environ, "CALLBELL_WEBHOOK_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with WebhookListener() as listener, CallbellClient("token", base_url=url) as callbell:
            await callbell.webhooks.subscribe(listener.url, ["message_created"])
            await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
            (post,) = await listener.posted(1)
            process.terminate()
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    at = int(post.headers["X-Callbell-Signature"].partition(",")[0].removeprefix("t="))
    assert post.headers["X-Callbell-Signature"] == signature(post, SECRET, at)
    assert (process.returncode, stderr) == (0, b"")
    assert stdout.splitlines()[1:] == [b"stopped; 2 requests, 1 message accepted"]
