"""The sandbox's HTTP server: aiohttp's, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api.messages import is_good
from callbell_async.sandbox.api.router import answer
from callbell_async.sandbox.assertions import Assertions
from callbell_async.sandbox.clock import START
from callbell_async.sandbox.connections import Connections, HttpExchange, Said, meet, response, sandbox_request
from callbell_async.sandbox.exchange import NOT_AUTHORIZED, TOO_MANY, SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault import Fault
from callbell_async.sandbox.fault_rules import FaultRule, FaultRules
from callbell_async.sandbox.limits import RequestWindow
from callbell_async.sandbox.message_lifecycle import DeliveryFailure, StatusTimings
from callbell_async.sandbox.records import SandboxMessage
from callbell_async.sandbox.sender import Sender
from callbell_async.sandbox.webhook_sender import WebhookSender

__all__ = ["Sandbox"]


class Sandbox(Assertions, Sender):
    """A Callbell on this machine, for trying things out and for tests; nothing it accepts goes anywhere.

    ```python
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        ...
    ```

    - `token`: the only one it accepts; `None` for any.
    - `port`: 0 for a free one.
    - `limit`: requests in any window of one second, beyond which it answers 429; `None` for no limit.
    - `clock`: seconds that only grow; the limit, the statuses of messages and all dates go by it.
    - `start`: the date it begins with.
    - `pace`: how many seconds after its acceptance a message is sent, delivered and read.
    - `tls`: a server's context, for https.
    - `webhook_secret`: what webhook events are signed with; `None` for no signature.
    - `webhook_time`: the Unix time that stands in a signature.

    `account` is what it knows, for seeding and changing. `messages` are those it accepted and `requests` those it read or refused while
    reading, in order; `connections` counts those opened. `inject` makes requests fail, `stop_listening` connections. `deliveries` is what it posts to the webhook.
    docs/sandbox.md says what it assumes where Callbell's pages are silent.
    """

    def __init__(
        self,
        *,
        token: str | None = "sandbox",  # noqa: S107 - opens nothing but this sandbox
        port: int = 0,
        limit: int | None = 300,
        clock: Callable[[], float] = time.monotonic,
        start: datetime = START,
        pace: StatusTimings = StatusTimings(),  # noqa: B008 - immutable
        tls: ssl.SSLContext | None = None,
        webhook_secret: str | None = None,
        webhook_time: Callable[[], float] = time.time,
    ) -> None:
        self.token = "sandbox" if token is None else token
        self.account = SandboxAccount(clock=clock, start=start, pace=pace)
        self.deliveries = WebhookSender(self.account, secret=webhook_secret, now=webhook_time)
        self.requests: list[SandboxRequest] = []
        self._any_token = token is None
        self._port = port
        self._clock = clock
        self._window = None if limit is None else RequestWindow(limit, clock)
        self._tls = tls
        self._plan = FaultRules(functools.partial(is_good, self.account))
        self._acting: set[asyncio.Task[Any] | None] = set()
        self._connections = Connections()
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._base_url = ""

    @property
    def url(self) -> str:
        """The base URL for a client, `/v1` and all."""
        if self._runner is None:
            raise RuntimeError("the sandbox is not running; use `async with Sandbox() as sandbox:`")
        return self._base_url

    @property
    def messages(self) -> list[SandboxMessage]:
        """The messages that were accepted, in order."""
        return self.account.messages

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connections.opened

    async def stop_listening(self) -> None:
        """Refuse every further connection, as a server that is down does; those that are open stay so."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()

    async def wait_disconnected(self) -> None:
        """Return when no connection is open any more."""
        await self._connections.none_open()

    def inject(
        self,
        *faults: Fault,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        when: Callable[[SandboxRequest], bool] | None = None,
    ) -> FaultRule:
        """Let requests meet `faults`, one each in this order; the last one repeats.

        - `times`: how many requests meet one; `None` for all that come.
        - `probability`: of each request's meeting one, drawn from `seed`.
        - `when`: only requests for which this is true. For a fault before reading, it sees a request without its body.

        Of several rules, the first made that fits a request has it. A request with a wrong token, or beyond the limit, is refused as ever,
        and meets only faults before reading.
        """
        if not faults:
            raise ValueError("faults: give at least one, such as faults.accept_then_close()")
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability={probability!r}: must be from 0 to 1")
        return self._plan.add(FaultRule(faults, times=times, probability=probability, seed=seed, when=when))

    async def __aenter__(self) -> Self:
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
            for task in filter(None, self._acting):
                task.cancel()
            await self.deliveries.stop()
            await self._runner.cleanup()
            self._runner = self._site = None

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        self._acting.add(task)
        try:
            request = sandbox_request(http, self._clock())
            over = functools.partial(self._connections.over, http.protocol)
            return await self._answer(HttpExchange(http, request, over, functools.partial(self._carry_out, request)))
        finally:
            self._acting.discard(task)

    async def _answer(self, exchange: HttpExchange) -> web.StreamResponse:
        request = exchange.request
        try:
            fault = await self._plan.choose(request, lambda: self._read(exchange))
            if fault is None:
                await self._read(exchange)
        except ConnectionError:
            return Said()
        if fault is not None:
            return await meet(fault, exchange)
        reply = exchange.carry_out()
        request.status = reply.status
        return response(reply)

    async def _read(self, exchange: HttpExchange) -> bool:
        """Complete the request, and say whether it is good enough to be carried out, or to meet a fault."""
        if not exchange.is_read:
            await exchange.read()
            exchange.request.at = self._clock()
            # It counts from now on, whatever it meets: a request that fails is one of the account's 300, too.
            exchange.refused = exchange.refused or self._admit(exchange.request)
            self.requests.append(exchange.request)
        return exchange.refused is None

    def _admit(self, request: SandboxRequest) -> SandboxResponse | None:
        """What keeps a request from being carried out at all."""
        given = request.headers.get("authorization", "")
        good = given.startswith("Bearer ") if self._any_token else given == f"Bearer {self.token}"
        if not good:
            return NOT_AUTHORIZED
        return None if self._window is None or self._window.take() else TOO_MANY

    def _carry_out(self, request: SandboxRequest, failure: DeliveryFailure | None) -> SandboxResponse:
        before = len(self.messages)
        reply = answer(self.account, request)
        if failure is not None and len(self.messages) > before:
            self.account.fail(self.messages[-1], failure)
        return reply
