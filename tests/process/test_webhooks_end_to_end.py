"""The way of an event over real HTTP: the sandbox signs it, and delivers it until a receiver has accepted it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web
from fastapi import FastAPI
from starlette.routing import Route

from callbell_async import CallbellClient, MessageStatus
from callbell_async.sandbox import Sandbox, StatusTimings
from callbell_async.webhooks import (
    Event,
    MessageCreated,
    MessageTracker,
    WebhookApp,
    WebhookReceiver,
    add_webhook_route,
)
from tests.support.apps import served_by_aiohttp, served_by_uvicorn
from tests.support.calls import MESSAGE, client_for, until
from tests.support.clock import current_loop
from tests.support.webhooks import SECRET, Gate, Hook, texts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
AN_HOUR = 3600.0
HOSTS = ["aiohttp", "uvicorn", "fastapi"]
EVENTS = ["message_created", "message_status_updated"]

RespondAfter = Literal["enqueue", "handler"]


@asynccontextmanager
async def served(host: str, handler: Any, **options: Any) -> AsyncIterator[tuple[str, WebhookReceiver]]:
    """Serve a receiver in an application of this kind; yields its URL and the receiver."""
    if host == "aiohttp":
        app = web.Application()
        receiver = add_webhook_route(app, "/events", handler, secret=SECRET, **options)
        async with served_by_aiohttp(app) as url:
            yield f"{url}/events", receiver
    else:
        webhook = WebhookApp(handler, secret=SECRET, **options)
        async with served_by_uvicorn(webhook if host == "uvicorn" else mounted(webhook)) as url:
            yield f"{url}/events", webhook.receiver


def mounted(webhook: WebhookApp) -> FastAPI:
    """A FastAPI application with this webhook."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with webhook:
            yield

    app = FastAPI(lifespan=lifespan)
    app.router.routes.append(Route("/events", webhook))
    return app


@asynccontextmanager
async def callbell_for(url: str, *, waits: float = 0.0) -> AsyncIterator[tuple[Sandbox, CallbellClient]]:
    """A sandbox that signs its events and is subscribed to this URL; it repeats a delivery after `waits` seconds without an end."""
    async with (
        Sandbox(token=None, webhook_secret=SECRET, clock=current_loop().time) as sandbox,
        client_for(sandbox.url) as callbell,
    ):
        sandbox.deliveries.retry_delays = [waits] * 1_000_000
        await callbell.webhooks.subscribe(url, EVENTS)
        yield sandbox, callbell


def emit(sandbox: Sandbox, count: int) -> list[str]:
    """Deliver `count` messages, and return their texts."""
    sent = [f"message {number}" for number in range(count)]
    for text in sent:
        sandbox.emit("message_created", {"text": text, "status": "received"})
    return sent


@pytest.mark.parametrize("respond_after", ["enqueue", "handler"])
@pytest.mark.parametrize("host", HOSTS)
async def test_every_event_is_handled_and_handled_once(host: str, respond_after: RespondAfter) -> None:
    """Of 1,200 events at once, every third of them twice, into a queue for 10, none is lost: events that got 503 are sent again."""
    gate, hook = Gate(), Hook()
    async with (
        served(host, gate, respond_after=respond_after, queue_size=10, on_error=hook) as (url, _),
        callbell_for(url) as (sandbox, _),
    ):
        sandbox.deliveries.duplicate(1 / 3)
        sent = emit(sandbox, 1200)
        posts = sandbox.deliveries.waiting
        # The queue is full, and some events got 503.
        await until(lambda: sandbox.deliveries.failed)
        gate.open()
        await sandbox.wait_delivered()
        assert {event.code for event in sandbox.account.webhook_events} == {200, 503}
        assert posts > 1300
        assert sandbox.deliveries.delivered == posts
    assert sorted(texts(gate.handled)) == sorted(sent)
    assert hook.calls == []


@pytest.mark.parametrize("host", HOSTS)
async def test_a_slow_handler_delays_no_response(host: str) -> None:
    """Every event gets its response while the first one is still handled; the shutdown waits for all."""
    gate = Gate()
    async with served(host, gate) as (url, receiver), callbell_for(url) as (sandbox, _):
        sent = emit(sandbox, 300)
        await sandbox.wait_delivered()
        assert (len(gate.began), len(gate.handled), receiver.pending) == (1, 0, 300)
        assert sandbox.deliveries.failed == 0
        gate.open()
    assert sorted(texts(gate.handled)) == sorted(sent)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_handler_slower_than_callbell_waits_handles_once(host: str) -> None:
    """With `respond_after="handler"`, Callbell delivers again after its timeout; the event is handled once, and then gets its response."""
    gate = Gate()
    async with (
        served(host, gate, respond_after="handler", concurrency=20) as (url, _),
        callbell_for(url) as (sandbox, _),
    ):
        sent = emit(sandbox, 20)
        await until(lambda: len(gate.began) == 20)
        current_loop().advance(sandbox.deliveries.timeout + 1)
        await until(lambda: sandbox.deliveries.failed == 20)
        gate.open()
        await sandbox.wait_delivered()
    assert sorted(texts(gate.handled)) == sorted(sent)
    assert len(gate.began) == 20


