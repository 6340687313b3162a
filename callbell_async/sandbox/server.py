"""The sandbox's HTTP server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import functools
import math
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from callbell_async.arguments import Secret
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api.messages import is_valid_message
from callbell_async.sandbox.api.router import route
from callbell_async.sandbox.assertions import Assertions
from callbell_async.sandbox.clock import START, MovableClock
from callbell_async.sandbox.connections import (
    Connections,
    HttpExchange,
    RawResponse,
    apply_fault,
    http_response,
    read_body,
    refuse_other_sites,
    sandbox_request,
    stream_changes,
)
from callbell_async.sandbox.control.documents import add_records
from callbell_async.sandbox.control.operations import control
from callbell_async.sandbox.exchange import NOT_AUTHORIZED, TOO_MANY, SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault_rules import FaultRule, FaultRules
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.files import PREFIX, SECURITY_HEADERS, FileStore, inbox_file
from callbell_async.sandbox.message_lifecycle import DeliveryFailure, StatusTimings
from callbell_async.sandbox.records import SandboxMessage
from callbell_async.sandbox.webhook_sender import PostFunction, WebhookSender

__all__ = ["Sandbox"]


class Sandbox(Assertions):
    """A mock Callbell server on 127.0.0.1, for tests and experiments. Nothing is sent to a customer.

    ```python
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        ...
    ```

    docs/reference/sandbox-assumptions.md lists what it assumes where Callbell's documentation is silent.

    Args:
        token: The only accepted token (default `"sandbox"`); `None` accepts any.
        port: The port; 0 (default) for a free one.
        limit: The number of requests allowed in any window of one second (default 300); further ones get 429. `None` for no limit.
        clock: Returns seconds that only grow. The limit, the statuses of messages and all dates depend on it.
        start: The date of the clock's time now (default 1 January 2026, 12:00 UTC).
        status_timings: When the status of a message changes.
        tls: The server's TLS context, for https.
        webhook_secret: The secret that signs webhook events; `None` (default) for no signature.
        webhook_time: Returns the Unix time for signatures (default: the machine's).
        records: Records of a new sandbox and after `reset`, in the form of `seed`.

    Raises:
        ValueError: `records` has a wrong kind, field or value.

    Attributes:
        account: The account: its records, for seeding and changing.
        deliveries: The deliveries to the webhook: settings and counts.
        requests: The requests that were read, or refused while they were read, in order.
        fault_rules: The rules of `inject` that still apply to requests.
        token: The token for a client.
    """

    def __init__(
        self,
        *,
        token: str | None = "sandbox",  # noqa: S107 - valid for this sandbox only
        port: int = 0,
        limit: int | None = 300,
        clock: Callable[[], float] = time.monotonic,
        start: datetime = START,
        status_timings: StatusTimings = StatusTimings(),  # noqa: B008 - immutable
        tls: ssl.SSLContext | None = None,
        webhook_secret: str | None = None,
        webhook_time: Callable[[], float] = time.time,
        records: Mapping[str, Any] | None = None,
    ) -> None:
        secret = Secret(webhook_secret)
        # Any argument may be refused below, and a traceback shows the local variables of this frame.
        del webhook_secret
        self._clock = MovableClock(clock)
        self.token = "sandbox" if token is None else token
        self.account = SandboxAccount(clock=self._clock, start=start, status_timings=status_timings)
        self.deliveries = WebhookSender(self.account, secret=secret, now=webhook_time)
        self.requests: list[SandboxRequest] = []
        self._any_token = token is None
        self._port = port
        self._files = FileStore()
        self._window = None if limit is None else _RequestWindow(limit, self._clock)
        self._tls = tls
        self.fault_rules = FaultRules(functools.partial(is_valid_message, self.account))
        self._request_tasks: set[asyncio.Task[Any] | None] = set()
        self._connections = Connections()
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._base_url = ""
        self._records = {} if records is None else records
        self.seed(self._records)

    @property
    def url(self) -> str:
        """The base URL for a client, with `/v1`; raises `RuntimeError` if the sandbox is not running."""
        if self._runner is None:
            raise RuntimeError("the sandbox is not running; use `async with Sandbox() as sandbox:`")
        return self._base_url

    @property
    def inbox_url(self) -> str:
        """The address of the inbox, for a browser; raises `RuntimeError` if the sandbox is not running."""
        return self.url.removesuffix("/v1") + PREFIX

    @property
    def messages(self) -> list[SandboxMessage]:
        """The accepted messages, in order."""
        return self.account.messages

    @property
    def connections(self) -> int:
        """The number of connections opened so far."""
        return self._connections.opened

    # --- the state --------------------------------------------------------------------------------------------------------

    def seed(self, document: Mapping[str, Any]) -> int:
        """Add records that are given as JSON, without events; if one of them is wrong, none is added.

        Args:
            document: For each kind (`channels`, `templates`, `teams`, `users`, `custom_statuses`, `funnels`, `contacts`, `webhooks`) a
                list of objects with the attributes of the `Sandbox…` class; `custom_fields` has a type for each name.

        Returns:
            The number of records.

        Raises:
            ValueError: A kind, a field or a value is wrong; the text names its place.
        """
        return add_records(self.account, document)

    def add_file(self, content: bytes, *, name: str = "photo.jpg", content_type: str = "image/jpeg") -> str:
        """Add a file for `account.receive_message(attachments=[url])`. Its URL needs no token, and expires after 600 seconds of the clock.

        Args:
            content: The content of the file.
            name: The last part of the URL.
            content_type: The media type in the response.

        Returns:
            The URL.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        path = self._files.add(content, name=name, content_type=content_type, now=self._clock())
        return self.url.removesuffix("/v1") + path

    def advance(self, seconds: float) -> None:
        """Move the clock forward: dates, the limit, the 24 hours for replies, statuses and further attempts to deliver an event.

        Args:
            seconds: How far, in seconds; at least 0.

        Raises:
            ValueError: `seconds` is negative, or not a finite number, or the date would be after the year 9998.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds={seconds!r}: must be a number from 0")
        if not self.account.calendar.reaches(seconds):
            raise ValueError(f"seconds={seconds!r}: the date would be after the year 9998")
        self._clock.advance(seconds)
        self.deliveries.advance(seconds)
        self.account.revision += 1

    async def reset(self) -> None:
        """Return to the state of a new sandbox: its own records only, no messages, requests, faults or deliveries.

        The clock, the options of the account and the settings of `deliveries` stay.
        """
        self.remove_faults()
        self.requests.clear()
        self._files.clear()
        await self.deliveries.reset()
        self.account.reset()
        self.seed(self._records)

    # --- faults -----------------------------------------------------------------------------------------------------------

    async def stop_listening(self) -> None:
        """Refuse all further connections, as a server that is down; open connections stay open."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()

    async def wait_disconnected(self) -> None:
        """Return when no connection is open."""
        await self._connections.wait_disconnected()

    def inject(
        self,
        *faults: Fault,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        when: Callable[[SandboxRequest], bool] | None = None,
    ) -> FaultRule:
        """Apply faults to requests: one fault for each request, in this order; the last one repeats.

        If several rules apply to a request, the first one is used. A request with a wrong token, or beyond the limit, is refused and gets
        no fault, except those that apply before the request is read.

        Args:
            faults: The faults, from `callbell_async.sandbox.faults`.
            times: The number of requests that get one; `None` (default) for no limit.
            probability: The probability of each request to get one, from 0 to 1 (default 1.0).
            seed: The seed of the random numbers.
            when: Whether a request gets one. For faults that apply before reading, it is called with a request without body.

        Returns:
            The rule, which counts (`applied`) and ends (`remove()`).

        Raises:
            TypeError: An argument is no `Fault`.
            ValueError: No fault is given, or `probability` is not from 0 to 1.
        """
        if not faults:
            raise ValueError("faults: give at least one, such as faults.accept_then_close()")
        for fault in faults:
            if not isinstance(fault, Fault):
                kind = type(fault).__name__
                raise TypeError(
                    f"faults: must be results of callbell_async.sandbox.faults, such as faults.respond(503), not {kind}"
                )
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability={probability!r}: must be from 0 to 1")
        self.account.revision += 1
        return self.fault_rules.add(FaultRule(faults, times=times, probability=probability, seed=seed, when=when))

    def remove_faults(self) -> None:
        """End all rules of `inject`."""
        self.fault_rules.clear()
        self.account.revision += 1

    # --- the webhook ------------------------------------------------------------------------------------------------------

    @property
    def webhook_secret(self) -> str | None:
        """The secret that signs events; `None` for no signature. A new one applies to the next attempt."""
        return self.deliveries.secret

    @webhook_secret.setter
    def webhook_secret(self, secret: str | None) -> None:
        given = Secret(secret)
        del secret
        self.deliveries.secret = given.value

    def emit(self, event: str, payload: Any) -> None:
        """Post an event with any payload to the webhook, if it is subscribed to it.

        An event that Callbell does not document goes to every webhook.

        Args:
            event: The name of the event.
            payload: The payload; any value that JSON can hold.
        """
        self.deliveries.emit(event, payload)

    def deliver_to(self, post: PostFunction | None) -> None:
        """Post webhook events by a function in place of HTTP, for an application that listens on no port.

        An account without a webhook gets one that is subscribed to all events. An exception of the function counts as status 500, and
        is logged.

        Args:
            post: A coroutine function, called with the body (bytes) and the headers of each post; returns the status of the response.
                `None` posts over HTTP again.
        """
        self.deliveries.deliver_to(post)

    async def probe(self) -> int | None:
        """Post `{}` to the webhook, as Callbell does to check it.

        Returns:
            The status of the response; `None` without a complete response in time.

        Raises:
            LookupError: No webhook on this machine is subscribed.
            RuntimeError: The sandbox is not running.
        """
        return await self.deliveries.probe()

    async def wait_delivered(self, *, statuses: bool = False) -> None:
        """Return when no event is queued, in flight, or waiting for its next attempt.

        Args:
            statuses: Whether to wait also for the changes of messages' statuses, which take the time of `status_timings`.
        """
        await self.deliveries.wait_delivered(statuses=statuses)

    # --- the server -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            raise RuntimeError("the sandbox is running already; use it as it is, or build another one")
        runner = web.ServerRunner(self._connections.server(self._serve), shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024, ssl_context=self._tls)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        host, port = runner.addresses[0][:2]
        self._base_url = f"http{'s' if self._tls else ''}://{host}:{port}/v1"
        self._runner, self._site = runner, site
        self.deliveries.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            for task in filter(None, self._request_tasks):
                task.cancel()
            await self.deliveries.stop()
            await self._runner.cleanup()
            self._runner = self._site = None

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        self._request_tasks.add(task)
        try:
            request = sandbox_request(http, self._clock())
            if refused := refuse_other_sites(http):
                self.requests.append(request)
                request.status = refused.status
                return http_response(refused)
            if not request.below_v1 and f"{request.path}/".startswith(PREFIX):
                return await self._serve_inbox(http, request)
            wait_closed = functools.partial(self._connections.wait_closed, http.protocol)
            exchange = HttpExchange(http, request, wait_closed, functools.partial(self._execute, request))
            response = await self._respond(exchange)
            self.account.revision += 1
            return response
        finally:
            self._request_tasks.discard(task)

    async def _serve_inbox(self, http: web.BaseRequest, request: SandboxRequest) -> web.StreamResponse:
        """Respond to a request to the inbox or to the control API, which need no token and get no fault."""
        if request.method == "GET":
            if request.path == f"{PREFIX}changes":
                return await stream_changes(http, lambda: self.account.revision, SECURITY_HEADERS)
            if page := inbox_file(request.path):
                return http_response(page, SECURITY_HEADERS)
        refused = await read_body(http, request)
        response = refused or await control(self, request)
        if request.method != "GET":
            self.account.revision += 1
        return http_response(response, SECURITY_HEADERS)

    async def _respond(self, exchange: HttpExchange) -> web.StreamResponse:
        request = exchange.request
        try:
            fault = await self.fault_rules.choose(request, lambda: self._read(exchange))
            if fault is None:
                await self._read(exchange)
        except ConnectionError:
            return RawResponse()
        if fault is not None:
            return await apply_fault(fault, exchange)
        response = exchange.execute()
        request.status, request.response = response.status, response
        return http_response(response)

    async def _read(self, exchange: HttpExchange) -> bool:
        """Read the body, and return whether the request may be executed or get a fault."""
        if not exchange.is_read:
            await exchange.read()
            exchange.request.at = self._clock()
            # A request that gets a fault counts within the limit, too.
            exchange.refused = exchange.refused or self._admit(exchange.request)
            self.requests.append(exchange.request)
            self.account.revision += 1
        return exchange.refused is None

    def _admit(self, request: SandboxRequest) -> SandboxResponse | None:
        """Return the response to a request with a wrong token, or beyond the limit."""
        if self._files.serves(request):
            return None
        authorization = request.headers.get("authorization", "")
        has_token = authorization.startswith("Bearer ") if self._any_token else authorization == f"Bearer {self.token}"
        if not has_token:
            return NOT_AUTHORIZED
        return None if self._window is None or self._window.take() else TOO_MANY

    def _execute(self, request: SandboxRequest, failure: DeliveryFailure | None) -> SandboxResponse:
        if self._files.serves(request):
            return self._files.respond(request, now=self._clock())
        before = len(self.messages)
        response = route(self.account, request)
        if failure is not None and len(self.messages) > before:
            self.messages[-1].failure = failure
        return response


class _RequestWindow:
    """At most `limit` requests in any window of one second; refused ones do not count."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        """Return whether a request is within the limit now, and count it."""
        now = self._clock()
        while self._taken and now - self._taken[0] > 1.0:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            return False
        self._taken.append(now)
        return True
