"""The receiver for any framework: its responses, the events that it passes on, and the errors that it survives."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from callbell_async import ConfigurationError, EventDecodeError
from callbell_async.webhooks import (
    Event,
    MessageCreated,
    ReceiverResponse,
    ReceiverStats,
    WebhookReceiver,
    sign,
    verify_signature,
)
from callbell_async.webhooks.options import ReceiverOptions
from tests.support.calls import ticks
from tests.support.webhooks import SECRET, Gate, Hook, message_body, post, post_at_once, texts

pytestmark = pytest.mark.virtual_time

OK = ReceiverResponse(200, b'{"status": "ok"}', {"content-type": "application/json"})


def statuses(responses: list[ReceiverResponse]) -> list[int]:
    """The statuses of these responses."""
    return [response.status for response in responses]


# --- responses --------------------------------------------------------------------------------------------------------


async def test_an_event_is_handled() -> None:
    """Callbell gets the response that it expects, and the handler gets the event."""
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, secret=SECRET) as receiver:
        assert await post(receiver, message_body("Hi")) == OK
    assert texts(gate.handled) == ["Hi"]


async def test_the_response_does_not_wait_for_the_handler() -> None:
    """By default the response is sent when the event is in the queue, however long its handler takes."""
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET) as receiver:
        assert await post(receiver, message_body()) == OK
        assert receiver.pending == 1
        gate.open()
    assert receiver.pending == 0


async def test_a_plain_function_handles_too() -> None:
    """A handler may be a plain function."""
    handled: list[Event] = []
    async with WebhookReceiver(handled.append, unsigned=True) as receiver:
        assert await receiver.receive(message_body("Hi")) == OK
    assert texts(handled) == ["Hi"]


async def test_a_bad_signature_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong signature gets 401; the reason is logged, and the hook is not called, because anybody can send such a request."""
    gate, hook = Gate(is_open=True), Hook()
    async with WebhookReceiver(gate, secret=SECRET, on_error=hook) as receiver:
        assert (await receiver.receive(message_body())).status == 401
        assert (await post(receiver, message_body(), secret="whsec_another")).status == 401
    assert (gate.began, hook.calls) == ([], [])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "the request has no signature" in caplog.text


async def test_signatures_go_by_the_clock_given() -> None:
    """The age of a signature is measured by `clock`, up to `tolerance`."""
    now = 1000.0
    receiver = WebhookReceiver(Gate(), secret=SECRET, tolerance=10, clock=lambda: now)
    signature = sign(message_body(), SECRET, now=1000.0)
    now = 1011.0
    assert (await receiver.receive(message_body(), signature)).status == 401
    now = 1010.0
    assert (await receiver.receive(message_body(), signature)).status == 200
    await receiver.close()


async def test_one_of_several_secrets_suffices() -> None:
    """While a secret is rotated, the old and the new one are accepted."""
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, secret=["whsec_new", SECRET]) as receiver:
        assert await post(receiver, message_body("old"), secret=SECRET) == OK
        assert await post(receiver, message_body("new"), secret="whsec_new") == OK
    assert texts(gate.handled) == ["old", "new"]


async def test_secrets_are_copied() -> None:
    """The secrets of an iterator or a list are valid for every request, also when the list is changed afterwards."""
    given = ["whsec_new", SECRET]
    for secrets in (iter(given), given):
        gate = Gate(is_open=True)
        async with WebhookReceiver(gate, secret=secrets) as receiver:  # type: ignore[arg-type]
            given.clear()
            assert await post(receiver, message_body("old"), secret=SECRET) == OK
            assert await post(receiver, message_body("new"), secret="whsec_new") == OK
        assert len(gate.handled) == 2
        given.extend(["whsec_new", SECRET])


async def test_a_probe_gets_200() -> None:
    """A probe gets 200, also while the receiver is closed; nothing is handled or reported."""
    gate, hook = Gate(), Hook()
    receiver = WebhookReceiver(gate, secret=SECRET, on_error=hook)
    assert await receiver.receive(b"") == OK
    await receiver.close()
    assert await receiver.receive(b"{}") == OK
    assert (gate.began, hook.calls) == ([], [])


async def test_an_unreadable_body_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A signed body that can't be read gets 200, because a second delivery would not help; the hook gets the error, the log no content."""
    hook = Hook()
    async with WebhookReceiver(Gate(), secret=SECRET, on_error=hook) as receiver:
        assert await post(receiver, b'{"event": 7, "text": "hush"}') == OK
    assert hook.errors == [EventDecodeError]
    assert hook.calls[0][1] is None
    assert "can't be read: EventDecodeError" in caplog.text
    assert "hush" not in caplog.text


