"""The queue of a receiver: its bounds, its order, and the tasks that run handlers."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from callbell_async.webhooks import (
    Event,
    WebhookReceiver,
)
from tests.support.calls import ticks
from tests.support.webhooks import OK, SECRET, Gate, Hook, message_body, post, post_at_once, statuses, texts

pytestmark = pytest.mark.virtual_time


async def test_an_event_without_room_is_not_lost() -> None:
    """A full queue gets 503, so that Callbell sends the event again; then it is handled, once."""
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET, queue_size=2) as receiver:
        responses = []
        for number in range(4):
            responses.append(await post(receiver, message_body(str(number))))
            await ticks()
        assert statuses(responses) == [200, 200, 200, 503]  # one in its handler, two in the queue
        gate.open()
        await ticks()
        assert await post(receiver, message_body("3")) == OK
        assert await post(receiver, message_body("3")) == OK
    assert texts(gate.handled) == ["0", "1", "2", "3"]


async def test_the_queue_is_bounded_in_bytes() -> None:
    """Events over `max_queue_bytes`, those in a handler included, get 503; when others are handled, there is room again."""
    gate = Gate()
    size = len(message_body("0"))
    async with WebhookReceiver(
        gate, secret=SECRET, max_body=2 * size, max_queue_bytes=3 * size - 1, concurrency=5
    ) as receiver:
        responses = []
        for number in range(4):
            responses.append(await post(receiver, message_body(str(number))))
            await ticks()
        assert statuses(responses) == [200, 200, 503, 503]
        assert receiver.stats.pending_bytes == 2 * size
        gate.open()
        await ticks()
        assert receiver.stats.pending_bytes == 0
        assert await post(receiver, message_body("2")) == OK
    assert texts(gate.handled) == ["0", "1", "2"]


async def test_the_largest_body_finds_room_in_an_empty_queue() -> None:
    """`max_queue_bytes` may be as small as `max_body`, and then one event of that size is handled at a time."""
    body = message_body("x" * 1000)
    async with WebhookReceiver(
        Gate(is_open=True), secret=SECRET, max_body=len(body), max_queue_bytes=len(body)
    ) as receiver:
        assert await post(receiver, body) == OK
        assert (await post(receiver, message_body("2"))).status == 503
        await ticks()
        assert await post(receiver, message_body("2")) == OK


async def test_one_at_a_time_keeps_the_order() -> None:
    """By default an event is handled after the one that arrived before it."""
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET) as receiver:
        for number in range(5):
            await post(receiver, message_body(str(number)))
        await ticks()
        assert texts(gate.began) == ["0"]
        gate.open()
    assert texts(gate.handled) == ["0", "1", "2", "3", "4"]


async def test_several_handlers_run_at_once() -> None:
    """Up to `concurrency` handlers run at the same time."""
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET, concurrency=3) as receiver:
        for number in range(5):
            await post(receiver, message_body(str(number)))
        await ticks()
        assert len(gate.began) == 3
        gate.open()
    assert len(gate.handled) == 5


async def test_nothing_is_left_running_when_there_is_nothing_to_do() -> None:
    """The tasks end when the last event is handled: a receiver that is never closed leaves nothing behind."""
    receiver = WebhookReceiver(Gate(is_open=True), secret=SECRET)
    for number in range(3):
        await post(receiver, message_body(str(number)))
        await ticks()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_event_may_arrive_as_the_last_one_ends() -> None:
    """An event that arrives when the worker is about to end is handled."""
    handled: list[Event] = []

    def handler(event: Event) -> None:
        if not handled:
            asyncio.get_running_loop().call_soon(post_at_once, receiver, message_body("second"))
        handled.append(event)

    async with WebhookReceiver(handler, secret=SECRET) as receiver:
        await post(receiver, message_body("first"))
        await ticks()
    assert texts(handled) == ["first", "second"]


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="tasks that begin at once came with Python 3.12")
async def test_tasks_may_start_eagerly() -> None:
    """With eager tasks every event is handled, too, and no more than `concurrency` handlers run at once."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    gate, hook = Gate(is_open=True), Hook()
    receiver = WebhookReceiver(gate, secret=SECRET, on_error=hook)
    for number in range(3):
        await post(receiver, message_body(str(number)))
        await post(receiver, message_body(f"{number}, at once"))
        await ticks()
    assert len(gate.handled) == 6
    await receiver.close()
    assert hook.calls == []


