"""What becomes of sent messages: receipts joined with the status events of a webhook, or with looks at their status."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import attrs

from callbell_async.errors import CallbellError, StatusTimeoutError
from callbell_async.models.events import Event, MessageStatusUpdated
from callbell_async.models.receipts import MessageReceipt
from callbell_async.models.statuses import MessageStatus, has_reached, is_news, pauses
from callbell_async.webhooks.options import check_whole
from callbell_async.webhooks.receiver import WebhookReceiver

__all__ = ["MessageTracker", "TrackedMessage"]

Poll = Callable[[str], Awaitable[MessageReceipt]]


class TrackedMessage:
    """A sent message, and how far it has come; made by `MessageTracker.track`.

    `receipt` is the latest, in its form of `callbell.messages.status`; its `failure` says why a message was not delivered.
    """

    def __init__(self, receipt: MessageReceipt, poll: Poll | None, *, polls_often: bool) -> None:
        self.receipt = receipt
        self._passed: set[MessageStatus] = set()
        self._poll = poll
        self._polls_often = polls_often
        self._waiting: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.status}>"

    @property
    def uuid(self) -> str:
        """The message's name at Callbell."""
        return self.receipt.uuid

    @property
    def status(self) -> MessageStatus | str | None:
        """How far it has come."""
        return self.receipt.status

    async def until(self, status: MessageStatus = MessageStatus.DELIVERED, *, timeout: float = 60.0) -> MessageReceipt:
        """The message's receipt once it has reached a status or gone beyond it, or has failed.

        `failure` tells one end from the other. Raises `StatusTimeoutError` after `timeout` seconds, with the last receipt. A tracker that only
        polls looks again after 1 second, then after pauses that grow by half, to 30 seconds at the most, and lets pass what `poll`
        raises; one that has a receiver, too, looks once when the time is over, and `poll` may then take time of its own.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        failure: CallbellError | None = None
        if self._poll is not None and self._polls_often:
            await self._watch(self._poll, status, deadline)
        else:
            await self._wait(status, deadline)
            if self._poll is not None and not self._has_reached(status):
                try:
                    await self._look(self._poll)
                except CallbellError as error:
                    failure = error
        if self._has_reached(status):
            return self.receipt
        raise StatusTimeoutError(
            f"the message is {self.status} and did not become {status.value} in {timeout:g} s", receipt=self.receipt
        ) from failure

    def update(self, receipt: MessageReceipt) -> None:
        """Take over what a receipt of this message says, where that is news."""
        if not is_news(receipt.status, self.status):
            return
        if isinstance(self.status, MessageStatus):
            # A corrected number, or a status not known here, does not tell how far the message had come.
            self._passed.add(self.status)
        # What was asked for when the message was sent comes back in no status.
        self.receipt = attrs.evolve(
            receipt,
            contact=self.receipt.contact if receipt.contact is None else receipt.contact,
            conversation=self.receipt.conversation if receipt.conversation is None else receipt.conversation,
        )
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _has_reached(self, status: MessageStatus) -> bool:
        return any(has_reached(known, status) for known in (self.status, *self._passed))

    async def _watch(self, poll: Poll, status: MessageStatus, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        for pause in pauses():
            if self._has_reached(status):
                return
            limit = asyncio.timeout_at(deadline)
            try:
                async with limit:
                    await self._look(poll)
            except TimeoutError:
                # A look goes on for as long as the client retries; its own timeout is its failure.
                if not limit.expired():
                    raise
                return
            if loop.time() + pause > deadline:
                return
            await self._wait(status, loop.time() + pause)

    async def _look(self, poll: Poll) -> None:
        self.update(await poll(self.uuid))

    async def _wait(self, status: MessageStatus, deadline: float) -> None:
        """Wait for the status, until a moment of the event loop's time."""
        loop = asyncio.get_running_loop()
        while not self._has_reached(status) and (left := deadline - loop.time()) > 0:
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
        self._recent: OrderedDict[str, MessageReceipt] = OrderedDict()
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
            sent = TrackedMessage(receipt, self._poll, polls_often=self._polls_often)
            self._tracked[receipt.uuid] = sent
            if (seen := self._recent.get(receipt.uuid)) is not None:
                sent.update(seen)
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
        if known is None or is_news(receipt.status, known.status):
            self._recent[receipt.uuid] = receipt
            self._recent.move_to_end(receipt.uuid)
        if len(self._recent) > self._remember:
            self._recent.popitem(last=False)
