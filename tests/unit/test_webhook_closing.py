"""The end of a receiver: every event that was received is handled or reported, and none is dropped silently."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from typing import Any, Literal

import pytest

from callbell_async import EventNotHandledError
from callbell_async.webhooks import Event, WebhookReceiver
from tests.support.calls import ticks
from tests.support.cancellation import drive, every_await
from tests.support.clock import VirtualTimeLoop
from tests.support.webhooks import SECRET, Gate, Hook, message_body, post, post_at_once, texts


@pytest.mark.virtual_time
async def test_queued_events_are_handled_first() -> None:
    """Closing waits for the handlers; meanwhile new events get 503, and duplicates 200."""
    gate, hook = Gate(), Hook()
    receiver = WebhookReceiver(gate, secret=SECRET, on_error=hook)
    for text in ("1", "2", "3"):
        await post(receiver, message_body(text))
    closing = asyncio.ensure_future(receiver.close())
    await ticks()
    assert (await post(receiver, message_body("4"))).status == 503
    assert (await post(receiver, message_body("3"))).status == 200
    assert not closing.done()
    gate.open()
    await closing
    assert texts(gate.handled) == ["1", "2", "3"]
    assert hook.calls == []


@pytest.mark.virtual_time
async def test_closing_an_idle_receiver_takes_no_time() -> None:
    """An idle receiver is closed at once; it can be closed again, and stays closed."""
    began = asyncio.get_running_loop().time()
    receiver = WebhookReceiver(Gate(), secret=SECRET)
    await receiver.close()
    await receiver.close()
    assert asyncio.get_running_loop().time() == began
    assert (await post(receiver, message_body())).status == 503


@pytest.mark.virtual_time
async def test_an_event_that_takes_too_long_is_reported() -> None:
    """After `drain_timeout` the handlers are cancelled, and the hook gets every event that was not handled, once."""
    gate, hook = Gate(), Hook()
    receiver = WebhookReceiver(gate, secret=SECRET, concurrency=2, drain_timeout=5.0, on_error=hook)
    for text in ("1", "2", "3", "4"):
        await post(receiver, message_body(text))
    began = asyncio.get_running_loop().time()
    await receiver.close()
    assert asyncio.get_running_loop().time() - began == 5.0
    assert (hook.errors, hook.texts) == ([EventNotHandledError] * 4, ["1", "2", "3", "4"])
    assert (len(gate.began), gate.handled, receiver.pending) == (2, [], 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.virtual_time
async def test_two_tasks_may_close_it() -> None:
    """Both return when the receiver is closed."""
    gate = Gate()
    receiver = WebhookReceiver(gate, secret=SECRET)
    await post(receiver, message_body())
    closing = [asyncio.ensure_future(receiver.close()) for _ in range(2)]
    await ticks()
    assert not any(task.done() for task in closing)
    gate.open()
    await asyncio.gather(*closing)
    assert len(gate.handled) == 1


@pytest.mark.virtual_time
async def test_without_time_it_closes_at_once() -> None:
    """With a `drain_timeout` of 0, closing waits for nothing."""
    hook = Hook()
    receiver = WebhookReceiver(Gate(), secret=SECRET, drain_timeout=0, on_error=hook)
    await post(receiver, message_body("Hi"))
    await receiver.close()
    assert hook.texts == ["Hi"]


@pytest.mark.virtual_time
async def test_without_a_limit_it_waits_for_all() -> None:
    """With an infinite `drain_timeout`, closing waits until all events are handled."""
    hook = Hook()
    receiver = WebhookReceiver(lambda event: asyncio.sleep(1e6), secret=SECRET, drain_timeout=math.inf, on_error=hook)
    await post(receiver, message_body())
    await receiver.close()
    assert hook.calls == []


@pytest.mark.virtual_time
async def test_a_handler_that_does_not_end_is_left_alone() -> None:
    """Closing does not wait for a handler that suppresses its cancellation."""
    hook = Hook()
    stop = asyncio.Event()

    async def handler(event: Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()

    receiver = WebhookReceiver(handler, secret=SECRET, drain_timeout=5.0, on_error=hook)
    await post(receiver, message_body("Hi"))
    await receiver.close()
    assert hook.texts == ["Hi"]
    stop.set()
    await ticks()
    assert hook.texts == ["Hi"]


def test_whenever_closing_is_cancelled_nothing_is_lost() -> None:
    """A cancellation at any point: every event that was received is handled or reported, once, and no task is left."""

    def main(ends: list[str]) -> Any:
        async def handler(event: Event) -> None:
            await asyncio.sleep(1)
            ends.extend(texts([event]))

        async def run() -> None:
            receiver = WebhookReceiver(
                handler, secret=SECRET, on_error=lambda error, event: ends.extend(texts([event] if event else []))
            )
            try:
                for text in ("1", "2", "3"):
                    await post(receiver, message_body(text))
            finally:
                await receiver.close()

        return run

    for point in every_await(main([])):
        ends: list[str] = []
        end = drive(main(ends), cancel_at=lambda round_, point=point: round_ == point)  # type: ignore[misc]
        assert sorted(ends) in ([], ["1", "2", "3"])
        assert (end.stayed, end.complaints) == (0, ())


@pytest.mark.parametrize("rounds", range(4))
def test_the_end_of_a_loop_loses_no_event(rounds: int) -> None:
    """If nobody closes the receiver, each event is handled or reported at the end of the loop; another loop can use the receiver."""
    gate, hook = Gate(), Hook()
    receiver = WebhookReceiver(gate, secret=SECRET, concurrency=2, on_error=hook)

    async def first() -> None:
        for text in ("1", "2", "3"):
            await post(receiver, message_body(text))
        await ticks(rounds)

    async def second() -> None:
        await post(receiver, message_body("4"))
        gate.open()
        await receiver.close()

    for main in (first, second):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
    assert sorted(hook.texts) == ["1", "2", "3"]
    assert set(hook.errors) == {EventNotHandledError}
    assert texts(gate.handled) == ["4"]


def test_no_handler_starts_at_the_end_of_a_loop() -> None:
    """A handler that suppresses its cancellation finishes its event; the other events are reported."""
    hook = Hook()
    handled: list[str] = []

    async def handler(event: Event) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        handled.extend(texts([event]))

    async def main() -> None:
        receiver = WebhookReceiver(handler, secret=SECRET, on_error=hook)
        for text in ("1", "2", "3"):
            await post(receiver, message_body(text))
        await ticks()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert (handled, hook.texts) == (["1"], ["2", "3"])
    assert {str(error) for error, _ in hook.calls} == {
        "the receiver's tasks ended before it was handled, as they do with the event loop"
    }


@pytest.mark.parametrize("respond_after", ["enqueue", "handler"])
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("closing", [False, True])
def test_a_loop_that_is_only_closed_loses_no_event(
    respond_after: Literal["enqueue", "handler"], concurrency: int, closing: bool
) -> None:
    """If nobody cancels the tasks of a loop, every event is reported when they are destroyed, and nothing else is."""
    hook = Hook()
    loop = VirtualTimeLoop()
    # The loop reports each pending task that is destroyed.
    messages: list[str] = []
    loop.set_exception_handler(lambda loop, context: messages.append(context["message"]))

    async def main() -> None:
        receiver = WebhookReceiver(
            Gate(), secret=SECRET, respond_after=respond_after, concurrency=concurrency, on_error=hook
        )
        waiting.extend(asyncio.ensure_future(post(receiver, message_body(text))) for text in ("1", "2", "3"))
        await ticks()
        if closing:
            waiting.append(asyncio.ensure_future(receiver.close()))
            await ticks()

    waiting: list[asyncio.Future[Any]] = []
    loop.run_until_complete(main())
    loop.close()
    waiting.clear()
    gc.collect()
    assert sorted(hook.texts) == ["1", "2", "3"]
    assert set(hook.errors) == {EventNotHandledError}
    assert set(messages) == {"Task was destroyed but it is pending!"}


def test_an_event_at_the_end_of_a_loop_is_reported() -> None:
    """An event that arrives in the last moment of a loop is reported."""
    hook = Hook()
    receiver = WebhookReceiver(Gate(), secret=SECRET, on_error=hook)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(post_at_once, receiver, message_body("Hi"))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert (hook.errors, hook.texts, receiver.pending) == ([EventNotHandledError], ["Hi"], 0)
