"""The whole way of an event over real HTTP: the sandbox signs it, delivers it, and delivers it again until a receiver has taken it."""

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

ROOT = Path(__file__).parents[2]
AN_HOUR = 3600.0
HOSTS = ["aiohttp", "uvicorn", "fastapi"]
EVENTS = ["message_created", "message_status_updated"]

Answer = Literal["queued", "handled"]


@asynccontextmanager
async def served(host: str, handler: Any, **options: Any) -> AsyncIterator[tuple[str, WebhookReceiver]]:
    """A receiver in an application of this kind: the URL to subscribe, and itself."""
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
    """An application of FastAPI's around it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with webhook:
            yield

    app = FastAPI(lifespan=lifespan)
    app.router.routes.append(Route("/events", webhook))
    return app


@asynccontextmanager
async def callbell_for(url: str, *, waits: float = 0.0) -> AsyncIterator[tuple[Sandbox, CallbellClient]]:
    """A sandbox that signs, with a subscription made through the client, and as many attempts as it takes with these pauses between them."""
    async with (
        Sandbox(token=None, webhook_secret=SECRET, clock=current_loop().time) as sandbox,
        client_for(sandbox.url) as callbell,
    ):
        sandbox.deliveries.retry_delays = [waits] * 1_000_000
        await callbell.webhooks.subscribe(url, EVENTS)
        yield sandbox, callbell


def emit(sandbox: Sandbox, count: int) -> list[str]:
    """Deliver so many messages, and return their texts."""
    said = [f"message {number}" for number in range(count)]
    for text in said:
        sandbox.emit("message_created", {"text": text, "status": "received"})
    return said


@pytest.mark.parametrize("answer", ["queued", "handled"])
@pytest.mark.parametrize("host", HOSTS)
async def test_every_event_is_handled_and_handled_once(host: str, answer: Answer) -> None:
    """A thousand and more at once, every third of them twice, into a queue with few places: what gets 503 comes again, and nothing is lost."""
    gate, hook = Gate(), Hook()
    async with (
        served(host, gate, answer=answer, queue_size=10, on_error=hook) as (url, _),
        callbell_for(url) as (sandbox, _),
    ):
        sandbox.deliveries.duplicate(1 / 3)
        said = emit(sandbox, 1200)
        posts = sandbox.deliveries.waiting
        # The queue is full, and has turned events away.
        await until(lambda: sandbox.deliveries.failed)
        gate.open()
        await sandbox.wait_delivered()
        assert {event.code for event in sandbox.account.webhook_events} == {200, 503}
        assert posts > 1300
        assert sandbox.deliveries.delivered == posts
    assert sorted(texts(gate.handled)) == sorted(said)
    assert hook.told == []


@pytest.mark.parametrize("host", HOSTS)
async def test_a_slow_handler_delays_no_answer(host: str) -> None:
    """Every event is answered while the first one is still being handled; the shutdown waits until all are."""
    gate = Gate()
    async with served(host, gate) as (url, receiver), callbell_for(url) as (sandbox, _):
        said = emit(sandbox, 300)
        await sandbox.wait_delivered()
        assert (len(gate.began), len(gate.handled), receiver.pending) == (1, 0, 300)
        assert sandbox.deliveries.failed == 0
        gate.open()
    assert sorted(texts(gate.handled)) == sorted(said)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_handler_slower_than_callbell_waits_handles_once(host: str) -> None:
    """Where the answer waits for the handler, Callbell gives up and delivers again; the event under way is handled once, and answered then."""
    gate = Gate()
    async with (
        served(host, gate, answer="handled", concurrency=20) as (url, _),
        callbell_for(url) as (sandbox, _),
    ):
        said = emit(sandbox, 20)
        await until(lambda: len(gate.began) == 20)
        current_loop().advance(sandbox.deliveries.timeout + 1)
        await until(lambda: sandbox.deliveries.failed == 20)
        gate.open()
        await sandbox.wait_delivered()
    assert sorted(texts(gate.handled)) == sorted(said)
    assert len(gate.began) == 20


@pytest.mark.parametrize("host", HOSTS)
async def test_what_a_handler_raised_at_comes_again(host: str) -> None:
    """Where the answer waits for the handler, each event is delivered until it is handled, and handled once."""
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
        served(host, handler, answer="handled", on_error=hook) as (url, _),
        callbell_for(url) as (sandbox, _),
    ):
        said = emit(sandbox, 100)
        await sandbox.wait_delivered()
        assert sandbox.deliveries.failed == 200
    assert sorted(texts(handled)) == sorted(said)
    assert hook.errors == [ConnectionError] * 200


@pytest.mark.parametrize("host", HOSTS)
async def test_a_probe_is_answered_and_another_s_event_is_not(host: str) -> None:
    """The sandbox probes as Callbell does; what is signed with another secret, or not at all, is refused."""
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
    """Where there is no handler, a loop in the application takes every event, and its pace holds Callbell back."""
    seen: list[Event] = []
    async with served(host, None, answer="handled", queue_size=5) as (url, receiver), callbell_for(url) as (sandbox, _):

        async def consume() -> None:
            seen.extend([event async for event in receiver])

        consumer = asyncio.ensure_future(consume())
        said = emit(sandbox, 200)
        # The last one is handled when the next is asked for, which the end of a loop over all of them does.
        await sandbox.wait_delivered()
    await consumer
    assert sorted(texts(seen)) == sorted(said)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_sent_message_is_followed_to_its_delivery(host: str) -> None:
    """The client sends, the sandbox tells what became of it, and the tracker has it, with no request for the status."""
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
    """By requests for its status."""
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


# --- through the death of a process -----------------------------------------------------------------------------------


@contextmanager
def receiving_child(host: str, port: int, file: Path, *, stop_at: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process with a receiver; killed, with no time for a good end, when the block is left."""
    arguments = [str(file), host, str(port), SECRET, str(stop_at)]
    command = [sys.executable, "-m", "tests.support.webhook_child", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


async def readiness(child: subprocess.Popen[str]) -> None:
    """Wait until a child can be reached."""
    assert child.stdout is not None
    assert await asyncio.to_thread(child.stdout.readline) == "ready\n"


@pytest.mark.parametrize("host", ["aiohttp", "uvicorn"])
async def test_nothing_is_lost_when_the_receiver_is_killed(host: str, tmp_path: Path) -> None:
    """Where the answer waits for the handler, what a killed process had not answered is handled by the next one.

    At least once: the event that was handled when the process died, and not answered, comes again, and its key says that it is the same.
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
