"""A receiver that answers when the handler has returned: Callbell sends again what was not handled."""

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
    """A receiver of this kind."""
    return WebhookReceiver(handler, secret=SECRET, respond_after="handler", **options)


def posting(receiver: WebhookReceiver, text: str) -> asyncio.Task[ReceiverResponse]:
    """A post that is under way."""
    return asyncio.ensure_future(post(receiver, message_body(text)))


async def test_the_answer_waits_for_the_handler() -> None:
    """Nothing is answered before the handler has returned."""
    gate = Gate()
    async with handled_receiver(gate) as receiver:
        answer = posting(receiver, "Hi")
        await ticks()
        assert len(gate.began) == 1
        assert not answer.done()
        gate.open()
        assert (await answer).status == 200
        assert len(gate.handled) == 1


async def test_an_event_whose_handler_raised_is_not_seen() -> None:
    """500; when Callbell sends it again it is handled again, and only then is it a duplicate."""
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


async def test_an_observer_sees_again_what_was_not_handled() -> None:
    """An event that is tried again is shown again; a duplicate of a handled one is not."""
    seen: list[Event] = []
    results = iter([ValueError, None])

    def handler(event: Event) -> None:
        if error := next(results):
            raise error

    async with handled_receiver(handler) as receiver:
        receiver.observe(seen.append)
        for _ in range(3):
            await post(receiver, message_body())
    assert len(seen) == 2


@pytest.mark.parametrize(("fails", "status"), [(False, 200), (True, 500)])
async def test_a_duplicate_shares_the_answer_of_the_first(fails: bool, status: int) -> None:
    """One that comes while the event is handled waits for the end of that, and gets the same answer."""
    gate = Gate()

    async def handler(event: Event) -> None:
        await gate(event)
        if fails:
            raise ValueError

    async with handled_receiver(handler) as receiver:
        answers = [posting(receiver, "Hi") for _ in range(3)]
        await ticks()
        assert len(gate.began) == 1
        assert not any(answer.done() for answer in answers)
        gate.open()
        assert [(await answer).status for answer in answers] == [status] * 3
    assert len(gate.began) == 1


async def test_a_full_queue_does_not_keep_a_duplicate_out() -> None:
    """It takes no place: it waits for the event that has one."""
    gate = Gate()
    async with handled_receiver(gate, queue_size=1) as receiver:
        answers = []
        for text in ("first", "second", "third", "second", "first"):
            answers.append(posting(receiver, text))
            await ticks()
        gate.open()
        assert [(await answer).status for answer in answers] == [200, 200, 503, 200, 200]
    assert texts(gate.handled) == ["first", "second"]


async def test_a_request_that_is_given_up_leaves_the_others_alone() -> None:
    """Its event is handled, and a duplicate gets its answer."""
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


async def test_what_is_handled_late_counts_as_seen_from_then_on() -> None:
    """The window for duplicates begins when the handler has returned."""
    gate = Gate()
    async with handled_receiver(gate, dedupe_seconds=60) as receiver:
        answer = posting(receiver, "Hi")
        await asyncio.sleep(100)
        gate.open()
        await answer
        await asyncio.sleep(59)
        await post(receiver, message_body("Hi"))
        assert len(gate.handled) == 1
        await asyncio.sleep(1)
        await post(receiver, message_body("Hi"))
    assert len(gate.handled) == 2


async def test_what_is_not_handled_before_the_end_is_sent_again() -> None:
    """503 for what waits and for what is under way; both are reported, and neither counts as seen."""
    hook = Hook()
    receiver = handled_receiver(Gate(), drain_timeout=5.0, on_error=hook)
    answers = [posting(receiver, text) for text in ("under way", "waiting")]
    await ticks()
    await receiver.close()
    assert [(await answer).status for answer in answers] == [503, 503]
    assert (hook.errors, hook.texts) == ([EventNotHandledError] * 2, ["under way", "waiting"])
    assert (await post(receiver, message_body("waiting"))).status == 503
