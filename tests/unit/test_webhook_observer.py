"""Observers of a webhook receiver: each request, and each event from its receipt to the end of its handler."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from callbell_async import ConfigurationError
from callbell_async.webhooks import Event, WebhookReceiver
from tests.support.calls import ticks
from tests.support.observers import RaisingObserver, RecordingObserver
from tests.support.webhooks import SECRET, message_body, post

TEXT = "hush, +31612345678"


async def test_a_handled_event_has_three_moments() -> None:
    """An event is received, started and handled, and each moment has the same object."""
    observer = RecordingObserver()
    handled: list[Event] = []
    async with WebhookReceiver(handled.append, secret=SECRET, observer=observer) as receiver:
        await post(receiver, message_body(TEXT))
    assert observer.names == ["event_received", "event_started", "event_handled"]
    (event,) = {named["event"] for _, named in observer.moments}
    assert event.type == type(handled[0]).__name__ == "MessageCreated"
    (end,) = observer.of("event_handled")
    assert end["error"] is None
    assert end["seconds"] >= 0
    assert "hush" not in repr(observer.moments)
    assert not receiver._watched


async def test_a_handler_that_raises_is_observed() -> None:
    """An event whose handler raises ends with the name of the exception's class, and without its text."""
    observer = RecordingObserver()

    async def handler(event: Event) -> None:
        raise ValueError(TEXT)

    async with WebhookReceiver(handler, secret=SECRET, observer=observer) as receiver:
        await post(receiver, message_body())
    assert observer.of("event_handled")[0]["error"] == "ValueError"
    assert "hush" not in repr(observer.moments)


async def test_an_event_that_is_not_handled_ends() -> None:
    """An event that waits when the receiver closes ends with `EventNotHandledError`."""
    observer = RecordingObserver()
    receiver = WebhookReceiver(secret=SECRET, drain_timeout=0.0, observer=observer)
    await post(receiver, message_body())
    await receiver.close()
    assert observer.names == ["event_received", "event_handled"]
    assert observer.of("event_handled")[0]["error"] == "EventNotHandledError"


async def test_an_iterated_event_has_no_start() -> None:
    """An event of a receiver that is iterated is received and handled."""
    observer = RecordingObserver()
    receiver = WebhookReceiver(secret=SECRET, observer=observer)
    await post(receiver, message_body())
    closing = asyncio.create_task(receiver.close())
    async for _ in receiver:
        pass
    await closing
    assert observer.names == ["event_received", "event_handled"]
    assert observer.of("event_handled")[0]["error"] is None


async def test_each_refusal_has_a_reason() -> None:
    """A request that brings no event to the handler has the reason and the status of its response."""
    observer = RecordingObserver()
    receiver = WebhookReceiver(secret=SECRET, queue_size=1, max_body=500, observer=observer)
    receiver.check_request("PUT")
    await receiver.receive(b"x" * 501)
    await post(receiver, message_body(), secret="another")
    await receiver.receive(message_body(), None)
    await post(receiver, b"no JSON")
    await post(receiver, message_body("first"))
    await post(receiver, message_body("first"))
    await post(receiver, message_body("second"))
    refused = [(named["reason"], named["status"]) for named in observer.of("event_refused")]
    assert refused == [
        ("request", 405),
        ("request", 413),
        ("signature", 401),
        ("signature", 401),
        ("unreadable", 200),
        ("duplicate", 200),
        ("unavailable", 503),
    ]
    assert observer.names.count("event_received") == 1


async def test_a_context_variable_set_at_the_start_is_the_handler_s_own() -> None:
    """A context variable that an observer sets in `event_started` is seen by that handler and by nothing else."""
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    class Setting(RecordingObserver):
        def event_started(self, event: Any) -> None:
            variable.set(f"{variable.get()}, started")

    async def handler(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(variable.get())

    async with WebhookReceiver(handler, secret=SECRET, concurrency=2, observer=Setting()) as receiver:
        for number in range(3):
            variable.set(f"request {number}")
            await post(receiver, message_body(str(number)))
    assert sorted(seen) == ["request 0, started", "request 1, started", "request 2, started"]
    assert variable.get() == "request 2"


async def test_an_observer_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Each event is handled although an observer raises, and one line is logged without the exception's text."""
    handled: list[Event] = []
    observer = RaisingObserver(ValueError(TEXT))
    async with WebhookReceiver(handled.append, secret=SECRET, observer=observer) as receiver:
        responses = [await post(receiver, message_body(str(number))) for number in range(3)]
        await ticks()
    assert [response.status for response in responses] == [200, 200, 200]
    assert len(handled) == 3
    assert [record.name for record in caplog.records] == ["callbell_async.observe"]
    assert "hush" not in caplog.text


def test_another_observer_is_refused() -> None:
    """A plain function is refused by name: `receiver.observe` takes those."""
    observer: Any = print
    with pytest.raises(ConfigurationError, match=r"^observer: "):
        WebhookReceiver(print, secret=SECRET, observer=observer)
