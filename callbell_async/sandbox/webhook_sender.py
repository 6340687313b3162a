"""The delivery of events to the webhook over HTTP: signed, in parallel, and again until the response is 2xx."""

from __future__ import annotations

import asyncio
import functools
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import attrs
import orjson
from yarl import URL

from callbell_async.arguments import Secret
from callbell_async.models.receipts import MessageStatus
from callbell_async.observe import area_logger
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api.validation import EVENTS, is_loopback
from callbell_async.sandbox.api.webhooks import render, render_status, subscriber
from callbell_async.sandbox.message_lifecycle import StatusTracker, Timers
from callbell_async.sandbox.records import (
    HistoryItem,
    SandboxContact,
    SandboxMessage,
    SandboxUser,
    SandboxWebhook,
    SandboxWebhookDelivery,
)
from callbell_async.webhooks.signature import SIGNATURE_HEADER, sign

__all__ = ["PostFunction", "WebhookSender"]

_log = area_logger("sandbox")

PostFunction = Callable[[bytes, Mapping[str, str]], Awaitable[int]]
"""Called with the body and the headers of a post; returns the status of the response."""

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)

KEPT = 64 * 1024
"""The number of bytes of a response's body that are kept."""

IDLE = 2.0
"""The number of seconds after which an idle connection is closed: less than common servers wait (5 s)."""


@attrs.frozen
class _Response:
    """A webhook's response, in a form that JSON can hold; `body` is JSON, or else a text, and `{}` if it is empty."""

    code: int
    headers: Mapping[str, str]
    body: Any

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.code < 300


@attrs.define(eq=False)
class _Delivery:
    event: str
    payload: Any
    body: bytes
    attempts: int = 0


