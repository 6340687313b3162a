"""What is tried again over real connections, when, and what all attempts together come to."""

from __future__ import annotations

import asyncio
import email.utils
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from callbell_async import (
    APIError,
    BadRequestError,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)
from callbell_async.sandbox import Exchange, Fault
from callbell_async.sandbox.faults import close_after_reading, no_fault, no_response, reset_after_reading, respond
from tests.support.calls import MESSAGE, NUMBER, TEXT, TOKEN, client_for, ticks, until
from tests.support.clock import current_loop
from tests.support.sandbox_factory import local_callbell

RESENDING = RetryPolicy(wait_initial=0.0, resend_unknown=True)

# --- all attempts together --------------------------------------------------------------------------------------------


async def test_unknown_stays_unknown_when_the_next_connection_is_refused() -> None:
    """A first attempt that may have been accepted leaves the call `UNKNOWN`, though the later ones never left."""
    server = local_callbell()

    async def go_down(exchange: Exchange) -> None:
        await server.stop_listening()
        exchange.reset()

    server.inject(Fault("down", go_down))
    async with server, client_for(server.url, retry=RESENDING) as callbell:
        with pytest.raises(ConnectError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 5)
    assert "may have been accepted; 5 attempts" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "raises", "attempts"), [(400, BadRequestError, 2), (503, ServerError, 5)])
async def test_unknown_stays_unknown_when_the_next_attempt_is_refused(
    status: int, raises: type[APIError], attempts: int
) -> None:
    """A first attempt that may have been accepted leaves the call `UNKNOWN`, though the later ones were refused."""
    async with (
        local_callbell(reset_after_reading(), respond(status)) as server,
        client_for(server.url, retry=RESENDING) as callbell,
    ):
        with pytest.raises(raises) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, attempts)
    assert len(server.requests) == attempts


async def test_a_retry_that_may_have_been_accepted_is_the_last() -> None:
    """After a 503 the message is tried again; once that may have been accepted, no more."""
    async with local_callbell(respond(503), reset_after_reading()) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 2)
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_changes_nothing_when_repeated_is_repeated(method: str) -> None:
    """Idempotent calls are tried again after `UNKNOWN` without being asked to; `attempts` and the server count the same requests."""
    async with local_callbell(close_after_reading()) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.request(method, "/contacts/c0ffee", json={"name": "x"} if method == "PUT" else None)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 5)
    assert [request.method for request in server.requests] == [method] * 5


