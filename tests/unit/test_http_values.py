"""Requests and answers without I/O: paths, queries, what an answer means, and what a call comes to."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from callbell_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CallbellError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    InvalidMessageError,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
    UnprocessableEntityError,
)
from callbell_async.http.requests import CallState, Request, build_path, build_query
from callbell_async.http.responses import KEPT_BODY, Response, error_from, parse_retry_after, read_any, read_response
from callbell_async.wire import WireError
from tests.fixtures.strategies import quick

SEND = Request("POST", "/messages/send", b'{"to":"+31612345678","content":{"text":"Hello!"}}')
NOW = datetime(1994, 11, 6, 8, 49, 7, tzinfo=UTC)


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("messages", "send"), "/messages/send"),
        (("contacts", "phone", "+31 6"), "/contacts/phone/%2B31%206"),
        (("contacts", "a/b?c#d"), "/contacts/a%2Fb%3Fc%23d"),
        (("messages", "wamid.HBg=="), "/messages/wamid.HBg%3D%3D"),
        (("contacts", "ü"), "/contacts/%C3%BC"),
        ((), ""),
    ],
)
def test_each_part_of_a_path_is_encoded(parts: tuple[str, ...], path: str) -> None:
    """An identifier can't leave its place in the path, whatever is in it."""
    assert build_path(*parts) == path


@given(st.lists(st.text(st.characters(codec="utf-8")).filter(lambda part: part.strip() not in ("", ".", ".."))))
@quick
def test_a_path_can_be_taken_apart_again(parts: list[str]) -> None:
    """As many slashes as parts, and each part as it was."""
    assert [unquote(part) for part in build_path(*parts).split("/")[1:]] == parts


@pytest.mark.parametrize("part", ["", " ", ".", "..", None, 31612345678, b"a", "wamid.\ud83d"])
def test_a_path_that_would_lead_elsewhere_is_refused(part: Any) -> None:
    """A blank identifier in a DELETE must not reach the whole list; the error shows the path, but no number."""
    with pytest.raises(
        ConfigurationError, match=r"^the path /contacts/.* has a part that is not an identifier"
    ) as caught:
        build_path("contacts", "+31612345678", part)
    assert "31612345678" not in str(caught.value)


class Kind(StrEnum):
    """A value with a name."""

    WHATSAPP = "whatsapp"


class Number(Enum):
    """A number with a name."""

    ONE = 1


@pytest.mark.parametrize(
    ("query", "written"),
    [
        (None, ""),
        ({}, ""),
        ({"page": None}, ""),
        ({"page": 2, "active": True, "main": False}, "?page=2&active=true&main=false"),
        ({"tags": ["a b", "c&d"], "ids": (1, 2)}, "?tags=a%20b%2Cc%26d&ids=1%2C2"),
        (
            {"type": Kind.WHATSAPP, "number": Number.ONE, "types": [Kind.WHATSAPP]},
            "?type=whatsapp&number=1&types=whatsapp",
        ),
        ({"after": "a+b/c=", "empty": ""}, "?after=a%2Bb%2Fc%3D&empty="),
        ({"tags": []}, "?tags="),
        ({"ratio": 0.5}, "?ratio=0.5"),
    ],
)
def test_a_query_is_encoded(query: dict[str, Any] | None, written: str) -> None:
    """`None` is left out, lists are joined by commas, booleans are words, enums their values."""
    assert build_query(query) == written


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
@quick
def test_a_query_can_be_taken_apart_again(query: dict[str, str]) -> None:
    """Whatever is in the values, they arrive."""
    assert dict(parse_qsl(build_query(query)[1:], keep_blank_values=True, strict_parsing=bool(query))) == query


@pytest.mark.parametrize(
    ("method", "idempotent"),
    [
        ("GET", True),
        ("HEAD", True),
        ("OPTIONS", True),
        ("PUT", True),
        ("DELETE", True),
        ("POST", False),
        ("PATCH", False),
    ],
)
def test_idempotent_is_what_http_calls_so(method: str, idempotent: bool) -> None:
    """A POST or PATCH sent twice may do its work twice."""
    assert Request(method, "/contacts").idempotent is idempotent


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_good_answer_is_read() -> None:
    """The JSON goes to the reader, and what that makes of it comes back."""
    assert read_response(SEND, Response(201, {}, b'{"a": [1]}'), lambda document: document["a"]) == [1]
    assert read_any(SEND, Response(200, {}, b'{"a": [1]}')) == {"a": [1]}


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_answer_is_none_where_any_will_do(body: bytes) -> None:
    """A 204 has no JSON; where some was promised it is an error."""
    assert read_any(SEND, Response(204, {}, body)) is None
    with pytest.raises(ResponseDecodeError):
        read_response(SEND, Response(204, {}, body), lambda document: document)


