"""What becomes of sent messages: receipts joined with the status events of a webhook, or with looks at their status."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import attrs

from callbell_async.errors import CallbellError, StatusTimeoutError
from callbell_async.models.events import Event, MessageStatusUpdated
from callbell_async.models.message_status import MessageStatus, has_reached, supersedes
from callbell_async.models.receipts import MessageReceipt
from callbell_async.polling import poll_delays
from callbell_async.webhooks.options import check_whole
from callbell_async.webhooks.receiver import WebhookReceiver

__all__ = ["MessageTracker", "TrackedMessage"]

Poll = Callable[[str], Awaitable[MessageReceipt]]


class _Course:
    """What is known of a message: its latest receipt, and every status it had."""

    def __init__(self, receipt: MessageReceipt) -> None:
        self.receipt = receipt
        self._had = {receipt.status}

    def take(self, receipt: MessageReceipt) -> bool:
        """Take over what a receipt of this message says, where that is news; returns whether it is."""
        known = self.receipt
        # What is no news as well: a corrected number, or a status not known here, does not tell how far the message had come.
        self._had.add(receipt.status)
        if not supersedes(receipt.status, known.status) and not _says_why(receipt, known):
            return False
        # What was asked for when the message was sent comes back in no status.
        self.receipt = attrs.evolve(
            receipt,
            contact=known.contact if receipt.contact is None else receipt.contact,
            conversation=known.conversation if receipt.conversation is None else receipt.conversation,
        )
        return True

    def join(self, other: _Course) -> None:
        """Take over what else is known of this message."""
        self._had |= other._had
        self.take(other.receipt)

    def has_reached(self, status: MessageStatus) -> bool:
        """Whether the message has reached a status or gone beyond it, or never will."""
        return any(has_reached(had, status) for had in self._had)


def _says_why(receipt: MessageReceipt, known: MessageReceipt) -> bool:
    # The reason of a failure may come after it.
    return receipt.status == known.status and bool(receipt.status_payload) and not known.status_payload


class TrackedMessage:
    """A sent message, and how far it has come; made by `MessageTracker.track`.

    `receipt` is the latest, in its form of `callbell.messages.status`; its `failure` says why a message was not delivered.
    """

    def __init__(self, course: _Course, poll: Poll | None, *, polls_often: bool) -> None:
        self._course = course
        self._poll = poll
        self._polls_often = polls_often
        self._waiting: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.status}>"

    @property
    def receipt(self) -> MessageReceipt:
        """The latest receipt."""
        return self._course.receipt

    @property
    def uuid(self) -> str:
        """The message's name at Callbell."""
        return self.receipt.uuid

    @property
    def status(self) -> MessageStatus | str | None:
        """How far it has come."""
        return self.receipt.status

    async def wait_for(
        self, status: MessageStatus = MessageStatus.DELIVERED, *, timeout: float = 60.0
    ) -> MessageReceipt:
        """The message's receipt once it has reached a status or gone beyond it, or never will: it failed, or was deleted. Look at its `status`.

        `failure` says why a message failed. Raises `StatusTimeoutError` after `timeout` seconds, with the last receipt. A tracker that only polls
        looks again after 1 second, then after pauses that grow by half, to 30 seconds at the most, and once more shortly before the end,
        and lets pass what `poll` raises; one that has a receiver, too, looks once when the time is over, and `poll` may then take time of
        its own.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        failure: CallbellError | None = None
        if self._poll is not None and self._polls_often:
            await self._watch(self._poll, status, deadline)
        else:
            await self._wait(status, deadline)
            if self._poll is not None and not self._course.has_reached(status):
                try:
                    await self._look(self._poll)
                except CallbellError as error:
                    failure = error
        if self._course.has_reached(status):
            return self.receipt
        raise StatusTimeoutError(
            f"the message is {self.status} and did not become {status.value} in {timeout:g} s", receipt=self.receipt
        ) from failure

    def update(self, receipt: MessageReceipt) -> None:
        """Take over what a receipt of this message says, where that is news."""
        self._course.take(receipt)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _watch(self, poll: Poll, status: MessageStatus, deadline: float) -> None:
        if self._course.has_reached(status):
            return
        loop = asyncio.get_running_loop()
        # A look goes on for as long as the client retries; its own timeout is its failure.
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                await self._look(poll)
                for pause in poll_delays(lambda: deadline - loop.time()):
                    await self._wait(status, loop.time() + pause)
                    if self._course.has_reached(status):
                        return
                    await self._look(poll)
        except TimeoutError:
            if not limit.expired():
                raise
        await self._wait(status, deadline)

    async def _look(self, poll: Poll) -> None:
        self.update(await poll(self.uuid))

    async def _wait(self, status: MessageStatus, deadline: float) -> None:
        """Wait for the status, until a moment of the event loop's time."""
        loop = asyncio.get_running_loop()
        while not self._course.has_reached(status) and (left := deadline - loop.time()) > 0:
            change = loop.create_future()
            self._waiting.add(change)
            try:
                await asyncio.wait({change}, timeout=left)
            finally:
                self._waiting.discard(change)


class MessageTracker:
    """Joins the receipts of sent messages with the statuses that a webhook's receiver takes, or that polling finds.

    - `receiver`: whose status events to follow; `see` takes events from elsewhere. One tracker serves a receiver for its whole life.
    - `poll`: `callbell.messages.status`. Without a receiver it is what tells the status; with one, it finds what the webhook missed.
    - `remember`: how many messages' latest statuses to keep: an event is often faster than the answer with the receipt.

    A message that nobody holds or waits for is forgotten.
    """

    def __init__(
        self, receiver: WebhookReceiver | None = None, *, poll: Poll | None = None, remember: int = 2000
    ) -> None:
        check_whole("remember", remember, least=0)
        self._poll = poll
        self._polls_often = receiver is None
        self._remember = remember
        self._tracked: WeakValueDictionary[str, TrackedMessage] = WeakValueDictionary()
        self._recent: OrderedDict[str, _Course] = OrderedDict()
        if receiver is not None:
            receiver.observe(self.see)

    @property
    def tracking(self) -> int:
        """How many messages are tracked."""
        return len(self._tracked)

    def track(self, receipt: MessageReceipt) -> TrackedMessage:
        """Follow a sent message from its receipt on; the same object for the same message, as long as somebody holds it."""
        sent = self._tracked.get(receipt.uuid)
        if sent is None:
            course = _Course(receipt)
            if (seen := self._recent.get(receipt.uuid)) is not None:
                course.join(seen)
            sent = TrackedMessage(course, self._poll, polls_often=self._polls_often)
            self._tracked[receipt.uuid] = sent
        else:
            sent.update(receipt)
        return sent

    def see(self, event: Event) -> None:
        """Take what an event says of a message; events of other kinds are left alone."""
        receipt = event.receipt if isinstance(event, MessageStatusUpdated) else None
        if receipt is None:
            return
        if (sent := self._tracked.get(receipt.uuid)) is not None:
            sent.update(receipt)
        known = self._recent.get(receipt.uuid)
        if known is None:
            self._recent[receipt.uuid] = _Course(receipt)
        elif known.take(receipt):
            self._recent.move_to_end(receipt.uuid)
        if len(self._recent) > self._remember:
            self._recent.popitem(last=False)
