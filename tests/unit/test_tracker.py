"""What becomes of a sent message: by a webhook's events, by polling, or by both."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    CallbellError,
    Channel,
    ConfigurationError,
    Contact,
    Conversation,
    MessageReceipt,
    MessageStatus,
    StatusTimeoutError,
    Team,
)
from callbell_async.models.message_status import has_reached, supersedes
from callbell_async.webhooks import MessageTracker, WebhookReceiver, parse_event
from tests.fixtures.strategies import quick
from tests.support.calls import ticks
from tests.support.webhooks import SECRET, Gate, message_body, post, status_body

pytestmark = pytest.mark.virtual_time

SENT = MessageReceipt("u1", MessageStatus.ENQUEUED)


def handle(tracker: MessageTracker, status: str, uuid: str = "u1", **more: Any) -> None:
    """Show a tracker a status event."""
    tracker.handle_event(parse_event(status_body(uuid, status, **more)))


class Poll:
    """A `callbell.messages.status` that gives these statuses, the last again and again; an exception is raised."""

    def __init__(self, *statuses: str | Exception) -> None:
        self._statuses = list(statuses)
        self.looks: list[float] = []

    async def __call__(self, uuid: str) -> MessageReceipt:
        """Give the next status."""
        self.looks.append(asyncio.get_running_loop().time())
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if isinstance(status, Exception):
            raise status
        return MessageReceipt(uuid, MessageStatus(status))


def since(began: float, moments: Iterable[float]) -> list[float]:
    """These moments, in seconds from the beginning on."""
    return [round(moment - began, 3) for moment in moments]


# --- by a webhook -----------------------------------------------------------------------------------------------------


async def test_a_message_is_followed_until_it_is_delivered() -> None:
    """The status event that a receiver takes ends the waiting; the receipt says all that the event said."""
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


async def test_a_handler_may_wait_for_the_message_it_answers_with() -> None:
    """Statuses reach the tracker when they arrive, and do not queue behind the handler."""
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
    """The status it waits for finds no room in the queue, and ends its waiting all the same."""
    waited_for: list[MessageReceipt] = []

    async def handler(event: object) -> None:
        if "MessageCreated" in repr(event):
            waited_for.append(await tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=5))

    async with WebhookReceiver(handler, secret=SECRET, queue_size=1, respond_after=respond_after) as receiver:
        tracker = MessageTracker(receiver)
        posts = []
        for text in ("under way", "waiting"):
            posts.append(asyncio.ensure_future(post(receiver, message_body(text))))
            await ticks()
        assert (await post(receiver, status_body("u1", "delivered"))).status == 503
        assert [(await answer).status for answer in posts] == [200, 200]
    assert [receipt.status for receipt in waited_for] == [MessageStatus.DELIVERED, MessageStatus.DELIVERED]


async def test_a_tracker_can_be_the_handler() -> None:
    """Where tracking is all that a webhook is for, nothing queues up."""
    tracker = MessageTracker()
    async with WebhookReceiver(tracker.handle_event, secret=SECRET, queue_size=1) as receiver:
        sent = tracker.track(SENT)
        for status in ("sent", "delivered", "read"):
            assert (await post(receiver, status_body("u1", status))).status == 200
            await ticks()
    assert sent.status is MessageStatus.READ


async def test_several_wait_for_one_message() -> None:
    """Each for a status of its own; one that goes away leaves the others alone."""
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


async def test_a_webhook_may_be_faster_than_the_answer() -> None:
    """What was said of a message before its receipt came is not lost."""
    tracker = MessageTracker()
    handle(tracker, "delivered")
    sent = tracker.track(SENT)
    assert (await sent.wait_for(MessageStatus.DELIVERED)).status is MessageStatus.DELIVERED


@pytest.mark.parametrize("statuses", [("sent", "mismatch"), ("mismatch", "sent")])
@pytest.mark.parametrize("seen_before", [0, 1, 2])
async def test_what_a_message_passed_is_not_forgotten(statuses: tuple[str, ...], seen_before: int) -> None:
    """Who waits for a status that it has had does not wait, whatever came before or after it, and whenever its receipt came."""
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


async def test_only_so_many_unknown_messages_are_remembered() -> None:
    """Those of which the latest news came, for an account's webhook tells of messages that others sent."""
    tracker = MessageTracker(max_recent=2)
    for uuid in ("u1", "u2"):
        handle(tracker, "sent", uuid)
    handle(tracker, "delivered", "u1")
    handle(tracker, "sent", "u3")
    statuses = [tracker.track(MessageReceipt(uuid)).status for uuid in ("u1", "u2", "u3")]
    assert statuses == [MessageStatus.DELIVERED, None, MessageStatus.SENT]


async def test_statuses_come_in_any_order() -> None:
    """A message never goes backward."""
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