class WebhookSender:
    """The deliveries to an account's webhook, as `Sandbox.deliveries`. A changed setting applies to the next attempts.

    Attributes:
        secret: The webhook's secret; `None` (default) for no signature.
        retry_delays: The seconds before each further attempt (default 1, 2, 4, 8, 16). An event has one attempt more.
        timeout: The seconds that an attempt may take, including the response's body (default 10.0).
        concurrency: The number of attempts at once (default 50).
        disable_after: The number of events given up in a row after which the webhook is disabled (default 10); `None` for never.
        delivered: The number of successful attempts.
        failed: The number of failed attempts.
        given_up: The number of events whose last attempt failed.
    """

    def __init__(self, account: SandboxAccount, *, secret: Secret[str | None], now: Callable[[], float]) -> None:
        self.secret = secret.value
        self.retry_delays: Sequence[float] = RETRY_DELAYS
        self.timeout = 10.0
        self.concurrency = 50
        self.disable_after: int | None = 10
        self.delivered = self.failed = self.given_up = 0
        self._account = account
        self._now = now
        self._client = _WebhookClient()
        self._post_function: PostFunction | None = None
        self._timers = Timers()
        self._statuses = StatusTracker(self._timers, self._notify)
        self._progress = asyncio.Event()
        self._queue: deque[_Delivery] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._duplicate_probability = 0.0
        self._draws = random.Random(0)  # noqa: S311 - random numbers that repeat are intended
        self._running = False

    @property
    def secret(self) -> str | None:
        """The webhook's secret; `None` for no signature. A new one applies to the next attempt."""
        return self._secret

    @secret.setter
    def secret(self, secret: str | None) -> None:
        given = Secret(secret)
        del secret
        if given.value is not None:
            # A blank secret fails here, and not in the background.
            sign(b"", given.value, now=0)
        self._secret = given.value

    @property
    def waiting(self) -> int:
        """The number of events that are queued, in flight, or waiting for their next attempt."""
        return self._pending

    @property
    def changing(self) -> int:
        """The number of messages with a change of status still to come, of which the webhook will be notified."""
        return self._statuses.messages

    def duplicate(self, probability: float = 1.0, *, seed: int = 0) -> None:
        """Deliver further events twice.

        Args:
            probability: The probability that an event is delivered twice, 0 to 1; 0 ends it.
            seed: The seed of the random numbers.
        """
        self._duplicate_probability = probability
        self._draws = random.Random(seed)  # noqa: S311 - as above

    def deliver_to(self, post: PostFunction | None) -> None:
        """Post by a function in place of HTTP; `None` for HTTP again. Without a webhook, one is subscribed to all events.

        Args:
            post: A coroutine function, as for `Sandbox.deliver_to`; `None` for HTTP.
        """
        self._post_function = post
        if post is not None and self._account.webhook is None:
            self._account.seed(SandboxWebhook(url="http://127.0.0.1/", subscriptions=list(EVENTS)))

    def emit(self, event: str, payload: Any) -> None:
        """Deliver an event, if the sandbox runs and a webhook is subscribed to it.

        Args:
            event: The name of the event.
            payload: Its payload, any JSON value.
        """
        if self._is_wanted(event):
            self._send(event, payload)

    async def probe(self) -> int | None:
        """Post `{}` to the webhook, as Callbell does to check it. The attempt is not recorded.

        Returns:
            The status of the response; `None` without a complete response in time.

        Raises:
            LookupError: No webhook on this machine is subscribed.
            RuntimeError: The sandbox is not running.
        """
        webhook = self._account.webhook
        if webhook is None or not is_loopback(webhook.url):
            raise LookupError("no webhook on this machine is subscribed")
        if not self._running:
            raise RuntimeError("the sandbox is not running")
        response = await self._post(webhook, b"{}")
        return None if response is None else response.code

    async def wait_delivered(self, *, statuses: bool = False) -> None:
        """Return when no event is `waiting`; with `statuses=True`, also when no message's status is `changing`.

        Args:
            statuses: Whether to wait also for the changes of statuses.
        """
        while self._pending or (statuses and self.changing):
            self._progress.clear()
            await self._progress.wait()

    def start(self) -> None:
        """Start delivering, on the running loop."""
        self._progress = asyncio.Event()
        self._running = True
        self._account.on_event = self._handle_event

    async def stop(self) -> None:
        """End all deliveries, timers and connections."""
        self._running = False
        self._account.on_event = None
        self._timers.cancel()
        self._queue.clear()
        workers = tuple(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers.clear()
        await self._client.close()
        self._statuses.messages = self._pending = 0
        self._notify()

    async def reset(self) -> None:
        """End all deliveries and begin again, with the counts at zero. The settings stay, duplicates do not."""
        was_running = self._running
        await self.stop()
        self.delivered = self.failed = self.given_up = 0
        self.duplicate(0.0)
        if was_running:
            self.start()

    def advance(self, seconds: float) -> None:
        """Move the time of the statuses and of the further attempts forward.

        Args:
            seconds: How far, in seconds; 0 or more.
        """
        self._timers.advance(seconds)

    # --- events -----------------------------------------------------------------------------------------------------------

    def _handle_event(self, event: str, record: SandboxContact | SandboxUser | HistoryItem) -> None:
        if self._is_wanted(event):
            self._send(event, render(self._account, event, record))
        if isinstance(record, HistoryItem) and record.message is not None and self._is_wanted("message_status_updated"):
            send_status = functools.partial(self._send_status, record.message)
            self._statuses.track(record.message, self._account.status_timings, send_status)

    def _send_status(self, message: SandboxMessage, status: MessageStatus, after: float) -> None:
        if self._is_wanted("message_status_updated"):
            self._send("message_status_updated", render_status(self._account, message, status, after))

    def _is_wanted(self, event: str) -> bool:
        return self._running and subscriber(self._account.webhook, event) is not None

    def _send(self, event: str, payload: Any) -> None:
        body = orjson.dumps({"event": event, "payload": payload})
        # The recorded payload is the one that was sent, even if a test changes its own afterwards.
        payload = orjson.loads(body)["payload"]
        probability = self._duplicate_probability
        for _ in range(2 if probability and self._draws.random() < probability else 1):
            self._pending += 1
            self._enqueue(_Delivery(event, payload, body))

    # --- attempts ---------------------------------------------------------------------------------------------------------

    def _enqueue(self, delivery: _Delivery) -> None:
        self._queue.append(delivery)
        if len(self._workers) < self.concurrency:
            self._workers.add(asyncio.get_running_loop().create_task(self._work()))

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._attempt(self._queue.popleft())
        finally:
            # Before the task ends: an event that is added meanwhile needs a new worker.
            self._workers.discard(asyncio.current_task())

    async def _attempt(self, delivery: _Delivery) -> None:
        webhook = subscriber(self._account.webhook, delivery.event)
        if webhook is None:
            # The subscription has ended meanwhile.
            self._finish()
            return
        delivery.attempts += 1
        response = await self._post(webhook, delivery.body)
        self._record(delivery, response)
        if response is not None and response.is_success:
            self.delivered += 1
            webhook.failed_events = 0
            self._finish()
            return
        self.failed += 1
        if delivery.attempts > len(self.retry_delays):
            self.given_up += 1
            self._count_failure(webhook)
            self._finish()
            return
        delay = self.retry_delays[delivery.attempts - 1]
        self._timers.at(self._timers.time() + delay, functools.partial(self._enqueue, delivery))

    def _count_failure(self, webhook: SandboxWebhook) -> None:
        webhook.failed_events += 1
        if webhook.enabled and self.disable_after is not None and webhook.failed_events >= self.disable_after:
            webhook.enabled = False
            webhook.disabled_at = self._account.calendar.now()
            failed = webhook.failed_events
            _log.warning("a webhook was disabled after %d failed events", failed, extra={"callbell.events": failed})

    async def _post(self, webhook: SandboxWebhook, body: bytes) -> _Response | None:
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            headers[SIGNATURE_HEADER] = sign(body, self._secret, now=self._now())
        if self._post_function is None:
            return await self._client.post(webhook.url, body, headers, self.timeout)
        try:
            async with asyncio.timeout(self.timeout):
                code: object = await self._post_function(body, headers)
            if not isinstance(code, int):
                kind = type(code).__name__
                raise TypeError(
                    f"the function of deliver_to must return the status of the response as an int, not {kind}"
                )
            return _Response(code, {}, {})
        except Exception:
            # A web server would log it and send 500.
            _log.exception("the function of deliver_to failed")
            return _Response(500, {}, {})

    def _record(self, delivery: _Delivery, response: _Response | None) -> None:
        record = SandboxWebhookDelivery(event=delivery.event, payload=delivery.payload, success=False, code=None)
        if response is not None:
            record.success, record.code = response.is_success, response.code
            record.body, record.headers = response.body, response.headers
        self._account.seed(record)

    def _finish(self) -> None:
        self._pending -= 1
        self._notify()

    def _notify(self) -> None:
        self._progress.set()


# --- HTTP -------------------------------------------------------------------------------------------------------------


class _WebhookClient:
    """Connections to webhooks. The first post opens them; after `close` it can be used again."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> _Response | None:
        """Post a body and return the response; `None` without a complete one in `timeout` seconds.

        Redirects are not followed.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            # An encoded URL stays unchanged: a receiver may compare the secret in it.
            address = URL(url, encoded=re.fullmatch("[!-~]+", url) is not None)
            async with self._session.post(
                address, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                received = {str(name): _text(value) for name, value in response.headers.items()}
                return _Response(response.status, received, _document(await _read_begin(response)))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            # `ValueError`: the URL can't be called, for example because its port is too large.
            return None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _read_begin(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) >= KEPT:
            # The body may be endless.
            response.close()
            break
    return bytes(body[:KEPT])


def _text(value: str) -> str:
    # aiohttp decodes bytes that are not UTF-8 into surrogates, which JSON can't hold.
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _document(body: bytes) -> Any:
    if not body:
        return {}
    try:
        document = orjson.loads(body)
        # orjson reads deeper JSON than it writes, and the API nests the document some levels deeper.
        orjson.dumps([[[[[[[[document]]]]]]]])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body.decode("utf-8", "replace")
    return document
