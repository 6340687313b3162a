"""Observers of calls, runs and journals: which moments they see, and that they change nothing."""

from __future__ import annotations

import asyncio
import inspect
import logging
from pathlib import Path
from typing import Any

import pytest

from callbell_async import (
    CallbellClient,
    ConfigurationError,
    ConnectionLostError,
    Journal,
    Observer,
    Outcome,
    RateLimitError,
    RetryPolicy,
    TextMessage,
    TransportError,
)
from callbell_async.guarded_observers import observers_from
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.reports import route_of
from callbell_async.http.requests import CallState, Request
from callbell_async.observe import MOMENTS, CallInfo, RequestInfo, new_call_info
from callbell_async.sandbox import Sandbox
from callbell_async.sandbox.faults import no_response, respond
from tests.support.calls import MESSAGE, NUMBER, TEXT, TOKEN, client_for, ticks, until
from tests.support.clock import current_loop
from tests.support.observers import RaisingObserver, RecordingObserver
from tests.support.sandbox_factory import local_callbell
from tests.support.scripted_transport import (
    GET,
    LOST,
    OK,
    POST,
    REFUSED,
    LimiterLog,
    ScriptedTransport,
    Step,
    responding,
    send,
)


def observed(observer: Observer, *steps: Step, retry: RetryPolicy | None = None, **more: Any) -> RequestPipeline:
    """Return a pipeline over a scripted transport, with this observer."""
    options = {"rate_limit": None, "base_url": "http://127.0.0.1/v1", **more}
    return RequestPipeline(
        ScriptedTransport(*steps), retry=retry or RetryPolicy(), observers=observers_from(observer), **options
    )


# --- a call -----------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_call_that_succeeds_has_four_moments() -> None:
    """A call without a wait or a failure has its start and end, and those of its attempt."""
    observer = RecordingObserver()
    await send(observed(observer, responding(after=0.25)))
    assert observer.names == ["call_started", "attempt_started", "attempt_ended", "call_ended"]
    (call,) = {named["call"] for _, named in observer.moments}
    assert (call.method, call.path, call.route) == ("POST", "/messages/send", "/messages/send")
    assert (call.base_url, call.run, call.index, call.sends_message) == ("http://127.0.0.1/v1", None, None, True)
    (attempt,) = observer.of("attempt_ended")
    assert attempt["attempt"].outcome is Outcome.ACCEPTED
    assert (attempt["attempt"].number, attempt["attempt"].status, attempt["attempt"].error) == (1, 200, None)
    assert attempt["seconds"] == pytest.approx(0.25)
    (end,) = observer.of("call_ended")
    assert (end["outcome"], end["attempts"], end["error"]) == (Outcome.ACCEPTED, 1, None)


@pytest.mark.virtual_time
async def test_each_retry_is_observed() -> None:
    """A failed attempt has its outcome and the name of its error; the next one is announced with its wait."""
    observer = RecordingObserver()
    retry = RetryPolicy(wait_initial=0.0)
    with pytest.raises(ConnectionLostError):
        await send(observed(observer, REFUSED, responding(503), LOST, retry=retry))
    assert observer.names == [
        "call_started",
        *("attempt_started", "attempt_ended", "retry_scheduled") * 2,
        *("attempt_started", "attempt_ended", "call_ended"),
    ]
    ends = [named["attempt"] for named in observer.of("attempt_ended")]
    assert [(end.number, end.outcome, end.status, end.error) for end in ends] == [
        (1, Outcome.NEVER_SENT, None, "ConnectError"),
        (2, Outcome.REJECTED, 503, "ServerError"),
        (3, Outcome.UNKNOWN, None, "ConnectionLostError"),
    ]
    assert [(named["attempt"], named["wait"]) for named in observer.of("retry_scheduled")] == [(1, 0.0), (2, 0.0)]
    (end,) = observer.of("call_ended")
    assert (end["outcome"], end["attempts"], end["error"]) == (Outcome.UNKNOWN, 3, "ConnectionLostError")


@pytest.mark.virtual_time
async def test_the_wait_for_a_slot_is_observed() -> None:
    """A call that waits for the rate limiter reports the start and the length of the wait, before its attempt."""
    observer = RecordingObserver()
    await send(observed(observer, OK, rate_limit=LimiterLog(wait=1.5)))
    assert observer.names[:4] == ["call_started", "waiting_started", "waiting_ended", "attempt_started"]
    assert observer.of("waiting_ended")[0]["seconds"] == pytest.approx(1.5)


