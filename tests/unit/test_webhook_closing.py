"""The end of a receiver: what was taken is handled, or reported, and never silently dropped."""

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
async def test_what_is_queued_is_handled_first() -> None:
    """Closing waits for the handlers; meanwhile new events are turned away, and those known are answered."""
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
    assert hook.told == []


@pytest.mark.virtual_time
async def test_closing_an_idle_receiver_takes_no_time() -> None:
    """There is nothing to wait for; closing it again is harmless, and it stays closed."""
    began = asyncio.get_running_loop().time()
    receiver = WebhookReceiver(Gate(), secret=SECRET)
    await receiver.close()
    await receiver.close()
    assert asyncio.get_running_loop().time() == began
    assert (await post(receiver, message_body())).status == 503


@pytest.mark.virtual_time
async def test_what_takes_too_long_is_reported() -> None:
    """After `drain_timeout` the handlers are cancelled, and every event that was not handled goes to the hook, once."""
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
async def test_two_may_close_it() -> None:
    """Both return when it is done."""
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
async def test_no_time_at_all_is_an_end_at_once() -> None:
    """With a `drain_timeout` of 0 nothing is waited for."""
    hook = Hook()
    receiver = WebhookReceiver(Gate(), secret=SECRET, drain_timeout=0, on_error=hook)
    await post(receiver, message_body("Hi"))
    await receiver.close()
    assert hook.texts == ["Hi"]


@pytest.mark.virtual_time
async def test_all_the_time_in_the_world() -> None:
    """With an endless `drain_timeout` all is handled, whenever that is."""
    hook = Hook()
    receiver = WebhookReceiver(lambda event: asyncio.sleep(1e6), secret=SECRET, drain_timeout=math.inf, on_error=hook)
    await post(receiver, message_body())
    await receiver.close()
    assert hook.told == []


@pytest.mark.virtual_time
async def test_a_handler_that_wont_end_does_not_keep_it_open() -> None:
    """One that goes on in spite of its cancellation is left alone after a moment."""
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
    """At whatever point: every event that was taken has been handled or reported, once, and nothing runs on."""

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
def test_a_loop_that_ends_reports_what_it_leaves(rounds: int) -> None:
    """Where nobody closes the receiver, as in a test's client, each event is handled or reported; the next loop can go on with it."""
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


def test_a_loop_that_ends_begins_nothing_more() -> None:
    """A handler that goes on in spite of its cancellation finishes its event; the others are reported, and not handed to it."""
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
    assert {str(error) for error, _ in hook.told} == {
        "the receiver's tasks ended before it was handled, as they do with the event loop"
    }


@pytest.mark.parametrize("respond_after", ["enqueue", "handler"])
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("closing", [False, True])
def test_a_loop_that_is_only_closed_reports_what_it_leaves(
    respond_after: Literal["enqueue", "handler"], concurrency: int, closing: bool
) -> None:
    """Where nobody even cancels its tasks, every event is reported when they are thrown away, and nothing complains of the closed loop."""
    hook = Hook()
    loop = VirtualTimeLoop()
    # Of tasks that are thrown away it is told that they were pending.
    told: list[str] = []
    loop.set_exception_handler(lambda loop, context: told.append(context["message"]))

    async def main() -> None:
        receiver = WebhookReceiver(Gate(), secret=SECRET, respond_after=respond_after, concurrency=concurrency, on_error=hook)
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
    assert set(told) == {"Task was destroyed but it is pending!"}


def test_a_loop_that_ends_reports_what_it_never_began() -> None:
    """An event that comes in the last moment of a loop, too."""
    hook = Hook()
    receiver = WebhookReceiver(Gate(), secret=SECRET, on_error=hook)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(post_at_once, receiver, message_body("Hi"))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert (hook.errors, hook.texts, receiver.pending) == ([EventNotHandledError], ["Hi"], 0)