async def test_a_body_over_the_limit_is_refused() -> None:
    """A body over `max_body` gets 413, whatever its signature."""
    body = message_body()
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, unsigned=True, max_body=len(body)) as receiver:
        assert (await receiver.receive(body + b" ")).status == 413
        assert await receiver.receive(body) == OK
    assert len(gate.handled) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"half \\ud83c a character",
        b"a byte \xff that is not UTF-8",
        b"a line\nbreak",
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_a_bad_character_does_not_cost_the_event(text: bytes, mark: bytes) -> None:
    """An event with half a character, a wrong byte, a byte order mark or `NaN` reaches the handler, once."""
    gate, hook = Gate(is_open=True), Hook()
    body = (
        mark
        + b'{"event": "message_created", "payload": {"uuid": "u", "status": "received", "size": NaN, "text": "%s"}}'
        % text
    )
    async with WebhookReceiver(gate, secret=SECRET, on_error=hook) as receiver:
        assert [await post(receiver, body) for _ in range(2)] == [OK, OK]
    assert (len(gate.handled), hook.calls) == (1, [])
    (event,) = gate.handled
    assert isinstance(event, MessageCreated)
    assert (event.uuid, event.is_incoming) == ("u", True)
    assert event.text is not None
    assert event.text.split()[0] == text.decode("ascii", "ignore").split()[0]


async def test_a_payload_without_its_envelope_is_reported() -> None:
    """The inner payload, as Callbell's dashboard shows it, is not a probe: the hook gets an error that names the missing envelope."""
    hook = Hook()
    async with WebhookReceiver(Gate(), unsigned=True, on_error=hook) as receiver:
        assert await receiver.receive(b'{"from": "331", "to": "332", "text": "Hi", "status": "received"}') == OK
        assert receiver.stats.unreadable == 1
    assert hook.errors == [EventDecodeError]
    assert '{"event": "message_created", "payload": …}' in str(hook.calls[0][0])


# --- before the body is read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "head", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("POST", {}, None),
        ("POST", {"content_length": 1000, "content_encoding": "identity"}, None),
        ("POST", {"content_length": 1001}, 413),
        ("POST", {"content_encoding": "gzip"}, 415),
        ("POST", {"content_encoding": "identity, br"}, 415),
        ("PUT", {}, 405),
        ("post", {}, 405),
    ],
)
async def test_a_request_is_checked_before_its_body(method: str, head: dict[str, Any], status: int | None) -> None:
    """Any framework can ask for the response to a request whose body need not be read; a refusal is counted."""
    receiver = WebhookReceiver(Gate(), secret=SECRET, max_body=1000)
    response = receiver.check_request(method, **head)
    assert (response and response.status) == status
    assert receiver.stats.refused == (status in (405, 413, 415))


async def chunks(*parts: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A body in parts, with a pause before each."""
    for part in parts:
        await asyncio.sleep(pause)
        yield part


async def test_a_body_is_read_in_parts() -> None:
    """A body is read up to `max_body` bytes (413) and for at most `read_timeout` seconds (408)."""
    receiver = WebhookReceiver(Gate(), secret=SECRET, max_body=10, read_timeout=5.0)
    assert await receiver.read_body(chunks(b"12345", b"67890", pause=2.0)) == b"1234567890"
    began = asyncio.get_running_loop().time()
    slow = await receiver.read_body(chunks(b"1", b"2", b"3", pause=2.0))
    assert asyncio.get_running_loop().time() - began == 5.0
    large = await receiver.read_body(chunks(b"12345", b"67890", b"1"))
    assert isinstance(slow, ReceiverResponse)
    assert isinstance(large, ReceiverResponse)
    assert (slow.status, large.status, receiver.stats.refused) == (408, 413, 2)


async def test_a_timeout_of_the_framework_is_not_the_receiver_s() -> None:
    """A `TimeoutError` that a framework raises while a body is read is raised; without a limit a body may take any time."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"1"
        raise TimeoutError("the framework's")

    receiver = WebhookReceiver(Gate(), secret=SECRET, read_timeout=math.inf)
    with pytest.raises(TimeoutError, match="the framework's"):
        await receiver.read_body(broken())
    assert await receiver.read_body(chunks(b"1", pause=1e6)) == b"1"


# --- counters ---------------------------------------------------------------------------------------------------------


async def test_a_receiver_counts_what_it_does(caplog: pytest.LogCaptureFixture) -> None:
    """The counters show refused, unreadable, duplicate, handled, failed and pending events, and those without room."""
    gate = Gate()

    async def handler(event: Event) -> None:
        await gate(event)
        if texts([event]) == ["bad"]:
            raise ValueError

    receiver = WebhookReceiver(handler, secret=SECRET, queue_size=2, drain_timeout=1.0)
    for text in ("good", "good", "bad", "waiting", "no room"):
        await post(receiver, message_body(text))
        await ticks()
    await receiver.receive(message_body("forged"), "t=1,v1=00")
    await receiver.receive(b"")
    await post(receiver, b"{")
    receiver.check_request("PUT")
    counted = {"received": 9, "refused": 2, "unreadable": 1, "duplicates": 1, "unavailable": 1}
    size = sum(len(message_body(text)) for text in ("good", "bad", "waiting"))
    assert receiver.stats == ReceiverStats(**counted, handled=0, failed=0, pending=3, pending_bytes=size)
    gate.open()
    await ticks()
    assert receiver.stats == ReceiverStats(**counted, handled=2, failed=1, pending=0, pending_bytes=0)
    await receiver.close()


# --- duplicates -------------------------------------------------------------------------------------------------------


async def test_a_duplicate_is_not_handled() -> None:
    """A second delivery of an event, with a new signature, gets 200 and is not handled."""
    now = 1000.0
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, secret=SECRET, clock=lambda: now) as receiver:
        for now in (1000.0, 1001.0, 1002.0):
            assert await receiver.receive(message_body("Hi"), sign(message_body("Hi"), SECRET, now=now)) == OK
        assert await receiver.receive(message_body("Ho"), sign(message_body("Ho"), SECRET, now=now)) == OK
    assert texts(gate.handled) == ["Hi", "Ho"]


