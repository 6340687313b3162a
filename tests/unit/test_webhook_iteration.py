"""Receivers without a handler: `async for event in receiver`."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from callbell_async import ConfigurationError, EventNotHandledError
from callbell_async.webhooks import Event, ReceiverResponse, WebhookReceiver
from tests.support.calls import ticks
from tests.support.webhooks import SECRET, Gate, Hook, message_body, post, texts

pytestmark = pytest.mark.virtual_time


def posting(receiver: WebhookReceiver, text: str) -> asyncio.Task[ReceiverResponse]:
    """A post in flight."""
    return asyncio.ensure_future(post(receiver, message_body(text)))


async def test_events_come_in_order_until_the_receiver_is_closed() -> None:
    """A loop gets the events that arrived before it, and those in the queue when the receiver is closed."""
    receiver = WebhookReceiver(secret=SECRET)
    seen: list[Event] = []

    async def consume() -> None:
        seen.extend([event async for event in receiver])

    await post(receiver, message_body("1"))
    consumer = asyncio.ensure_future(consume())
    await ticks()
    for text in ("2", "3"):
        await post(receiver, message_body(text))
    await receiver.close()
    await consumer
    assert texts(seen) == ["1", "2", "3"]


async def test_a_loop_that_waits_ends_with_the_receiver() -> None:
    """A loop that waits for an event ends when the receiver is closed."""
    receiver = WebhookReceiver(secret=SECRET)
    waiting = asyncio.ensure_future(anext(aiter(receiver), None))
    await ticks()
    await receiver.close()
    assert await waiting is None


async def test_a_loop_over_a_closed_receiver_ends() -> None:
    """A loop over a closed receiver ends at once."""
    receiver = WebhookReceiver(secret=SECRET)
    await receiver.close()
    assert [event async for event in receiver] == []


async def test_an_event_is_handled_when_the_next_is_requested() -> None:
    """The response is sent when the next event is requested, and closing waits for that."""
    receiver = WebhookReceiver(secret=SECRET, respond_after="handler")
    responses = [posting(receiver, "1"), posting(receiver, "2")]
    await ticks()
    events = aiter(receiver)
    await anext(events)
    await ticks()
    assert [response.done() for response in responses] == [False, False]
    await anext(events)
    await ticks()
    assert [response.done() for response in responses] == [True, False]
    closing = asyncio.ensure_future(receiver.close())
    await ticks()
    assert not closing.done()
    assert [event async for event in events] == []
    await closing
    assert [(await response).status for response in responses] == [200, 200]


async def test_a_loop_that_is_left_has_not_handled_its_event() -> None:
    """With `respond_after="handler"` the response is 503, Callbell sends the event again, and it is not a duplicate."""
    hook = Hook()
    receiver = WebhookReceiver(secret=SECRET, respond_after="handler", on_error=hook)
    response = posting(receiver, "Hi")

    async def consume() -> None:
        async with contextlib.aclosing(aiter(receiver)) as events:
            async for _ in events:
                raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await consume()
    assert (await response).status == 503
    assert (hook.errors, hook.texts) == ([EventNotHandledError], ["Hi"])
    again = posting(receiver, "Hi")
    events = aiter(receiver)
    assert texts([await anext(events)]) == ["Hi"]
    await receiver.close()
    assert (await again).status == 503


async def test_a_loop_may_be_left() -> None:
    """With `respond_after="enqueue"`, leaving a loop is not an error. The other events are kept for the next loop."""
    hook = Hook()
    receiver = WebhookReceiver(secret=SECRET, on_error=hook)
    for text in ("1", "2"):
        await post(receiver, message_body(text))
    async for event in receiver:
        assert texts([event]) == ["1"]
        break
    async for event in receiver:
        assert texts([event]) == ["2"]
        break
    await ticks()
    assert (receiver.pending, hook.calls) == (0, [])


async def test_several_loops_share_the_events() -> None:
    """Each event is passed to one of several loops."""
    receiver = WebhookReceiver(secret=SECRET)
    seen: list[list[str]] = [[], []]

    async def consume(mine: list[str]) -> None:
        async for event in receiver:
            mine.extend(texts([event]))
            await asyncio.sleep(1)

    consumers = [asyncio.ensure_future(consume(mine)) for mine in seen]
    await ticks()
    for number in range(6):
        await post(receiver, message_body(str(number)))
    await receiver.close()
    await asyncio.gather(*consumers)
    assert sorted(seen[0] + seen[1]) == list("012345")
    assert all(seen)


async def test_a_cancelled_consumer_loses_no_event() -> None:
    """If a consumer is cancelled at the moment an event arrives, another one gets it."""
    receiver = WebhookReceiver(secret=SECRET)
    waiting = asyncio.ensure_future(anext(aiter(receiver)))
    await ticks()
    await post(receiver, message_body("Hi"))
    waiting.cancel()
    await ticks()
    assert waiting.cancelled()
    assert texts([await anext(aiter(receiver))]) == ["Hi"]
    await receiver.close()


async def test_a_full_queue_waits_for_the_consumer() -> None:
    """Without a consumer, a full queue gets 503, so that Callbell sends the events later."""
    receiver = WebhookReceiver(secret=SECRET, queue_size=2, drain_timeout=0)
    assert [(await post(receiver, message_body(text))).status for text in "123"] == [200, 200, 503]
    events = aiter(receiver)
    await anext(events)
    assert (await post(receiver, message_body("3"))).status == 200
    await receiver.close()
    await events.aclose()


async def test_events_without_a_consumer_are_reported_at_the_end() -> None:
    """After `drain_timeout` they are reported, once, and the event that a consumer has not finished, too."""
    hook = Hook()
    receiver = WebhookReceiver(secret=SECRET, on_error=hook)
    for text in "12":
        await post(receiver, message_body(text))
    events = aiter(receiver)
    await anext(events)
    await receiver.close()
    assert hook.texts == ["1", "2"]
    assert [event async for event in events] == []
    assert hook.texts == ["1", "2"]


def test_a_receiver_with_a_handler_cant_be_iterated() -> None:
    """A loop over a receiver with a handler is refused, because it would wait for ever."""
    with pytest.raises(ConfigurationError, match="handler"):
        aiter(WebhookReceiver(Gate(), secret=SECRET))
