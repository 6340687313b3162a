"""Requests without I/O: paths, queries, and the outcome of a call."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import (
    CallbellError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    InvalidMessageError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
)
from callbell_async.http.requests import CallState, Request, build_path, build_query
from tests.fixtures.strategies import quick

SEND = Request("POST", "/messages/send", b'{"to":"+31612345678","content":{"text":"Hello!"}}')


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
    """An identifier stays one part of the path, whatever characters it has."""
    assert build_path(*parts) == path


@given(st.lists(st.text(st.characters(codec="utf-8")).filter(lambda part: part.strip() not in ("", ".", ".."))))
@quick
def test_a_path_can_be_taken_apart_again(parts: list[str]) -> None:
    """The path has one slash for each part, and decodes to the same parts."""
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
    """Any values survive the encoding."""
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
    """A POST or PATCH sent twice may have its effect twice."""
    assert Request(method, "/contacts").idempotent is idempotent


# --- the outcome of a call --------------------------------------------------------------------------------------------


def error_with(outcome: Outcome) -> CallbellError:
    """Return the failure of one attempt."""
    match outcome:
        case Outcome.NEVER_SENT:
            return ConnectError("refused", method="POST", path="/messages/send", outcome=outcome)
        case Outcome.UNKNOWN:
            return RequestTimeoutError("no response in time", method="POST", path="/messages/send", outcome=outcome)
        case _:
            return RateLimitError(status=429, method="POST", path="/messages/send")


_FAILURES = [Outcome.NEVER_SENT, Outcome.REJECTED, Outcome.UNKNOWN]


@pytest.mark.parametrize("first", _FAILURES)
@pytest.mark.parametrize("second", _FAILURES)
def test_a_call_has_the_worst_outcome_of_its_attempts(first: Outcome, second: Outcome) -> None:
    """A message that may have arrived once stays `UNKNOWN`, whatever happened to later attempts."""
    call = CallState(SEND)
    errors = [error_with(first), error_with(second)]
    for number, error in enumerate(errors, start=1):
        call.start_attempt()
        call.mark_failed(error)
        assert error.attempts == number
    worst = max(first, second, key=_FAILURES.index)
    assert (call.outcome, errors[-1].outcome) == (worst, worst)


@given(st.lists(st.sampled_from(_FAILURES), min_size=1, max_size=6))
@quick
def test_no_attempt_improves_the_outcome(outcomes: list[Outcome]) -> None:
    """Over any number of failed attempts the outcome only gets worse."""
    call = CallState(SEND)
    for number, outcome in enumerate(outcomes, start=1):
        call.start_attempt()
        call.mark_failed(error_with(outcome))
        assert call.outcome == max(outcomes[:number], key=_FAILURES.index)
    assert call.attempts == len(outcomes)


@pytest.mark.parametrize("earlier", [None, *_FAILURES])
def test_a_request_in_flight_is_unknown(earlier: Outcome | None) -> None:
    """While a written attempt has not ended, the call is `UNKNOWN`; a new attempt starts as not written."""
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


def test_an_accepted_attempt_makes_the_call_accepted() -> None:
    """An accepted attempt counts, though an earlier one may have been accepted as well."""
    call = CallState(SEND)
    call.start_attempt()
    call.mark_failed(error_with(Outcome.UNKNOWN))
    call.start_attempt()
    call.written = True
    call.mark_accepted()
    assert (call.outcome, call.attempts) == (Outcome.ACCEPTED, 2)


def test_a_failure_before_any_attempt_was_never_sent() -> None:
    """An error without an outcome of its own counts as never sent, with 0 attempts."""
    call = CallState(SEND)
    assert call.outcome is Outcome.NEVER_SENT
    error = InvalidMessageError("text", "must not be blank")
    call.mark_failed(error)
    assert (error.outcome, error.attempts, call.outcome) == (Outcome.NEVER_SENT, 0, Outcome.NEVER_SENT)


def test_a_lost_connection_keeps_its_outcome_alone() -> None:
    """The error of a single attempt keeps its own outcome."""
    call = CallState(SEND)
    call.start_attempt()
    call.written = True
    error = ConnectionLostError("broke", method="POST", path="/messages/send", outcome=Outcome.NEVER_SENT)
    call.mark_failed(error)
    assert (error.outcome, call.outcome) == (Outcome.NEVER_SENT, Outcome.NEVER_SENT)
