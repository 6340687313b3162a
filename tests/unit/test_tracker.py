"""Following sent messages: by the events of a webhook."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    Channel,
    ConfigurationError,
    Contact,
    Conversation,
    MessageReceipt,
    MessageStatus,
    StatusTimeoutError,
    Team,
)
from callbell_async.models.receipts import has_reached, supersedes
from callbell_async.webhooks import MessageTracker, WebhookReceiver, parse_event
from tests.fixtures.strategies import quick
from tests.support.calls import ticks
from tests.support.webhooks import SECRET, SENT, Gate, handle, message_body, post, status_body

pytestmark = pytest.mark.virtual_time


async def test_a_message_is_followed_until_it_is_delivered() -> None:
    """A status event of the receiver ends the waiting; the receipt has the values of the event."""
    async with WebhookReceiver(Gate(is_open=True), secret=SECRET) as receiver:
        sent = MessageTracker(receiver).track(SENT)
        waiting = asyncio.ensure_future(sent.wait_for(MessageStatus.DELIVERED))
        await post(receiver, message_body())
        await post(receiver, status_body("u1", "sent"))
        await post(receiver, status_body("another", "delivered"))
        await ticks()
        assert not waiting.done()
        assert sent.status is MessageStatus.SENT
        await post(receiver, status_body("u1", "delivered", messageStatusPayload={"type": "delivered"}))
        receipt = await waiting
    assert (receipt.uuid, receipt.status) == ("u1", MessageStatus.DELIVERED)
    assert receipt.status_payload == {"type": "delivered"}
    assert receipt is sent.receipt


async def test_a_handler_may_wait_for_its_own_message() -> None:
    """Statuses reach the tracker when they arrive, and do not wait in the queue behind the handler."""
    tracker_of: list[MessageTracker] = []

    async def handler(event: object) -> None:
        if "MessageCreated" in repr(event):
            await tracker_of[0].track(SENT).wait_for(MessageStatus.DELIVERED)

    async with WebhookReceiver(handler, secret=SECRET) as receiver:
        tracker_of.append(MessageTracker(receiver))
        await post(receiver, message_body())
        await ticks()
        await post(receiver, status_body("u1", "delivered"))
    assert receiver.pending == 0


@pytest.mark.parametrize("respond_after", ["enqueue", "handler"])
async def test_a_handler_may_wait_while_the_queue_is_full(respond_after: Literal["enqueue", "handler"]) -> None:
    """The status for which a handler waits ends the waiting, also if the queue has no room for it."""
    waited_for: list[MessageReceipt] = []

    async def handler(event: object) -> None:
        if "MessageCreated" in repr(event):
            waited_for.append(await tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=5))

    async with WebhookReceiver(handler, secret=SECRET, queue_size=1, respond_after=respond_after) as receiver:
        tracker = MessageTracker(receiver)
        posts = []
        for text in ("in flight", "waiting"):
            posts.append(asyncio.ensure_future(post(receiver, message_body(text))))
            await ticks()
        assert (await post(receiver, status_body("u1", "delivered"))).status == 503
        assert [(await answer).status for answer in posts] == [200, 200]
    assert [receipt.status for receipt in waited_for] == [MessageStatus.DELIVERED, MessageStatus.DELIVERED]


async def test_a_tracker_can_be_the_handler() -> None:
    """A tracker can be the handler of a webhook that is used for tracking only."""
    tracker = MessageTracker()
    async with WebhookReceiver(tracker.handle_event, secret=SECRET, queue_size=1) as receiver:
        sent = tracker.track(SENT)
        for status in ("sent", "delivered", "read"):
            assert (await post(receiver, status_body("u1", status))).status == 200
            await ticks()
    assert sent.status is MessageStatus.READ


async def test_several_wait_for_one_message() -> None:
    """Several tasks may wait for one message; one that is cancelled does not affect the others."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    waiting = [
        asyncio.ensure_future(sent.wait_for(status))
        for status in (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ, MessageStatus.READ)
    ]
    await ticks()
    waiting[2].cancel()
    handle(tracker, "delivered")
    await ticks()
    assert [task.done() for task in waiting] == [True, True, True, False]
    handle(tracker, "read")
    assert (await waiting[3]).status is MessageStatus.READ


async def test_an_event_may_be_faster_than_the_receipt() -> None:
    """A status that arrives before the receipt is not lost."""
    tracker = MessageTracker()
    handle(tracker, "delivered")
    sent = tracker.track(SENT)
    assert (await sent.wait_for(MessageStatus.DELIVERED)).status is MessageStatus.DELIVERED


