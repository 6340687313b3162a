"""A receiver that responds when the handler has returned: Callbell sends every other event again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callbell_async import EventNotHandledError
from callbell_async.webhooks import Event, ReceiverResponse, WebhookReceiver
from tests.support.calls import ticks
from tests.support.webhooks import SECRET, Gate, Hook, message_body, post, texts

pytestmark = pytest.mark.virtual_time


def handled_receiver(handler: Any, **options: Any) -> WebhookReceiver:
    """A receiver that responds after the handler."""
    return WebhookReceiver(handler, secret=SECRET, respond_after="handler", **options)


def posting(receiver: WebhookReceiver, text: str) -> asyncio.Task[ReceiverResponse]:
    """A post in flight."""
    return asyncio.ensure_future(post(receiver, message_body(text)))


async def test_the_response_waits_for_the_handler() -> None:
    """No response is sent before the handler has returned."""
    gate = Gate()
    async with handled_receiver(gate) as receiver:
        response = posting(receiver, "Hi")
        await ticks()
        assert len(gate.began) == 1
        assert not response.done()
        gate.open()
        assert (await response).status == 200
        assert len(gate.handled) == 1


async def test_an_event_whose_handler_raised_is_handled_again() -> None:
    """It gets 500; when Callbell sends it again, it is handled again. After it was handled it is a duplicate."""
    hook = Hook()
    tries: list[Event] = []

    def handler(event: Event) -> None:
        tries.append(event)
        if len(tries) < 3:
            raise ValueError

    async with handled_receiver(handler, on_error=hook) as receiver:
        assert [(await post(receiver, message_body())).status for _ in range(5)] == [500, 500, 200, 200, 200]
    assert len(tries) == 3
    assert hook.errors == [ValueError, ValueError]


async def test_a_listener_gets_a_failed_event_again() -> None:
    """An event that failed is passed to listeners again; a duplicate of a handled one is not."""
    seen: list[Event] = []
    results = iter([ValueError, None])

    def handler(event: Event) -> None:
        if error := next(results):
            raise error

    async with handled_receiver(handler) as receiver:
        receiver.add_listener(seen.append)
        for _ in range(3):
            await post(receiver, message_body())
    assert len(seen) == 2


@pytest.mark.parametrize(("fails", "status"), [(False, 200), (True, 500)])
async def test_a_duplicate_shares_the_response(fails: bool, status: int) -> None:
    """A duplicate that arrives while the event is handled waits for the handler, and gets the same response."""
    gate = Gate()

    async def handler(event: Event) -> None:
        await gate(event)
        if fails:
            raise ValueError

    async with handled_receiver(handler) as receiver:
        responses = [posting(receiver, "Hi") for _ in range(3)]
        await ticks()
        assert len(gate.began) == 1
        assert not any(response.done() for response in responses)
        gate.open()
        assert [(await response).status for response in responses] == [status] * 3
    assert len(gate.began) == 1


async def test_a_duplicate_needs_no_room() -> None:
    """A duplicate of an event in the queue waits for it, also if the queue is full."""
    gate = Gate()
    async with handled_receiver(gate, queue_size=1) as receiver:
        responses = []
        for text in ("first", "second", "third", "second", "first"):
            responses.append(posting(receiver, text))
            await ticks()
        gate.open()
        assert [(await response).status for response in responses] == [200, 200, 503, 200, 200]
    assert texts(gate.handled) == ["first", "second"]


async def test_a_cancelled_request_does_not_affect_others() -> None:
    """The event of a cancelled request is handled, and a duplicate gets the response."""
    gate = Gate()
    async with handled_receiver(gate) as receiver:
        first, second = posting(receiver, "Hi"), posting(receiver, "Hi")
        await ticks()
        first.cancel()
        await ticks()
        assert first.cancelled()
        gate.open()
        assert (await second).status == 200
        assert (await post(receiver, message_body("Hi"))).status == 200
    assert len(gate.handled) == 1


async def test_the_time_of_a_key_starts_after_the_handler() -> None:
    """`dedupe_seconds` starts when the handler has returned."""
    gate = Gate()
    async with handled_receiver(gate, dedupe_seconds=60) as receiver:
        response = posting(receiver, "Hi")
        await asyncio.sleep(100)
        gate.open()
        await response
        await asyncio.sleep(59)
        await post(receiver, message_body("Hi"))
        assert len(gate.handled) == 1
        await asyncio.sleep(1)
        await post(receiver, message_body("Hi"))
    assert len(gate.handled) == 2


async def test_an_event_that_is_not_handled_before_the_end_gets_503() -> None:
    """Events in the queue and in a handler get 503 and are reported, so that Callbell sends them again."""
    hook = Hook()
    receiver = handled_receiver(Gate(), drain_timeout=5.0, on_error=hook)
    responses = [posting(receiver, text) for text in ("in flight", "waiting")]
    await ticks()
    await receiver.close()
    assert [(await response).status for response in responses] == [503, 503]
    assert (hook.errors, hook.texts) == ([EventNotHandledError] * 2, ["in flight", "waiting"])
    assert (await post(receiver, message_body("waiting"))).status == 503