async def test_a_handler_that_never_waits_does_not_block_the_loop() -> None:
    """After a few milliseconds of handlers that never wait, other tasks of the event loop run."""
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def busy(event: Event) -> None:
        seen.extend(texts([event]))
        loop._virtual_clock.now += 0.004  # type: ignore[attr-defined]

    async with WebhookReceiver(busy, secret=SECRET) as receiver:
        for number in range(4):
            await post(receiver, message_body(str(number)))
        loop.call_soon(seen.append, "another")
    assert seen == ["0", "1", "another", "2", "3"]


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="tasks that begin at once came with Python 3.12")
async def test_eager_tasks_do_not_block_the_loop() -> None:
    """With eager tasks, too, other tasks run after a few milliseconds."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    gate = Gate()
    seen: list[str] = []

    async def handler(event: Event) -> None:
        await gate(event)
        seen.extend(texts([event]))
        loop._virtual_clock.now += 0.004  # type: ignore[attr-defined]

    async with WebhookReceiver(handler, secret=SECRET) as receiver:
        for number in range(4):
            await post(receiver, message_body(str(number)))
        gate.open()
        loop.call_soon(loop.call_soon, seen.append, "another")
    # The first handler waits, and is then the last one of its task.
    assert seen == ["0", "another", "1", "2", "3"]


async def test_a_handler_runs_in_the_context_of_its_request() -> None:
    """A handler has the context variables of the request that brought its event, and changes them for no other handler."""
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    async def handler(event: Event) -> None:
        seen.append(variable.get())
        variable.set("a handler's")

    async with WebhookReceiver(handler, secret=SECRET) as receiver:
        for number in range(3):
            variable.set(f"request {number}")
            await post(receiver, message_body(str(number)))
    assert seen == ["request 0", "request 1", "request 2"]


# --- the tasks of handlers --------------------------------------------------------------------------------------------


async def test_handlers_that_never_wait_share_a_task() -> None:
    """The events of one round of the loop are handled in one round and in one task, each in a context of its own."""
    tasks: set[object] = set()
    before: list[str] = []
    variable = contextvars.ContextVar("variable", default="unset")

    async def handler(event: Event) -> None:
        tasks.add(asyncio.current_task())
        before.append(variable.get())
        variable.set("an earlier event's")

    async with WebhookReceiver(handler, secret=SECRET) as receiver:
        for number in range(5):
            await post(receiver, message_body(str(number)))
        await ticks(1)
        assert receiver.stats.handled == 5
    assert len(tasks) == 1
    assert before == ["unset"] * 5


async def test_a_handler_that_waits_has_a_task_for_itself() -> None:
    """No other event is handled in the task of a handler that waits, or that waited before it was cancelled."""
    tasks: list[object] = []

    async def handler(event: Event) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(1)

    async with WebhookReceiver(handler, secret=SECRET) as receiver:
        for number in range(4):
            await post(receiver, message_body(str(number)))
    assert len(set(tasks)) == 4


async def test_full_speed_fills_no_queue() -> None:
    """Several events in every round of the loop find room, although one is handled at a time, as long as no handler waits."""
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, secret=SECRET, queue_size=8) as receiver:
        for number in range(50):
            responses = [await post(receiver, message_body(f"{number}.{part}")) for part in range(8)]
            assert statuses(responses) == [200] * 8
            await ticks(1)
    assert len(gate.handled) == 400
