"""What Callbell says when it refuses: read in every shape, and said aloud without what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from callbell_async import TemplateMessage, TextMessage
from callbell_async.http.error_body import ErrorBody, parse_error_body, summarize
from callbell_async.http.requests import Request
from callbell_async.http.responses import Response, error_from
from callbell_async.wire import dump_message
from tests.fixtures.strategies import any_json, brief, number_spellings, quick

TO = "+31612345678"


def said(body: Any, sent: bytes | None = None, *, status: int = 400) -> str:
    """The text of the error for such a JSON body."""
    return str(error_from(Request("POST", "/messages/send", sent), Response(status, {}, json.dumps(body).encode())))


# --- what is read -----------------------------------------------------------------------------------------------------


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
        ({"code": 17, "error": "is invalid"}, ErrorBody(None, "is invalid")),
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
    """Callbell's words, its words by field and its code are found wherever they stand."""
    assert parse_error_body(json.dumps(body).encode()) == read


@pytest.mark.parametrize("body", [b"", b"<html><h1>502 Bad Gateway</h1></html>", b"\xff\xfe", b'{"error": "cut o'])
def test_a_body_that_is_no_json_complains_of_nothing(body: bytes) -> None:
    """A proxy's page is not Callbell's word."""
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


# --- what is said aloud -----------------------------------------------------------------------------------------------


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
def test_callbells_words_stand_in_the_text(body: Any, text: str) -> None:
    """What Callbell says is said, on one line."""
    assert said(body, b'{"to":"+31612345678"}') == text


def test_long_words_are_cut() -> None:
    """An error is a line, not a page."""
    assert len(summarize(ErrorBody(None, "very " * 1000), None)) == 300


def test_a_documented_code_is_always_said() -> None:
    """What Callbell documents is no echo, even if a message happens to hold the same word."""
    sent = dump_message(TextMessage(to=TO, text="credit", metadata={"source": "whatsapp"}))
    assert "[whatsapp_wallet_depleted_credit]" in said({"code": "whatsapp_wallet_depleted_credit"}, sent, status=402)


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
        # What is nobody's secret stays, and so do short numbers.
        ("template d980fb66fd5043d3ace1aa06ba044342 is paused", "template d980fb66fd5043d3ace1aa06ba044342 is paused"),
        ("whatsapp is not connected", "whatsapp is not connected"),
        ("at most 300 requests, at most 4096 characters", "at most 300 requests, at most 4096 characters"),
    ],
)
def test_what_was_sent_is_not_said(words: str, cleaned: str) -> None:
    """Numbers in any spelling, texts, values and metadata that Callbell repeats are left out; its own words stay."""
    assert summarize(ErrorBody(None, words), SENT) == cleaned


@pytest.mark.parametrize(
    "key", ["from", "type", "template_uuid", "channel_uuid", "team_uuid", "fields", "bot_status", "optin_contact"]
)
def test_what_is_nobodys_secret_is_said(key: str) -> None:
    """Kinds, identifiers and switches may be named, but not what metadata happens to hold under the same key."""
    body = {key: "nonsense"}
    assert summarize(ErrorBody(None, "nonsense is wrong"), json.dumps(body).encode()) == "nonsense is wrong"
    assert summarize(ErrorBody(None, "nonsense is wrong"), json.dumps({"metadata": body}).encode()) == "… is wrong"


def test_a_url_is_not_said() -> None:
    """An attachment's address may let anyone read it."""
    sent = b'{"content":{"url":"https://example.com/a.pdf?key=(secret)"}}'
    assert summarize(ErrorBody(None, "HTTPS://EXAMPLE.COM/a.pdf?key=(secret) is gone"), sent) == "… is gone"


def test_what_was_sent_stays_in_the_attributes() -> None:
    """A program may look at Callbell's words as they came."""
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
def test_a_text_is_never_said(shape: int, words: str) -> None:
    """Wherever in an error's body a message's text is repeated, the exception's text doesn't hold it."""
    assume(words.strip().casefold() not in "post /messages/send: 400 (refused)")
    sent = dump_message(TextMessage(to=TO, text=words))
    assert words.strip() not in said(SHAPES[shape](words), sent)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@given(spelling=number_spellings(), as_number=st.booleans())
@brief
def test_a_number_is_never_said(shape: int, spelling: tuple[str, str], as_number: bool) -> None:
    """However a number is spelt in an error's body, the exception's text holds no run of its digits."""
    number, written = spelling
    sent = dump_message(TextMessage(to=number, text="Hello!"))
    text = said(SHAPES[shape](int(number) if as_number else written), sent)
    # The status is three digits of its own.
    digits = "".join(character for character in text.replace(": 400", ":") if character.isdecimal())
    assert digits == ""