@pytest.mark.parametrize("statuses", [("sent", "mismatch"), ("mismatch", "sent")])
@pytest.mark.parametrize("seen_before", [0, 1, 2])
async def test_every_status_of_a_message_is_remembered(statuses: tuple[str, ...], seen_before: int) -> None:
    """Waiting for a status that the message had ends at once, whatever the order of statuses and receipt."""
    tracker = MessageTracker()
    for status in statuses[:seen_before]:
        handle(tracker, status)
    sent = tracker.track(SENT)
    waiting = asyncio.ensure_future(sent.wait_for(MessageStatus.SENT, timeout=5))
    await ticks()
    for status in statuses[seen_before:]:
        handle(tracker, status)
    await waiting
    assert sent.status is MessageStatus.MISMATCH


async def test_the_number_of_recent_messages_is_bounded() -> None:
    """The latest statuses of `max_recent` messages are kept, because a webhook reports the messages of all senders."""
    tracker = MessageTracker(max_recent=2)
    for uuid in ("u1", "u2"):
        handle(tracker, "sent", uuid)
    handle(tracker, "delivered", "u1")
    handle(tracker, "sent", "u3")
    statuses = [tracker.track(MessageReceipt(uuid)).status for uuid in ("u1", "u2", "u3")]
    assert statuses == [MessageStatus.DELIVERED, None, MessageStatus.SENT]


async def test_statuses_arrive_in_any_order() -> None:
    """The status of a message never goes backward."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "delivered")
    for late in ("sent", "enqueued", "mismatch", "something new"):
        handle(tracker, late)
    assert sent.status is MessageStatus.DELIVERED
    tracker = MessageTracker()
    for status in ("read", "sent"):
        handle(tracker, status)
    assert tracker.track(SENT).status is MessageStatus.READ


async def test_several_statuses_may_arrive_at_once() -> None:
    """A status ends the waiting, also if another one arrives before the waiting task runs."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    waiting = asyncio.ensure_future(sent.wait_for(MessageStatus.SENT))
    await ticks()
    handle(tracker, "sent")
    handle(tracker, "mismatch")
    assert (await waiting).status is MessageStatus.MISMATCH


async def test_a_failure_ends_the_waiting() -> None:
    """A failed message is returned, not raised, with the reason in its receipt."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "failed", messageStatusPayload={"type": "failed", "payload": {"reason": "no such number"}})
    handle(tracker, "read")
    receipt = await sent.wait_for(MessageStatus.READ)
    assert receipt.failure is not None
    assert receipt.failure.reason == "no such number"


@pytest.mark.parametrize("early", [False, True])
async def test_a_reason_may_come_after_the_failure(early: bool) -> None:
    """A failure without a reason is replaced by one with a reason, and not the reverse; also before the receipt."""
    tracker = MessageTracker()
    sent = None if early else tracker.track(SENT)
    for report in (
        None,
        {"type": "failed", "payload": {"reason": "no such number"}},
        None,
        {"payload": {"reason": "x"}},
    ):
        handle(tracker, "failed", messageStatusPayload=report)
    sent = sent or tracker.track(SENT)
    assert sent.receipt.failure is not None
    assert sent.receipt.failure.reason == "no such number"


async def test_a_deletion_ends_the_waiting() -> None:
    """A deleted message is returned; it has its status, and no failure."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "deleted")
    receipt = await sent.wait_for(MessageStatus.DELIVERED)
    assert (receipt.status, receipt.failure) == (MessageStatus.DELETED, None)


