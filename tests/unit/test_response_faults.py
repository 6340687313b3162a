"""Faulty responses: for each the right exception, the right outcome, and the right number of requests at the server."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from callbell_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CallbellError,
    ConnectionLostError,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    RetryPolicy,
    ServerError,
    UnprocessableEntityError,
)
from callbell_async.sandbox import Fault, SandboxResponse
from callbell_async.sandbox.exchange import response_head
from callbell_async.sandbox.faults import (
    close_after_reading,
    no_fault,
    no_response,
    oversized_response,
    raw,
    reset_after_reading,
    reset_before_reading,
    respond,
    slow_response,
    truncated_response,
)
from tests.support.calls import MESSAGE, NUMBER, client_for, half_a_minute_passes, session_with_hooks
from tests.support.memory import traced_memory
from tests.support.sandbox_factory import local_callbell

pytestmark = pytest.mark.usefixtures("http_path")

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
PAGE = b"<html><body><h1>The gateway is unwell</h1></body></html>"
RECEIPT = b'{"message": {"uuid": "adf3d1216d4c4dcd908199d6700f2381", "status": "enqueued"}}'


@attrs.frozen
class Doubt:
    """A fault, and the expected exception and text; `counted` is whether the server read the request."""

    fault: Fault
    raises: type[CallbellError]
    text: str
    counted: bool = True


# --- it may have been accepted ----------------------------------------------------------------------------------------

IN_DOUBT = {
    "reset before reading": Doubt(reset_before_reading(), ConnectionLostError, "the connection broke", counted=False),
    "reset after reading": Doubt(reset_after_reading(), ConnectionLostError, "the connection broke"),
    "closed after reading": Doubt(close_after_reading(), ConnectionLostError, "the connection broke"),
    "reset in mid-response": Doubt(
        truncated_response(SandboxResponse(200, None, JSON, RECEIPT), reset=True), ConnectionLostError, "broke"
    ),
    "closed in mid-response": Doubt(
        truncated_response(SandboxResponse(200, None, JSON, RECEIPT)), ConnectionLostError, "during the response"
    ),
    "closed in mid-head": Doubt(raw(b"HTTP/1.1 200 OK\r\nContent-"), ConnectionLostError, "the connection broke"),
    "no response until the timeout": Doubt(
        no_response(half_a_minute_passes), RequestTimeoutError, "no response in time"
    ),
    "200 with HTML": Doubt(respond(200, PAGE, HTML), ResponseDecodeError, "HTML from a proxy or from another server"),
    "200 with half a body": Doubt(respond(200, RECEIPT[:40], JSON), ResponseDecodeError, "not JSON"),
    "200 without a body": Doubt(respond(200, b"", JSON), ResponseDecodeError, "not JSON"),
    "204": Doubt(respond(204), ResponseDecodeError, "not JSON"),
    "200 without uuid": Doubt(respond(200, b'{"message": {"status": "enqueued"}}'), ResponseDecodeError, "uuid"),
    "200 with a list": Doubt(respond(200, b"[1, 2]", JSON), ResponseDecodeError, "message"),
    "200 with what is not gzip": Doubt(
        respond(200, RECEIPT, {**JSON, "Content-Encoding": "gzip"}),
        ConnectionLostError,
        r"the response's Content-Encoding \(gzip\) can't be decoded",
    ),
    "200 in chunks that are none": Doubt(
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ConnectionLostError, "not HTTP|broke"
    ),
    "not HTTP": Doubt(raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), ConnectionLostError, "not HTTP"),
    "a header without end": Doubt(
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000),
        ConnectionLostError,
        "a line of the response's head is longer than 65536 bytes",
    ),
    "headers without end": Doubt(
        raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(600))),
        ConnectionLostError,
        "the response has too many headers",
    ),
    **{
        f"{status} of a gateway": Doubt(respond(status, PAGE, HTML), ServerError, "HTML from a proxy or firewall")
        for status in (502, 504, 520, 522, 524)
    },
    "504 without a body": Doubt(respond(504), ServerError, "from a gateway that does not know"),
}
unknown = pytest.mark.parametrize("doubt", IN_DOUBT.values(), ids=IN_DOUBT)


@unknown
async def test_a_message_that_may_have_been_accepted_is_not_sent_again(doubt: Doubt) -> None:
    """A written request without a readable response is `UNKNOWN`, and the server gets it once, whatever the policy's attempts."""
    async with local_callbell(doubt.fault) as server, client_for(server.url) as callbell:
        with pytest.raises(CallbellError, match=doubt.text) as caught:
            await callbell.send(MESSAGE)
    assert type(caught.value) is doubt.raises
    assert caught.value.outcome is Outcome.UNKNOWN
    assert caught.value.attempts == 1
    assert len(server.requests) == doubt.counted
    assert server.connections == 1