@pytest.mark.virtual_time
async def test_a_429_reports_by_how_much_it_lengthens_the_pause() -> None:
    """The seconds of all pauses add up to the time for which the client pauses, however many calls get a 429."""
    observer = RecordingObserver()
    refusing = [responding(429, b"{}", Retry_After="10") for _ in range(3)]
    pipeline = observed(observer, *refusing, OK)
    await asyncio.gather(*(send(pipeline, GET) for _ in range(3)))
    pauses = [named["seconds"] for named in observer.of("client_paused")]
    assert len(pauses) == 3
    assert sum(pauses) == pytest.approx(10.0)
    waits = [named["seconds"] for named in observer.of("waiting_ended")]
    assert waits == [0.0, 0.0, 0.0] or max(waits) <= 10.0


@pytest.mark.virtual_time
async def test_a_cancelled_call_ends() -> None:
    """A cancelled call ends its attempt and itself, with the outcome known then."""
    observer = RecordingObserver()
    for step, outcome in ((responding(after=60), Outcome.UNKNOWN), (_stuck, Outcome.NEVER_SENT)):
        observer.moments.clear()
        task = asyncio.create_task(send(observed(observer, step)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert observer.names == ["call_started", "attempt_started", "attempt_ended", "call_ended"]
        assert observer.of("attempt_ended")[0]["attempt"].outcome is outcome
        assert observer.of("attempt_ended")[0]["attempt"].error == "CancelledError"
        (end,) = observer.of("call_ended")
        assert (end["outcome"], end["attempts"], end["error"]) == (outcome, 1, "CancelledError")


async def _stuck(call: CallState) -> Any:
    await asyncio.sleep(60)


@pytest.mark.virtual_time
async def test_a_wait_that_is_cancelled_ends() -> None:
    """A call that is cancelled while it waits for its slot ends its wait, and has no attempt."""
    observer = RecordingObserver()
    task = asyncio.create_task(send(observed(observer, OK, rate_limit=LimiterLog(wait=60))))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert observer.names == ["call_started", "waiting_started", "waiting_ended", "call_ended"]
    assert observer.of("call_ended")[0]["outcome"] is Outcome.NEVER_SENT


@pytest.mark.virtual_time
async def test_concurrent_calls_have_objects_of_their_own() -> None:
    """Each call has an object of its own, which is a key for what an observer keeps about it."""
    observer = RecordingObserver()
    pipeline = observed(observer, OK)
    await asyncio.gather(*(send(pipeline, POST) for _ in range(10)))
    calls = [named["call"] for _, named in observer.moments]
    assert len(set(calls)) == 10
    for call in set(calls):
        assert [name for name, named in observer.moments if named["call"] is call] == [
            "call_started",
            "attempt_started",
            "attempt_ended",
            "call_ended",
        ]


@pytest.mark.virtual_time
async def test_calls_of_one_client_keep_their_requests_apart() -> None:
    """A call has its own method and path, also after a call that differs from it in one of them only."""
    observer = RecordingObserver()
    pipeline = observed(observer, OK)
    requests = [Request("GET", "/a"), Request("POST", "/a"), Request("POST", "/b"), Request("POST", "/b?page=2"), POST]
    for request in requests:
        await send(pipeline, request)
    calls = [named["call"] for named in observer.of("call_started")]
    assert [(call.method, call.path) for call in calls] == [
        *(("GET", "/a"), ("POST", "/a"), ("POST", "/b"), ("POST", "/b"), ("POST", "/messages/send"))
    ]
    assert {call.base_url for call in calls} == {"http://127.0.0.1/v1"}


def test_an_observer_can_not_change_a_call() -> None:
    """The values of a call are read-only, so each observer sees the same."""
    request = RequestInfo("POST", "/messages/send", "/messages/send", "http://127.0.0.1/v1")
    built, call = CallInfo(request, None, 3), new_call_info(request, None, 3)
    for name in ("request", "run", "index", "method", "path", "route", "base_url", "sends_message", "another"):
        with pytest.raises(AttributeError):
            setattr(call, name, None)
    assert (call.request, call.run, call.index, call.sends_message) == (request, None, 3, True)
    assert repr(call) == repr(built) == f"CallInfo(request={request!r}, run=None, index=3)"
    assert call != built


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/messages/send", "/messages/send"),
        ("/contacts?page=2&name=Ann", "/contacts"),
        ("/contacts/phone/%2B31612345678", "/contacts/phone/{}"),
        ("/contacts/3fb1c2/messages?page=2", "/contacts/{}/messages"),
        ("/messages/status/abc", "/messages/status/{}"),
        ("/custom_statuses/7", "/custom_statuses/{}"),
        ("/beta/ann", "/{}/{}"),
    ],
)
def test_a_route_has_no_values(path: str, route: str) -> None:
    """The route has `{}` for each part of the path that is not a word of Callbell's API."""
    assert route_of(path) == route


