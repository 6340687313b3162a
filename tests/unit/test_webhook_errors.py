"""Errors in handlers, hooks and listeners: they are reported, and affect no other event."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from typing import Any

import pytest

from callbell_async.webhooks import (
    Event,
    WebhookReceiver,
)
from tests.support.calls import ticks
from tests.support.webhooks import OK, SECRET, Gate, Hook, message_body, post, texts

pytestmark = pytest.mark.virtual_time


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_a_handler_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """The hook gets the exception and the event, the log its class and line without any content; the next event is handled."""
    hook = Hook()
    handled: list[Event] = []

    async def handler(event: Event) -> None:
        if texts([event]) == ["hush"]:
            raise ValueError("hush")
        handled.append(event)

    async with WebhookReceiver(handler, secret=SECRET, on_error=hook) as receiver:
        assert await post(receiver, message_body("hush")) == OK
        assert await post(receiver, message_body("Hi")) == OK
    assert (hook.errors, hook.texts, texts(handled)) == ([ValueError], ["hush"], ["Hi"])
    event = hook.calls[0][1]
    assert event is not None
    assert f"ValueError in {__file__}:" in caplog.text
    assert f"(MessageCreated, key {event.key})" in caplog.text
    assert "hush" not in caplog.text


async def test_a_hook_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the hook is logged, and the next event is handled."""

    def hook(error: Exception, event: Event | None) -> None:
        raise KeyError("hush")

    def handler(event: Event) -> None:
        raise ValueError("hush")

    async with WebhookReceiver(handler, secret=SECRET, on_error=hook) as receiver:
        assert await post(receiver, message_body("1")) == OK
        assert await post(receiver, message_body("2")) == OK
    assert caplog.text.count("the error hook raised: KeyError") == 2
    assert "hush" not in caplog.text


async def test_an_error_without_a_traceback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that was never raised is logged without a line of code."""
    receiver = WebhookReceiver(lambda event: asyncio.sleep(math.inf), secret=SECRET, drain_timeout=0)
    await post(receiver, message_body())
    await receiver.close()
    assert "not handled: EventNotHandledError (MessageCreated" in caplog.text


async def test_a_handler_may_await_a_cancelled_task() -> None:
    """An event whose handler ends with the cancellation of another task is reported, and the next one is handled."""
    hook = Hook()
    handled: list[Event] = []

    async def handler(event: Event) -> None:
        if texts([event]) == ["first"]:
            other = asyncio.ensure_future(asyncio.sleep(math.inf))
            other.cancel()
            await other
        handled.append(event)

    async with WebhookReceiver(handler, secret=SECRET, on_error=hook) as receiver:
        await post(receiver, message_body("first"))
        await post(receiver, message_body("second"))
    assert texts(handled) == ["second"]
    assert [str(error) for error, _ in hook.calls] == ["its handler was cancelled"]
    assert isinstance(hook.calls[0][0].__cause__, asyncio.CancelledError)


@pytest.mark.parametrize("suppresses", [False, True])
async def test_a_handler_may_cancel_its_task(suppresses: bool) -> None:
    """The event of a handler that cancels itself is reported, unless it suppresses that; the others are handled."""
    hook = Hook()
    handled: list[str] = []

    async def handler(event: Event) -> None:
        (text,) = texts([event])
        task = asyncio.current_task()
        assert task is not None
        if text == "cancelled":
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError if suppresses else KeyError):
                await asyncio.sleep(0)
        elif text == "cancelled by another":
            other = asyncio.get_running_loop().create_future()
            other.cancel()
            await other
        handled.append(text)
        if text == "cancelled at its end":
            task.cancel()

    sent = ["cancelled", "cancelled by another", "cancelled at its end", "another", "and another"]
    async with WebhookReceiver(handler, secret=SECRET, on_error=hook) as receiver:
        for text in sent:
            await post(receiver, message_body(text))
    lost = ["cancelled by another"] if suppresses else ["cancelled", "cancelled by another"]
    assert [text for text in hook.texts if text != "cancelled at its end"] == lost
    assert {str(error) for error, _ in hook.calls} == {"its handler was cancelled"}
    assert handled == [text for text in sent if text not in lost]


async def test_a_handler_may_end_the_program() -> None:
    """A `BaseException` of a handler is not suppressed; its event is reported, and the next one is handled while the loop runs."""
    hook = Hook()

    class Halt(BaseException):
        pass

    def handler(event: Event) -> None:
        raise Halt

    receiver = WebhookReceiver(handler, secret=SECRET, on_error=hook)
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    await post(receiver, message_body("1"))
    await post(receiver, message_body("2"))
    await ticks()
    assert hook.texts == ["1", "2"]
    assert [type(error.__cause__) for error, _ in hook.calls] == [Halt, Halt]
    hook.calls.clear()
    gc.collect()
    assert [type(context["exception"]) for context in contexts] == [Halt, Halt]


# --- listeners --------------------------------------------------------------------------------------------------------


async def test_listeners_get_new_events() -> None:
    """Observers get each verified event once, before its handler; also an event without room, each time it is sent."""
    seen: list[str] = []
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET, queue_size=1) as receiver:
        receiver.add_listener(lambda event: seen.extend(texts([event])))
        await post(receiver, message_body("a"))
        assert (seen, gate.began) == (["a"], [])
        await ticks()
        for text in ("a", "b", "no room", "no room"):
            await post(receiver, message_body(text))
        await receiver.receive(message_body("forged"), "t=1,v1=00")
        gate.open()
    assert (await post(receiver, message_body("closed"))).status == 503
    assert seen == ["a", "b", "no room", "no room"]


async def test_a_listener_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a listener is reported; the other listeners and the handler get the event."""
    gate, hook = Gate(is_open=True), Hook()
    seen: list[Event] = []
    async with WebhookReceiver(gate, secret=SECRET, on_error=hook) as receiver:
        receiver.add_listener(lambda event: [][0])
        receiver.add_listener(seen.append)
        assert await post(receiver, message_body("Hi")) == OK
    assert (texts(seen), texts(gate.handled)) == (["Hi"], ["Hi"])
    assert (hook.errors, hook.texts) == ([IndexError], ["Hi"])
    assert "a listener raised: IndexError" in caplog.text
