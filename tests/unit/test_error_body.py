"""Error bodies: read in every shape, and summarized without the values that were sent."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from callbell_async import TemplateMessage, TextMessage
from callbell_async.http.requests import Request
from callbell_async.http.responses import ErrorBody, Response, error_from, parse_error_body, summarize
from callbell_async.wire import dump_message
from tests.fixtures.strategies import any_json, brief, number_spellings, quick

TO = "+31612345678"


def text_of(body: Any, sent: bytes | None = None, *, status: int = 400) -> str:
    """The text of the error for such a JSON body."""
    return str(error_from(Request("POST", "/messages/send", sent), Response(status, {}, json.dumps(body).encode())))


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "read"),
    [
        # As documented, and as seen.
        ({"error": "not authorized"}, ErrorBody(None, "not authorized")),
        (
            {"error": {"template_uuid": ["must be present and not empty"]}},
            ErrorBody(
                None,
                "template_uuid must be present and not empty",
                {"template_uuid": ("must be present and not empty",)},
            ),
        ),
        (
            {"to": ["is invalid", "is too short"], "from": ["is unknown"]},
            ErrorBody(
                None,
                "to is invalid, is too short; from is unknown",
                {"to": ("is invalid", "is too short"), "from": ("is unknown",)},
            ),
        ),
        (
            {"error": "Wallet is empty", "code": "whatsapp_wallet_depleted_credit"},
            ErrorBody("whatsapp_wallet_depleted_credit", "Wallet is empty"),
        ),
        (
            {"error": {"code": "whatsapp_wallet_depleted_credit", "message": "Wallet is empty"}},
            ErrorBody("whatsapp_wallet_depleted_credit", "Wallet is empty"),
        ),
        # As others write them.
        ({"error": {"to": "is invalid"}}, ErrorBody(None, "to is invalid", {"to": ("is invalid",)})),
        ({"error": ["is invalid", {"field": "to"}]}, ErrorBody(None, "is invalid, to")),
        (
            {"error": {"content": {"text": ["is empty"]}}},
            ErrorBody(None, "content is empty", {"content": ("is empty",)}),
        ),
        ({"error": None, "message": "is invalid"}, ErrorBody(None, "is invalid")),
        ({"code": "busy"}, ErrorBody("busy")),
        ({"code": 131047, "error": "is invalid"}, ErrorBody("131047", "is invalid")),
        ({"code": True, "error": "is invalid"}, ErrorBody(None, "is invalid")),
        ({"error": {"to": [1, 2.5, True, None]}}, ErrorBody(None, "to 1, 2.5", {"to": ("1", "2.5")})),
        ({"error": ""}, ErrorBody()),
        ({"error": {}}, ErrorBody()),
        ("is invalid", ErrorBody(None, "is invalid")),
        (["is invalid"], ErrorBody(None, "is invalid")),
        ({}, ErrorBody()),
        (None, ErrorBody()),
        (0, ErrorBody()),
    ],
)
def test_each_shape_of_an_error_is_read(body: Any, read: ErrorBody) -> None:
    """The message, the messages by field and the code are found in every shape of the body."""
    assert parse_error_body(json.dumps(body).encode()) == read


@pytest.mark.parametrize("body", [b"", b"<html><h1>502 Bad Gateway</h1></html>", b"\xff\xfe", b'{"error": "cut o'])
def test_a_body_that_is_not_json_is_read_as_empty(body: bytes) -> None:
    """HTML of a proxy, or half a body, has no message, no code and no fields."""
    assert parse_error_body(body) == ErrorBody()


@pytest.mark.parametrize(("depth", "message"), [(240, "deep"), (1000, None), (100_000, None)])
def test_a_deep_error_is_read(depth: int, message: str | None) -> None:
    """Reading an error never fails, however deep it is nested; beyond 254 levels it has no message."""
    assert parse_error_body(b'{"error": ' + b"[" * depth + b'"deep"' + b"]" * depth + b"}").message == message


@given(st.binary() | any_json.map(lambda value: json.dumps(value).encode()))
@quick
def test_any_body_is_read(body: bytes) -> None:
    """Whatever comes, reading an error never fails, and gives strings only."""
    read = parse_error_body(body)
    assert all(part is None or isinstance(part, str) for part in (read.code, read.message))
    assert all(isinstance(line, str) for lines in read.errors.values() for line in lines)


# --- the summary -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "not authorized"}, "POST /messages/send: 400 not authorized (refused)"),
        ({"to": ["is invalid"]}, "POST /messages/send: 400 to is invalid (refused)"),
        ({"error": "busy\n  just now"}, "POST /messages/send: 400 busy just now (refused)"),
        ({"code": "busy", "error": "later"}, "POST /messages/send: 400 [busy] later (refused)"),
        ({"code": "busy"}, "POST /messages/send: 400 [busy] (refused)"),
        ({}, "POST /messages/send: 400 (refused)"),
    ],
)
def test_callbells_words_are_in_the_text(body: Any, text: str) -> None:
    """Callbell's text is part of the exception's text, on one line."""
    assert text_of(body, b'{"to":"+31612345678"}') == text


def test_long_words_are_cut() -> None:
    """An error is a line, not a page."""
    assert summarize(ErrorBody(None, "very-" * 1000), None) == "very-" * 60


def test_a_documented_code_is_always_shown() -> None:
    """A documented code is shown, though a value of the message is part of it."""
    sent = dump_message(TextMessage(to=TO, text="credit", metadata={"source": "whatsapp"}))
    assert "[whatsapp_wallet_depleted_credit]" in text_of({"code": "whatsapp_wallet_depleted_credit"}, sent, status=402)


SENT = dump_message(
    TemplateMessage(
        to=TO,
        bsuid="US.13491208655302741918",
        template_uuid="d980fb66fd5043d3ace1aa06ba044342",
        optin_contact=True,
        assigned_user="john.doe@email.com",
        values=["John Doe", "Hi", "12 March\n1994", "414a6d692bd645ed803f2e7ce360d4c8"],
        metadata={"type": "private customer", "from": "a friend", "order": 1234, "note": 'says "yes"', "name": "John"},
    )
)


@pytest.mark.parametrize(
    ("words", "cleaned"),
    [
        ("+31612345678 is invalid", "… is invalid"),
        ("31612345678 is invalid", "… is invalid"),
        ("0612345678 is invalid", "… is invalid"),
        ("0031612345678 is invalid", "… is invalid"),
        ("00 31 6 1234 5678 is invalid", "… is invalid"),
        ("+31 (6) 12-34-56-78 is invalid", "… is invalid"),
        ("+31/6.1234.5678 is invalid", "… is invalid"),
        ("+31_6·1234·5678 is invalid", "… is invalid"),
        ("+31\u00a06\u20111234\u200e5678 is invalid", "… is invalid"),
        ("[3, 1, 6, 1, 2, 3, 4, 5, 6, 7, 8] is invalid", "[…] is invalid"),
        ("٣١٦١٢٣٤٥٦٧٨ is invalid", "… is invalid"),
        ("+49 30 123456 is somebody else's", "… is somebody else's"),
        ("0049 (30) 12-34-56 is somebody else's", "… is somebody else's"),
        ("4930123456 is somebody else's", "… is somebody else's"),
        ("4930123 is somebody else's", "… is somebody else's"),
        ("31612345678 2026-11-29 is late", "… 2026-11-29 is late"),
        ("12345 31612345678, 7654321", "…, …"),
        ("john doe and Hi", "… and …"),
        ("US.13491208655302741918 is unknown", "… is unknown"),
        ("no John Doe here", "no … here"),
        ("no john\u00a0 DOE here", "no … here"),
        ("12 March 1994 is past", "… is past"),
        ("Hi, this is odd", "…, this is odd"),
        ("414a6d692bd645ed803f2e7ce360d4c8 is unknown", "… is unknown"),
        ("john.doe@email.com is no user", "… is no user"),
        ("private customer is too long", "… is too long"),
        ("a friend is unknown", "… is unknown"),
        ("order 1234 is unknown", "order … is unknown"),
        ('note says "yes" is wrong', "note … is wrong"),
        # Public values, short numbers and dates stay.
        ("template d980fb66fd5043d3ace1aa06ba044342 is paused", "template d980fb66fd5043d3ace1aa06ba044342 is paused"),
        ("whatsapp is not connected", "whatsapp is not connected"),
        ("at most 300 requests, at most 4096 characters", "at most 300 requests, at most 4096 characters"),
        ("High: hide and seek", "High: hide and seek"),
        ("order 91234 of 12345", "order 91234 of 12345"),
        ("131047 Re-engagement message, 24 hours", "131047 Re-engagement message, 24 hours"),
        ("(#131047) 24 h since 2026-11-29", "(#131047) 24 h since 2026-11-29"),
        ("paused until 2026-11-29T10:11:12.987654321Z", "paused until 2026-11-29T10:11:12.987654321Z"),
        ("paused until 2026-11-29 10:11:12 +0100", "paused until 2026-11-29 10:11:12 +0100"),
        ("valid from 2026-11-29 to 2027-01-31", "valid from 2026-11-29 to 2027-01-31"),
    ],
)
def test_the_summary_leaves_out_what_was_sent(words: str, cleaned: str) -> None:
    """Numbers in any spelling, texts, values and metadata that Callbell repeats are left out; its own text stays."""
    assert summarize(ErrorBody(None, words), SENT) == cleaned


@pytest.mark.parametrize(
    "key", ["from", "type", "template_uuid", "channel_uuid", "team_uuid", "fields", "bot_status", "optin_contact"]
)
def test_public_fields_are_shown(key: str) -> None:
    """Types, identifiers and flags may be named, but not a value of metadata under the same key."""
    body = {key: "nonsense"}
    assert summarize(ErrorBody(None, "nonsense is wrong"), json.dumps(body).encode()) == "nonsense is wrong"
    assert summarize(ErrorBody(None, "nonsense is wrong"), json.dumps({"metadata": body}).encode()) == "… is wrong"


def test_a_date_that_was_sent_is_left_out() -> None:
    """A value of the message is left out, though it is a date."""
    sent = dump_message(TemplateMessage(to=TO, template_uuid="t", optin_contact=True, values=["2026-11-29", "10:30"]))
    assert summarize(ErrorBody(None, "2026-11-29 10:30 is past"), sent) == "… … is past"


def test_a_number_that_looks_like_a_date_is_left_out() -> None:
    """The recipient's number is left out in the spelling of a date, too."""
    sent = dump_message(TextMessage(to="+20261129", text="Hello!"))
    assert summarize(ErrorBody(None, "2026-11-29 is invalid"), sent) == "… is invalid"


