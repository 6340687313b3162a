"""The receiver for any framework: its responses, the events that it passes on, and the errors that it survives."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from callbell_async import EventDecodeError
from callbell_async.webhooks import (
    Event,
    MessageCreated,
    ReceiverResponse,
    ReceiverStats,
    WebhookReceiver,
    sign,
)
from tests.support.calls import ticks
from tests.support.webhooks import OK, SECRET, Gate, Hook, message_body, post, texts

pytestmark = pytest.mark.virtual_time


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
