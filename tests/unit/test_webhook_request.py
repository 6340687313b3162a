"""The decision about a webhook request: an event, a probe, refused, or unreadable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async.arguments import Secret
from callbell_async.webhooks import Event, MessageCreated, sign
from callbell_async.webhooks.request import Probe, Refused, Unreadable, decide
from callbell_async.webhooks.signature import read_credentials
from tests.fixtures.strategies import any_json, quick
from tests.support.webhooks import SECRET, message_body

NOW = 1_760_000_000.0


def decided(body: bytes, signature: str | None = None, secret: str | None = SECRET) -> object:
    """The decision at a fixed time."""
    credentials = read_credentials(Secret(secret), Secret(None), Secret(None), unsigned=secret is None)
    return decide(body, signature, credentials=credentials, tolerance=300.0, now=NOW)


def signed(body: bytes, *, secret: str = SECRET, age: float = 0.0) -> str:
    """The signature of a body, made `age` seconds ago."""
    return sign(body, secret, now=NOW - age)


def test_a_signed_event_is_parsed() -> None:
    """A body with Callbell's signature is parsed."""
    event = decided(message_body("Hi"), signed(message_body("Hi")))
    assert isinstance(event, MessageCreated)
    assert event.text == "Hi"


def test_without_a_secret_every_event_is_accepted() -> None:
    """Without a secret the signature is ignored."""
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
    """An event is refused if it is unsigned, or signed for another body, with another secret, too early, too late or twice."""
    assert isinstance(decided(message_body(), signature), Refused)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"ping": true}', b"[]", b"null", b'"event"'])
@pytest.mark.parametrize("secret", [SECRET, None])
def test_a_body_without_an_event_is_a_probe(body: bytes, secret: str | None) -> None:
    """A body without an event is a probe, with a secret or without, signed or not."""
    assert decided(body, None, secret) == Probe()
    assert decided(body, signed(body), secret) == Probe()


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("signature", ["", "rubbish", signed(b"another body"), signed(b"", age=301)])
def test_a_probe_with_a_bad_signature_is_refused(body: bytes, signature: str) -> None:
    """A wrong signature is refused, also on a probe."""
    assert isinstance(decided(body, signature), Refused)


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"event": 7}', b'{"event": null}', b"a=b"])
def test_an_unreadable_body_is_not_a_probe(body: bytes) -> None:
    """A body that is not JSON, or has a wrong `event`, is unreadable with a signature, and refused without one."""
    assert isinstance(decided(body, signed(body)), Unreadable)
    assert isinstance(decided(body, None, None), Unreadable)
    assert isinstance(decided(body, None), Refused)


def test_a_bare_payload_is_not_a_probe() -> None:
    """A payload without its envelope is unreadable if nothing is signed; without the signature that is required, it is ignored as a probe."""
    body = b'{"uuid": "u", "status": "sent", "messageStatusPayload": null}'
    assert isinstance(decided(body, None, None), Unreadable)
    assert isinstance(decided(body, signed(body)), Unreadable)
    assert decided(body, None) == Probe()


@quick
@given(body=st.binary() | any_json.map(lambda value: repr(value).encode()), signature=st.none() | st.text())
def test_nothing_unsigned_is_ever_an_event(body: bytes, signature: str | None) -> None:
    """For any body and header without the secret, there is a decision, and no event."""
    assert isinstance(decided(body, signature), Probe | Refused)
