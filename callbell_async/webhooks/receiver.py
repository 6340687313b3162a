"""Takes webhook requests from any web framework, and hands their events on."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Literal, Self

from callbell_async.errors import ConfigurationError, EventNotHandledError
from callbell_async.models.events import Event
from callbell_async.webhooks.dedupe import SeenKeys
from callbell_async.webhooks.event_queue import EventQueue, settle
from callbell_async.webhooks.options import Handler, check_seconds, check_whole, kept_secret
from callbell_async.webhooks.reports import ErrorHook, Reports, check_plain
from callbell_async.webhooks.request import Refused, Unreadable, decide
from callbell_async.webhooks.responses import FAILED, OK, TOO_LARGE, UNAUTHORIZED, UNAVAILABLE, ReceiverResponse

__all__ = ["WebhookReceiver"]


class WebhookReceiver:
    """Takes the requests of a webhook, and hands each event to `handler` behind a bounded queue, once.

    - `handler`: a coroutine function, or a plain one that does not block. Without one `async for event in receiver` gives out the events.
    - `secret`: the webhook's secret (of several, any may have signed), or `None` for an account that does not sign: whoever knows the URL
      can then send events, so put a secret into the URL.
    - `answer`: `"queued"` answers as soon as an event is in the queue, and what is queued dies with the process; `"handled"` when the
      handler has returned: Callbell sends again what was not answered, or what the handler raised at.
    - `queue_size`: events that wait. When it is full the answer is 503, and Callbell sends the event again.
    - `concurrency`: handlers at once; 1 keeps the events in their order of arrival.
    - `max_body`: bytes of a request.
    - `dedupe_size`, `dedupe_seconds`: what has the `key` of an event within so many seconds and among so many of the latest is a duplicate,
      and not handled again. So is an event that says the same as an earlier one: a contact that was changed, and changed back.
    - `on_error`: a plain function of an exception and its event, for what failed: a handler, an observer, a body that can't be read (the
      event is `None` then), an event that was not handled before the end (`EventNotHandledError`).
    - `tolerance`: seconds that a signature may be old.
    - `drain_timeout`: seconds that `close` waits for what is queued.
    - `clock`: unix seconds, for signatures; all else goes by the event loop's time.

    Raises `ConfigurationError` for a wrong argument. Safe to build outside an event loop.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        secret: str | Sequence[str] | None,
        answer: Literal["queued", "handled"] = "queued",
        queue_size: int = 1000,
        concurrency: int = 1,
        max_body: int = 1024 * 1024,
        dedupe_size: int = 100_000,
        dedupe_seconds: float = 3600.0,
        on_error: ErrorHook | None = None,
        tolerance: float = 300.0,
        drain_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if handler is not None and not callable(handler):
            raise ConfigurationError(f"handler={handler!r}: must be a function that takes an event")
        if answer not in ("queued", "handled"):
            raise ConfigurationError(f"answer={answer!r}: must be 'queued' or 'handled'")
        check_whole("queue_size", queue_size, least=1)
        check_whole("concurrency", concurrency, least=1)
        check_whole("max_body", max_body, least=1)
        check_whole("dedupe_size", dedupe_size, least=0)
        check_seconds("dedupe_seconds", dedupe_seconds)
        check_seconds("tolerance", tolerance)
        check_seconds("drain_timeout", drain_timeout)
        self.max_body = max_body
        self._secret = kept_secret(secret, tolerance)
        self._tolerance = tolerance
        self._clock = clock
        self._has_handler = handler is not None
        self._answers_when_handled = answer == "handled"
        self._drain_timeout = drain_timeout
        self._reports = Reports(on_error)
        self._seen = SeenKeys(dedupe_size, dedupe_seconds)
        self._under_way: dict[str, asyncio.Future[ReceiverResponse]] = {}
        self._observers: list[Callable[[Event], object]] = []
        handle = None if handler is None else functools.partial(_call, handler)
        self._backlog = EventQueue(handle, size=queue_size, concurrency=concurrency, ended=self._ended)

    @property
    def pending(self) -> int:
        """How many events were taken and are not handled yet."""
        return len(self._backlog)

    async def receive(self, body: bytes, signature: str | None = None) -> ReceiverResponse:
        """Take a POST: its raw body, and its `X-Callbell-Signature` (`None` without one; joined by commas if it came twice). Returns the answer to give."""
        if len(body) > self.max_body:
            return TOO_LARGE
        found = decide(body, signature, secret=self._secret, tolerance=self._tolerance, now=self._clock())
        if isinstance(found, Event):
            return await self._take(found)
        if isinstance(found, Refused):
            self._reports.refused(found.error)
            return UNAUTHORIZED
        if isinstance(found, Unreadable):
            self._reports.failed("a webhook request can't be read", found.error)
        return OK

    def observe(self, observer: Callable[[Event], object]) -> None:
        """Call `observer`, a plain and quick function, with every event when it comes, before the handler.

        It sees no duplicates; an event that was not handled or found no room in the queue, and is sent again, it sees again. One that
        raises is reported.
        """
        check_plain("observer", observer)
        self._observers.append(observer)

    def __aiter__(self) -> AsyncGenerator[Event, None]:
        """The events as they come, until the receiver is closed and its queue is empty.

        An event has been handled when the next is asked for. Several loops share the events.
        """
        if self._has_handler:
            raise ConfigurationError(
                "a receiver with a handler has no events left to iterate over; leave the handler out"
            )
        return self._backlog.consume(leaving_fails=self._answers_when_handled)

    async def close(self) -> None:
        """Take no more events (503), and return when those taken are handled, or after `drain_timeout` seconds.

        Each that is not handled then goes to `on_error` with an `EventNotHandledError`. A closed receiver can't be opened again.
        """
        await self._backlog.drain(self._drain_timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _take(self, event: Event) -> ReceiverResponse:
        now = asyncio.get_running_loop().time()
        in_flight = self._under_way.get(event.key)
        if in_flight is None:
            if self._seen.holds(event.key, now):
                return OK
            if self._backlog.is_open or self.pending:
                # Though there may be no room for it: a handler under way may wait for what it says.
                self._show(event)
            if not self._backlog.is_open:
                return UNAVAILABLE
            if not self._answers_when_handled:
                self._seen.add(event.key, now)
            else:
                in_flight = self._under_way[event.key] = asyncio.get_running_loop().create_future()
            self._backlog.put(event)
        # Shielded: of several requests with this event one may be cancelled, and the others go on waiting.
        return OK if in_flight is None else await asyncio.shield(in_flight)

    def _show(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception as error:
                self._reports.failed("an observer raised", error, event)

    def _ended(self, event: Event, error: Exception | None) -> None:
        if error is not None:
            self._reports.failed("a webhook event was not handled", error, event)
        if in_flight := self._under_way.pop(event.key, None):
            if error is None:
                self._seen.add(event.key, asyncio.get_running_loop().time())
            settle(in_flight, _answer(error))


async def _call(handler: Handler, event: Event) -> None:
    result = handler(event)
    if inspect.isawaitable(result):
        await result


def _answer(error: Exception | None) -> ReceiverResponse:
    if error is None:
        return OK
    return UNAVAILABLE if isinstance(error, EventNotHandledError) else FAILED