def calls_of(function: Callable[[], object]) -> Counter[str]:
    """The number of calls of each function, in Python and in C, until it returns."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, function: Any) -> None:
        if event == "call":
            calls[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            calls[function.__qualname__] += 1

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "text",
    ["a " * 2_000 + "b", "a" * 4_000 + "b", "1 " * 2_000, "31612345678 " * 300],
    ids=["words", "letters", "digits", "numbers"],
)
def test_a_crafted_error_body_costs_a_bounded_number_of_steps(text: str) -> None:
    """An error body of 64 KiB that repeats nearly what was sent costs at most four times what 16 KiB cost, and compiles no pattern from it."""
    sent = dump_message(TextMessage(to=TO, text=text))

    def steps(size: int) -> int:
        words = "b " + (text[:-2] * (size // len(text) + 1))[:size]
        calls = calls_of(lambda: summarize(ErrorBody(words[:64], words), sent))
        assert not any("compile" in name for name in calls)
        return calls.total()

    steps(1_000)
    assert steps(64 * 1024) <= 4 * steps(16 * 1024)


def test_a_url_is_left_out() -> None:
    """An attachment's address may let anyone read it."""
    sent = b'{"content":{"url":"https://example.com/a.pdf?key=(secret)"}}'
    assert summarize(ErrorBody(None, "HTTPS://EXAMPLE.COM/a.pdf?key=(secret) is gone"), sent) == "… is gone"