async def test_a_duplicate_is_recognised_for_a_time() -> None:
    """After `dedupe_seconds` an equal event is a new one."""
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, secret=SECRET, dedupe_seconds=60) as receiver:
        await post(receiver, message_body())
        await asyncio.sleep(59)
        await post(receiver, message_body())
        await ticks()
        assert len(gate.handled) == 1
        await asyncio.sleep(1)
        await post(receiver, message_body())
    assert len(gate.handled) == 2


async def test_the_number_of_keys_is_bounded() -> None:
    """Of more than `dedupe_size` keys the oldest is dropped."""
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, secret=SECRET, dedupe_size=2) as receiver:
        for text in ("a", "b", "a", "c", "a"):
            await post(receiver, message_body(text))
    assert texts(gate.handled) == ["a", "b", "c", "a"]


# --- the queue --------------------------------------------------------------------------------------------------------


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
        await ticks(2)
        loop.call_soon(seen.append, "another")
    assert seen == ["0", "another", "1", "2", "3"]


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
    assert seen == ["0", "1", "another", "2", "3"]


async def test_a_handler_does_not_run_in_the_request_s_context() -> None:
    """A handler has the context variables of the receiver, not those of a request."""
    variable = contextvars.ContextVar("variable", default="the receiver's")
    seen: list[str] = []
    receiver = WebhookReceiver(lambda event: seen.append(variable.get()), secret=SECRET)
    variable.set("the request's")
    await post(receiver, message_body())
    await receiver.close()
    assert seen == ["the receiver's"]


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
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    await post(receiver, message_body("1"))
    await post(receiver, message_body("2"))
    await ticks()
    assert hook.texts == ["1", "2"]
    assert [type(error.__cause__) for error, _ in hook.calls] == [Halt, Halt]
    hook.calls.clear()
    gc.collect()
    assert [type(context["exception"]) for context in told] == [Halt, Halt]


# --- observers --------------------------------------------------------------------------------------------------------


async def test_observers_get_new_events() -> None:
    """Observers get each verified event once, before its handler; also an event without room, each time it is sent."""
    seen: list[str] = []
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET, queue_size=1) as receiver:
        receiver.observe(lambda event: seen.extend(texts([event])))
        await post(receiver, message_body("a"))
        assert (seen, gate.began) == (["a"], [])
        await ticks()
        for text in ("a", "b", "no room", "no room"):
            await post(receiver, message_body(text))
        await receiver.receive(message_body("forged"), "t=1,v1=00")
        gate.open()
    assert (await post(receiver, message_body("closed"))).status == 503
    assert seen == ["a", "b", "no room", "no room"]