async def test_no_value_has_personal_data(http_path: str) -> None:
    """No argument of any moment shows the token, a telephone number or a text; nor does the key of a message."""
    observer = RecordingObserver()
    echo = respond(503, {"error": f"{NUMBER} {TEXT} {TOKEN}"})
    message = TextMessage(to=NUMBER, text=TEXT, key=f"order of {NUMBER}")
    async with local_callbell(echo, respond(200, b"{}")) as server, client_for(server.url, observer=observer) as client:
        await client.request("GET", f"/contacts/phone/{NUMBER}")
        await client.send_many([message])
    assert len(observer.moments) > 10
    shown = repr(observer.moments)
    assert not [secret for secret in (NUMBER, NUMBER[1:], TEXT, TOKEN) if secret in shown]


# --- a run ------------------------------------------------------------------------------------------------------------


async def test_a_run_is_observed(sandbox: Sandbox) -> None:
    """A run has a start and an end, and each message has its result; its calls know the run and the index of the message."""
    observer = RecordingObserver()
    wrong: Any = "not a message"
    async with CallbellClient(sandbox.token, base_url=sandbox.url, observer=observer) as callbell:
        report = await callbell.send_many([MESSAGE, wrong, MESSAGE])
    assert (report.accepted, report.never_sent) == (2, 1)
    assert (observer.names[0], observer.names[-1]) == ("run_started", "run_ended")
    (run,) = {named["run"] for named in (*observer.of("run_started"), *observer.of("run_ended"))}
    assert (run.messages, run.has_journal) == (3, False)
    ended = sorted((named["index"], named["outcome"], named["attempts"]) for named in observer.of("message_ended"))
    assert ended == [(0, Outcome.ACCEPTED, 1), (1, Outcome.NEVER_SENT, 0), (2, Outcome.ACCEPTED, 1)]
    calls = {named["call"] for named in observer.of("call_started")}
    assert {(call.run, call.index) for call in calls} == {(run, 0), (run, 2)}
    (end,) = observer.of("run_ended")
    summary = end["summary"]
    assert (summary.accepted, summary.never_sent, summary.skipped, summary.error) == (2, 1, 0, None)
    assert summary.seconds == report.elapsed


async def test_a_stopped_run_is_observed(sandbox: Sandbox) -> None:
    """An error that stops a run is observed by the name of its class, and so is each skipped message."""
    observer = RecordingObserver()
    async with CallbellClient("another", base_url=sandbox.url, observer=observer) as callbell:
        report = await callbell.send_many([MESSAGE] * 5, concurrency=1)
    assert (report.rejected, report.skipped) == (1, 4)
    assert [named["error"] for named in observer.of("run_stopped")] == ["AuthenticationError"]
    assert observer.of("run_ended")[0]["summary"].error == "AuthenticationError"
    assert [named["outcome"] for named in observer.of("message_ended")] == [Outcome.REJECTED] + [Outcome.SKIPPED] * 4


async def test_the_pause_of_a_run_is_observed() -> None:
    """A run that pauses during an outage reports the start and the length of the pause."""
    observer = RecordingObserver()
    down, up = respond(503, {}), respond(200, {"message": {"uuid": "u", "status": "enqueued"}})
    async with (
        local_callbell(*[down] * 4, up) as server,
        client_for(server.url, observer=observer, retry=RetryPolicy(attempts=1)) as callbell,
    ):
        run = callbell.send_many([MESSAGE] * 6, concurrency=4)
        task = asyncio.ensure_future(_collect(run))
        await until(lambda: observer.of("run_paused"))
        while not task.done():
            current_loop().advance(1)
            await ticks()
        await task
    assert observer.names.count("run_paused") == observer.names.count("run_resumed") == 1
    assert observer.of("run_resumed")[0]["seconds"] >= 1