def test_what_was_sent_stays_in_the_attributes() -> None:
    """The attributes hold Callbell's text as it came."""
    error = error_from(
        Request("POST", "/messages/send", SENT),
        Response(400, {}, json.dumps({"error": {"to": ["+31612345678 is invalid"]}}).encode()),
    )
    assert error.message == "to +31612345678 is invalid"
    assert error.errors == {"to": ("+31612345678 is invalid",)}
    assert b"+31612345678" in error.body


SHAPES: list[Callable[[Any], Any]] = [
    lambda echo: {"error": echo},
    lambda echo: {"error": f"is invalid: '{echo}'"},
    lambda echo: {"error": {"to": [echo]}},
    lambda echo: {"error": {"to": [f"{echo} is invalid", "is wrong"]}},
    lambda echo: {"error": {"to": [{"value": echo, "why": ["is invalid"]}]}},
    lambda echo: {"error": {str(echo): ["is invalid"]}},
    lambda echo: {"error": {"message": f"{echo}"}},
    lambda echo: {"error": [echo, "is invalid"]},
    lambda echo: {"to": [f"is invalid ({echo})"]},
    lambda echo: {str(echo): ["is invalid"]},
    lambda echo: {"code": echo, "error": "is invalid"},
    lambda echo: {"code": f"wrong_{echo}"},
    lambda echo: {"error": {"code": echo, "message": "is invalid"}},
    lambda echo: echo,
    lambda echo: [[echo]],
    lambda echo: {"error": {"content": {"text": echo}, "deep": [[[[echo]]]]}},
]


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@given(
    words=st.text(st.characters(codec="utf-8", exclude_characters="…"), min_size=4).filter(
        lambda text: len(text.strip()) >= 4
    )
)
@brief
def test_a_text_is_never_shown(shape: int, words: str) -> None:
    """Wherever in an error's body a message's text is repeated, the exception's text doesn't hold it."""
    assume(words.strip().casefold() not in "post /messages/send: 400 (refused)")
    sent = dump_message(TextMessage(to=TO, text=words))
    assert words.strip() not in text_of(SHAPES[shape](words), sent)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@given(spelling=number_spellings(), as_number=st.booleans())
@brief
def test_a_number_is_never_shown(shape: int, spelling: tuple[str, str], as_number: bool) -> None:
    """However a number is spelt in an error's body, the exception's text holds no run of its digits."""
    number, written = spelling
    sent = dump_message(TextMessage(to=number, text="Hello!"))
    text = text_of(SHAPES[shape](int(number) if as_number else written), sent)
    # The status is three digits of its own.
    digits = "".join(character for character in text.replace(": 400", ":") if character.isdecimal())
    assert digits == ""
