"""OpenTelemetry: an observer that makes spans and metrics. Needs the extra `otel`, which is OpenTelemetry's API only."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
except ModuleNotFoundError as error:  # pragma: no cover - the tests have the extra
    raise ModuleNotFoundError(
        "callbell_async.otel needs OpenTelemetry's API: pip install 'callbell-async[otel]'", name=error.name
    ) from error

from yarl import URL

from callbell_async._version import __version__
from callbell_async.errors import Outcome
from callbell_async.observe import (
    AttemptInfo,
    CallInfo,
    EventInfo,
    Observer,
    RefusalReason,
    RunInfo,
    RunSummary,
)
from callbell_async.redaction import mask_path

__all__ = ["OpenTelemetryObserver", "url_filter"]

_NAME = "callbell_async"

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The buckets that OpenTelemetry's conventions recommend for the length of a request."""
_WAIT_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_BATCH_ENTRIES = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150)
_BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class _Attempt(NamedTuple):
    """The span of an attempt, the attributes that its metric has as well, and the token of the context in which it is current."""

    span: Span
    attributes: dict[str, Any]
    token: Any


class OpenTelemetryObserver(Observer):
    """Makes spans and metrics of what clients, journals and webhook receivers do.

    ```python
    observer = OpenTelemetryObserver()
    async with CallbellClient("token", observer=observer) as callbell: ...
    ```

    One observer may serve any number of clients, journals and receivers. docs/how-to/observability.md lists all spans, attributes and
    metrics, and shows how to use them with Prometheus and Sentry, and together with aiohttp's own instrumentation.

    - A span for each call, such as `send`, and for each run of `send_many`. The attempts are its children, and each is the current span
      while its request is in flight.
    - A span for each handler of a webhook event, whose parent is the span of the request that brought the event.
    - Metrics: messages by outcome, retries, the wait for the rate limiter, the pauses after a 429, requests in flight, the length of
      requests, webhook events by result, and the batches of journals.

    No span and no metric has a telephone number, a text or a secret.

    Args:
        tracer_provider: Makes the tracer; by default the global `TracerProvider`.
        meter_provider: Makes the meter; by default the global `MeterProvider`.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._calls: dict[CallInfo, Span] = {}
        self._runs: dict[RunInfo, Span] = {}
        self._attempts: dict[CallInfo, _Attempt] = {}
        self._events: dict[EventInfo, Span] = {}
        self._messages = meter.create_counter(
            "callbell.messages", unit="{message}", description="Messages with a result, by outcome."
        )
        self._retries = meter.create_counter(
            "callbell.retries", unit="{retry}", description="Attempts after the first one of a call."
        )
        self._waits = meter.create_histogram(
            "callbell.rate_limiter.wait",
            unit="s",
            description="The wait of an attempt for its slot, or for the end of a pause; attempts that need not wait are not counted.",
            explicit_bucket_boundaries_advisory=_WAIT_SECONDS,
        )
        self._pauses = meter.create_counter(
            "callbell.pause.time", unit="s", description="The time for which clients pause after a 429."
        )
        self._in_flight = meter.create_up_down_counter(
            "callbell.requests.in_flight", unit="{request}", description="Requests that have started and not ended."
        )
        self._durations = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        )
        self._webhook_events = meter.create_counter(
            "callbell.webhook.events", unit="{event}", description="Webhook events and requests, by result."
        )
        self._batch_entries = meter.create_histogram(
            "callbell.journal.batch.entries",
            unit="{entry}",
            description="The claims, results and reports that a journal writes together.",
            explicit_bucket_boundaries_advisory=_BATCH_ENTRIES,
        )
        self._batch_seconds = meter.create_histogram(
            "callbell.journal.batch.duration",
            unit="s",
            description="The time to write a batch of a journal.",
            explicit_bucket_boundaries_advisory=_BATCH_SECONDS,
        )

    # --- calls --------------------------------------------------------------------------------------------------------

    def call_started(self, call: CallInfo) -> None:
        """Start the span of a call; a call of a run has none, and its attempts are children of the run's span.

        Takes the same arguments as `Observer.call_started` does.
        """
        if call.run is None:
            name = "callbell.send" if call.sends_message else f"callbell {call.method} {call.route}"
            self._calls[call] = self._tracer.start_span(name, kind=SpanKind.INTERNAL)

    def waiting_ended(self, call: CallInfo, seconds: float) -> None:
        """Record the wait for a slot.

        Takes the same arguments as `Observer.waiting_ended` does.
        """
        self._waits.record(seconds)

    def attempt_started(self, call: CallInfo, number: int) -> None:
        """Start the span of an attempt, and make it the current one: aiohttp's own instrumentation adds its spans to it.

        Takes the same arguments as `Observer.attempt_started` does.
        """
        shared = _request_attributes(call)
        attributes = {**shared, "url.full": call.base_url + call.path}
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
            self._retries.add(1)
        if call.index is not None:
            attributes["callbell.message.index"] = call.index
        parent = self._calls.get(call) if call.run is None else self._runs.get(call.run)
        span = self._tracer.start_span(
            f"{call.method} {call.route}",
            context=None if parent is None else trace.set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )
        self._attempts[call] = _Attempt(span, shared, context.attach(trace.set_span_in_context(span)))
        self._in_flight.add(1)

    def attempt_ended(self, call: CallInfo, attempt: AttemptInfo, seconds: float) -> None:
        """End the span of an attempt, and record its length.

        Takes the same arguments as `Observer.attempt_ended` does.
        """
        started = self._attempts.pop(call, None)
        if started is None:
            return
        context.detach(started.token)
        self._in_flight.add(-1)
        results: dict[str, Any] = {}
        if attempt.status is not None:
            results["http.response.status_code"] = attempt.status
        if attempt.error is not None:
            results["error.type"] = attempt.error if attempt.status is None else str(attempt.status)
        self._durations.record(seconds, {**started.attributes, **results})
        _end(started.span, attempt.error, {"callbell.outcome": attempt.outcome.value, **results})

    def retry_scheduled(self, call: CallInfo, attempt: int, wait: float) -> None:
        """Add an event to the span of the call.

        Takes the same arguments as `Observer.retry_scheduled` does.
        """
        if (span := self._calls.get(call)) is not None:
            span.add_event("callbell.retry", {"callbell.attempt": attempt, "callbell.wait": wait})

    def client_paused(self, call: CallInfo, seconds: float) -> None:
        """Count the time of the pause.

        Takes the same arguments as `Observer.client_paused` does.
        """
        self._pauses.add(seconds)

    def call_ended(self, call: CallInfo, outcome: Outcome, attempts: int, error: str | None) -> None:
        """End the span of a call, and count its message.

        Takes the same arguments as `Observer.call_ended` does.
        """
        if call.sends_message and call.run is None:
            self._messages.add(1, {"callbell.outcome": outcome.value})
        if (span := self._calls.pop(call, None)) is None:
            return
        _end(span, error, {"callbell.outcome": outcome.value, "callbell.attempts": attempts})

    # --- runs ---------------------------------------------------------------------------------------------------------

    def run_started(self, run: RunInfo) -> None:
        """Start the span of a run.

        Takes the same arguments as `Observer.run_started` does.
        """
        attributes: dict[str, Any] = {"callbell.run.has_journal": run.has_journal}
        if run.messages is not None:
            attributes["callbell.run.messages"] = run.messages
        self._runs[run] = self._tracer.start_span("callbell.send_many", kind=SpanKind.INTERNAL, attributes=attributes)

    def run_paused(self, run: RunInfo) -> None:
        """Add an event to the span of the run.

        Takes the same arguments as `Observer.run_paused` does.
        """
        if (span := self._runs.get(run)) is not None:
            span.add_event("callbell.run.paused")

    def run_resumed(self, run: RunInfo, seconds: float) -> None:
        """Add an event to the span of the run.

        Takes the same arguments as `Observer.run_resumed` does.
        """
        if (span := self._runs.get(run)) is not None:
            span.add_event("callbell.run.resumed", {"callbell.wait": seconds})

    def run_stopped(self, run: RunInfo, error: str) -> None:
        """Add an event to the span of the run.

        Takes the same arguments as `Observer.run_stopped` does.
        """
        if (span := self._runs.get(run)) is not None:
            span.add_event("callbell.run.stopped", {"error.type": error})

    def message_ended(self, run: RunInfo, index: int, outcome: Outcome, attempts: int) -> None:
        """Count a message of a run.

        Takes the same arguments as `Observer.message_ended` does.
        """
        self._messages.add(1, {"callbell.outcome": outcome.value})

    def run_ended(self, run: RunInfo, summary: RunSummary) -> None:
        """End the span of a run, with the number of messages of each outcome.

        Takes the same arguments as `Observer.run_ended` does.
        """
        if (span := self._runs.pop(run, None)) is None:
            return
        numbers = {f"callbell.run.{outcome.value}": getattr(summary, outcome.value) for outcome in Outcome}
        _end(span, summary.error, {**numbers, "callbell.run.duplicates": summary.duplicates})

    # --- journals and webhooks ----------------------------------------------------------------------------------------

    def journal_written(self, entries: int, seconds: float) -> None:
        """Record a batch of a journal.

        Takes the same arguments as `Observer.journal_written` does.
        """
        self._batch_entries.record(entries)
        self._batch_seconds.record(seconds)

    def event_refused(self, reason: RefusalReason, status: int) -> None:
        """Count a request that brings no event to the handler.

        Takes the same arguments as `Observer.event_refused` does.
        """
        self._webhook_events.add(1, {"callbell.webhook.result": reason})

    def event_started(self, event: EventInfo) -> None:
        """Start the span of a handler, and make it the current one: the context belongs to the handler's task alone.

        Takes the same arguments as `Observer.event_started` does.
        """
        span = self._tracer.start_span(
            f"callbell.webhook {event.type}", kind=SpanKind.CONSUMER, attributes={"callbell.event.type": event.type}
        )
        self._events[event] = span
        context.attach(trace.set_span_in_context(span))

    def event_handled(self, event: EventInfo, error: str | None, seconds: float) -> None:
        """End the span of a handler, and count its event.

        Takes the same arguments as `Observer.event_handled` does.
        """
        result = "handled" if error is None else "failed"
        self._webhook_events.add(1, {"callbell.webhook.result": result, "callbell.event.type": event.type})
        if (span := self._events.pop(event, None)) is not None:
            _end(span, error, {})


def url_filter(url: URL) -> str:
    """Return a URL without its query, its user, and with `…` for each part of its path that looks like a telephone number.

    Pass it to `AioHttpClientInstrumentor().instrument(url_filter=…)`: aiohttp's own instrumentation records the URL of each request.

    Args:
        url: The URL of a request.

    Returns:
        The URL as it may be recorded.
    """
    return f"{url.origin()}{mask_path(url.raw_path)}"


def _request_attributes(call: CallInfo) -> dict[str, Any]:
    """Return the attributes that span and metric of an attempt have, by OpenTelemetry's conventions for HTTP clients."""
    parts = urlsplit(call.base_url)
    return {
        "http.request.method": call.method,
        "url.template": call.route,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }


def _end(span: Span, error: str | None, attributes: dict[str, Any]) -> None:
    """End a span; `error.type` is the error, unless the attributes have another one."""
    if error is not None:
        attributes = {"error.type": error, **attributes}
        span.set_status(Status(StatusCode.ERROR, error))
    span.set_attributes(attributes)
    span.end()