def refuse(_: Any) -> Any:
    """A reader that finds nothing."""
    raise WireError("the answer has no uuid")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Hello!", "not JSON: unexpected character"),
        (b'{"text": "Hello!"}', "the answer has no uuid"),
    ],
)
def test_a_good_answer_that_cannot_be_read_may_have_been_accepted(body: bytes, said: str) -> None:
    """A 2xx that makes no sense is `UNKNOWN`; the error keeps what came, and its text repeats none of it."""
    answer = Response(202, CIMultiDict({"Server": "nginx"}), body + b" " * KEPT_BODY)
    with pytest.raises(ResponseDecodeError) as caught:
        read_response(SEND, answer, refuse)
    error = caught.value
    assert (error.outcome, error.status, error.headers) == (Outcome.UNKNOWN, 202, {"server": "nginx"})
    assert error.body == answer.body[:KEPT_BODY]
    assert str(error).startswith(f"POST /messages/send: the response has status 202 but can't be read: {said}")
    assert str(error).endswith("(may have been accepted)")
    assert "Hello" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (599, ServerError),
        (301, APIError),
        (307, APIError),
        (405, APIError),
        (418, APIError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[APIError]) -> None:
    """Any answer but 2xx raises the exception of its status, and is a refusal."""
    readers: list[Callable[[Request, Response], Any]] = [partial(read_response, load=refuse), read_any]
    for read in readers:
        with pytest.raises(APIError) as caught:
            read(SEND, Response(status, {}, b""))
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.outcome) == (status, Outcome.REJECTED)
        assert (caught.value.method, caught.value.path) == ("POST", "/messages/send")


@pytest.mark.parametrize(
    ("status", "ok"), [(199, False), (200, True), (204, True), (299, True), (300, False), (400, False)]
)
def test_good_is_2xx(status: int, ok: bool) -> None:
    """Nothing else is a success, a redirect included."""
    assert Response(status, {}, b"").ok is ok


def test_a_date_to_wait_for_counts_from_now() -> None:
    """The wait of an error is in seconds from the moment it is read."""
    answer = Response(503, CIMultiDict({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}), b"")
    assert error_from(SEND, answer, now=NOW).retry_after == 30.0
    assert error_from(SEND, answer).retry_after == 0.0


def test_an_error_keeps_the_answer() -> None:
    """Its headers have lower-case names, its body is cut at 64 KiB."""
    answer = Response(503, CIMultiDict({"Retry-After": "7", "X-Request-Id": "a1"}), b"<html>" + b"x" * KEPT_BODY)
    error = error_from(SEND, answer)
    assert error.headers == {"retry-after": "7", "x-request-id": "a1"}
    assert error.body == answer.body[:KEPT_BODY]
    assert error.retry_after == 7.0


@given(st.integers(300, 999), st.dictionaries(st.text(), st.text(), max_size=3), st.binary(), st.none() | st.binary())
@quick
def test_any_other_answer_is_an_error(status: int, headers: dict[str, str], body: bytes, sent: bytes | None) -> None:
    """Whatever comes, and whatever had been sent, reading an error never fails."""
    error = error_from(Request("POST", "/messages/send", sent), Response(status, headers, body))
    assert error.status == status
    assert str(error).startswith(f"POST /messages/send: {status}")


# --- Retry-After ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "-7"}, 0.0),
        ({"Retry-After": "31536000"}, 31536000.0),
        ({"retry-after": "7"}, 7.0),
        # The three forms of a date in RFC 9110, section 5.6.7.
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 30.0),
        ({"Retry-After": "Sunday, 06-Nov-94 08:49:37 GMT"}, 30.0),
        ({"Retry-After": "Sun Nov  6 08:49:37 1994"}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 09:49:37 +0100"}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 -0000"}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:48:00 GMT"}, 0.0),
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "1500", "Retry-After": "7"}, 1.5),
        ({"Retry-After-Ms": "-1"}, 0.0),
        ({"Retry-After-Ms": "soon", "Retry-After": "7"}, 7.0),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "-inf"}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": "5, 10"}, None),
        ({"Retry-After": "Sun, 99 Nov 1994 08:49:37 GMT"}, None),
        ({"Retry-After-Ms": "inf"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are read; what can't be is no wish at all, and the past is now."""
    assert parse_retry_after(CIMultiDict(headers), now=NOW) == seconds


_HOURS = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]?\w{1,5}"),
    st.datetimes(timezones=_HOURS, min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),
)
@quick
def test_any_retry_after_is_seconds_or_nothing(value: str, now: datetime) -> None:
    """Whatever a server writes, the answer is `None` or a finite number of seconds that is not negative."""
    for name in ("Retry-After", "Retry-After-Ms"):
        seconds = parse_retry_after({name: value}, now=now)
        assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


