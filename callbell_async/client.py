"""The client: token, pool of connections, life cycle, and the groups of endpoints."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict

from callbell_async.bulk import DEFAULT_STOP_ON, SendRun
from callbell_async.endpoints.account import (
    AuthEndpoint,
    ChannelsEndpoint,
    FunnelsEndpoint,
    PlanEndpoint,
    UsersEndpoint,
)
from callbell_async.endpoints.contacts import ContactsEndpoint
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.endpoints.teams import CustomStatusesEndpoint, TeamsEndpoint
from callbell_async.endpoints.templates import TemplatesEndpoint
from callbell_async.endpoints.webhooks import WebhooksEndpoint
from callbell_async.errors import ClientClosedError, ConfigurationError
from callbell_async.http.options import TransportOptions, default_user_agent
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState, Request, build_query
from callbell_async.http.responses import read_any
from callbell_async.http.retry import RetryPolicy
from callbell_async.http.transport import Transport
from callbell_async.journal import Journal, reconcile, refresh
from callbell_async.limits.window import RateLimiter, WindowRateLimiter
from callbell_async.models.journal import ReconcileReport, RefreshReport
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt
from callbell_async.models.results import Item, SendResult
from callbell_async.wire import dump_json

__all__ = ["DEFAULT_BASE_URL", "CallbellClient"]

DEFAULT_BASE_URL = "https://api.callbell.eu/v1"


class CallbellClient:
    """An asyncio-native client for the Callbell API.

    ```python
    async with CallbellClient("token") as callbell:
        receipt = await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
    ```

    - `token`: the API key, or the environment's `CALLBELL_TOKEN`. A pasted `Bearer ` before it is dropped.
    - `base_url`: or the environment's `CALLBELL_BASE_URL`, or Callbell's own.
    - `timeout`: seconds for one attempt, from asking the pool for a connection to the last byte of the answer; `None` for no limit.
    - `connect_timeout`: seconds for opening a connection, within `timeout`.
    - `max_connections`: how many connections the pool may hold open; a call beyond it waits for one within its `timeout`.
    - `retry`: a `RetryPolicy`. What may have been accepted is not sent again, unless it says so.
    - `rate_limit`: requests a second, a `RateLimiter`, or `None` for no limit. Callbell's limit is 300 an account.
    - `session`: a caller's own `aiohttp.ClientSession`, used and not closed; proxies, tracing and TLS are set there, and so is the
      size of its pool.
    - `user_agent`: in place of this library's own.

    The groups of endpoints: `messages`, `contacts`, `channels`, `templates`, `teams`, `users`, `custom_statuses`, `funnels`, `webhooks`,
    `plan`, `auth`. `request` reaches what has no method.

    Opened by `async with` or by the first call; closed by leaving the block or by `close`, and not usable again. Safe to build
    outside an event loop; belongs to the loop of its first call. Share one client in an application: it is the pool, the rate limit
    and the stop after a 429 that calls have in common. Raises `ConfigurationError` for arguments that can't be used.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | None = 30.0,
        connect_timeout: float | None = 5.0,
        max_connections: int = 100,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
        rate_limit: int | RateLimiter | None = 300,
        session: aiohttp.ClientSession | None = None,
        user_agent: str | None = None,
    ) -> None:
        self._base_url = _clean_base_url(base_url or os.environ.get("CALLBELL_BASE_URL") or DEFAULT_BASE_URL)
        if not isinstance(max_connections, int) or max_connections < 1:
            raise ConfigurationError(f"max_connections={max_connections!r}: must be a whole number, 1 or more")
        if not isinstance(retry, RetryPolicy):
            raise ConfigurationError("retry: must be a RetryPolicy; RetryPolicy(attempts=1) never retries")
        if not isinstance(rate_limit, int | RateLimiter | None):
            raise ConfigurationError("rate_limit: must be a whole number of requests a second, a RateLimiter, or None")
        headers = CIMultiDict(
            {
                "Authorization": f"Bearer {_clean_token(token if token is not None else os.environ.get('CALLBELL_TOKEN'))}",
                "Accept": "application/json",
                "User-Agent": _clean_header("user_agent", user_agent or default_user_agent()),
            }
        )
        options = TransportOptions(
            base_url=self._base_url,
            headers=headers,
            timeout=_clean_seconds("timeout", timeout),
            connect_timeout=_clean_seconds("connect_timeout", connect_timeout),
            max_connections=max_connections,
        )
        self._transport = Transport(options, session)
        limiter = WindowRateLimiter(rate_limit) if isinstance(rate_limit, int) else rate_limit
        self._runs: set[SendRun] = set()
        self._door = door = _Door(RequestPipeline(self._transport, retry=retry, rate_limit=limiter))
        self.messages = MessagesEndpoint(door)
        self.contacts = ContactsEndpoint(door)
        self.channels = ChannelsEndpoint(door)
        self.templates = TemplatesEndpoint(door)
        self.teams = TeamsEndpoint(door)
        self.users = UsersEndpoint(door)
        self.custom_statuses = CustomStatusesEndpoint(door)
        self.funnels = FunnelsEndpoint(door)
        self.webhooks = WebhooksEndpoint(door)
        self.plan = PlanEndpoint(door)
        self.auth = AuthEndpoint(door)

    def __repr__(self) -> str:
        state = "closed" if self._door.closed else "open" if self._door.loop else "not opened yet"
        return f"<{type(self).__name__} {self._base_url} {state}>"

    async def __aenter__(self) -> Self:
        self._door()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        # One whose arguments were refused has no door.
        door = getattr(self, "_door", None)
        if door is not None and not door.closed and self._transport.close_nowait():
            warnings.warn(
                f"unclosed {self!r}; use `async with` or `await close()`", ResourceWarning, source=self, stacklevel=2
            )

    @property
    def closed(self) -> bool:
        """Whether the client was closed; it can't be opened again."""
        return self._door.closed

    async def close(self) -> None:
        """End the runs under way as if cancelled, and close the pool (a caller's own session stays open). May be called twice."""
        self._door.closed = True
        try:
            # Together: their grace times must not add up.
            await asyncio.gather(*(run.aclose() for run in tuple(self._runs)))
        finally:
            await self._transport.close()

    async def send(self, message: Message) -> MessageReceipt:
        """Send one message: `callbell.messages.send`."""
        return await self.messages.send(message)

    def send_many(
        self,
        messages: Iterable[Item] | AsyncIterable[Item],
        *,
        concurrency: int = 50,
        journal: Journal | None = None,
        on_result: Callable[[SendResult], Any] | None = None,
        stop_on: tuple[type[BaseException], ...] = DEFAULT_STOP_ON,
        shutdown_timeout: float = 10.0,
    ) -> SendRun:
        """Send any number of messages: `await` it for a report in the order given, or `async for` results as they come.

        `messages` is pulled lazily, as places become free among the `concurrency` that are under way at once (more than the pool's
        `max_connections` only wait there). `journal` writes down each message before it is tried, and what came of it: what it has already is
        not sent again, not after a crash either. `on_result` is called with each result (awaited if it gives something to await).
        An error of a kind in `stop_on` stops the run: what is under way ends, the rest is `SKIPPED`. When cancelled, what is
        under way has `shutdown_timeout` seconds to end. See `SendRun`. Raises `ConfigurationError` for arguments that can't be used.
        """
        return SendRun(
            self._door,
            messages,
            concurrency=concurrency,
            journal=journal,
            on_result=on_result,
            stop_on=stop_on,
            shutdown_timeout=shutdown_timeout,
            runs=self._runs,
        )

    async def reconcile(self, journal: Journal, *, clock_skew: float = 2.0) -> ReconcileReport:
        """Search the contacts' histories for the journal's `UNKNOWN` messages, and resolve those that are there.

        A message is found by its text: a message with this text was sent to the contact at or after the attempt, and belongs to no other
        message of the journal. It becomes `ACCEPTED`, with `confirmed_by="history"`. This is an inference, and it can be wrong: somebody
        else may have sent the same text. If several messages fit, no uuid is stored. A message that is not found stays `UNKNOWN`: it may
        still have been sent. A number is also looked up in the other forms to which WhatsApp corrects numbers (Brazil, Mexico, Argentina).

        Args:
            journal: The journal. It is opened if it is not open.
            clock_skew: The most seconds by which this machine's clock and Callbell's differ, 0 to 86,400. Accepted messages claim a
                message of the history up to `clock_skew` before their attempt; an `UNKNOWN` message is never found before its attempt.

        Returns:
            The numbers of messages that were inferred and confirmed, and the messages that are still `UNKNOWN`, each with the reason.

        Raises:
            ConfigurationError: `clock_skew` is out of range.
            JournalError: The journal can't be read or written.
            AuthenticationError: Callbell refuses the token.
        """
        async with journal:
            return await reconcile(journal, contacts=self.contacts, templates=self.templates, clock_skew=clock_skew)

    async def refresh(self, journal: Journal) -> RefreshReport:
        """Request the status of the journal's accepted messages: one request for each that is not read, failed or deleted.

        Messages without a uuid have no status.

        Args:
            journal: The journal. It is opened if it is not open.

        Returns:
            The numbers of messages whose status was requested, has changed, and could not be read.

        Raises:
            JournalError: The journal can't be read or written.
            AuthenticationError: Callbell refuses the token.
        """
        async with journal:
            return await refresh(journal, messages=self.messages)

    async def request(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, json: Any = None) -> Any:
        """Call what has no method here, and return its JSON (`None` for an empty answer).

        `path` begins with a slash and is percent-encoded; `query` leaves out `None` and joins lists with commas. The same token,
        timeouts, retries, rate limit and exceptions apply as everywhere.
        """
        if not path.startswith("/"):
            raise ConfigurationError("path: must begin with a slash, and stand without the base URL")
        body = None if json is None else dump_json(json, field="json")
        request = Request(method.upper(), path + build_query(query), body)
        return await self._door().run(CallState(request), read_any)