async def test_news_may_come_all_at_once() -> None:
    """What comes before a waiter has its turn is not lost, and what it waited for is not hidden by what came after."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    waiting = asyncio.ensure_future(sent.wait_for(MessageStatus.SENT))
    await ticks()
    handle(tracker, "sent")
    handle(tracker, "mismatch")
    assert (await waiting).status is MessageStatus.MISMATCH


async def test_a_failure_is_an_end() -> None:
    """It is returned, not raised, and says why."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "failed", messageStatusPayload={"type": "failed", "payload": {"reason": "no such number"}})
    handle(tracker, "read")
    receipt = await sent.wait_for(MessageStatus.READ)
    assert receipt.failure is not None
    assert receipt.failure.reason == "no such number"


@pytest.mark.parametrize("early", [False, True])
async def test_a_reason_may_come_after_the_failure(early: bool) -> None:
    """A failure that said no reason is replaced by one that does, and not the other way round; before the receipt, too."""
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


async def test_a_deleted_message_is_an_end() -> None:
    """It is returned; only its status tells it from one that was delivered, for it did not fail."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "deleted")
    receipt = await sent.wait_for(MessageStatus.DELIVERED)
    assert (receipt.status, receipt.failure) == (MessageStatus.DELETED, None)


async def test_waiting_has_an_end() -> None:
    """After the time allowed it is told how far the message had come."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    handle(tracker, "sent")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StatusTimeoutError, match="is sent and did not become read in 7 s") as caught:
        await sent.wait_for(MessageStatus.READ, timeout=7)
    assert asyncio.get_running_loop().time() - began == 7
    assert caught.value.receipt is sent.receipt


async def test_what_was_asked_for_with_the_message_is_kept() -> None:
    """Contact and conversation of the first receipt, unless an event has a newer one."""
    tracker = MessageTracker()
    sent = tracker.track(MessageReceipt("u1", MessageStatus.ENQUEUED, contact=Contact(uuid="old")))
    handle(tracker, "sent")
    assert sent.receipt.contact == Contact(uuid="old")
    handle(tracker, "delivered", contact={"uuid": "new"})
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
    """The same object for the same message; a receipt with news is news."""
    tracker = MessageTracker()
    sent = tracker.track(SENT)
    assert tracker.track(MessageReceipt("u1", MessageStatus.SENT)) is sent
    assert sent.status is MessageStatus.SENT
    assert repr(sent) == "<TrackedMessage u1 sent>"


async def test_what_nobody_holds_is_forgotten() -> None:
    """A tracker does not grow with the messages sent; one that is waited for is held."""
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


async def test_events_that_name_no_message_are_left_alone() -> None:
    """Whatever they are."""
    tracker = MessageTracker()
    for body in (message_body(), b'{"event": "message_status_updated", "payload": {"status": "read"}}'):
        tracker.handle_event(parse_event(body))
    tracker.handle_event(parse_event(b'{"event": "message_status_updated", "payload": {"uuid": "u1"}}'))
    assert tracker.track(SENT).status is MessageStatus.ENQUEUED


# --- by polling -------------------------------------------------------------------------------------------------------


async def test_without_a_webhook_it_looks() -> None:
    """At once, after a second, and then after longer and longer pauses."""
    poll = Poll("enqueued", "sent", "sent", "delivered")
    began = asyncio.get_running_loop().time()
    receipt = await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED)
    assert receipt.status is MessageStatus.DELIVERED
    assert since(began, poll.looks) == [0, 1, 2.5, 4.75]


async def test_looking_ends_in_time_too() -> None:
    """No look comes after the time allowed, and the pauses are 30 seconds at the most."""
    poll = Poll("sent")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StatusTimeoutError):
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=200)
    pauses = [after - before for before, after in zip(poll.looks, poll.looks[1:], strict=False)]
    assert max(pauses) == 30
    assert poll.looks[-1] - began <= 200


@pytest.mark.parametrize("timeout", [0.9, 10, 60])
async def test_looking_lasts_as_long_as_it_may(timeout: float) -> None:
    """It gives up when the time is over and not before, and has looked a last time in the last tenth of it."""
    poll = Poll("sent")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StatusTimeoutError, match=f"in {timeout:g} s"):
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=timeout)
    assert loop.time() - began == pytest.approx(timeout)
    assert 0.9 * timeout <= round(poll.looks[-1] - began, 6) < timeout


async def test_the_last_look_may_find_it() -> None:
    """What came true late in the time allowed is no timeout."""
    poll = Poll("enqueued", "sent", "delivered")
    assert (await MessageTracker(poll=poll).track(SENT).wait_for(timeout=2)).status is MessageStatus.DELIVERED


async def test_an_event_may_come_after_the_last_look() -> None:
    """Until the time is over, what a tracker is shown is heard."""
    tracker = MessageTracker(poll=Poll("sent"))
    waiting = asyncio.ensure_future(tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=60))
    await asyncio.sleep(59.9)
    handle(tracker, "delivered")
    assert (await waiting).status is MessageStatus.DELIVERED