@unknown
async def test_resend_unknown_sends_again(doubt: Doubt) -> None:
    """With `resend_unknown=True` the same bytes are sent a second time, and its receipt is returned."""
    policy = RetryPolicy(wait_initial=0.0, resend_unknown=True)
    async with (
        local_callbell(doubt.fault, no_fault()) as server,
        client_for(server.url, retry=policy) as callbell,
    ):
        receipt = await callbell.send(MESSAGE)
    assert receipt.uuid == server.assert_sent_once(to=NUMBER).uuid
    assert len(server.requests) == doubt.counted + 1
    assert {request.body for request in server.requests} == {server.requests[-1].body}


@unknown
async def test_resending_ends_with_the_policys_attempts(doubt: Doubt) -> None:
    """With `resend_unknown=True` a lasting fault ends with the policy's attempts, and stays `UNKNOWN`."""
    policy = RetryPolicy(wait_initial=0.0, attempts=3, resend_unknown=True)
    async with local_callbell(doubt.fault) as server, client_for(server.url, retry=policy) as callbell:
        with pytest.raises(doubt.raises) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 3)
    assert len(server.requests) == 3 * doubt.counted
    assert server.connections >= 1


@pytest.mark.parametrize(
    ("status", "raises", "outcome"),
    [(200, RequestTimeoutError, Outcome.UNKNOWN), (403, PermissionDeniedError, Outcome.REJECTED)],
)
async def test_a_response_whose_rest_never_comes(status: int, raises: type[CallbellError], outcome: Outcome) -> None:
    """After the timeout an incomplete success is `UNKNOWN`; an incomplete refusal is a refusal by its status."""

    async def time_is_over(*_: object) -> None:
        half_a_minute_passes()

    half = no_response(after=response_head(SandboxResponse(status, None, HTML), 2 * len(PAGE)) + PAGE)
    async with (
        local_callbell(half) as server,
        session_with_hooks(on_request_end=time_is_over) as session,
        client_for(server.url, session=session) as callbell,
    ):
        with pytest.raises(raises) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.outcome, caught.value.attempts) == (outcome, 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["Content-Security-Policy", "Set-Cookie"])
async def test_a_long_response_header_is_read(name: str) -> None:
    """A header of 60 KB, as security policies may be, does not make an accepted message `UNKNOWN`."""
    policy = {**JSON, name: "a" * 60_000}
    async with local_callbell(respond(200, RECEIPT, policy)) as server, client_for(server.url) as callbell:
        receipt = await callbell.send(MESSAGE)
    assert receipt.uuid == "adf3d1216d4c4dcd908199d6700f2381"


async def test_a_long_response_header_over_a_callers_session_is_named() -> None:
    """A caller's session has limits of its own: the error names the limit that the header exceeds."""
    long = {**JSON, "X-Policy": "a" * 9_000}
    async with (
        local_callbell(respond(200, RECEIPT, long)) as server,
        session_with_hooks() as session,
        client_for(server.url, session=session) as callbell,
    ):
        with pytest.raises(ConnectionLostError, match="a line of the response's head is longer than 8190 bytes"):
            await callbell.send(MESSAGE)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "deflate"])
async def test_a_content_encoding_that_cannot_be_decoded_is_named(encoding: str) -> None:
    """A success whose body can't be decoded is `UNKNOWN`, and the error names the encoding."""
    packed = respond(200, RECEIPT, {**JSON, "Content-Encoding": encoding})
    async with local_callbell(packed) as server, client_for(server.url) as callbell:
        with pytest.raises(ConnectionLostError, match=rf"Content-Encoding \({encoding}\) can't be decoded") as caught:
            await callbell.send(MESSAGE)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_decode_error_keeps_the_response() -> None:
    """An unreadable success keeps its status, its headers with lower-case names and its bytes."""
    async with local_callbell(respond(201, PAGE, HTML)) as server, client_for(server.url) as callbell:
        with pytest.raises(ResponseDecodeError) as caught:
            await callbell.send(MESSAGE)
    assert (caught.value.status, caught.value.body) == (201, PAGE)
    assert caught.value.headers["content-type"] == "text/html"


async def test_a_slow_response_is_read() -> None:
    """A response that comes byte by byte is read like any other."""
    async with (
        local_callbell(slow_response(SandboxResponse(200, None, JSON, RECEIPT))) as server,
        client_for(server.url) as callbell,
    ):
        receipt = await callbell.send(MESSAGE)
    assert receipt.uuid == "adf3d1216d4c4dcd908199d6700f2381"
    assert len(server.requests) == 1


# --- it was refused ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Refusal:
    """A response that is not 2xx, and the expected error; `requests` is the number of requests by default."""

    fault: Fault
    raises: type[APIError]
    status: int
    requests: int = 1
    code: str | None = None
    message: str | None = None
    errors: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


COMPLAINT = "must be present and not empty"
DEPLETED = "whatsapp_wallet_depleted_credit"


def error(status: int, body: Any = b"", headers: Mapping[str, str] = JSON) -> Fault:
    """Return one of Callbell's error responses."""
    return respond(status, body, headers)