class _Door:
    """Leads to the caller while the client is open, on its own event loop. It does not hold the client, so that one nobody closed is collected."""

    def __init__(self, caller: RequestPipeline) -> None:
        self._caller = caller
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def __call__(self) -> RequestPipeline:
        """The caller, for a call on this loop; raises `ClientClosedError`, or `ConfigurationError` on another loop than the first."""
        if self.closed:
            raise ClientClosedError("the client is closed; build a new one")
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            if self.loop is not None:
                raise ConfigurationError(
                    "the client belongs to another event loop (that of its first call); build one client for each loop"
                )
            self.loop = loop
        return self._caller


def _clean_token(token: str | None) -> str:
    # The dashboard shows the key with `Bearer ` before it, and people paste it whole.
    token = (token or "").strip()
    if token[:6].lower() == "bearer" and (len(token) == 6 or token[6].isspace()):
        token = token[6:].strip()
    if not token:
        raise ConfigurationError("no token; pass CallbellClient(token) or set CALLBELL_TOKEN in the environment")
    return _clean_header("token", token)


def _clean_header(name: str, value: str) -> str:
    if not value.isprintable() or not value.isascii():
        # Says nothing of the value: it may be the secret.
        raise ConfigurationError(
            f"{name}: has characters that can't stand in a header; was it pasted with a line break?"
        )
    return value


def _clean_base_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        # An open bracket, as in http://[::1
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(
            f"base_url: must be an absolute http or https URL without a query, such as {DEFAULT_BASE_URL}"
        )
    if parts.username or parts.password:
        raise ConfigurationError("base_url: must not hold a user name or a password")
    return url.strip().rstrip("/")


def _clean_seconds(name: str, value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise ConfigurationError(f"{name}={value!r}: must be seconds, more than 0, or None for no limit")
    return value
