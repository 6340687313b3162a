"""Retries over real connections: when they happen, and the outcome of all attempts together."""

from __future__ import annotations

import asyncio
import email.utils
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callbell_async import (
    APIError,
    BadRequestError,
    ConnectError,
    ConnectionLostError,
    Journal,
    NotFoundError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)
from callbell_async.sandbox import Exchange, Fault, SandboxResponse
from callbell_async.sandbox.faults import close_after_reading, no_fault, no_response, reset_after_reading, respond
from tests.support.calls import MESSAGE, NUMBER, TEXT, TOKEN, client_for, ticks, until
from tests.support.clock import current_loop
from tests.support.sandbox_factory import local_callbell

pytestmark = pytest.mark.usefixtures("http_path")

RESENDING = RetryPolicy(wait_initial=0.0, resend_unknown=True)

# --- all attempts together --------------------------------------------------------------------------------------------


async def test_unknown_stays_unknown_when_the_next_connection_is_refused() -> None:
    """A first attempt that may have been accepted leaves the call `UNKNOWN`, though later ones never left."""
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
    """A first attempt that may have been accepted leaves the call `UNKNOWN`, though later ones were refused."""
    async with (
        local_callbell(reset_after_reading(), respond(status)) as server,
        client_for(server.url, retry=RESENDING) as callbell,
    ):
        with pytest.raises(raises) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, attempts)
    assert len(server.requests) == attempts


async def test_a_retry_that_may_have_been_accepted_is_the_last() -> None:
    """After a 503 the message is retried; a retry that may have been accepted is the last."""
    async with local_callbell(respond(503), reset_after_reading()) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 2)
    assert len(server.requests) == 2


def lost_by_a_gateway(status: int) -> Fault:
    """Let Callbell accept the request, and a gateway respond with an error."""

    async def act(exchange: Exchange) -> None:
        exchange.execute()
        await exchange.send(SandboxResponse(status, None, {"Content-Type": "text/html"}, b"<h1>no</h1>"))

    return Fault("lost by a gateway", act)


@pytest.mark.parametrize("statuses", [None, {429, 503}], ids=["default policy", "429 and 503"])
@pytest.mark.parametrize("status", [502, 504, 520, 522, 524])
async def test_a_message_that_a_gateway_lost_is_not_sent_again(
    status: int, statuses: set[int] | None, tmp_path: Path
) -> None:
    """A message for which a gateway responded after Callbell accepted it is `UNKNOWN`, and no later run of its journal sends it."""
    policy = RetryPolicy() if statuses is None else RetryPolicy(statuses=statuses)
    journal = Journal(tmp_path / "run.db")
    async with (
        local_callbell(lost_by_a_gateway(status), no_fault()) as server,
        client_for(server.url, retry=policy) as callbell,
    ):
        first = await callbell.send_many([MESSAGE], journal=journal)
        second = await callbell.send_many([MESSAGE], journal=journal)
        assert [result.outcome for result in (*first.results, *second.results)] == [Outcome.UNKNOWN, Outcome.SKIPPED]
        server.assert_sent_once(to=NUMBER)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [521, 523, 525, 526])
async def test_a_message_that_a_gateway_could_not_pass_on_is_sent_again(status: int) -> None:
    """A request that a gateway could not pass on is retried, and the message is sent once."""
    async with local_callbell(respond(status), no_fault()) as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        server.assert_sent_once(to=NUMBER)
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [502, 504, 520, 522, 524])
async def test_an_idempotent_call_that_a_gateway_lost_is_retried(status: int, method: str) -> None:
    """Idempotent calls that a gateway lost are retried."""
    async with local_callbell(respond(status), respond(200, b"{}")) as server, client_for(server.url) as callbell:
        await callbell.request(method, "/contacts/c0ffee", json={"name": "x"} if method == "PUT" else None)
    assert len(server.requests) == 2


async def test_a_named_gateway_status_is_sent_again() -> None:
    """A policy that names 504 sends the message again, and a second copy is the caller's choice."""
    policy = RetryPolicy(wait_initial=0.0, statuses={504})
    async with (
        local_callbell(lost_by_a_gateway(504), no_fault()) as server,
        client_for(server.url, retry=policy) as callbell,
    ):
        await callbell.send(MESSAGE)
        assert len(server.messages) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_idempotent_call_is_retried(method: str) -> None:
    """Idempotent calls are retried after `UNKNOWN` by default; `attempts` is the number of requests at the server."""
    async with local_callbell(close_after_reading()) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.request(method, "/contacts/c0ffee", json={"name": "x"} if method == "PUT" else None)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 5)
    assert [request.method for request in server.requests] == [method] * 5