async def test_an_observer_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of an observer is reported; the other observers and the handler get the event."""
    gate, hook = Gate(is_open=True), Hook()
    seen: list[Event] = []
    async with WebhookReceiver(gate, secret=SECRET, on_error=hook) as receiver:
        receiver.observe(lambda event: [][0])
        receiver.observe(seen.append)
        assert await post(receiver, message_body("Hi")) == OK
    assert (texts(seen), texts(gate.handled)) == (["Hi"], ["Hi"])
    assert (hook.errors, hook.texts) == ([IndexError], ["Hi"])
    assert "an observer raised: IndexError" in caplog.text


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("handler", "a string"),
        ("secret", ""),
        ("secret", " "),
        ("secret", []),
        ("secret", None),
        ("secret", 5),
        ("secret", b"whsec_x"),
        ("secret", [SECRET, None]),
        ("respond_after", "later"),
        ("queue_size", 0),
        ("queue_size", math.inf),
        ("concurrency", 0),
        ("concurrency", True),
        ("max_body", 0),
        ("max_queue_bytes", 1024 * 1024 - 1),
        ("max_queue_bytes", "16 MiB"),
        ("read_timeout", 0),
        ("read_timeout", None),
        ("unsigned", True),
        ("unsigned", "no"),
        ("dedupe_size", -1),
        ("dedupe_seconds", -1.0),
        ("dedupe_seconds", math.nan),
        ("tolerance", -1.0),
        ("tolerance", None),
        ("drain_timeout", -1.0),
        ("on_error", "a string"),
        ("on_error", Gate.__call__),
        ("on_error", Gate()),
    ],
)
def test_a_wrong_argument_is_refused_at_once(name: str, value: Any) -> None:
    """A wrong argument is named when the receiver is built, not when an event arrives."""
    arguments: dict[str, Any] = {"handler": print, "secret": SECRET, name: value}
    with pytest.raises(ConfigurationError, match=name):
        WebhookReceiver(**arguments)


@pytest.mark.parametrize("arguments", [{}, {"secret": None}, {"secret": None, "unsigned": False}])
def test_a_missing_secret_is_refused(arguments: dict[str, Any]) -> None:
    """A variable that is not set (`os.environ.get`) never opens a webhook to everybody: only `unsigned=True` does."""
    with pytest.raises(ConfigurationError, match=r"secret: is missing.*environment variable.*unsigned=True"):
        WebhookReceiver(Gate(), **arguments)


@pytest.mark.parametrize("form", ["{}\n", " {}\r\n", "\ufeff{}", "\t{} "])
@pytest.mark.parametrize("several", [False, True])
async def test_blanks_around_a_secret_are_removed(form: str, several: bool) -> None:
    """A secret from a file or from the environment may have a line break, blanks or a byte order mark around it."""
    written = form.format(SECRET)
    receiver = WebhookReceiver(Gate(is_open=True), secret=["whsec_old\n", written] if several else written)
    assert await post(receiver, message_body(), secret=SECRET) == OK
    assert (await post(receiver, message_body(), secret="whsec_other")).status == 401
    await receiver.close()


@pytest.mark.parametrize("form", ['"{}"', "'{}'", '{}"', "CALLBELL_WEBHOOK_SECRET={}", "export SECRET={}\n"])
@pytest.mark.parametrize("build", [WebhookReceiver, lambda secret: verify_signature(b"", None, secret)])
def test_a_secret_with_something_around_it_is_refused(form: str, build: Any) -> None:
    """Quotation marks and `NAME=` are not part of a secret; the error names the remedy and does not quote the secret."""
    with pytest.raises(ConfigurationError, match=r"secret: has (quotation marks|the form NAME=value)") as caught:
        build(secret=form.format(SECRET))
    assert SECRET not in f"{caught.value!s}{caught.value!r}"
    assert SECRET not in f"{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_an_observer_must_be_a_plain_function() -> None:
    """A coroutine function is refused, because it would never run."""
    for function in (Gate.__call__, Gate(), "a string"):
        with pytest.raises(ConfigurationError, match="observer"):
            WebhookReceiver(unsigned=True).observe(function)  # type: ignore[arg-type]


def test_the_options_are_those_of_the_receiver() -> None:
    """The options of the routes have the names and the types of the receiver's."""
    parameters = {
        name: parameter.annotation
        for name, parameter in inspect.signature(WebhookReceiver).parameters.items()
        if name not in {"handler", "secret"}
    }
    assert "unsigned" in parameters
    assert {name: kind.__forward_arg__ for name, kind in ReceiverOptions.__annotations__.items()} == parameters


def test_the_secret_is_in_no_repr() -> None:
    """The secret is not in the repr of a receiver."""
    assert SECRET not in repr(WebhookReceiver(secret=SECRET))


async def test_the_secret_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """The secret is not in the log at any level, whatever is received."""
    caplog.set_level(logging.DEBUG)
    async with WebhookReceiver(Gate(is_open=True), secret=SECRET) as receiver:
        for body in (message_body(), b"{", b"{}"):
            await post(receiver, body)
            await receiver.receive(body, "t=1,v1=00")
    assert caplog.records
    assert SECRET not in caplog.text
