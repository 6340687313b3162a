"""The client: token, pool of connections, life cycle, and the groups of endpoints."""

from __future__ import annotations

import asyncio
import math
import os
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from multidict import CIMultiDict

from callbell_async.arguments import (
    check_base_url,
    check_count,
    check_header,
    check_instance,
    check_seconds,
    check_token,
    is_insecure,
)
from callbell_async.bulk import DEFAULT_STOP_ON, SendRun
from callbell_async.endpoints.account import AuthEndpoint, FunnelsEndpoint, PlanEndpoint, UsersEndpoint
from callbell_async.endpoints.channels import ChannelsEndpoint
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
from callbell_async.limits.base import RateLimiter
from callbell_async.limits.window import WindowRateLimiter
from callbell_async.models.journal import ReconcileReport, RefreshReport
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt
from callbell_async.models.results import Item, SendResult
from callbell_async.wire import dump_json

try:
    import resource
except ModuleNotFoundError:  # pragma: no cover - not on Windows
    resource = None  # type: ignore[assignment]

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
        token = check_token(os.environ.get("CALLBELL_TOKEN") if token is None else token)
        if base_url is None:
            base_url = os.environ.get("CALLBELL_BASE_URL") or DEFAULT_BASE_URL
        self._base_url = check_base_url(base_url, example=DEFAULT_BASE_URL)
        check_seconds("timeout", timeout, positive=True, optional=True)
        check_seconds("connect_timeout", connect_timeout, positive=True, optional=True)
        check_count("max_connections", max_connections)
        check_instance("retry", retry, RetryPolicy, "RetryPolicy(attempts=1) never retries")
        limiter = _rate_limiter(rate_limit)
        if session is not None:
            check_instance(
                "session", session, aiohttp.ClientSession, "pass a session of aiohttp itself, or leave it out"
            )
        user_agent = default_user_agent() if user_agent is None else check_header("user_agent", user_agent)
        for text in _setup_warnings(self._base_url, connections=max_connections if session is None else 0):
            warnings.warn(text, stacklevel=2)
        options = TransportOptions(
            base_url=self._base_url,
            headers=CIMultiDict(
                {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": user_agent}
            ),
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_connections=max_connections,
        )
        self._transport = Transport(options, session)
        self._runs: set[SendRun] = set()
        self._pipeline = pipeline = _PipelineHandle(RequestPipeline(self._transport, retry=retry, rate_limit=limiter))
        self.messages = MessagesEndpoint(pipeline)
        self.contacts = ContactsEndpoint(pipeline)
        self.channels = ChannelsEndpoint(pipeline)
        self.templates = TemplatesEndpoint(pipeline)
        self.teams = TeamsEndpoint(pipeline)
        self.users = UsersEndpoint(pipeline)
        self.custom_statuses = CustomStatusesEndpoint(pipeline)
        self.funnels = FunnelsEndpoint(pipeline)
        self.webhooks = WebhooksEndpoint(pipeline)
        self.plan = PlanEndpoint(pipeline)
        self.auth = AuthEndpoint(pipeline)

    def __repr__(self) -> str:
        state = "closed" if self._pipeline.closed else "open" if self._pipeline.loop else "not opened yet"
        return f"<{type(self).__name__} {self._base_url} {state}>"

    async def __aenter__(self) -> Self:
        self._pipeline()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        # A client whose arguments were refused has no pipeline.
        pipeline = getattr(self, "_pipeline", None)
        if pipeline is not None and not pipeline.closed and self._transport.close_nowait():
            warnings.warn(
                f"unclosed {self!r}; use `async with` or `await close()`", ResourceWarning, source=self, stacklevel=2
            )

    @property
    def closed(self) -> bool:
        """Whether the client was closed; it can't be opened again."""
        return self._pipeline.closed

    async def close(self) -> None:
        """End the runs under way as if cancelled, and close the pool (a caller's own session stays open). May be called twice."""
        self._pipeline.closed = True
        try:
            # Together: their grace times must not add up.
            await asyncio.gather(*(run.aclose() for run in tuple(self._runs)))
        finally:
            await self._pipeline.close()

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
            self._pipeline,
            messages,
            concurrency=concurrency,
            journal=journal,
            on_result=on_result,
            stop_on=stop_on,
            shutdown_timeout=shutdown_timeout,
            runs=self._runs,
        )

    async def reconcile(self, journal: Journal, *, clock_skew: float = 2.0) -> ReconcileReport:
        """Look for every message of the journal whose outcome is `UNKNOWN` in its contact's history, and settle those that are there.

        One is found by its text: a message that was sent to that contact, not before it was tried (but for `clock_skew` seconds between
        this machine's clock and Callbell's), and that is no other message of the journal. What is not found stays `UNKNOWN`: it may
        have been lost, or not be shown yet. Opens the journal if it isn't open. Raises `JournalError`, and `AuthenticationError`.
        """
        async with journal:
            return await reconcile(journal, contacts=self.contacts, templates=self.templates, clock_skew=clock_skew)

    async def refresh(self, journal: Journal) -> RefreshReport:
        """Ask Callbell how far the journal's accepted messages are, those that have not come to their end; one request for each.

        Opens the journal if it isn't open. Raises `JournalError`, and `AuthenticationError`.
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
        return await self._pipeline().run(CallState(request), read_any)


class _PipelineHandle:
    """Gives out the request pipeline while the client is open, on the event loop of its first call.

    Holds no reference to the client, so that a client that nobody closed can be garbage-collected, and warn.
    """

    def __init__(self, pipeline: RequestPipeline) -> None:
        self._pipeline = pipeline
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def __call__(self) -> RequestPipeline:
        """Return the pipeline; raises `ClientClosedError`, or `ConfigurationError` on another event loop than the first."""
        if self.closed:
            raise ClientClosedError("the client is closed; build a new one")
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            if self.loop is not None:
                raise ConfigurationError(
                    "the client belongs to another event loop (that of its first call); build one client for each loop"
                )
            self.loop = loop
        return self._pipeline

    async def close(self) -> None:
        """Close the pipeline; a call that is in flight ends at once."""
        self.closed = True
        await self._pipeline.close()


def _rate_limiter(rate_limit: object) -> RateLimiter | None:
    if rate_limit is None or isinstance(rate_limit, RateLimiter):
        return rate_limit
    if isinstance(rate_limit, int):
        return WindowRateLimiter(check_count("rate_limit", rate_limit, unit="requests a second"))
    found = f"the class {rate_limit.__name__}" if isinstance(rate_limit, type) else repr(rate_limit)
    raise ConfigurationError(
        f"rate_limit: must be a whole number of requests a second, a RateLimiter, or None for no limit; not {found}"
    )


# Standard streams, the event loop, a journal, a log, name resolution.
_OTHER_FILES = 32


def _setup_warnings(base_url: str, *, connections: int) -> Iterator[str]:
    """What can work but probably should not stay as it is."""
    if is_insecure(base_url):
        yield (
            f"base_url {base_url} is plain http to another host: the token and all messages cross the network unencrypted; use https"
        )
    limit = _open_file_limit()
    if connections + _OTHER_FILES > limit:
        yield (
            f"this process may open {limit} files, too few for max_connections={connections}; "
            f"raise the limit (ulimit -n {connections + _OTHER_FILES}) or lower max_connections"
        )


def _open_file_limit() -> float:
    """The number of files and sockets that the process may have open; infinity where the system has no such limit."""
    if resource is None:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft
