"""Observers of clients, journals and webhook receivers, and the loggers of the package; neither gets personal data."""

from __future__ import annotations

import logging
from typing import Literal

import attrs

from callbell_async.errors import Outcome

__all__ = [
    "CALL_MOMENTS",
    "MOMENTS",
    "ROOT_LOGGER",
    "AttemptInfo",
    "CallInfo",
    "EventInfo",
    "Observer",
    "RefusalReason",
    "RequestInfo",
    "RunInfo",
    "RunSummary",
    "area_logger",
    "new_call_info",
]


RefusalReason = Literal["request", "signature", "unreadable", "duplicate", "unavailable"]
"""The reason why a webhook request brings no event to the handler.

- `request`: a wrong method, or a body that is too large, too slow or encoded.
- `signature`: the signature is missing, wrong or too old.
- `unreadable`: the request is signed, and its body is not an event.
- `duplicate`: the event was received before.
- `unavailable`: the queue is full, or the receiver is closed. Callbell sends the event again.
"""


@attrs.frozen(eq=False, kw_only=True)
class RunInfo:
    """One run of `send_many`. The same object is passed at each moment of the run, and it can be the key of a dictionary.

    Attributes:
        messages: The number of messages in the input; `None` if the input has no length.
        has_journal: Whether the run records its messages in a journal.
    """

    messages: int | None
    has_journal: bool


@attrs.frozen
class RequestInfo:
    """The request of a call: the part of `CallInfo` that equal requests share.

    Attributes:
        method: The HTTP method.
        path: The path without the query, with `…` for each telephone number.
        route: The path with `{}` for each value in it.
        base_url: The base URL of the client.
    """

    method: str
    path: str
    route: str
    base_url: str


class CallInfo:
    """One call: a request with all its attempts. The same object is passed at each moment, and it can be the key of a dictionary.

    Attributes:
        request: The request, in one object.
        run: The run of `send_many` to which the call belongs; `None` for other calls.
        index: The index of the message in the input of the run; `None` for other calls.
        method: The HTTP method, such as `POST`.
        path: The path without the query, with `…` for each telephone number. It may hold the uuid of a contact or a message.
        route: The path with `{}` for each value in it, such as `/contacts/{}/messages`.
        base_url: The base URL of the client.
        sends_message: Whether the call sends a message.
    """

    # A class of attrs that can't be changed takes ten times as long to build, and each message needs one.
    __slots__ = ("_index", "_request", "_run")

    def __init__(self, request: RequestInfo, run: RunInfo | None = None, index: int | None = None) -> None:
        self._request = request
        self._run = run
        self._index = index

    @property
    def request(self) -> RequestInfo:
        """The request, in one object."""
        return self._request

    @property
    def run(self) -> RunInfo | None:
        """The run of `send_many` to which the call belongs; `None` for other calls."""
        return self._run

    @property
    def index(self) -> int | None:
        """The index of the message in the input of the run; `None` for other calls."""
        return self._index

    @property
    def method(self) -> str:
        """The HTTP method, such as `POST`."""
        return self._request.method

    @property
    def path(self) -> str:
        """The path without the query, with `…` for each telephone number."""
        return self._request.path

    @property
    def route(self) -> str:
        """The path with `{}` for each value in it."""
        return self._request.route

    @property
    def base_url(self) -> str:
        """The base URL of the client."""
        return self._request.base_url

    @property
    def sends_message(self) -> bool:
        """Whether the call sends a message."""
        return self._request.route == "/messages/send" and self._request.method == "POST"

    def __repr__(self) -> str:
        return f"CallInfo(request={self._request!r}, run={self._run!r}, index={self._index!r})"


def new_call_info(request: RequestInfo, run: RunInfo | None, index: int | None) -> CallInfo:
    """Return the same as `CallInfo(...)` in half the time, because no `__init__` is called."""
    info = _new_object(CallInfo)
    info._request = request
    info._run = run
    info._index = index
    return info


_new_object = object.__new__


@attrs.frozen
class AttemptInfo:
    """The end of one attempt.

    Attributes:
        number: The number of the attempt, from 1.
        outcome: The outcome of this attempt alone.
        status: The HTTP status of the response; `None` without a response.
        error: The name of the exception's class, such as `ServerError`; `None` for a success.
    """

    number: int
    outcome: Outcome
    status: int | None
    error: str | None


@attrs.frozen(kw_only=True)
class RunSummary:
    """The end of a run of `send_many`.

    Attributes:
        accepted: The number of messages that Callbell enqueued.
        rejected: The number of messages that Callbell refused.
        never_sent: The number of messages that never left this process.
        unknown: The number of messages that may have been accepted.
        skipped: The number of messages that were not attempted, duplicates included.
        duplicates: The number of messages that were in the journal or in the run before.
        seconds: The length of the run in seconds.
        error: The name of the class of the exception that stopped or ended the run, or `None`.
    """

    accepted: int
    rejected: int
    never_sent: int
    unknown: int
    skipped: int
    duplicates: int
    seconds: float
    error: str | None


@attrs.frozen(eq=False)
class EventInfo:
    """One webhook event. The same object is passed at each moment of the event, and it can be the key of a dictionary.

    Attributes:
        type: The name of the event's class, such as `MessageCreated`.
    """

    type: str


class Observer:
    """Called at each moment of a call, a run, a journal and a webhook receiver. Subclass it, and override what you need.

    ```python
    class RetryCounter(Observer):
        retries = 0

        def retry_scheduled(self, call: CallInfo, attempt: int, wait: float) -> None:
            self.retries += 1
    ```

    Pass it, or several, as `observer=` to `CallbellClient`, `with_options`, `Journal` and `WebhookReceiver`.

    The methods are plain functions that return quickly: each is called in the event loop, and most in the task of the call, with
    its context variables. An exception that one raises changes nothing. The first one of each observer is logged as a WARNING with
    the names of the two classes, and the others are not reported. No method gets a telephone number, a text, a secret, or a
    message's key, which may be derived from personal data.

    The moments of a call have this order: `call_started`, then for each attempt `waiting_started` and `waiting_ended` if it has to
    wait for its slot, `attempt_started`, `attempt_ended`, and after a failure perhaps `client_paused` and `retry_scheduled`;
    finally `call_ended`. Each start has its end, also when the call is cancelled.
    """

    def call_started(self, call: CallInfo) -> None:
        """A call begins: `send`, a page of a list, or any other operation.

        Args:
            call: The call. The same object is passed at each of its moments.
        """

    def waiting_started(self, call: CallInfo) -> None:
        """A call begins to wait for a slot of the rate limiter, or for the end of a pause after a 429."""

    def waiting_ended(self, call: CallInfo, seconds: float) -> None:
        """A call has its slot, or gives up.

        Args:
            call: The call.
            seconds: The length of the wait.
        """

    def attempt_started(self, call: CallInfo, number: int) -> None:
        """A request begins.

        Args:
            call: The call.
            number: The number of the attempt, from 1.
        """

    def attempt_ended(self, call: CallInfo, attempt: AttemptInfo, seconds: float) -> None:
        """A request has ended: its response was read, or there is none.

        Args:
            call: The call.
            attempt: The end of the attempt.
            seconds: The length of the attempt, reading the response included.
        """

    def retry_scheduled(self, call: CallInfo, attempt: int, wait: float) -> None:
        """An attempt failed, and another one follows.

        Args:
            call: The call.
            attempt: The number of the attempt that failed, from 1.
            wait: The seconds before the next attempt; after a 429 the pause of the client may last longer.
        """

    def client_paused(self, call: CallInfo, seconds: float) -> None:
        """A 429 pauses the whole client.

        Args:
            call: The call that got the response.
            seconds: The time by which the pause becomes longer; 0 if the client pauses for longer already. So the sum is the time of all pauses.
        """

    def call_ended(self, call: CallInfo, outcome: Outcome, attempts: int, error: str | None) -> None:
        """A call has ended.

        Args:
            call: The call.
            outcome: The outcome of all attempts together.
            attempts: The number of attempts.
            error: The name of the class of the exception that the call raises, `CancelledError` if it was cancelled; `None` for a success.
        """

    def run_started(self, run: RunInfo) -> None:
        """A run of `send_many` begins. Called in the task that awaits or iterates the run."""

    def run_paused(self, run: RunInfo) -> None:
        """A run pauses, because Callbell can't be reached."""

    def run_resumed(self, run: RunInfo, seconds: float) -> None:
        """The pause of a run ends: Callbell has responded, or the run ends.

        Args:
            run: The run.
            seconds: The length of the pause.
        """

    def run_stopped(self, run: RunInfo, error: str) -> None:
        """An error stops a run: the rest of the input is `SKIPPED`.

        Args:
            run: The run.
            error: The name of the class of the error.
        """

    def message_ended(self, run: RunInfo, index: int, outcome: Outcome, attempts: int) -> None:
        """A message of a run has its result, also without a call: a duplicate, a message that can't be sent, or a skipped one.

        Args:
            run: The run.
            index: The index of the message in the input, from 0.
            outcome: Its outcome.
            attempts: The number of attempts.
        """

    def run_ended(self, run: RunInfo, summary: RunSummary) -> None:
        """A run has ended, and each of its messages has a result.

        Args:
            run: The run.
            summary: The numbers of its results.
        """

    def journal_written(self, entries: int, seconds: float) -> None:
        """A journal has written a batch.

        Args:
            entries: The number of claims, results and reports in it.
            seconds: The time that it took, the wait for the journal's thread included.
        """

    def event_received(self, event: EventInfo) -> None:
        """A webhook receiver puts a new event into its queue. Called in the task of the request."""

    def event_refused(self, reason: RefusalReason, status: int) -> None:
        """A webhook request brings no event to the handler. Called in the task of the request.

        Args:
            reason: The reason: `request`, `signature`, `unreadable`, `duplicate` or `unavailable`.
            status: The status of the response.
        """

    def event_started(self, event: EventInfo) -> None:
        """A handler begins. Called in the handler's task, which has the context variables of the request.

        A context variable that is set here is seen by the handler, and by nothing else. Not called if the receiver is iterated.
        """

    def event_handled(self, event: EventInfo, error: str | None, seconds: float) -> None:
        """An event was handled, or not.

        Args:
            event: The event.
            error: The name of the class of the exception if it was not handled; `None` if it was.
            seconds: The time since it was received.
        """


MOMENTS = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""The names of the methods of `Observer`."""

CALL_MOMENTS = tuple(
    name for name in MOMENTS if name.startswith(("call_", "waiting_", "attempt_", "retry_", "client_"))
)
"""Those of the moments of a call."""


ROOT_LOGGER = "callbell_async"
"""The name of the logger above all others of the package."""

# Without it, Python prints the warnings of a program that has not configured logging.
logging.getLogger(ROOT_LOGGER).addHandler(logging.NullHandler())


def area_logger(area: str) -> logging.Logger:
    """Return the logger of an area, such as `http`."""
    return logging.getLogger(f"{ROOT_LOGGER}.{area}")
