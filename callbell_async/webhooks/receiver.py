"""The receiver: takes webhook requests from any web framework, and passes their events to a handler."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import attrs

from callbell_async.arguments import Secret, check_count, check_seconds
from callbell_async.errors import ConfigurationError, EventNotHandledError
from callbell_async.guarded_observers import observers_from
from callbell_async.models.events import Event
from callbell_async.observe import EventInfo, Observer, RefusalReason
from callbell_async.webhooks.event_queue import EventQueue, Started, set_result
from callbell_async.webhooks.options import ErrorHook, ErrorReporter, Handler, check_handler, check_sync_function
from callbell_async.webhooks.request import (
    FAILED,
    OK,
    TIMED_OUT,
    TOO_LARGE,
    UNAUTHORIZED,
    UNAVAILABLE,
    ReceiverResponse,
    Refused,
    Unreadable,
    check_head,
    decide,
)
from callbell_async.webhooks.signature import read_credentials

__all__ = ["ReceiverStats", "SeenKeys", "WebhookReceiver"]


@attrs.frozen(kw_only=True)
class ReceiverStats:
    """The counters of a receiver since it was built, for a health check.

    Attributes:
        received: the requests, without GET and HEAD.
        refused: the requests refused with 4xx: a bad signature, a body that is too large, too slow, incomplete or encoded, a wrong method.
        unreadable: the requests that were signed and could not be read; they went to `on_error`.
        duplicates: the events that had been received before and were not handled again.
        unavailable: the events refused with 503, because the queue was full or the receiver closed.
        handled: the events that were handled.
        failed: the events that were not handled: the handler raised or was cancelled, or the receiver closed before.
        pending: the events that are not handled yet, those in a handler included.
        pending_bytes: the bytes of the bodies of these events.
    """

    received: int
    refused: int
    unreadable: int
    duplicates: int
    unavailable: int
    handled: int
    failed: int
    pending: int
    pending_bytes: int


class WebhookReceiver:
    """Takes the requests of a webhook, and passes each event once to a handler, through a bounded queue.

    It can be built outside an event loop. Without a handler, iterate over it: `async for event in receiver`.

    Args:
        handler: takes an event: a coroutine function, or a plain function that does not block.
        secret: the webhook's secret, or several of which any may have signed. Blanks around it are removed.
        url_secret: a secret of your own that the URL must hold, or several of which it must hold one: as the parameter `secret` of its query,
            or as the last part of its path. It consists of letters, digits and `- . _ ~`.
        header_secret: the name of a header and the secret of your own that it must hold, for example from a proxy before your server.
        unsigned: `True` instead of any secret if Callbell does not sign. Anybody who knows the URL can then send events.
        respond_after: `"enqueue"` responds when the event is in the queue, which is lost if the process dies; `"handler"` responds when the
            handler has returned: Callbell sends every other event again.
        queue_size: the number of events that may wait. If the queue is full, the response is 503, and Callbell sends the event again.
        max_queue_bytes: the bytes of the bodies of all events that are not handled yet, at least `max_body`. Beyond it the response is 503.
            A parsed event takes several times the memory of its body.
        concurrency: the number of handlers at once; with 1, events are handled in the order of their arrival.
        max_body: the bytes of one request's body; a larger one is refused with 413.
        read_timeout: the seconds in which a request's body must arrive (408); `math.inf` for no limit.
        dedupe_size: the number of recent events whose `key` is kept, to drop duplicates.
        dedupe_seconds: how long such a key is kept, in seconds. An event with an equal payload and without a date is a duplicate, too.
        on_error: a plain function of an exception and its event. It is called for a handler or a listener that raised, for a signed body that
            can't be read (its event is `None`), and for an event that was not handled before the end (`EventNotHandledError`).
        tolerance: the age of a signature, in seconds, up to which it is accepted.
        drain_timeout: how long `close` waits for the events that are not handled yet, in seconds.
        clock: returns unix time in seconds, for signatures. All other times are the event loop's.
        observer: an `Observer` of the requests and of the handler, or a sequence of them. It gets no event; a listener does (`add_listener`).

    Raises:
        ConfigurationError: an argument is wrong; the text names it, and never quotes a secret.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        secret: str | Sequence[str] | None = None,
        url_secret: str | Sequence[str] | None = None,
        header_secret: tuple[str, str | Sequence[str]] | None = None,
        unsigned: bool = False,
        respond_after: Literal["enqueue", "handler"] = "enqueue",
        queue_size: int = 1000,
        max_queue_bytes: int = 16 * 1024 * 1024,
        concurrency: int = 1,
        max_body: int = 1024 * 1024,
        read_timeout: float = 30.0,
        dedupe_size: int = 100_000,
        dedupe_seconds: float = 3600.0,
        on_error: ErrorHook | None = None,
        tolerance: float = 300.0,
        drain_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        observer: Observer | Sequence[Observer] | None = None,
    ) -> None:
        given = Secret(secret), Secret(url_secret), Secret(header_secret)
        # Any other argument may be refused below, and a traceback shows the local variables of this frame.
        del secret, url_secret, header_secret
        if handler is not None:
            check_handler(handler)
        if respond_after not in ("enqueue", "handler"):
            raise ConfigurationError(f"respond_after={respond_after!r}: must be 'enqueue' or 'handler'")
        check_count("queue_size", queue_size)
        check_count("concurrency", concurrency)
        check_count("max_body", max_body, unit="bytes")
        check_count("max_queue_bytes", max_queue_bytes, least=max_body, unit="bytes")
        check_count("dedupe_size", dedupe_size, least=0)
        check_seconds("read_timeout", read_timeout, positive=True, endless=True)
        check_seconds("dedupe_seconds", dedupe_seconds, endless=True)
        check_seconds("tolerance", tolerance, endless=True)
        check_seconds("drain_timeout", drain_timeout, endless=True)
        self._credentials = read_credentials(*given, unsigned=unsigned)
        self._tolerance = tolerance
        self._clock = clock
        self._max_body = max_body
        self._read_timeout = None if read_timeout == math.inf else read_timeout
        self._drain_timeout = drain_timeout
        self._has_handler = handler is not None
        self._responds_after_handler = respond_after == "handler"
        self._reporter = ErrorReporter(on_error)
        self._seen = SeenKeys(dedupe_size, dedupe_seconds)
        self._in_flight: dict[str, asyncio.Future[ReceiverResponse]] = {}
        self._listeners: list[Callable[[Event], object]] = []
        self._observers = observers_from(observer)
        # By identity: equal events are different ones here. With the loop's time of the receipt.
        self._watched: dict[int, tuple[EventInfo, float]] = {}
        call = _call if self._observers is None else self._call_watched
        self._queue = EventQueue(
            None if handler is None else functools.partial(call, handler),
            size=queue_size,
            max_bytes=max_queue_bytes,
            concurrency=concurrency,
            on_done=self._on_done,
        )
        self._received = self._refused = self._unreadable = 0
        self._duplicates = self._unavailable = self._handled = self._failed = 0

    @property
    def pending(self) -> int:
        """The number of events that were received and are not handled yet."""
        return len(self._queue)

    @property
    def stats(self) -> ReceiverStats:
        """The counters at this moment."""
        return ReceiverStats(
            received=self._received,
            refused=self._refused,
            unreadable=self._unreadable,
            duplicates=self._duplicates,
            unavailable=self._unavailable,
            handled=self._handled,
            failed=self._failed,
            pending=len(self._queue),
            pending_bytes=self._queue.pending_bytes,
        )

    def check_request(
        self, method: str, *, content_length: int | None = None, content_encoding: str | None = None
    ) -> ReceiverResponse | None:
        """Return the response to a request whose body need not be read, or `None` if it must be read and passed to `receive`.

        GET and HEAD get 200, other methods than POST 405, a `Content-Encoding` 415, and a body over `max_body` 413.

        Args:
            method: the request's method, in upper case.
            content_length: its `Content-Length`, in bytes; `None` if it has none.
            content_encoding: its `Content-Encoding`; `None` if it has none. The signature covers the raw body, which a web framework may
                replace by the decoded one.

        Returns:
            The response, or `None`.
        """
        response = check_head(method, content_length, content_encoding, max_body=self._max_body)
        return response if response in (None, OK) else self.refuse(response)

    async def read_body(self, chunks: AsyncIterable[bytes]) -> bytes | ReceiverResponse:
        """Return the body that these chunks form, or the response to one that exceeds `max_body` (413) or `read_timeout` (408).

        Args:
            chunks: The parts of the body, in order.

        Returns:
            The body, or the response.
        """
        reading = Started(self._join(chunks))
        if reading.is_done:
            # All of it had arrived, as small bodies do: a limit of time would cost more than the reading.
            return await reading
        limit = asyncio.timeout(self._read_timeout)
        try:
            async with limit:
                return await reading
        except TimeoutError:
            if not limit.expired():
                raise
            return self.refuse(TIMED_OUT)

    async def _join(self, chunks: AsyncIterable[bytes]) -> bytes | ReceiverResponse:
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > self._max_body:
                return self.refuse(TOO_LARGE)
        return bytes(body)

    def refuse(self, response: ReceiverResponse) -> ReceiverResponse:
        """Count and log a request that is refused without being received, and return its response.

        Args:
            response: The response to the request.

        Returns:
            The same response.
        """
        self._received += 1
        self._refused += 1
        self._watch_refusal("request", response)
        self._reporter.log_refusal(f"{response.status} {response.body.decode()}")
        return response

    async def receive(
        self,
        body: bytes,
        signature: str | None = None,
        *,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ReceiverResponse:
        """Receive a POST, and return the response to it.

        Args:
            body: the raw body. It must not be decoded: refuse a request with a `Content-Encoding` before (`check_request`).
            signature: the `X-Callbell-Signature` header; `None` without one, joined by commas if there are several.
            url: the request's URL, or its path and query; needed with a `url_secret`.
            headers: the request's headers; needed with a `header_secret`.

        Returns:
            The response to send.
        """
        if len(body) > self._max_body:
            return self.refuse(TOO_LARGE)
        self._received += 1
        found = decide(
            body,
            signature,
            credentials=self._credentials,
            url=url,
            headers=headers,
            tolerance=self._tolerance,
            now=self._clock(),
        )
        if isinstance(found, Event):
            response = self._enqueue(found, len(body))
            # Shielded: of several requests with this event one may be cancelled while the others wait.
            return response if isinstance(response, ReceiverResponse) else await asyncio.shield(response)
        if isinstance(found, Refused):
            self._refused += 1
            self._watch_refusal("signature", UNAUTHORIZED)
            self._reporter.log_refusal(found.error)
            return UNAUTHORIZED
        if isinstance(found, Unreadable):
            self._unreadable += 1
            self._watch_refusal("unreadable", OK)
            self._reporter.report("a webhook request can't be read", found.error)
        return OK

    def add_listener(self, listener: Callable[[Event], object]) -> None:
        """Call a function with every new event when it arrives, before the handler.

        Duplicates are not passed to it. An event that was not handled, or found no room in the queue, is passed again when Callbell sends it
        again. An error that it raises is reported to `on_error`.

        Args:
            listener: a plain function that returns quickly.

        Raises:
            ConfigurationError: it is not a plain function.
        """
        check_sync_function("listener", listener)
        self._listeners.append(listener)

    def __aiter__(self) -> AsyncGenerator[Event, None]:
        """Iterate over the events until the receiver is closed and its queue is empty.

        An event has been handled when the next one is requested. Several loops share the events.
        """
        if self._has_handler:
            raise ConfigurationError(
                "a receiver with a handler has no events left to iterate over; leave the handler out"
            )
        return self._queue.consume(break_is_failure=self._responds_after_handler)

    async def close(self) -> None:
        """Accept no more events (503), and return when all are handled, or after `drain_timeout` seconds.

        `on_error` is called with an `EventNotHandledError` for each event that is not handled then. A closed receiver stays closed.
        """
        await self._queue.drain(self._drain_timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _enqueue(self, event: Event, size: int) -> ReceiverResponse | asyncio.Future[ReceiverResponse]:
        """Return the response to an event, or a future of it if it depends on the handler."""
        now = asyncio.get_running_loop().time()
        in_flight = self._in_flight.get(event.key)
        if in_flight is not None or self._seen.holds(event.key, now):
            self._duplicates += 1
            self._watch_refusal("duplicate", OK)
            return OK if in_flight is None else in_flight
        has_room = self._queue.has_room(size)
        if has_room or self.pending:
            # Also without room: a handler that runs may wait for the status in this event.
            self._notify_listeners(event)
        if not has_room:
            self._unavailable += 1
            self._watch_refusal("unavailable", UNAVAILABLE)
            return UNAVAILABLE
        if self._responds_after_handler:
            in_flight = self._in_flight[event.key] = asyncio.get_running_loop().create_future()
        else:
            self._seen.add(event.key, now)
        if self._observers is not None:
            info, _ = self._watched[id(event)] = EventInfo(type(event).__name__), now
            self._observers.notify("event_received", info)
        self._queue.put(event, size)
        return OK if in_flight is None else in_flight

    def _notify_listeners(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:
                self._reporter.report("a listener raised", error, event)

    def _on_done(self, event: Event, error: Exception | None) -> None:
        if error is None:
            self._handled += 1
        else:
            self._failed += 1
            self._reporter.report("a webhook event was not handled", error, event)
        if self._observers is not None and (watched := self._watched.pop(id(event), None)) is not None:
            seconds = asyncio.get_running_loop().time() - watched[1]
            name = None if error is None else type(error).__name__
            self._observers.notify("event_handled", watched[0], name, seconds)
        if in_flight := self._in_flight.pop(event.key, None):
            if error is None:
                self._seen.add(event.key, asyncio.get_running_loop().time())
            set_result(in_flight, _response_after(error))

    async def _call_watched(self, handler: Handler, event: Event) -> None:
        watched = self._watched.get(id(event))
        if self._observers is not None and watched is not None:
            self._observers.notify("event_started", watched[0])
        await _call(handler, event)

    def _watch_refusal(self, reason: RefusalReason, response: ReceiverResponse) -> None:
        if self._observers is not None:
            self._observers.notify("event_refused", reason, response.status)


async def _call(handler: Handler, event: Event) -> None:
    result = handler(event)
    if inspect.isawaitable(result):
        await result


def _response_after(error: Exception | None) -> ReceiverResponse:
    if error is None:
        return OK
    return UNAVAILABLE if isinstance(error, EventNotHandledError) else FAILED


class SeenKeys:
    """The keys that were added within the last `seconds`, at most the newest `size` of them.

    `now` is in seconds of a clock that never goes back.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        # In the order of their times. A plain dict is slow when its first key is removed again and again.
        self._seen_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen_at)

    def holds(self, key: str, now: float) -> bool:
        """Return whether this key was added recently."""
        self._remove_before(now - self._seconds)
        return key in self._seen_at

    def add(self, key: str, now: float) -> None:
        """Add a key; its time starts again if it is there already."""
        self._seen_at[key] = now
        self._seen_at.move_to_end(key)
        if len(self._seen_at) > self._size:
            self._seen_at.popitem(last=False)

    def _remove_before(self, moment: float) -> None:
        while self._seen_at:
            key, seen_at = next(iter(self._seen_at.items()))
            if seen_at > moment:
                return
            del self._seen_at[key]
