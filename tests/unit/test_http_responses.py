"""Responses without I/O: their values, their errors, and Retry-After."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from callbell_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    UnprocessableEntityError,
)
from callbell_async.http.requests import Request
from callbell_async.http.responses import KEPT_BODY, Response, error_from, parse_retry_after, read_any, read_response
from callbell_async.wire import WireError
from tests.fixtures.strategies import quick

SEND = Request("POST", "/messages/send", b'{"to":"+31612345678","content":{"text":"Hello!"}}')
NOW = datetime(1994, 11, 6, 8, 49, 7, tzinfo=UTC)


# --- responses --------------------------------------------------------------------------------------------------------


def test_a_2xx_response_is_read() -> None:
    """The JSON is passed to the reader, whose value is returned."""
    assert read_response(SEND, Response(201, {}, b'{"a": [1]}'), lambda document: document["a"]) == [1]
    assert read_any(SEND, Response(200, {}, b'{"a": [1]}')) == {"a": [1]}


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_response_is_none_if_any_json_is_allowed(body: bytes) -> None:
    """A 204 has no JSON; it is an error if JSON was expected."""
    assert read_any(SEND, Response(204, {}, body)) is None
    with pytest.raises(ResponseDecodeError):
        read_response(SEND, Response(204, {}, body), lambda document: document)


def refuse(_: Any) -> Any:
    """Refuse to read."""
    raise WireError("the response has no uuid")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"Hello!", "not JSON: unexpected character"),
        (b"<html>Hello!", "HTML from a proxy or from another server, not from Callbell; check the base URL"),
        (b'{"text": "Hello!"}', "the response has no uuid"),
    ],
)
def test_a_2xx_response_that_cannot_be_read_is_unknown(body: bytes, expected: str) -> None:
    """An unreadable 2xx is `UNKNOWN`; the error keeps the response, and its text quotes none of it."""
    response = Response(202, CIMultiDict({"Server": "nginx"}), body + b" " * KEPT_BODY)
    with pytest.raises(ResponseDecodeError) as caught:
        read_response(SEND, response, refuse)
    error = caught.value
    assert (error.outcome, error.status, error.headers) == (Outcome.UNKNOWN, 202, {"server": "nginx"})
    assert error.body == response.body[:KEPT_BODY]
    assert str(error).startswith(f"POST /messages/send: the response has status 202 but can't be read: {expected}")
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
        *((status, ServerError) for status in (504, 520, 521, 522, 523, 524, 525, 526, 599)),
        (301, APIError),
        (307, APIError),
        (405, APIError),
        (418, APIError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[APIError]) -> None:
    """Any response but 2xx raises the exception of its status, with the outcome that the status proves."""
    outcome = Outcome.UNKNOWN if status in (502, 504, 520, 522, 524) else Outcome.REJECTED
    readers: list[Callable[[Request, Response], Any]] = [partial(read_response, load=refuse), read_any]
    for read in readers:
        with pytest.raises(APIError) as caught:
            read(SEND, Response(status, {}, b""))
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.outcome) == (status, outcome)
        assert (caught.value.method, caught.value.path) == ("POST", "/messages/send")


@pytest.mark.parametrize(
    ("status", "ok"), [(199, False), (200, True), (204, True), (299, True), (300, False), (400, False)]
)
def test_success_is_2xx(status: int, ok: bool) -> None:
    """No other status is a success, not even a redirect."""
    assert Response(status, {}, b"").ok is ok


def test_a_date_to_wait_for_counts_from_now() -> None:
    """The wait of an error is in seconds from the moment it is read."""
    response = Response(503, CIMultiDict({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}), b"")
    assert error_from(SEND, response, now=NOW).retry_after == 30.0
    assert error_from(SEND, response).retry_after == 0.0


def test_an_error_keeps_the_response() -> None:
    """Its headers have lower-case names, its body is cut at 64 KiB."""
    response = Response(503, CIMultiDict({"Retry-After": "7", "X-Request-Id": "a1"}), b"<html>" + b"x" * KEPT_BODY)
    error = error_from(SEND, response)
    assert error.headers == {"retry-after": "7", "x-request-id": "a1"}
    assert error.body == response.body[:KEPT_BODY]
    assert error.retry_after == 7.0


@given(st.integers(300, 999), st.dictionaries(st.text(), st.text(), max_size=3), st.binary(), st.none() | st.binary())
@quick
def test_any_other_response_is_an_error(status: int, headers: dict[str, str], body: bytes, sent: bytes | None) -> None:
    """Reading an error never fails, whatever was sent and whatever came."""
    error = error_from(Request("POST", "/messages/send", sent), Response(status, headers, body))
    assert error.status == status
    assert str(error).startswith(f"POST /messages/send: {status}")


# --- responses that are not Callbell's --------------------------------------------------------------------------------

HTML = CIMultiDict({"Content-Type": "text/html; charset=utf-8"})
NO_VERSION = "is /v1 missing in the base URL?"
FOREIGN = "HTML from a proxy or firewall, not from Callbell"
API = "https://api.callbell.eu"


@pytest.mark.parametrize(
    ("status", "headers", "body", "base_url", "hint"),
    [
        (404, HTML, b"<h1>no</h1>", API, NO_VERSION),
        (404, {}, b"<!DOCTYPE html><h1>no</h1>", API, NO_VERSION),
        (404, {}, b'{"status":404,"error":"Not Found"}', f"{API}/v2", NO_VERSION),
        (404, {}, b"404 page not found", API, NO_VERSION),
        (404, {}, b"", API, NO_VERSION),
        (404, {}, b'{"error": "no such contact"}', API, ""),
        (404, {}, b'{"error": "not found"}', f"{API}/v1", ""),
        (404, HTML, b"<h1>no</h1>", f"{API}/v1", FOREIGN),
        (404, HTML, b"<h1>no</h1>", "http://127.0.0.1:8080/callbell/v1/", FOREIGN),
        (403, HTML, b"<h1>no</h1>", f"{API}/v1", FOREIGN),
        (403, {}, b" \n<HTML>no", f"{API}/v1", FOREIGN),
        (403, {}, b'{"error": "<html>"}', f"{API}/v1", ""),
        (401, HTML, b"<h1>log in</h1>", f"{API}/v1", FOREIGN),
        (401, {}, b'{"error": "not authorized"}', f"{API}/v1", "check the token (CALLBELL_TOKEN)"),
    ],
)
def test_an_error_names_the_cause_of_a_response_that_is_not_callbells(
    status: int, headers: Mapping[str, str], body: bytes, base_url: str, hint: str
) -> None:
    """A wrong base URL and a proxy's page are named in the error's text, and marked for programs."""
    error = error_from(SEND, Response(status, headers, body, base_url))
    assert error.hint == hint
    assert hint in str(error)
    assert error.from_callbell is (hint not in (NO_VERSION, FOREIGN))


@pytest.mark.parametrize(
    ("base_url", "location", "hint"),
    [
        ("http://api.callbell.eu/v1", f"{API}/v1/messages/send", "redirects to https://api.callbell.eu; use https://"),
        (f"{API}/v1", "https://login.example/?from=here", "redirects to login.example; check the base URL"),
        (f"{API}/v1", "/elsewhere", "redirects to api.callbell.eu; check the base URL"),
        (f"{API}/v1", "//login.example/", "redirects to login.example; check the base URL"),
        (f"{API}/v1", "http://[::1", "redirects to an invalid address; check the base URL"),
        (f"{API}/v1", "https://l\u00f6gin\u202e/", "redirects to another address; check the base URL"),
        ("", "https://login.example/", "redirects to login.example; check the base URL"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_names_the_host_it_leads_to(status: int, base_url: str, location: str, hint: str) -> None:
    """A redirect is not Callbell's: its error names the other host, and `https` where the base URL lacks it."""
    error = error_from(SEND, Response(status, CIMultiDict({"Location": location}), b"", base_url))
    assert hint in str(error)
    assert (error.from_callbell, error.outcome) == (False, Outcome.REJECTED)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 521])