@pytest.mark.parametrize("body", [None, {"name": "x"}], ids=["bare", "with a body"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_call_that_is_not_idempotent_is_not_retried(method: str, body: dict[str, str] | None) -> None:
    """Any POST or PATCH that may have been accepted is sent once, with a body or without."""
    async with local_callbell(close_after_reading()) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError) as caught:
            await callbell.request(method, "/contacts/c0ffee", json=body)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is a refusal: the body is not sent a second time, neither to the new address nor to any other."""
    async with local_callbell() as elsewhere:
        away = respond(status, b"", {"Location": f"{elsewhere.url}/messages/send"})
        async with local_callbell(away) as server, client_for(server.url) as callbell:
            with pytest.raises(APIError) as caught:
                await callbell.send(MESSAGE)
    assert (type(caught.value), caught.value.status) == (APIError, status)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.REJECTED, 1)
    assert (len(server.requests), elsewhere.connections) == (1, 0)
    assert (caught.value.from_callbell, caught.value.hint) == (False, "redirects to 127.0.0.1; check the base URL")


async def test_a_base_url_without_its_version_is_named() -> None:
    """The first send to a base URL without `/v1` fails with a hint at it."""
    async with local_callbell() as server, client_for(server.url.removesuffix("/v1")) as callbell:
        with pytest.raises(NotFoundError, match=r"is /v1 missing in the base URL\?") as caught:
            await callbell.send(MESSAGE)
    assert not caught.value.from_callbell


# --- 429 --------------------------------------------------------------------------------------------------------------


def http_date(seconds: float) -> str:
    """Return the HTTP date that number of seconds from now."""
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.fixture
def pauses(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """Return a counter of the 429s that have reached the client."""
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


def pausing(seconds: float) -> Fault:
    """Return a 429 with a `Retry-After` of that number of seconds."""
    return respond(429, {"error": "slower"}, {"Retry-After": f"{seconds}"})


@in_each_form
async def test_retry_after_is_never_undercut(form: Form, pauses: Callable[[], int]) -> None:
    """The next request is never earlier than Callbell asks, in any form of the header."""
    async with local_callbell(respond(429, b"", form(60)), no_fault()) as server, client_for(server.url) as callbell:
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(pauses)
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 1
        current_loop().advance(20)
        await sending
    first, second = server.requests
    # A date has whole seconds, and the clock advances before it is read.
    assert second.at - first.at >= (40 if form is FORMS["a date"] else 60)


@in_each_form
async def test_a_wait_past_the_policys_timeout_is_not_begun(form: Form) -> None:
    """If Callbell asks for more than the policy's timeout, the refusal is raised at once with the requested time."""
    async with local_callbell(respond(429, b"", form(1000))) as server, client_for(server.url) as callbell:
        with pytest.raises(RateLimitError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts, len(server.requests)) == (Outcome.REJECTED, 1, 1)
    assert caught.value.retry_after is not None
    assert 800 < caught.value.retry_after <= 1000


async def test_503_with_retry_after_is_not_undercut_either() -> None:
    """`Retry-After` counts on every status that is retried, and beyond the policy's timeout the call gives up."""
    async with local_callbell(respond(503, b"", {"Retry-After": "121"})) as server, client_for(server.url) as callbell:
        with pytest.raises(ServerError, match="asks to wait 121 s"):
            await callbell.send(MESSAGE)
    assert len(server.requests) == 1


async def test_429_pauses_the_whole_client(pauses: Callable[[], int]) -> None:
    """After a 429 no call of the client sends anything until the pause ends."""
    async with local_callbell(pausing(60), no_fault()) as server, client_for(server.url) as callbell:
        refused = asyncio.create_task(callbell.send(MESSAGE))
        await until(pauses)
        others = [asyncio.create_task(callbell.send(MESSAGE)) for _ in range(5)]
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 1
        current_loop().advance(20)
        await asyncio.gather(refused, *others)
    assert len(server.requests) == 7
    assert all(request.at - server.requests[0].at >= 60 for request in server.requests[1:])


async def test_nothing_in_flight_shortens_a_pause(pauses: Callable[[], int]) -> None:
    """A success or a shorter pause that comes during a pause does not shorten it: the longest one counts."""
    late = asyncio.Event()
    server = local_callbell(no_response(until=late), no_response(until=late, then=pausing(1)), pausing(60), no_fault())
    async with server, client_for(server.url) as callbell:
        early = [asyncio.create_task(callbell.send(MESSAGE)) for _ in range(2)]
        await until(lambda: len(server.requests) == 2)
        longest = asyncio.create_task(callbell.send(MESSAGE))
        await until(pauses)
        late.set()
        await until(lambda: pauses() == 2 and any(task.done() for task in early))
        another = asyncio.create_task(callbell.send(MESSAGE))
        current_loop().advance(40)
        await ticks()
        assert len(server.requests) == 3
        current_loop().advance(20)
        await asyncio.gather(longest, another, *early)
    assert len(server.requests) == 6
    assert all(request.at - server.requests[2].at >= 60 for request in server.requests[3:])


async def test_a_call_that_cannot_outwait_a_pause_fails_at_once() -> None:
    """A call that can't outwait a pause within its policy's timeout fails at once, and sends nothing."""
    async with local_callbell(pausing(1000), no_fault()) as server, client_for(server.url) as callbell:
        with pytest.raises(RateLimitError):
            await callbell.send(MESSAGE)
        with pytest.raises(RequestTimeoutError) as caught:
            await callbell.send(MESSAGE)
        assert (caught.value.outcome, caught.value.attempts) == (Outcome.NEVER_SENT, 0)
        current_loop().advance(1000)
        await callbell.send(MESSAGE)
    assert len(server.requests) == 2


# --- the log ----------------------------------------------------------------------------------------------------------


async def test_the_log_shows_retries_and_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """Each retry and each pause writes a line to the log, without the token, the recipient's number or the text."""
    caplog.set_level(logging.DEBUG)
    path = f"/contacts/phone/{NUMBER}"
    echo = respond(503, {"error": f"{NUMBER} {TEXT} {TOKEN}"})
    async with local_callbell(echo, pausing(0), no_fault()) as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
    async with local_callbell(close_after_reading(), respond(200, b"{}")) as server, client_for(server.url) as callbell:
        await callbell.request("GET", path)
    logged = caplog.text
    assert [record.levelname for record in caplog.records if record.name == "callbell_async.http"] == [
        *("DEBUG", "INFO", "DEBUG", "WARNING", "DEBUG"),
        *("DEBUG", "INFO", "DEBUG"),
    ]
    assert "POST /messages/send: attempt 1 failed (ServerError)" in logged
    assert "GET /contacts/phone/…: attempt 1 failed (ConnectionLostError)" in logged
    assert not any(secret in logged for secret in (TOKEN, NUMBER, NUMBER[1:], TEXT))