@pytest.mark.parametrize("body", [None, {"name": "x"}], ids=["bare", "with a body"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_change_something_twice_is_not_repeated(method: str, body: dict[str, str] | None) -> None:
    """Any POST or PATCH that may have been accepted is sent once, with a body or without."""
    async with local_callbell(close_after_reading()) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.request(method, "/contacts/c0ffee", json=body)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is a refusal: the body is not sent a second time, to the place it names or to any other."""
    async with local_callbell() as elsewhere:
        away = respond(status, b"", {"Location": f"{elsewhere.url}/messages/send"})
        async with local_callbell(away) as server, client_for(server.url) as callbell:
            with pytest.raises(APIError) as caught:
                await callbell.send(MESSAGE)
    assert (type(caught.value), caught.value.status) == (APIError, status)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.REJECTED, 1)
    assert (len(server.requests), elsewhere.connections) == (1, 0)


# --- 429 --------------------------------------------------------------------------------------------------------------


def http_date(seconds: float) -> str:
    """The date so many seconds from now."""
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.fixture
def stops(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """How many 429s have reached the client; whoever got one waits by then."""
    caplog.set_level(logging.WARNING, "callbell_async")
    return lambda: len(caplog.records)


Form = Callable[[int], Mapping[str, str]]

FORMS: dict[str, Form] = {
    "seconds": lambda seconds: {"Retry-After": f"{seconds}"},
    "milliseconds": lambda seconds: {"Retry-After-Ms": f"{seconds * 1000}"},
    "both": lambda seconds: {"Retry-After-Ms": f"{seconds * 1000}", "Retry-After": "1"},
    "a date": lambda seconds: {"Retry-After": http_date(seconds)},
}
in_each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def asking(seconds: float) -> Fault:
    """A 429 that asks to wait so many seconds."""
    return respond(429, {"error": "slower"}, {"Retry-After": f"{seconds}"})


@in_each_form
async def test_retry_after_is_never_undercut(form: Form, stops: Callable[[], int]) -> None:
    """The next request comes when Callbell asked for it, not earlier, in whichever form it asked."""
    async with local_callbell(respond(429, b"", form(60)), no_fault()) as server, client_for(server.url) as callbell:
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(stops)
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 1
        current_loop().advance(20)
        await sending
    first, second = server.requests
    # A date is cut to whole seconds, and read against a clock that goes on.
    assert second.at - first.at >= (40 if form is FORMS["a date"] else 60)


@in_each_form
async def test_a_wait_past_the_policys_timeout_is_not_begun(form: Form) -> None:
    """Where Callbell asks for more than the policy's time, the refusal is raised at once, and says how much was asked for."""
    async with local_callbell(respond(429, b"", form(1000))) as server, client_for(server.url) as callbell:
        with pytest.raises(RateLimitError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts, len(server.requests)) == (Outcome.REJECTED, 1, 1)
    assert caught.value.retry_after is not None
    assert 800 < caught.value.retry_after <= 1000


async def test_503_with_retry_after_is_not_undercut_either() -> None:
    """`Retry-After` counts on every status that is repeated, and gives up past the policy's time."""
    async with local_callbell(respond(503, b"", {"Retry-After": "121"})) as server, client_for(server.url) as callbell:
        with pytest.raises(ServerError, match="asks to wait 121 s"):
            await callbell.send(MESSAGE)
    assert len(server.requests) == 1


async def test_429_stops_the_whole_client(stops: Callable[[], int]) -> None:
    """While Callbell asks one call to wait, no other call of the client sends anything."""
    async with local_callbell(asking(60), no_fault()) as server, client_for(server.url) as callbell:
        refused = asyncio.create_task(callbell.send(MESSAGE))
        await until(stops)
        others = [asyncio.create_task(callbell.send(MESSAGE)) for _ in range(5)]
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 1
        current_loop().advance(20)
        await asyncio.gather(refused, *others)
    assert len(server.requests) == 7
    assert all(request.at - server.requests[0].at >= 60 for request in server.requests[1:])


async def test_nothing_in_flight_reopens_a_stopped_client(stops: Callable[[], int]) -> None:
    """A success or a shorter stop that comes while the client is stopped does not shorten it: the longest stop wins."""
    late = asyncio.Event()
    server = local_callbell(no_response(until=late), no_response(until=late, then=asking(1)), asking(60), no_fault())
    async with server, client_for(server.url) as callbell:
        early = [asyncio.create_task(callbell.send(MESSAGE)) for _ in range(2)]
        await until(lambda: len(server.requests) == 2)
        longest = asyncio.create_task(callbell.send(MESSAGE))
        await until(stops)
        late.set()
        await until(lambda: stops() == 2 and any(task.done() for task in early))
        another = asyncio.create_task(callbell.send(MESSAGE))
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 3
        current_loop().advance(20)
        await asyncio.gather(longest, another, *early)
    assert len(server.requests) == 6
    assert all(request.at - server.requests[2].at >= 60 for request in server.requests[3:])


async def test_a_call_that_would_wait_too_long_for_a_stopped_client_gives_up_at_once() -> None:
    """A stop is never shortened: a call that can't outwait it within its policy's time fails at once, and sends nothing."""
    async with local_callbell(asking(1000), no_fault()) as server, client_for(server.url) as callbell:
        with pytest.raises(RateLimitError):
            await callbell.send(MESSAGE)
        with pytest.raises(RequestTimeoutError) as caught:
            await callbell.send(MESSAGE)
        assert (caught.value.outcome, caught.value.attempts) == (Outcome.NEVER_SENT, 0)
        current_loop().advance(1000)
        await callbell.send(MESSAGE)
    assert len(server.requests) == 2


# --- what is said aloud -----------------------------------------------------------------------------------------------


async def test_the_log_tells_of_retries_and_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """Each retry and each stop leaves a line in the log, without the token, the recipient's number or the message's text."""
    caplog.set_level(logging.DEBUG)
    path = f"/contacts/phone/{NUMBER}"
    echo = respond(503, {"error": f"{NUMBER} {TEXT} {TOKEN}"})
    async with local_callbell(echo, asking(0), no_fault()) as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
    async with local_callbell(close_after_reading(), respond(200, b"{}")) as server, client_for(server.url) as callbell:
        await callbell.request("GET", path)
    said = caplog.text
    assert [record.levelname for record in caplog.records if record.name == "callbell_async"] == [
        "INFO",
        "WARNING",
        "INFO",
    ]
    assert "POST /messages/send: attempt 1 failed (ServerError)" in said
    assert "GET /contacts/phone/…: attempt 1 failed (ConnectionLostError)" in said
    assert not any(secret in said for secret in (TOKEN, NUMBER, NUMBER[1:], TEXT))
