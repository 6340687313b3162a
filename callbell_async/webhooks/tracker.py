"""Following sent messages: their receipts, joined with the webhook's status events or with polls of their status."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

import attrs

from callbell_async.arguments import check_count
from callbell_async.errors import CallbellError, StatusTimeoutError
from callbell_async.models.events import Event, MessageStatusUpdated
from callbell_async.models.receipts import MessageReceipt, MessageStatus, has_reached, supersedes
from callbell_async.polling import check_wait, poll_until
from callbell_async.webhooks.receiver import WebhookReceiver

__all__ = ["MessageTracker", "TrackedMessage"]

Poll = Callable[[str], Awaitable[MessageReceipt]]


def _without_raw(model: Any) -> Any:
    """Return a model without its untouched JSON, which needs more memory than all that is read from it."""
    changes: dict[str, Any] = {}
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        if field.name == "raw":
            changes["raw"] = {}
        elif attrs.has(type(value)):
            changes[field.name] = _without_raw(value)
    return attrs.evolve(model, **changes)


class _StatusHistory:
    """A message's latest receipt, and every status that it had."""

    def __init__(self, receipt: MessageReceipt) -> None:
        self.receipt: MessageReceipt = _without_raw(receipt)
        self._statuses = {receipt.status}

    def apply(self, receipt: MessageReceipt) -> bool:
        """Add a receipt of this message; return whether it replaced the latest one."""
        known = self.receipt
        # Added in any case: a corrected number, or an unknown status, does not show how far the message had come.
        self._statuses.add(receipt.status)
        if not supersedes(receipt.status, known.status) and not _adds_failure_reason(receipt, known):
            return False
        # Contact and conversation were requested with the message, and most events lack them.
        self.receipt = _without_raw(
            attrs.evolve(
                receipt,
                contact=known.contact if receipt.contact is None else receipt.contact,
                conversation=known.conversation if receipt.conversation is None else receipt.conversation,
                metadata=receipt.metadata or known.metadata,
            )
        )
        return True

    def merge(self, other: _StatusHistory) -> None:
        """Add another history of this message."""
        self._statuses |= other._statuses
        self.apply(other.receipt)

    def has_reached(self, status: MessageStatus) -> bool:
        """Return whether the message has reached a status or a later one, or never will."""
        return any(has_reached(known, status) for known in self._statuses)


def _adds_failure_reason(receipt: MessageReceipt, known: MessageReceipt) -> bool:
    # The reason of a failure may come after it.
    return receipt.status == known.status and bool(receipt.status_payload) and not known.status_payload