REFUSALS = {
    "400 in words": Refusal(error(400, {"error": "wrong"}), BadRequestError, 400, message="wrong"),
    "400 by field": Refusal(
        error(400, {"error": {"template_uuid": [COMPLAINT]}}),
        BadRequestError,
        400,
        message=f"template_uuid {COMPLAINT}",
        errors={"template_uuid": (COMPLAINT,)},
    ),
    "400 by field, unwrapped": Refusal(
        error(400, {"template_uuid": [COMPLAINT], "to": ["is odd", "is short"]}),
        BadRequestError,
        400,
        message=f"template_uuid {COMPLAINT}; to is odd, is short",
        errors={"template_uuid": (COMPLAINT,), "to": ("is odd", "is short")},
    ),
    "401": Refusal(error(401, {"error": "not authorized"}), AuthenticationError, 401, message="not authorized"),
    "402 with its code": Refusal(
        error(402, {"error": "no credit", "code": DEPLETED}),
        PaymentRequiredError,
        402,
        code=DEPLETED,
        message="no credit",
    ),
    "403": Refusal(error(403, {"error": "no"}), PermissionDeniedError, 403, message="no"),
    "404": Refusal(error(404, {"error": "no"}), NotFoundError, 404, message="no"),
    "409": Refusal(error(409), APIError, 409),
    "413": Refusal(error(413), APIError, 413),
    "422": Refusal(error(422, {"error": "no"}), UnprocessableEntityError, 422, message="no"),
    "408": Refusal(error(408), APIError, 408, requests=5),
    "429": Refusal(error(429, {"error": "slower"}), RateLimitError, 429, requests=5, message="slower"),
    "500": Refusal(error(500, {"error": "oh"}), ServerError, 500, requests=5, message="oh"),
    "501": Refusal(error(501), ServerError, 501),
    "503 with HTML": Refusal(error(503, PAGE, HTML), ServerError, 503, requests=5),
    **{
        f"{status} of a gateway": Refusal(error(status, PAGE, HTML), ServerError, status, requests=5)
        for status in (521, 523, 525, 526)
    },
    "403 with HTML": Refusal(error(403, PAGE, HTML), PermissionDeniedError, 403),
    "400 with half its body": Refusal(truncated_response(SandboxResponse(400, None, HTML, PAGE)), BadRequestError, 400),
    "500 with half its body": Refusal(
        truncated_response(SandboxResponse(500, None, HTML, PAGE)), ServerError, 500, requests=5
    ),
    "403 with what is not gzip": Refusal(
        error(403, b"no", {**JSON, "Content-Encoding": "gzip"}), PermissionDeniedError, 403
    ),
    "101": Refusal(respond(101, b"", {"Connection": "upgrade", "Upgrade": "other"}), APIError, 101),
    "304": Refusal(respond(304), APIError, 304),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_reported_as_it_came(refusal: Refusal) -> None:
    """Callbell's refusal is `REJECTED`, with its status, code, message and fields, and retried only if that is documented as safe."""
    async with local_callbell(refusal.fault) as server, client_for(server.url) as callbell:
        with pytest.raises(APIError) as caught:
            await callbell.send(MESSAGE)
    refused = caught.value
    assert type(refused) is refusal.raises
    assert refused.outcome is Outcome.REJECTED
    assert (refused.status, refused.code, refused.message) == (refusal.status, refusal.code, refusal.message)
    assert refused.errors == refusal.errors
    assert refused.attempts == refusal.requests == len(server.requests)


@pytest.mark.parametrize("status", [500, 503, 521, 523, 525, 526, 429])
async def test_a_passing_refusal_does_not_fail_the_call(status: int) -> None:
    """A message refused for a moment is accepted by the next attempt, over the same connection."""
    async with local_callbell(error(status), no_fault()) as server, client_for(server.url) as callbell:
        receipt = await callbell.send(MESSAGE)
    assert receipt.uuid == server.assert_sent_once(to=NUMBER).uuid
    assert (len(server.requests), server.connections) == (2, 1)


async def test_an_incomplete_refusal_keeps_its_beginning() -> None:
    """The exception for a refusal whose body broke off has the part that came."""
    async with (
        local_callbell(truncated_response(SandboxResponse(400, None, HTML, PAGE))) as server,
        client_for(server.url) as callbell,
    ):
        with pytest.raises(BadRequestError) as caught:
            await callbell.send(MESSAGE)
    assert caught.value.body == PAGE[: len(PAGE) // 2]


async def test_a_huge_error_body_is_cut() -> None:
    """The exception for a 20 MB error keeps 64 KiB, memory stays bounded, and the next request succeeds."""
    async with (
        local_callbell(oversized_response(20_000_000, 400), no_fault()) as server,
        client_for(server.url) as callbell,
    ):
        with traced_memory():
            with pytest.raises(BadRequestError) as caught:
                await callbell.send(MESSAGE)
            _, peak = tracemalloc.get_traced_memory()
        await callbell.send(MESSAGE)
    assert caught.value.body == b"x" * 65536
    assert caught.value.outcome is Outcome.REJECTED
    assert peak < 4_000_000
    # The rest of the first response would block the connection.
    assert (len(server.requests), server.connections) == (2, 2)


async def test_a_huge_success_is_bounded() -> None:
    """A success of unlimited size is not read to its end, and is `UNKNOWN`."""
    async with local_callbell(oversized_response(10**12)) as server, client_for(server.url) as callbell:
        with pytest.raises(ResponseDecodeError) as caught:
            await callbell.send(MESSAGE)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert len(caught.value.body) == 65536
    assert len(server.requests) == 1