# --- what a call comes to ---------------------------------------------------------------------------------------------


def error_with(outcome: Outcome) -> CallbellError:
    """A failure of one attempt."""
    match outcome:
        case Outcome.NEVER_SENT:
            return ConnectError("refused", method="POST", path="/messages/send", outcome=outcome)
        case Outcome.UNKNOWN:
            return RequestTimeoutError("no answer in time", method="POST", path="/messages/send", outcome=outcome)
        case _:
            return RateLimitError(status=429, method="POST", path="/messages/send")


_FAILURES = [Outcome.NEVER_SENT, Outcome.REJECTED, Outcome.UNKNOWN]


@pytest.mark.parametrize("first", _FAILURES)
@pytest.mark.parametrize("second", _FAILURES)
def test_a_call_comes_to_the_gravest_of_its_attempts(first: Outcome, second: Outcome) -> None:
    """What may have arrived once may have arrived, whatever later attempts met."""
    call = CallState(SEND)
    for number, outcome in enumerate((first, second), start=1):
        call.start_attempt()
        error = error_with(outcome)
        call.mark_failed(error)
        assert error.attempts == number
    gravest = max(first, second, key=_FAILURES.index)
    assert (call.outcome, error.outcome) == (gravest, gravest)


@given(st.lists(st.sampled_from(_FAILURES), min_size=1, max_size=6))
@quick
def test_no_attempt_makes_a_call_less_grave(outcomes: list[Outcome]) -> None:
    """Over any number of attempts the outcome only ever gets graver."""
    call = CallState(SEND)
    for number, outcome in enumerate(outcomes, start=1):
        call.start_attempt()
        call.mark_failed(error_with(outcome))
        assert call.outcome == max(outcomes[:number], key=_FAILURES.index)
    assert call.attempts == len(outcomes)


@pytest.mark.parametrize("earlier", [None, *_FAILURES])
def test_what_is_being_written_is_unknown(earlier: Outcome | None) -> None:
    """While an attempt is written and not settled, the call may have been accepted; a new attempt starts unwritten."""
    call = CallState(SEND)
    if earlier:
        call.start_attempt()
        call.mark_failed(error_with(earlier))
    call.start_attempt()
    assert call.outcome == (earlier or Outcome.NEVER_SENT)
    call.written = True
    assert call.outcome is Outcome.UNKNOWN
    call.start_attempt()
    assert call.outcome == (earlier or Outcome.NEVER_SENT)


def test_an_acceptance_settles_a_call() -> None:
    """Accepted is accepted, though an earlier attempt may have been so as well."""
    call = CallState(SEND)
    call.start_attempt()
    call.mark_failed(error_with(Outcome.UNKNOWN))
    call.start_attempt()
    call.written = True
    call.mark_accepted()
    assert (call.outcome, call.attempts) == (Outcome.ACCEPTED, 2)


def test_a_failure_before_any_attempt_was_never_sent() -> None:
    """An error without an outcome of its own counts as not sent, and says that nothing was tried."""
    call = CallState(SEND)
    assert call.outcome is Outcome.NEVER_SENT
    error = InvalidMessageError("text", "must not be blank")
    call.mark_failed(error)
    assert (error.outcome, error.attempts, call.outcome) == (Outcome.NEVER_SENT, 0, Outcome.NEVER_SENT)


def test_a_lost_connection_keeps_its_outcome_alone() -> None:
    """An error of a single attempt keeps what it said of itself."""
    call = CallState(SEND)
    call.start_attempt()
    call.written = True
    error = ConnectionLostError("broke", method="POST", path="/messages/send", outcome=Outcome.NEVER_SENT)
    call.mark_failed(error)
    assert (error.outcome, call.outcome) == (Outcome.NEVER_SENT, Outcome.NEVER_SENT)