async def test_no_time_is_one_look() -> None:
    """With a timeout of 0 it is asked once how far the message is."""
    poll = Poll("sent")
    with pytest.raises(StatusTimeoutError):
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=0)
    assert len(poll.looks) == 1


async def test_a_slow_look_ends_in_time() -> None:
    """A look that isn't answered is given up when the time is over; the last receipt is told all the same."""

    async def poll(uuid: str) -> MessageReceipt:
        await asyncio.sleep(1000)
        return MessageReceipt(uuid, MessageStatus.READ)

    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StatusTimeoutError) as caught:
        await MessageTracker(poll=poll).track(SENT).wait_for(MessageStatus.DELIVERED, timeout=5)
    assert loop.time() - began == 5
    assert caught.value.receipt == SENT


async def test_a_timeout_of_a_look_is_raised() -> None:
    """A look that says itself that it took too long is a failure like any other."""
    with pytest.raises(TimeoutError, match="slow"):
        await MessageTracker(poll=Poll(TimeoutError("slow"))).track(SENT).wait_for(MessageStatus.DELIVERED)


async def test_what_is_known_needs_no_look() -> None:
    """Nobody is asked for what is there."""
    poll = Poll("enqueued")
    sent = MessageTracker(poll=poll).track(MessageReceipt("u1", MessageStatus.READ))
    assert (await sent.wait_for(MessageStatus.DELIVERED)).status is MessageStatus.READ
    assert poll.looks == []


async def test_an_event_ends_a_pause_between_looks() -> None:
    """A tracker that is shown events from elsewhere does not wait for its next look."""
    poll = Poll("sent")
    tracker = MessageTracker(poll=poll)
    waiting = asyncio.ensure_future(tracker.track(SENT).wait_for(MessageStatus.DELIVERED))
    await asyncio.sleep(0.5)
    handle(tracker, "delivered")
    assert (await waiting).status is MessageStatus.DELIVERED
    assert len(poll.looks) == 1


async def test_what_a_look_raises_is_raised() -> None:
    """Polling is all there is, so its failure is the caller's to see."""
    with pytest.raises(CallbellError, match="broken"):
        await MessageTracker(poll=Poll(CallbellError("broken"))).track(SENT).wait_for(MessageStatus.DELIVERED)


# --- by both ----------------------------------------------------------------------------------------------------------


async def test_one_look_finds_what_the_webhook_missed() -> None:
    """When the time is over, and not before."""
    poll = Poll("read")
    tracker = MessageTracker(WebhookReceiver(secret=SECRET), poll=poll)
    began = asyncio.get_running_loop().time()
    receipt = await tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=9)
    assert receipt.status is MessageStatus.READ
    assert since(began, poll.looks) == [9]


async def test_no_look_is_needed_where_the_webhook_told() -> None:
    """Nobody is asked for what came by itself."""
    poll = Poll("read")
    tracker = MessageTracker(WebhookReceiver(secret=SECRET), poll=poll)
    sent = tracker.track(SENT)
    handle(tracker, "delivered")
    await sent.wait_for(MessageStatus.DELIVERED)
    assert poll.looks == []


async def test_the_last_look_may_find_no_more() -> None:
    """Then the time is over; a look that fails is told as the reason, not instead."""
    for poll, cause in ((Poll("sent"), type(None)), (Poll(CallbellError("broken")), CallbellError)):
        tracker = MessageTracker(WebhookReceiver(secret=SECRET), poll=poll)
        with pytest.raises(StatusTimeoutError) as caught:
            await tracker.track(SENT).wait_for(MessageStatus.DELIVERED, timeout=5)
        assert isinstance(caught.value.__cause__, cause)


# --- what is news -----------------------------------------------------------------------------------------------------

STATUSES = [*MessageStatus, "something new", "something else", None]


@quick
@given(st.lists(st.sampled_from([*MessageStatus, "something new", "something else"]), max_size=8))
def test_a_status_once_reached_stays_reached(statuses: list[str]) -> None:
    """Whatever comes in whatever order: who waits for a status that the message has reached does not wait."""

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
def test_nothing_is_news_twice(status: MessageStatus | str | None) -> None:
    """A status that is known says nothing new."""
    assert not supersedes(status, status)


def test_what_is_not_known_replaces_only_less_than_a_delivery() -> None:
    """A status that Callbell adds is shown, the latest of several, and hides no delivery."""
    assert supersedes("something new", MessageStatus.SENT)
    assert supersedes("something else", "something new")
    assert not supersedes("something new", MessageStatus.DELIVERED)
    assert supersedes(MessageStatus.DELIVERED, "something new")


def test_a_wrong_number_to_remember_is_refused() -> None:
    """When the tracker is built."""
    with pytest.raises(ConfigurationError, match="max_recent"):
        MessageTracker(max_recent=-1)