async def test_waiting_has_an_end() -> None:
    """After the timeout, the error has the latest receipt."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "sent")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StatusTimeoutError, match="is sent and did not become read in 7 s") as caught:
        await sent.wait_for(MessageStatus.READ, timeout=7)
    assert asyncio.get_running_loop().time() - began == 7
    assert caught.value.receipt is sent.receipt


async def test_contact_conversation_and_metadata_are_kept() -> None:
    """Contact, conversation and metadata of the first receipt are kept, unless an event has newer ones."""
    tracker = MessageTracker()
    first = MessageReceipt("u1", MessageStatus.ENQUEUED, contact=Contact(uuid="old"), metadata={"order": "old"})
    sent = tracker.track(first)
    handle(tracker, "sent")
    assert (sent.receipt.contact, sent.receipt.metadata) == (Contact(uuid="old"), {"order": "old"})
    handle(tracker, "delivered", contact={"uuid": "new"}, metadata={"order": "new"})
    assert sent.receipt.metadata == {"order": "new"}
    assert sent.receipt.contact is not None
    assert sent.receipt.contact.uuid == "new"


@pytest.mark.parametrize("early", [False, True])
async def test_a_tracker_keeps_no_raw_json(early: bool) -> None:
    """The untouched JSON of receipts and events is not kept, also not that of their contacts; all that was read from it is."""
    tracker = MessageTracker()
    contact = {"uuid": "c", "phoneNumber": "+31612345678", "team": {"uuid": "t"}, "channel": {"uuid": "w"}}
    first = MessageReceipt("u1", MessageStatus.ENQUEUED, conversation=Conversation(raw={"a": 1}), raw={"a": 1})
    sent = None if early else tracker.track(first)
    handle(tracker, "delivered", contact=contact)
    sent = sent or tracker.track(first)
    receipt = sent.receipt
    assert receipt.contact is not None
    assert receipt.contact.team == Team(uuid="t")
    assert receipt.contact.channel == Channel(uuid="w")
    assert isinstance(receipt.contact.channel, Channel)
    assert receipt.conversation is not None
    models: list[Any] = [receipt, receipt.contact, receipt.contact.team, receipt.contact.channel, receipt.conversation]
    assert [model.raw for model in models] == [{}] * 5


async def test_a_message_is_tracked_once() -> None:
    """The same message is always the same object; a later receipt updates it."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    assert tracker.track(MessageReceipt("u1", MessageStatus.SENT)) is sent
    assert sent.status is MessageStatus.SENT
    assert repr(sent) == "<TrackedMessage u1 sent>"


async def test_a_message_that_nobody_holds_is_forgotten() -> None:
    """A tracker does not grow with the number of messages; it keeps a message for which a task waits."""
    tracker = MessageTracker(max_recent=10)
    for number in range(100):
        tracker.track(MessageReceipt(f"m{number}"))
    gc.collect()
    assert tracker.tracking == 0
    waiting = asyncio.ensure_future(tracker.track(SENT).wait_for(MessageStatus.DELIVERED))
    await ticks()
    gc.collect()
    assert tracker.tracking == 1
    handle(tracker, "delivered")
    await waiting
    del waiting
    gc.collect()
    assert tracker.tracking == 0


async def test_other_events_are_ignored() -> None:
    """Events without a status or without a uuid change nothing."""
    tracker = MessageTracker()
    for body in (message_body(), b'{"event": "message_status_updated", "payload": {"status": "read"}}'):
        tracker.handle_event(parse_event(body))
    tracker.handle_event(parse_event(b'{"event": "message_status_updated", "payload": {"uuid": "u1"}}'))
    assert tracker.track(SENT).status is MessageStatus.ENQUEUED


# --- the order of statuses --------------------------------------------------------------------------------------------

STATUSES = [*MessageStatus, "something new", "something else", None]


@quick
@given(st.lists(st.sampled_from([*MessageStatus, "something new", "something else"]), max_size=8))
def test_a_status_once_reached_stays_reached(statuses: list[str]) -> None:
    """For statuses in any order: waiting for a status that the message has reached ends at once."""

    async def main() -> None:
        tracker = MessageTracker()
        sent = tracker.track(MessageReceipt("u1"))
        reached = set[MessageStatus]()
        for status in statuses:
            handle(tracker, status)
            reached.update(until for until in MessageStatus if has_reached(sent.status, until))
            for until in reached:
                assert await sent.wait_for(until, timeout=0) is sent.receipt

    asyncio.run(main())


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_does_not_supersede_itself(status: MessageStatus | str | None) -> None:
    """A status that is known changes nothing."""
    assert not supersedes(status, status)


def test_an_unknown_status_does_not_hide_a_delivery() -> None:
    """The latest of the statuses that Callbell adds is shown, unless the message was delivered."""
    assert supersedes("something new", MessageStatus.SENT)
    assert supersedes("something else", "something new")
    assert not supersedes("something new", MessageStatus.DELIVERED)
    assert supersedes(MessageStatus.DELIVERED, "something new")


def test_a_wrong_max_recent_is_refused() -> None:
    """A wrong number is refused when the tracker is built."""
    with pytest.raises(ConfigurationError, match="max_recent"):
        MessageTracker(max_recent=-1)
