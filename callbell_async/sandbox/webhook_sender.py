"""Which event is posted to the webhook when: signed, many at once, and again until it is answered 2xx."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import orjson

from callbell_async.models.message_status import MessageStatus
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api.validation import is_loopback
from callbell_async.sandbox.progress import Progress, Timers
from callbell_async.sandbox.records import (
    HistoryItem,
    SandboxContact,
    SandboxMessage,
    SandboxUser,
    SandboxWebhook,
    SandboxWebhookDelivery,
)
from callbell_async.sandbox.webhook_client import Answer, Courier
from callbell_async.sandbox.webhook_events import render, render_status, subscriber

__all__ = ["SIGNATURE", "WebhookSender", "sign"]

SIGNATURE = "X-Callbell-Signature"

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)


def sign(secret: str, at: int, body: bytes) -> str:
    """The signature of a body at this Unix time; the whole secret is the key."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@attrs.define(eq=False)
class _Delivery:
    event: str
    payload: Any
    body: bytes
    attempts: int = 0


class WebhookSender:
    """What is posted to an account's webhook. Change the settings at any time; what begins afterwards goes by them.

    - `secret`: what is signed with; `None` for no signature.
    - `waits`: how many seconds after each failed attempt comes the next one; as many attempts as there are waits, and one.
    - `timeout`: how many seconds an attempt may take, up to the end of the answer.
    - `concurrency`: how many are under way at once.

    `delivered` and `failed` count attempts, `given_up` events whose last attempt failed. Every attempt is also in
    `account.webhook_events`, the newest first.
    """

    def __init__(self, account: SandboxAccount, *, secret: str | None, now: Callable[[], float]) -> None:
        self.secret = secret
        self.waits: Sequence[float] = WAITS
        self.timeout = 10.0
        self.concurrency = 50
        self.delivered = self.failed = self.given_up = 0
        self._account = account
        self._now = now
        self._courier = Courier()
        self._timers = Timers()
        self._settled = asyncio.Event()
        self._progress = Progress(self._timers, self._look_again)
        self._queue: deque[_Delivery] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._unsettled = 0
        self._twice = 0.0
        self._draws = random.Random(0)  # noqa: S311 - chance that repeats is the point
        self._running = False

    @property
    def waiting(self) -> int:
        """How many events are not delivered yet, and will be tried: queued, under way, or until the next attempt."""
        return self._unsettled

    @property
    def changing(self) -> int:
        """How many messages have a change of their status still to come that will be told."""
        return self._progress.messages

    def duplicate(self, probability: float = 1.0, *, seed: int = 0) -> None:
        """Deliver each event from now on twice, or so many of them; 0 ends it."""
        self._twice = probability
        self._draws = random.Random(seed)  # noqa: S311 - as above

    def emit(self, event: str, payload: Any) -> None:
        """Deliver an event, if the sandbox runs and a webhook is subscribed to it; `payload` is what JSON can say."""
        if self._is_wanted(event):
            self._send(event, payload)

    def _handle_event(self, event: str, record: SandboxContact | SandboxUser | HistoryItem) -> None:
        if self._is_wanted(event):
            self._send(event, render(self._account, event, record))
        if isinstance(record, HistoryItem) and record.message is not None and self._is_wanted("message_status_updated"):
            self._follow(record.message, record.contact)

    def _is_wanted(self, event: str) -> bool:
        return self._running and subscriber(self._account.webhook, event) is not None

    def _send(self, event: str, payload: Any) -> None:
        body = orjson.dumps({"event": event, "payload": payload})
        # What is noted down is what is sent, whatever becomes of its parts.
        payload = orjson.loads(body)["payload"]
        for _ in range(2 if self._twice and self._draws.random() < self._twice else 1):
            self._unsettled += 1
            self._put(_Delivery(event, payload, body))

    def _follow(self, message: SandboxMessage, contact: SandboxContact) -> None:
        def tell(status: MessageStatus, after: float) -> None:
            if self._is_wanted("message_status_updated"):
                self._send("message_status_updated", render_status(self._account, message, contact, status, after))

        self._progress.follow(message, self._account.pace, tell)

    async def probe(self) -> int | None:
        """Post `{}`, which is no event, and give the status it is answered; `None` if there is no answer. It is not noted down."""
        webhook = self._account.webhook
        if webhook is None or not is_loopback(webhook.url):
            raise LookupError("no webhook on this machine is subscribed")
        if not self._running:
            raise RuntimeError("the sandbox is not running")
        answer = await self._post(webhook, b"{}")
        return None if answer is None else answer.code

    async def done(self, *, statuses: bool = False) -> None:
        """Return when no event is `waiting`; with `statuses`, when no message's status is `changing` either."""
        while self._unsettled or (statuses and self.changing):
            self._settled.clear()
            await self._settled.wait()

    def start(self) -> None:
        """Deliver from now on, on the running loop."""
        self._settled = asyncio.Event()
        self._running = True
        self._account.on_event = self._handle_event

    async def stop(self) -> None:
        """Deliver nothing more, and leave nothing behind."""
        self._running = False
        self._account.on_event = None
        self._timers.cancel()
        self._queue.clear()
        workers = tuple(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers.clear()
        await self._courier.close()
        self._progress.messages = self._unsettled = 0
        self._look_again()

    # --- delivering -------------------------------------------------------------------------------------------------------

    def _put(self, delivery: _Delivery) -> None:
        self._queue.append(delivery)
        if len(self._workers) < self.concurrency:
            self._workers.add(asyncio.get_running_loop().create_task(self._work()))

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._attempt(self._queue.popleft())
        finally:
            # At once: an event that comes before this task is over needs another one.
            self._workers.discard(asyncio.current_task())

    async def _attempt(self, delivery: _Delivery) -> None:
        webhook = subscriber(self._account.webhook, delivery.event)
        if webhook is None:
            # The subscription ended while it waited.
            self._settle()
            return
        delivery.attempts += 1
        answer = await self._post(webhook, delivery.body)
        self._note_down(delivery, answer)
        if answer is not None and answer.good:
            self.delivered += 1
            self._settle()
            return
        self.failed += 1
        if delivery.attempts > len(self.waits):
            self.given_up += 1
            self._settle()
            return
        wait = self.waits[delivery.attempts - 1]
        self._timers.at(asyncio.get_running_loop().time() + wait, functools.partial(self._put, delivery))

    async def _post(self, webhook: SandboxWebhook, body: bytes) -> Answer | None:
        headers = {"Content-Type": "application/json"}
        if self.secret is not None:
            headers[SIGNATURE] = sign(self.secret, int(self._now()), body)
        return await self._courier.post(webhook.url, body, headers, self.timeout)

    def _note_down(self, delivery: _Delivery, answer: Answer | None) -> None:
        tried = SandboxWebhookDelivery(event=delivery.event, payload=delivery.payload, success=False, code=None)
        if answer is not None:
            tried.success, tried.code = answer.good, answer.code
            tried.body, tried.headers = answer.body, answer.headers
        self._account.add(tried)

    def _settle(self) -> None:
        self._unsettled -= 1
        self._look_again()

    def _look_again(self) -> None:
        self._settled.set()
