"""Webhook requests as Callbell makes them, and handlers that note what they are given."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import orjson

from callbell_async.webhooks import Event, ReceiverResponse, WebhookReceiver, sign

__all__ = ["SECRET", "Gate", "Hook", "message_body", "post", "post_at_once", "status_body", "texts"]

SECRET = "whsec_5f0c9a2b7e"


def message_body(text: str = "Hello") -> bytes:
    """A `message_created` with this text."""
    return orjson.dumps({"event": "message_created", "payload": {"text": text, "status": "received", "from": "331"}})


def status_body(uuid: str, status: str, **more: Any) -> bytes:
    """A `message_status_updated`."""
    return orjson.dumps({"event": "message_status_updated", "payload": {"uuid": uuid, "status": status, **more}})


async def post(receiver: WebhookReceiver, body: bytes, *, secret: str = SECRET) -> ReceiverResponse:
    """Give a receiver a body, signed now."""
    return await receiver.receive(body, sign(body, secret, now=time.time()))


def texts(events: list[Event]) -> list[str]:
    """What the messages among these events say."""
    return [getattr(event, "text", "") for event in events]


def post_at_once(receiver: WebhookReceiver, body: bytes) -> None:
    """Give a receiver that answers when an event is queued a signed body, within this round of the event loop."""
    with contextlib.suppress(StopIteration):
        post(receiver, body).send(None)


class Hook:
    """An `on_error` that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Exception, Event | None]] = []

    def __call__(self, error: Exception, event: Event | None) -> None:
        """Note it."""
        self.told.append((error, event))

    @property
    def errors(self) -> list[type[Exception]]:
        """The kinds of what it was told."""
        return [type(error) for error, _ in self.told]

    @property
    def texts(self) -> list[str]:
        """The texts of the events it was told of."""
        return texts([event for _, event in self.told if event is not None])


class Gate:
    """A handler that holds every event until it is opened, and notes which it `began` and which it `handled`."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.began: list[Event] = []
        self.handled: list[Event] = []
        self._opened = asyncio.Event()
        if is_open:
            self.open()

    def open(self) -> None:
        """Let all through, from now on."""
        self._opened.set()

    async def __call__(self, event: Event) -> None:
        """Handle an event, when the gate is open."""
        self.began.append(event)
        await self._opened.wait()
        self.handled.append(event)
