"""What a request to a webhook is: an event, a probe, refused, or not to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async.webhooks import Event, MessageCreated, sign
from callbell_async.webhooks.request import Probe, Refused, Unreadable, decide
from callbell_async.webhooks.signature import read_keys
from tests.fixtures.strategies import any_json, quick
from tests.support.webhooks import SECRET, message_body

NOW = 1_760_000_000.0


def decided(body: bytes, signature: str | None = None, secret: str | None = SECRET) -> object:
    """The decision at a fixed time."""
    keys = None if secret is None else read_keys(secret)
    return decide(body, signature, keys=keys, tolerance=300.0, now=NOW)


def signed(body: bytes, *, secret: str = SECRET, age: float = 0.0) -> str:
    """The signature of a body, made `age` seconds ago."""
    return sign(body, secret, now=NOW - age)


def test_a_signed_event_is_one() -> None:
    """What Callbell signed is parsed."""
    event = decided(message_body("Hi"), signed(message_body("Hi")))
    assert isinstance(event, MessageCreated)
    assert event.text == "Hi"


def test_without_a_secret_anything_is_believed() -> None:
    """Where there is no secret a signature is not looked at."""
    assert isinstance(decided(message_body(), None, None), Event)
    assert isinstance(decided(message_body(), "t=1,v1=rubbish", None), Event)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "rubbish",
        signed(b"another body"),
        signed(message_body(), secret="whsec_another"),
        signed(message_body(), age=301),
        signed(message_body(), age=-301),
        f"{signed(message_body())},{signed(message_body())}",
    ],
)
def test_an_event_that_is_not_signed_well_is_refused(signature: str | None) -> None:
    """Unsigned, signed for another body, by another secret, too long ago, in the future or twice: none is handled."""
    assert isinstance(decided(message_body(), signature), Refused)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"ping": true}', b"[]", b"null", b'"event"'])
@pytest.mark.parametrize("secret", [SECRET, None])
def test_what_has_no_event_is_a_probe(body: bytes, secret: str | None) -> None:
    """Callbell looks now and then whether somebody answers: with a secret or without, signed or not, that is fine."""
    assert decided(body, None, secret) == Probe()
    assert decided(body, signed(body), secret) == Probe()


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("signature", ["", "rubbish", signed(b"another body"), signed(b"", age=301)])
def test_a_probe_with_a_bad_signature_is_refused(body: bytes, signature: str) -> None:
    """What says that it is signed has to be."""
    assert isinstance(decided(body, signature), Refused)


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"event": 7}', b'{"event": null}', b"a=b"])
def test_what_cant_be_read_is_told_from_a_probe(body: bytes) -> None:
    """With Callbell's signature, or where none is asked for, it is unreadable; unsigned it is refused."""
    assert isinstance(decided(body, signed(body)), Unreadable)
    assert isinstance(decided(body, None, None), Unreadable)
    assert isinstance(decided(body, None), Refused)


@quick
@given(body=st.binary() | any_json.map(lambda value: repr(value).encode()), signature=st.none() | st.text())
def test_nothing_unsigned_is_ever_an_event(body: bytes, signature: str | None) -> None:
    """Whatever somebody without the secret sends, there is a decision, and it is not to handle it."""
    assert isinstance(decided(body, signature), Probe | Refused)
