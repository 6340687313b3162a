"""OpenTelemetry: the spans and the metrics of calls, runs, journals and webhook receivers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from yarl import URL

from callbell_async import ConnectionLostError, Journal, RateLimitError, RetryPolicy, TextMessage
from callbell_async.otel import OpenTelemetryObserver, url_filter
from callbell_async.sandbox.faults import close_after_reading, no_fault, no_response, respond
from callbell_async.webhooks import Event, WebhookReceiver
from tests.support.calls import MESSAGE, NUMBER, TEXT, TOKEN, client_for, session_with_hooks, ticks, until
from tests.support.clock import current_loop
from tests.support.sandbox_factory import local_callbell
from tests.support.webhooks import SECRET, message_body, post

ACCEPTED = respond(200, {"message": {"uuid": "u", "status": "enqueued"}})


class Telemetry:
    """An observer with the SDK's exporter and reader in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = tracers.get_tracer("test")
        self.reader = InMemoryMetricReader()
        self.observer = OpenTelemetryObserver(tracers, MeterProvider([self.reader]))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, in the order of their ends."""
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans with this name."""
        return [span for span in self.spans if span.name == name]

    def metric(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """Return the value of a metric for each set of attributes: the sum of a counter, count and sum of a histogram."""
        data = self.reader.get_metrics_data()
        assert data is not None
        points = [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return {
            frozenset((point.attributes or {}).items()): (point.count, point.sum)
            if isinstance(point, HistogramDataPoint)
            else getattr(point, "value", None)
            for point in points
        }

    def by(self, name: str, attribute: str) -> dict[Any, Any]:
        """Return the values of a metric by one attribute."""
        return {dict(attributes).get(attribute): value for attributes, value in self.metric(name).items()}


@pytest.fixture
def telemetry() -> Telemetry:
    """Return an observer whose spans and metrics can be read."""
    return Telemetry()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    """Return whether a span is the child of another one."""
    assert parent.context is not None
    assert child.context is not None
    same_trace = child.context.trace_id == parent.context.trace_id
    return same_trace and child.parent is not None and child.parent.span_id == parent.context.span_id


# --- spans ------------------------------------------------------------------------------------------------------------


async def test_a_send_has_a_span_with_its_attempts(telemetry: Telemetry, http_path: str) -> None:
    """A call has a span with outcome and attempts; its parent is the caller's span, and its children are the attempts."""
    async with (
        local_callbell(respond(503, {}), close_after_reading(), ACCEPTED) as server,
        client_for(server.url, observer=telemetry.observer, retry=RetryPolicy(wait_initial=0.0)) as callbell,
    ):
        with telemetry.tracer.start_as_current_span("request") as outer:
            with pytest.raises(ConnectionLostError):
                await callbell.send(MESSAGE)
            assert trace.get_current_span() is outer
        url = URL(server.url)
    (call,) = telemetry.named("callbell.send")
    (request,) = telemetry.named("request")
    attempts = telemetry.named("POST /messages/send")
    assert is_child(call, request)
    assert [is_child(attempt, call) for attempt in attempts] == [True, True]
    assert attributes(call) == {
        "callbell.outcome": "unknown",
        "callbell.attempts": 2,
        "error.type": "ConnectionLostError",
    }
    assert (call.kind, call.status.status_code) == (SpanKind.INTERNAL, StatusCode.ERROR)
    assert [event.name for event in call.events] == ["callbell.retry"]
    common = {
        "http.request.method": "POST",
        "url.full": f"{url}/messages/send",
        "url.template": "/messages/send",
        "server.address": "127.0.0.1",
        "server.port": url.port,
    }
    assert [attributes(attempt) for attempt in attempts] == [
        {**common, "http.response.status_code": 503, "error.type": "503", "callbell.outcome": "rejected"},
        {
            **common,
            "http.request.resend_count": 1,
            "error.type": "ConnectionLostError",
            "callbell.outcome": "unknown",
        },
    ]
    assert {attempt.kind for attempt in attempts} == {SpanKind.CLIENT}


async def test_a_success_has_no_error(telemetry: Telemetry) -> None:
    """The spans of a call that succeeds have no error, and its outcome is `accepted`."""
    async with local_callbell() as server, client_for(server.url, observer=telemetry.observer) as callbell:
        await callbell.send(MESSAGE)
        await callbell.contacts.list().first()
    assert [span.name for span in telemetry.spans] == [
        *("POST /messages/send", "callbell.send"),
        *("GET /contacts", "callbell GET /contacts"),
    ]
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.UNSET}
    (call,) = telemetry.named("callbell.send")
    assert attributes(call) == {"callbell.outcome": "accepted", "callbell.attempts": 1}


async def test_concurrent_calls_have_their_own_attempts(telemetry: Telemetry) -> None:
    """Attempts of calls that run at the same time belong to the spans of their own calls, and those to their callers' spans."""
    faults = [respond(503, {}), no_fault()] * 20

    async def caller(number: int) -> None:
        with telemetry.tracer.start_as_current_span(f"caller {number}") as span:
            await callbell.send(TextMessage(to=NUMBER, text=f"{number}"))
            assert trace.get_current_span() is span

    async with (
        local_callbell(*faults, no_fault()) as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
    ):
        await asyncio.gather(*map(caller, range(40)))
    calls = telemetry.named("callbell.send")
    assert len(calls) == 40
    for number in range(40):
        (outer,) = telemetry.named(f"caller {number}")
        (call,) = [call for call in calls if is_child(call, outer)]
        attempts = [span for span in telemetry.named("POST /messages/send") if is_child(span, call)]
        assert len(attempts) == attributes(call)["callbell.attempts"]
        resends = [attributes(attempt).get("http.request.resend_count", 0) for attempt in attempts]
        assert resends == list(range(len(attempts)))
    assert len(telemetry.named("POST /messages/send")) == 60


async def test_an_attempt_is_the_current_span_of_its_request(telemetry: Telemetry) -> None:
    """While a request is in flight its attempt is the current span, for aiohttp's own instrumentation; afterwards it is not."""
    seen = []

    async def start(*arguments: object) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    async with local_callbell() as server, session_with_hooks(on_request_start=start) as session:
        async with client_for(server.url, session=session, observer=telemetry.observer) as callbell:
            await callbell.send(MESSAGE)
            await callbell.send_many([MESSAGE])
        assert trace.get_current_span() is trace.INVALID_SPAN
    attempts = telemetry.named("POST /messages/send")
    assert seen == [attempt.context.span_id for attempt in attempts if attempt.context]
    assert len(seen) == 2


async def test_a_run_has_a_span_with_all_attempts(telemetry: Telemetry, tmp_path: Path) -> None:
    """A run has a span with the numbers of its outcomes, and the attempts of all messages are its children, each with its index."""
    async with (
        local_callbell(respond(503, {}), no_fault()) as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
    ):
        messages = [TextMessage(to=NUMBER, text=f"{number}") for number in range(5)]
        with telemetry.tracer.start_as_current_span("job"):
            await callbell.send_many([*messages, messages[0]], journal=Journal(tmp_path / "a.db"))
    (job,) = telemetry.named("job")
    (run,) = telemetry.named("callbell.send_many")
    attempts = telemetry.named("POST /messages/send")
    assert is_child(run, job)
    assert len(attempts) == 6
    assert all(is_child(attempt, run) for attempt in attempts)
    assert {attributes(attempt)["callbell.message.index"] for attempt in attempts} == set(range(5))
    assert attributes(run) == {
        "callbell.run.messages": 6,
        "callbell.run.has_journal": True,
        "callbell.run.accepted": 5,
        "callbell.run.rejected": 0,
        "callbell.run.never_sent": 0,
        "callbell.run.unknown": 0,
        "callbell.run.skipped": 1,
        "callbell.run.duplicates": 1,
    }
    assert telemetry.named("callbell.send") == []


async def test_a_run_that_stops_shows_it(telemetry: Telemetry) -> None:
    """The span of a run that an error stops has the name of the error, and an event at that time."""
    async with (
        local_callbell(respond(401, {"error": "no"})) as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
    ):
        await callbell.send_many([MESSAGE] * 5, concurrency=1)
    (run,) = telemetry.named("callbell.send_many")
    assert attributes(run)["error.type"] == "AuthenticationError"
    assert [event.name for event in run.events] == ["callbell.run.stopped"]
    assert telemetry.by("callbell.messages", "callbell.outcome") == {"rejected": 1, "skipped": 4}


async def test_a_paused_run_shows_it(telemetry: Telemetry) -> None:
    """The span of a run that pauses has an event at the start and at the end of the pause."""
    async with (
        local_callbell(*[respond(503, {})] * 4, ACCEPTED) as server,
        client_for(server.url, observer=telemetry.observer, retry=RetryPolicy(attempts=1)) as callbell,
    ):
        run = callbell.send_many([MESSAGE] * 6, concurrency=4)

        async def collect() -> None:
            await run

        collecting = asyncio.create_task(collect())
        await until(lambda: run.paused_for is not None)
        while not collecting.done():
            current_loop().advance(1)
            await ticks()
        await collecting
    (span,) = telemetry.named("callbell.send_many")
    assert [event.name for event in span.events] == ["callbell.run.paused", "callbell.run.resumed"]


async def test_a_cancelled_call_ends_its_spans(telemetry: Telemetry) -> None:
    """The spans of a cancelled call end, with its outcome and `CancelledError`, and nothing is in flight any more."""
    async with local_callbell(no_response()) as server, client_for(server.url, observer=telemetry.observer) as callbell:
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        assert set(telemetry.metric("callbell.requests.in_flight").values()) == {1}
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert [(span.name, attributes(span)["callbell.outcome"]) for span in telemetry.spans] == [
        ("POST /messages/send", "unknown"),
        ("callbell.send", "unknown"),
    ]
    assert {attributes(span)["error.type"] for span in telemetry.spans} == {"CancelledError"}
    assert set(telemetry.metric("callbell.requests.in_flight").values()) == {0}
    assert not telemetry.observer._calls
    assert not telemetry.observer._attempts


async def test_no_span_has_personal_data(telemetry: Telemetry) -> None:
    """No name, attribute, event or status of a span has a number, a text or a secret."""
    echo = respond(422, {"error": f"{NUMBER} {TEXT} {TOKEN}"})
    async with (
        local_callbell(echo) as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
    ):
        await callbell.send_many([TextMessage(to=NUMBER, text=TEXT, key=f"order of {NUMBER}")])
        for method, path in (("GET", f"/contacts/phone/{NUMBER}"), ("POST", f"/contacts/%2B{NUMBER[1:]}/bot")):
            with pytest.raises(Exception, match="422"):
                await callbell.request(method, path, query={"name": TEXT})
    shown = "".join(span.to_json() for span in telemetry.spans) + repr(telemetry.reader.get_metrics_data())
    assert "/contacts/phone/" in shown
    assert not [secret for secret in (NUMBER, NUMBER[1:], TEXT, TOKEN) if secret in shown]
    assert "GET /contacts/phone/{}" in {span.name for span in telemetry.spans}


# --- metrics ----------------------------------------------------------------------------------------------------------


async def test_messages_are_counted_by_outcome(telemetry: Telemetry) -> None:
    """Each message is counted once by its outcome, alone or in a run; other calls are not counted."""
    async with (
        local_callbell(no_fault(), respond(422, {}), no_fault()) as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
    ):
        await callbell.send(MESSAGE)
        with pytest.raises(Exception, match="422"):
            await callbell.send(MESSAGE)
        await callbell.send_many([MESSAGE] * 3)
        await callbell.plan.get()
    assert telemetry.by("callbell.messages", "callbell.outcome") == {"accepted": 4, "rejected": 1}


async def test_requests_and_retries_are_counted(telemetry: Telemetry) -> None:
    """Each attempt has its length by status, and attempts after the first one are counted as retries."""
    async with (
        local_callbell(respond(503, {}), no_fault()) as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
    ):
        await callbell.send(MESSAGE)
    assert list(telemetry.metric("callbell.retries").values()) == [1]
    durations = telemetry.by("http.client.request.duration", "http.response.status_code")
    assert {status: count for status, (count, _) in durations.items()} == {200: 1, 503: 1}
    ((error, _),) = [
        (dict(found).get("error.type"), value)
        for found, value in telemetry.metric("http.client.request.duration").items()
        if dict(found)["http.response.status_code"] == 503
    ]
    assert error == "503"


async def test_waits_and_pauses_are_measured(telemetry: Telemetry) -> None:
    """The pause after a 429 and the wait of the call for its end are measured in seconds."""
    refusing = respond(429, {}, {"Retry-After": "60"})
    options: dict[str, Any] = {"observer": telemetry.observer, "retry": RetryPolicy(attempts=1)}
    async with local_callbell(refusing, no_fault()) as server, client_for(server.url, **options) as callbell:
        with pytest.raises(RateLimitError):
            await callbell.send(MESSAGE)
        waiting = asyncio.create_task(callbell.send(MESSAGE))
        await ticks()
        current_loop().advance(61)
        await waiting
    assert list(telemetry.metric("callbell.pause.time").values()) == [pytest.approx(60.0)]
    ((count, seconds),) = telemetry.metric("callbell.rate_limiter.wait").values()
    assert count == 1
    assert 50 < seconds < 70


async def test_journals_are_measured(telemetry: Telemetry, tmp_path: Path) -> None:
    """Each batch of a journal has its size and its length."""
    async with local_callbell() as server, client_for(server.url) as callbell:
        journal = Journal(tmp_path / "a.db", observer=telemetry.observer)
        await callbell.send_many([TextMessage(to=NUMBER, text=f"{number}") for number in range(10)], journal=journal)
    ((batches, entries),) = telemetry.metric("callbell.journal.batch.entries").values()
    assert entries == 20
    ((timed, seconds),) = telemetry.metric("callbell.journal.batch.duration").values()
    assert timed == batches
    assert seconds > 0


# --- webhooks ---------------------------------------------------------------------------------------------------------


async def test_a_handler_has_a_span_below_the_request(telemetry: Telemetry) -> None:
    """A handler runs in a span whose parent is that of the request, however late it runs and whatever it sends."""
    current: list[int] = []

    async def handler(event: Event) -> None:
        await asyncio.sleep(0)
        current.append(trace.get_current_span().get_span_context().span_id)
        await callbell.send(MESSAGE)

    async with (
        local_callbell() as server,
        client_for(server.url, observer=telemetry.observer) as callbell,
        WebhookReceiver(handler, secret=SECRET, observer=telemetry.observer) as receiver,
    ):
        for number in range(3):
            with telemetry.tracer.start_as_current_span(f"POST {number}"):
                await post(receiver, message_body(f"{number}"))
        assert not telemetry.named("callbell.webhook MessageCreated")
        await receiver.close()
    handlers = telemetry.named("callbell.webhook MessageCreated")
    assert [span.context.span_id for span in handlers if span.context] == current
    for number, span in enumerate(handlers):
        (request,) = telemetry.named(f"POST {number}")
        assert is_child(span, request)
        assert span.kind is SpanKind.CONSUMER
        assert len([call for call in telemetry.named("callbell.send") if is_child(call, span)]) == 1
    assert telemetry.by("callbell.webhook.events", "callbell.webhook.result") == {"handled": 3}
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_webhook_events_are_counted_by_result(telemetry: Telemetry) -> None:
    """Events that fail, and requests that bring none, are counted by their result."""

    def handler(event: Event) -> None:
        raise KeyError(TEXT)

    async with WebhookReceiver(handler, secret=SECRET, observer=telemetry.observer) as receiver:
        await post(receiver, message_body())
        await post(receiver, message_body())
        await post(receiver, message_body(), secret="another")
    assert telemetry.by("callbell.webhook.events", "callbell.webhook.result") == {
        "failed": 1,
        "duplicate": 1,
        "signature": 1,
    }
    (span,) = telemetry.spans
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "KeyError")