def test_a_failure_that_passes_is_not_marked_as_foreign(status: int) -> None:
    """HTML with a 429 or a 5xx is named, and not marked: the next request may reach Callbell."""
    error = error_from(SEND, Response(status, HTML, b"<h1>unwell</h1>", API))
    assert FOREIGN in str(error)
    assert error.from_callbell


@pytest.mark.parametrize("status", [502, 504, 520, 522, 524])
def test_a_gateway_without_a_page_is_named(status: int) -> None:
    """An empty response of a gateway names the gateway, because Callbell may have accepted the request."""
    error = error_from(SEND, Response(status, {}, b"", f"{API}/v1"))
    assert str(error) == (
        f"POST /messages/send: {status}; from a gateway that does not know whether Callbell accepted the request"
        " (may have been accepted)"
    )


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
        # The clock of this machine is an hour slow, an hour fast, or the server's date can't be read.
        ({"Retry-After": "Sun, 06 Nov 1994 09:49:07 GMT", "Date": "Sun, 06 Nov 1994 09:49:00 GMT"}, 7.0),
        ({"Retry-After": "Sun, 06 Nov 1994 07:49:07 GMT", "Date": "Sun, 06 Nov 1994 07:49:00 GMT"}, 7.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "today"}, 30.0),
        ({"Retry-After": "30", "Date": "Thu, 01 Jan 1970 00:00:20 GMT"}, 30.0),
        ({"Retry-After": "30", "Date": "Mon, 01 Jan 1900 00:00:00 GMT"}, 30.0),
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
        # Seconds since 1970, as a date.
        ({"Retry-After": "784111777"}, 30.0),
        ({"Retry-After": "784111740"}, 0.0),
        ({"Retry-After-Ms": "784111777000"}, 30.0),
        ({"Retry-After": "1e300"}, 1e300),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are read; an unreadable value counts as none, and a past date as 0."""
    assert parse_retry_after(CIMultiDict(headers), now=NOW) == seconds


_HOURS = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]?\w{1,5}"),
    st.datetimes(timezones=_HOURS, min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),
)
@quick
def test_any_retry_after_is_seconds_or_nothing(value: str, now: datetime) -> None:
    """Any header gives `None` or a finite number of seconds that is not negative."""
    for name in ("Retry-After", "Retry-After-Ms"):
        seconds = parse_retry_after({name: value}, now=now)
        assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