@pytest.mark.parametrize("host", HOSTS)
async def test_an_event_whose_handler_raised_is_delivered_again(host: str) -> None:
    """With `respond_after="handler"`, each event is delivered until it is handled, and handled once."""
    tries = Counter[str]()
    handled: list[Event] = []
    hook = Hook()

    async def handler(event: Event) -> None:
        assert isinstance(event, MessageCreated)
        tries[event.key] += 1
        if tries[event.key] < 3:
            raise ConnectionError("the database is away")
        handled.append(event)

    async with (
        served(host, handler, respond_after="handler", on_error=hook) as (url, _),
        callbell_for(url) as (sandbox, _),
    ):
        sent = emit(sandbox, 100)
        await sandbox.wait_delivered()
        assert sandbox.deliveries.failed == 200
    assert sorted(texts(handled)) == sorted(sent)
    assert hook.errors == [ConnectionError] * 200


@pytest.mark.parametrize("host", HOSTS)
async def test_a_probe_gets_200_and_a_forged_event_401(host: str) -> None:
    """A probe gets 200; an event signed with another secret, or not at all, is refused."""
    gate = Gate(is_open=True)
    async with served(host, gate) as (url, _), callbell_for(url, waits=AN_HOUR) as (sandbox, _):
        assert await sandbox.probe() == 200
        for secret in ("whsec_another", None):
            sandbox.webhook_secret = secret
            emit(sandbox, 1)
            await until(lambda: sandbox.deliveries.failed)
        await until(lambda: sandbox.deliveries.failed == 2)
        assert {event.code for event in sandbox.account.webhook_events} == {401}
        assert await sandbox.probe() == 200
    assert gate.began == []


@pytest.mark.parametrize("host", HOSTS)
async def test_events_can_be_iterated_over(host: str) -> None:
    """Without a handler, a loop in the application gets every event; while the queue is full, Callbell delivers later."""
    seen: list[Event] = []
    async with (
        served(host, None, respond_after="handler", queue_size=5) as (url, receiver),
        callbell_for(url) as (sandbox, _),
    ):

        async def consume() -> None:
            seen.extend([event async for event in receiver])

        consumer = asyncio.ensure_future(consume())
        sent = emit(sandbox, 200)
        # The last event is handled when the next one is requested, which a loop over all events does at its end.
        await sandbox.wait_delivered()
    await consumer
    assert sorted(texts(seen)) == sorted(sent)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_sent_message_is_followed_to_its_delivery(host: str) -> None:
    """The client sends, the sandbox delivers the status events, and the tracker needs no request for the status."""
    gate = Gate(is_open=True)
    async with served(host, gate) as (url, receiver), callbell_for(url) as (sandbox, callbell):
        tracker = MessageTracker(receiver, poll=callbell.messages.status)
        sent = tracker.track(await callbell.send(MESSAGE))
        waiting = asyncio.ensure_future(sent.wait_for(MessageStatus.DELIVERED))
        await sandbox.wait_delivered()
        current_loop().advance(sandbox.account.status_timings.delivered)
        receipt = await waiting
        assert (receipt.uuid, receipt.status) == (sandbox.messages[0].uuid, MessageStatus.DELIVERED)
        assert [request.method for request in sandbox.requests] == ["POST", "POST"]
        await sandbox.wait_delivered()


async def test_a_sent_message_is_followed_without_a_webhook() -> None:
    """A tracker without a receiver requests the status until the message is delivered."""
    pace = StatusTimings(reported=0.0, sent=0.0)
    async with (
        Sandbox(token=None, clock=current_loop().time, status_timings=pace) as sandbox,
        client_for(sandbox.url) as callbell,
    ):
        sent = MessageTracker(poll=callbell.messages.status).track(await callbell.send(MESSAGE))
        waiting = asyncio.ensure_future(sent.wait_for(MessageStatus.DELIVERED))
        await until(lambda: sent.status is MessageStatus.SENT)
        current_loop().advance(pace.delivered)
        assert (await waiting).status is MessageStatus.DELIVERED


# --- a receiver that is killed ----------------------------------------------------------------------------------------


@contextmanager
def receiving_child(host: str, port: int, file: Path, *, stop_at: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Start a process with a receiver; it is killed when the block ends."""
    arguments = [str(file), host, str(port), SECRET, str(stop_at)]
    command = [sys.executable, "-m", "tests.support.webhook_child", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


async def readiness(child: subprocess.Popen[str]) -> None:
    """Wait until the process accepts connections."""
    assert child.stdout is not None
    assert await asyncio.to_thread(child.stdout.readline) == "ready\n"


@pytest.mark.parametrize("host", ["aiohttp", "uvicorn"])
async def test_nothing_is_lost_when_the_receiver_is_killed(host: str, tmp_path: Path) -> None:
    """With `respond_after="handler"`, events without a response are handled by the next process.

    They are handled at least once: the event that was handled when the process died is delivered again with the same key.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = tmp_path / "handled"
    file.touch()

    def handled() -> list[str]:
        return file.read_text(encoding="utf-8").splitlines()

    async with callbell_for(f"http://127.0.0.1:{port}/events", waits=AN_HOUR) as (sandbox, _):
        with receiving_child(host, port, file, stop_at=40) as child:
            await readiness(child)
            emit(sandbox, 200)
            await until(lambda: len(handled()) == 40 and sandbox.deliveries.delivered == 39)
        await until(lambda: sandbox.deliveries.delivered + sandbox.deliveries.failed == 200)
        assert len(handled()) == 40
        with receiving_child(host, port, file) as child:
            await readiness(child)
            current_loop().advance(AN_HOUR)
            await sandbox.wait_delivered()
        assert sandbox.deliveries.delivered == 200
    times = Counter(handled())
    assert len(times) == 200
    assert [key for key, count in times.items() if count > 1] == [handled()[39]]