async def _collect(run: Any) -> Any:
    return await run


async def test_a_journal_is_observed(sandbox: Sandbox, tmp_path: Path) -> None:
    """A journal reports each batch with the number of its entries: here a claim and a result for each message."""
    observer = RecordingObserver()
    journal = Journal(tmp_path / "a.db", observer=observer)
    messages = [TextMessage(to=NUMBER, text=f"{number}") for number in range(20)]
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        await callbell.send_many(messages, journal=journal)
    assert set(observer.names) == {"journal_written"}
    assert sum(named["entries"] for named in observer.of("journal_written")) == 40
    assert all(named["seconds"] >= 0 for named in observer.of("journal_written"))


# --- observers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError(f"quotes {NUMBER}"), asyncio.CancelledError(NUMBER)])
async def test_an_observer_that_raises_changes_nothing(
    error: BaseException, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls, runs and journals work while an observer raises at each moment, and other observers see all of them."""
    caplog.set_level(logging.WARNING)
    raising, recording = RaisingObserver(error), RecordingObserver()
    both: list[Observer] = [raising, recording]
    journal = Journal(tmp_path / "a.db", observer=both)
    async with CallbellClient(sandbox.token, base_url=sandbox.url, observer=both) as callbell:
        await callbell.send(MESSAGE)
        derived = callbell.with_options(timeout=5.0)
        report = await derived.send_many([TextMessage(to=NUMBER, text="a")], journal=journal)
    assert report.accepted == 1
    assert set(recording.names) == {
        *("call_started", "attempt_started", "attempt_ended", "call_ended"),
        *("run_started", "message_ended", "run_ended", "journal_written"),
    }
    # Once for the client with those that come from it, and once for the journal.
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("the observer RaisingObserver raised" in record.getMessage() for record in caplog.records)
    assert NUMBER not in caplog.text


async def test_an_observer_that_raises_does_not_hide_a_failure() -> None:
    """A call whose observer raises fails with its own error."""
    options: dict[str, Any] = {"observer": RaisingObserver(KeyError()), "retry": RetryPolicy(attempts=1)}
    async with local_callbell(respond(429, b"{}")) as server, client_for(server.url, **options) as callbell:
        with pytest.raises(RateLimitError):
            await callbell.send(MESSAGE)


class Asynchronous(Observer):
    """Has a coroutine function by mistake."""

    async def call_ended(self, *arguments: Any) -> None:  # type: ignore[override]
        """Is never awaited."""


@pytest.mark.parametrize(
    ("observer", "text"),
    [
        (3, "not int"),
        ("observer", "not str"),
        (Observer, "not the class Observer"),
        ([Observer(), None], "not NoneType"),
        (Asynchronous(), "Asynchronous.call_ended must be a plain function"),
    ],
)
def test_another_observer_is_refused(observer: Any, text: str, tmp_path: Path) -> None:
    """Anything but an observer or a sequence of them is refused, by the client, by a derived client and by a journal."""
    for build in (
        lambda: CallbellClient("token", observer=observer),
        lambda: CallbellClient("token").with_options(observer=observer),
        lambda: Journal(tmp_path / "a.db", observer=observer),
    ):
        with pytest.raises(ConfigurationError, match=r"^observer: ") as caught:
            build()
        assert text in str(caught.value)


def test_an_observer_does_nothing_by_default() -> None:
    """`Observer` itself accepts each moment and does nothing; an empty sequence is the same as no observer."""
    assert observers_from([]) is None
    observer = Observer()
    for moment in MOMENTS:
        method = getattr(observer, moment)
        assert method(*inspect.signature(method).parameters) is None


async def test_a_timeout_is_observed() -> None:
    """An attempt that takes too long ends with the name of its error, and `UNKNOWN`."""
    observer = RecordingObserver()
    async with local_callbell(no_response()) as server, client_for(server.url, observer=observer) as callbell:
        sending = asyncio.ensure_future(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        current_loop().advance(31)
        with pytest.raises(TransportError):
            await sending
    (end,) = observer.of("attempt_ended")
    attempt = end["attempt"]
    assert (attempt.outcome, attempt.error, attempt.status) == (Outcome.UNKNOWN, "RequestTimeoutError", None)
    assert end["seconds"] >= 30