class TrackedMessage:
    """A sent message and its delivery status. `MessageTracker.track` creates it."""

    def __init__(self, history: _StatusHistory, poll: Poll | None, *, polls_often: bool) -> None:
        self._history = history
        self._poll = poll
        self._polls_often = polls_often
        self._waiters: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.status}>"

    @property
    def receipt(self) -> MessageReceipt:
        """The latest receipt. Its `failure` has the reason of a failed message; its `raw` is empty."""
        return self._history.receipt

    @property
    def uuid(self) -> str:
        """The message's identifier."""
        return self.receipt.uuid

    @property
    def status(self) -> MessageStatus | str | None:
        """The latest status."""
        return self.receipt.status

    async def wait_for(
        self, status: MessageStatus = MessageStatus.DELIVERED, *, timeout: float = 60.0
    ) -> MessageReceipt:
        """Wait until the message has reached a status or a later one, or never will, because it failed or was deleted.

        A tracker without a receiver polls at once, after 1 second, then at growing intervals of up to 30 seconds, and shortly before the
        timeout. A tracker with a receiver polls once, at the timeout, and that poll may take additional time.

        Args:
            status: the status to wait for.
            timeout: seconds; `math.inf` for no limit.

        Returns:
            The latest receipt. Check its `status`: `FAILED` (the reason is in `failure`) and `DELETED` end the waiting, too.

        Raises:
            ConfigurationError: `status` is not a status, or `timeout` is not a number of seconds.
            StatusTimeoutError: the time is over; `receipt` is the latest one. A poll at the timeout that failed is its `__cause__`.
            CallbellError: a poll of a tracker without a receiver failed.
        """
        status = check_wait("status", status, timeout)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        failure: CallbellError | None = None

        def is_done() -> bool:
            return self._history.has_reached(status)

        async def poll() -> None:
            if self._poll is not None:
                self.update(await self._poll(self.uuid))

        async def sleep(seconds: float) -> None:
            await self._wait_until(is_done, loop.time() + seconds)

        if self._poll is not None and self._polls_often:
            await poll_until(is_done, poll, deadline=deadline, sleep=sleep)
        else:
            await self._wait_until(is_done, deadline)
            if not is_done():
                try:
                    await poll()
                except CallbellError as error:
                    failure = error
        if is_done():
            return self.receipt
        raise StatusTimeoutError(
            f"the message is {self.status} and did not become {status.value} in {timeout:g} s", receipt=self.receipt
        ) from failure

    def update(self, receipt: MessageReceipt) -> None:
        """Add a receipt of this message, from wherever it comes; an older status changes nothing.

        Args:
            receipt: A receipt with the uuid of this message.
        """
        self._history.apply(receipt)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait_until(self, is_done: Callable[[], bool], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while not is_done() and (left := deadline - loop.time()) > 0:
            waiter = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait({waiter}, timeout=left)
            finally:
                self._waiters.discard(waiter)


class MessageTracker:
    """Follows sent messages by the status events of a webhook, by polling, or by both.

    A message that your code neither holds nor waits for is forgotten. The untouched JSON of receipts and events is not kept.

    Args:
        receiver: the receiver whose status events are followed; pass events from elsewhere to `handle_event`. One tracker serves a receiver
            for its whole life.
        poll: `callbell.messages.status`. Without a receiver it finds the status; with one, it finds what the webhook missed.
        max_recent: the number of messages whose latest status is kept before they are tracked: an event is often faster than the receipt.

    Raises:
        ConfigurationError: `max_recent` is not a whole number of at least 0.
    """

    def __init__(
        self, receiver: WebhookReceiver | None = None, *, poll: Poll | None = None, max_recent: int = 2000
    ) -> None:
        self._max_recent = check_count("max_recent", max_recent, least=0)
        self._poll = poll
        self._polls_often = receiver is None
        self._tracked: WeakValueDictionary[str, TrackedMessage] = WeakValueDictionary()
        self._recent: OrderedDict[str, _StatusHistory] = OrderedDict()
        if receiver is not None:
            receiver.add_listener(self.handle_event)

    @property
    def tracking(self) -> int:
        """The number of messages that are tracked."""
        return len(self._tracked)

    def track(self, receipt: MessageReceipt) -> TrackedMessage:
        """Follow a sent message.

        Args:
            receipt: the receipt that `send` returned.

        Returns:
            The message: always the same object for one message, as long as your code holds it.
        """
        sent = self._tracked.get(receipt.uuid)
        if sent is None:
            history = _StatusHistory(receipt)
            if (recent := self._recent.get(receipt.uuid)) is not None:
                history.merge(recent)
            sent = TrackedMessage(history, self._poll, polls_often=self._polls_often)
            self._tracked[receipt.uuid] = sent
        else:
            sent.update(receipt)
        return sent

    def handle_event(self, event: Event) -> None:
        """Apply a status event to its message; other events are ignored. It can be the handler of a receiver.

        Args:
            event: Any webhook event.
        """
        receipt = event.receipt if isinstance(event, MessageStatusUpdated) else None
        if receipt is None:
            return
        if (sent := self._tracked.get(receipt.uuid)) is not None:
            sent.update(receipt)
        recent = self._recent.get(receipt.uuid)
        if recent is None:
            self._recent[receipt.uuid] = _StatusHistory(receipt)
        elif recent.apply(receipt):
            self._recent.move_to_end(receipt.uuid)
        if len(self._recent) > self._max_recent:
            self._recent.popitem(last=False)