# --- imports ----------------------------------------------------------------------------------------------------------


def test_the_core_works_without_opentelemetry() -> None:
    """Without the extra, the library can be used, and the module names what to install."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from callbell_async import *\n"
        "CallbellClient('token-1234')\n"
        "try: import callbell_async.otel\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "callbell_async.otel needs OpenTelemetry's API: pip install 'callbell-async[otel]'\n"


async def test_without_an_sdk_nothing_is_recorded() -> None:
    """With OpenTelemetry's API alone the observer does nothing, and the calls work."""
    async with local_callbell() as server, client_for(server.url, observer=OpenTelemetryObserver()) as callbell:
        assert (await callbell.send_many([MESSAGE])).accepted == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.callbell.eu/v1/messages/send", "https://api.callbell.eu/v1/messages/send"),
        ("https://api.callbell.eu/v1/contacts/phone/%2B31612345678?x=1", "https://api.callbell.eu/v1/contacts/phone/…"),
        ("http://ann:secret@127.0.0.1:8080/a?token=secret#b", "http://127.0.0.1:8080/a"),
    ],
)
def test_a_filtered_url_has_no_personal_data(url: str, shown: str) -> None:
    """`url_filter` removes the query, the user and telephone numbers of a URL."""
    assert url_filter(URL(url)) == shown
