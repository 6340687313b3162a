"""Webhook requests as Callbell sends them, and handlers that record their events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import orjson

from callbell_async import MessageReceipt, MessageStatus
from callbell_async.webhooks import (
    Event,
    MessageTracker,
    ReceiverResponse,
    WebhookReceiver,
    parse_event,
    sign,
)

__all__ = [
    "OK",
    "SECRET",
    "SENT",
    "Gate",
    "Hook",
    "handle",
    "message_body",
    "post",
    "post_at_once",
    "status_body",
    "statuses",
    "texts",
]

SECRET = "whsec_5f0c9a2b7e"
OK = ReceiverResponse(200, b'{"status": "ok"}', {"content-type": "application/json"})
SENT = MessageReceipt("u1", MessageStatus.ENQUEUED)


def message_body(text: str = "Hello") -> bytes:
    """A `message_created` with this text."""
    return orjson.dumps({"event": "message_created", "payload": {"text": text, "status": "received", "from": "331"}})


def status_body(uuid: str, status: str, **more: Any) -> bytes:
    """A `message_status_updated`."""
    return orjson.dumps({"event": "message_status_updated", "payload": {"uuid": uuid, "status": status, **more}})


async def post(receiver: WebhookReceiver, body: bytes, *, secret: str = SECRET, **options: Any) -> ReceiverResponse:
    """Pass a body, signed now, to a receiver."""
    return await receiver.receive(body, sign(body, secret, now=time.time()), **options)


def statuses(responses: list[ReceiverResponse]) -> list[int]:
    """The statuses of these responses."""
    return [response.status for response in responses]


def handle(tracker: MessageTracker, status: str, uuid: str = "u1", **more: Any) -> None:
    """Pass a status event to a tracker."""
    tracker.handle_event(parse_event(status_body(uuid, status, **more)))


def texts(events: list[Event]) -> list[str]:
    """The texts of the messages among these events."""
    return [getattr(event, "text", "") for event in events]


def post_at_once(receiver: WebhookReceiver, body: bytes) -> None:
    """Pass a signed body to a receiver that responds after the enqueueing, without waiting for the event loop."""
    with contextlib.suppress(StopIteration):
        post(receiver, body).send(None)


class Hook:
    """An `on_error` that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Exception, Event | None]] = []

    def __call__(self, error: Exception, event: Event | None) -> None:
        """Record a call."""
        self.calls.append((error, event))

    @property
    def errors(self) -> list[type[Exception]]:
        """The types of the errors."""
        return [type(error) for error, _ in self.calls]

    @property
    def texts(self) -> list[str]:
        """The texts of the events."""
        return texts([event for _, event in self.calls if event is not None])


class Gate:
    """A handler that holds every event until it is opened. It records the events that it `began` and `handled`."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.began: list[Event] = []
        self.handled: list[Event] = []
        self._opened = asyncio.Event()
        if is_open:
            self.open()

    def open(self) -> None:
        """Handle all events, the present ones and later ones."""
        self._opened.set()

    async def __call__(self, event: Event) -> None:
        """Handle an event when the gate is open."""
        self.began.append(event)
        await self._opened.wait()
        self.handled.append(event)
