"""The client: its arguments, its life cycle, and the groups of endpoints."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import warnings
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from callbell_async.arguments import (
    UNSET,
    Secret,
    Unset,
    check_base_url,
    check_count,
    check_instance,
    check_seconds,
    check_token,
)
from callbell_async.asyncio_tools import run_shielded
from callbell_async.bulk import DEFAULT_STOP_ON, FIRST_WORKERS, MAX_WORKERS, SendRun, SingleSends
from callbell_async.combined_calls import CombinedCalls
from callbell_async.endpoints.account import (
    AuthEndpoint,
    ChannelsEndpoint,
    CustomStatusesEndpoint,
    FunnelsEndpoint,
    PlanEndpoint,
    TeamsEndpoint,
    UsersEndpoint,
    WebhooksEndpoint,
)
from callbell_async.endpoints.contacts import ContactsEndpoint, TagLocks
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.endpoints.templates import TemplatesEndpoint
from callbell_async.errors import ConfigurationError
from callbell_async.guarded_observers import observers_from
from callbell_async.http.options import (
    TransportOptions,
    check_extra_headers,
    client_headers,
    open_file_limit,
    pool_size,
    setup_warnings,
)
from callbell_async.http.pipeline import PipelineHandle, RequestPipeline
from callbell_async.http.requests import CallState, Request, build_query
from callbell_async.http.responses import read_any
from callbell_async.http.retry import RetryPolicy
from callbell_async.http.shared_state import ClientLife
from callbell_async.http.transport import Transport
from callbell_async.journal import Journal, reconcile, refresh
from callbell_async.limits.base import RateLimiter
from callbell_async.limits.window import WindowRateLimiter
from callbell_async.models.journal import ReconcileReport, RefreshReport
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt
from callbell_async.models.results import Item, SendResult
from callbell_async.observe import Observer
from callbell_async.recipients.opt_outs import OptOutList
from callbell_async.wire import dump_arguments

__all__ = ["DEFAULT_BASE_URL", "CallbellClient"]

DEFAULT_BASE_URL = "https://api.callbell.eu/v1"


class CallbellClient(CombinedCalls):
    """An asyncio-native client for the Callbell API.

    ```python
    async with CallbellClient("token") as callbell:
        receipt = await callbell.send(TextMessage(to="+31612345678", text="Hello!"))
    ```

    The client opens with `async with` or with its first call, and closes at the end of the block or with `close`; it can't be opened
    again. It may be built outside an event loop, and belongs to the event loop of its first call. Share one client in an
    application: its calls share the connection pool, the rate limit, and the pause after a 429.

    Each group of endpoints is an attribute: `messages`, `contacts`, `channels`, `templates`, `teams`, `users`, `custom_statuses`,
    `funnels`, `webhooks`, `plan` and `auth`. `request` calls an endpoint that has no method.

    Args:
        token: The API token; by default the environment variable `CALLBELL_TOKEN`. Blanks around it and `Bearer ` before it are
            removed.
        base_url: The address of the API, with `/v1`; by default the environment variable `CALLBELL_BASE_URL`, or
            `https://api.callbell.eu/v1`. Plain http to another host gives a `UserWarning`.
        timeout: The seconds for one attempt, from the request for a connection to the end of the response, more than 0; `None`
            for no limit.
        connect_timeout: The seconds for opening a connection, more than 0, within `timeout`; `None` for no limit.
        max_connections: The most connections in the pool, 1 or more. A request that finds none free waits, within `timeout`. By default
            300, or fewer if the process may open fewer files. A pool that is larger than that gives a `UserWarning`, and so does a
            default of fewer than 50.
        retry: The `RetryPolicy`. By default, a message that may have been accepted is not sent again.
        rate_limit: The most requests in a second, 1 or more; a `RateLimiter`; or `None` for no limit. Callbell's limit is 300 for
            an account.
        session: Your own `aiohttp.ClientSession`, for a proxy, tracing or TLS settings. It is not closed, and the size of its pool
            counts instead of `max_connections`.
        user_agent: The `User-Agent` header; by default the versions of this library, aiohttp and Python.
        observer: An `Observer` of all calls and runs, or a sequence of them.

    Attributes:
        closed: Whether the client was closed.

    Raises:
        ConfigurationError: An argument has another type or is out of range. The text names it, and never quotes the token.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | None = 30.0,
        connect_timeout: float | None = 5.0,
        max_connections: int | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
        rate_limit: int | RateLimiter | None = 300,
        session: aiohttp.ClientSession | None = None,
        user_agent: str | None = None,
        observer: Observer | Sequence[Observer] | None = None,
    ) -> None:
        given = Secret(os.environ.get("CALLBELL_TOKEN") if token is None else token)
        # Any other argument may be refused below, and a traceback shows the local variables of this frame.
        del token
        secret = Secret(check_token(given.value))
        if base_url is None:
            base_url = os.environ.get("CALLBELL_BASE_URL") or DEFAULT_BASE_URL
        self._base_url = check_base_url(base_url, example=DEFAULT_BASE_URL)
        check_seconds("timeout", timeout, positive=True, optional=True)
        check_seconds("connect_timeout", connect_timeout, positive=True, optional=True)
        if max_connections is not None:
            check_count("max_connections", max_connections)
        check_instance("retry", retry, RetryPolicy, "RetryPolicy(attempts=1) never retries")
        limiter = _rate_limiter(rate_limit)
        if session is not None:
            check_instance("session", session, aiohttp.ClientSession, "pass a session of aiohttp, or leave it out")
        observers = observers_from(observer)
        files = math.inf if session is not None else open_file_limit()
        options = TransportOptions(
            base_url=self._base_url,
            headers=client_headers(secret, user_agent),
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_connections=pool_size(max_connections, files, most=MAX_WORKERS),
        )
        for text in setup_warnings(self._base_url, max_connections, files, least=FIRST_WORKERS, most=MAX_WORKERS):
            warnings.warn(text, stacklevel=2)
        self._transport = Transport(options, session)
        pipeline = RequestPipeline(
            self._transport, retry=retry, rate_limit=limiter, observers=observers, base_url=self._base_url
        )
        self._runs: set[SendRun] = set()
        self._base: CallbellClient | None = None
        self._tag_locks = TagLocks()
        self._use(PipelineHandle(pipeline, ClientLife()))
        self._single_sends = SingleSends(self._pipeline)

    def _use(self, pipeline: PipelineHandle) -> None:
        self._pipeline = pipeline
        self.messages = MessagesEndpoint(pipeline)
        self.contacts = ContactsEndpoint(pipeline, self._tag_locks)
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
        if not hasattr(self, "_pipeline"):
            # A traceback shows it in `__init__`, when an argument was refused.
            return f"<{type(self).__name__} not built>"
        life = self._pipeline.life
        state = "closed" if life.closed else "open" if life.loop else "not opened yet"
        derived = " with_options" if self._base is not None else ""
        return f"<{type(self).__name__} {self._base_url} {state}{derived}>"

    async def __aenter__(self) -> Self:
        self._refuse_derived("`async with`")
        self._pipeline()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        # A client whose arguments were refused has no pipeline.
        pipeline = getattr(self, "_pipeline", None)
        if pipeline is None or pipeline.life.closed or self._base is not None:
            return
        if self._transport.close_nowait():
            warnings.warn(
                f"unclosed {self!r}; use `async with` or `await close()`", ResourceWarning, source=self, stacklevel=2
            )

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""
        return self._pipeline.life.closed

    def with_options(
        self,
        *,
        timeout: float | Unset | None = UNSET,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        observer: Observer | Sequence[Observer] | None = None,
    ) -> Self:
        """Return a client with other options, which shares the connection pool, the rate limit, the retry budget and the pauses.

        ```python
        fast = callbell.with_options(timeout=5.0, retry=RetryPolicy.web_request())
        receipt = await fast.send(message)
        ```

        It costs little to make, and its calls cost the same as those of this client. It has every method of a client, but it can't be
        closed, nor entered with `async with`: it is open as long as the client from which it comes. A client with options can itself
        make others.

        Args:
            timeout: The seconds for one attempt, more than 0; `None` for no limit. By default that of this client. If processes share
                a rate limiter, its `request_timeout` must be at least this long.
            retry: The `RetryPolicy`; by default that of this client.
            headers: Headers of each request, added to those of this client; a header of the same name replaces one that an earlier
                `with_options` has added. The headers that this library sets itself can't be replaced.
            observer: An `Observer`, or a sequence of them, called after those of this client.

        Returns:
            The client with these options.

        Raises:
            ConfigurationError: An argument has another type or is out of range. The text quotes no header's value.
        """
        if timeout is not UNSET:
            check_seconds("timeout", timeout, positive=True, optional=True)
        if retry is not None:
            check_instance("retry", retry, RetryPolicy, "RetryPolicy(attempts=1) never retries")
        pipeline = self._pipeline.pipeline.derive(
            timeout=timeout,
            retry=retry,
            headers={} if headers is None else check_extra_headers(headers),
            observers=observers_from(observer),
        )
        derived = copy.copy(self)
        # A reference, because a client that is garbage-collected closes its pool.
        derived._base = self if self._base is None else self._base
        derived._use(PipelineHandle(pipeline, self._pipeline.life))
        return derived

    def _refuse_derived(self, action: str) -> None:
        if self._base is not None:
            raise ConfigurationError(
                f"{action}: a client made by with_options can't be opened or closed; use the client from which it comes"
            )

    async def close(self) -> None:
        """Close the client: its runs end as if they were cancelled, then the pool and the rate limiter close.

        A session that was passed to the client stays open. May be called twice.

        Raises:
            JournalError: A journal that `send` has opened could not be written.
            ConfigurationError: The client was made by `with_options`.
        """
        self._refuse_derived("close")
        self._pipeline.life.closed = True
        # A cancel scope around this must not take the runs' shutdown time away.
        await run_shielded(self._close)

    async def _close(self) -> None:
        try:
            # All at once, so that their shutdown times do not add up.
            await asyncio.gather(*(run.aclose() for run in tuple(self._runs)))
        finally:
            try:
                await self._pipeline.close()
            finally:
                await self._single_sends.close()

    async def send(self, message: Message, *, journal: Journal | None = None) -> MessageReceipt:
        """Send one message; with a journal, once for each key.

        Without a journal this is the same as `messages.send`. With one, the message's `key`, or everything that would be sent for
        it, is an idempotency key: a further call with this key sends nothing and returns the first receipt, at any time, also after
        a crash, and in another process if the journal is in PostgreSQL. Of concurrent calls with one key in this process, one sends
        the message, and the others wait for it. A message that was `REJECTED`, `NEVER_SENT` or `SKIPPED` is sent by the next call.

        Args:
            message: The message.
            journal: The journal. The first call opens it if it is not open, and it stays open until the client is closed.

        Returns:
            Callbell's receipt: the message was accepted for sending (not: delivered).

        Raises:
            APIError: Callbell refused the message.
            TransportError: No readable response came; its `outcome` is `UNKNOWN` if the message may have been accepted.
            DuplicateMessageError: The message was not sent, because it may have been accepted before, another process or run is
                sending it (`error.entry.in_flight`), or the call that was waited for failed (its error is the `__cause__`).
            JournalError: The journal can't be used; the message was not sent.
        """
        if journal is None:
            return await self.messages.send(message)
        check_instance("journal", journal, Journal, 'pass Journal("messages.db")')
        receipt, _ = await self._single_sends.send(message, journal, self._pipeline)
        return receipt

    def send_many(
        self,
        messages: Iterable[Item] | AsyncIterable[Item],
        *,
        concurrency: int | None = None,
        journal: Journal | None = None,
        on_result: Callable[[SendResult], Any] | None = None,
        stop_on: tuple[type[BaseException], ...] = DEFAULT_STOP_ON,
        shutdown_timeout: float = 10.0,
        outage_timeout: float = 600.0,
        exclude: OptOutList | Collection[str] | None = None,
    ) -> SendRun:
        """Send any number of messages.

        ```python
        report = await callbell.send_many(messages)
        async for result in callbell.send_many(messages): ...
        ```

        Args:
            messages: The messages, from any iterable or asynchronous iterable. They are read as they are needed. An
                `InvalidMessageError` in place of a message is reported as its result.
            concurrency: The most messages in flight, 1 or more. Beyond the client's `max_connections` they wait for a connection. By
                default 50 at first; while the rate limiter has free slots, up to 300, but never more than the client's connections.
            journal: Records every message before it is sent, and its outcome. A message that it has already is not sent again,
                also after a crash.
            on_result: Called with the result of each message; if it returns an awaitable, that is awaited.
            stop_on: The exceptions that stop the run: messages in flight end, and the others are `SKIPPED`. By default
                `AuthenticationError` (401), `PaymentRequiredError` (402) and `RateLimiterError`.
            shutdown_timeout: The seconds that messages in flight have to end when the run is cancelled, 0 or more.
            outage_timeout: The seconds for which the run pauses while Callbell can't be reached; then it stops with an
                `OutageError`, and the other messages are `SKIPPED`. With 0 it never pauses.
            exclude: Recipients that get nothing: an `OptOutList`, or numbers in international form. Their messages are `SKIPPED`.

        Returns:
            The run. Await it for a `SendReport`, with the results in the order of the messages; or iterate over it for each
            `SendResult` as soon as it is known.

        Raises:
            ConfigurationError: An argument has another type or is out of range.
        """
        return SendRun(
            self._pipeline,
            messages,
            concurrency=concurrency,
            journal=journal,
            on_result=on_result,
            stop_on=stop_on,
            shutdown_timeout=shutdown_timeout,
            outage_timeout=outage_timeout,
            exclude=exclude,
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
        """Call an endpoint that has no method, with the same token, timeouts, retries and rate limit as every call.

        Args:
            method: The HTTP method. GET, PUT and DELETE are retried after any failure, as RFC 9110 allows.
            path: The path without the base URL: begins with a slash, and is percent-encoded.
            query: The parameters of the query. `None` is left out, lists are joined by commas.
            json: The body: anything that JSON can hold; `None` for no body.

        Returns:
            The JSON of the response; `None` if it has no body.

        Raises:
            ConfigurationError: `method` or `path` is not valid.
            APIError: Callbell refused the request.
            TransportError: No readable response came.
        """
        if not isinstance(method, str) or not (method.isascii() and method.isalpha()):
            raise ConfigurationError("method: must be an HTTP method such as GET or POST")
        if not isinstance(path, str) or not path.startswith("/"):
            raise ConfigurationError("path: must begin with a slash, and not contain the base URL")
        body = None if json is None else dump_arguments(json)
        request = Request(method.upper(), path + build_query(query), body)
        return await self._pipeline().run(CallState(request), read_any)


def _rate_limiter(rate_limit: object) -> RateLimiter | None:
    if rate_limit is None or isinstance(rate_limit, RateLimiter):
        return rate_limit
    if isinstance(rate_limit, int):
        return WindowRateLimiter(check_count("rate_limit", rate_limit, unit="requests a second"))
    found = f"the class {rate_limit.__name__}" if isinstance(rate_limit, type) else repr(rate_limit)
    raise ConfigurationError(
        f"rate_limit: must be a whole number of requests a second, a RateLimiter, or None for no limit; not {found}"
    )
