"""Signatures of webhooks: they prove that Callbell sent a request."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import CallbellError, ConfigurationError, SignatureError
from callbell_async.webhooks import SIGNATURE_HEADER, sign, verify_signature
from tests.fixtures.strategies import any_text, quick

SECRET = "whsec_8f14e45fceea167a5a36dedd4bea2543"
BODY = '{"event":"message_created","payload":{"text":"Olá 🌴"}}'.encode()
NOW = 1_790_000_000


def v1(body: bytes = BODY, secret: str = SECRET, sent: str = str(NOW)) -> str:
    """The signature as Callbell's page describes it, computed without the package."""
    return hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()


def header(body: bytes = BODY, secret: str = SECRET, sent: str = str(NOW)) -> str:
    """The header of a request that Callbell signed."""
    return f"t={sent},v1={v1(body, secret, sent)}"


GOOD = header()


def refusal(
    value: str | None, *, body: bytes = BODY, secret: Any = SECRET, now: float = NOW, tolerance: float = 300
) -> str:
    """The reason why a request is refused."""
    with pytest.raises(SignatureError) as caught:
        verify_signature(body, value, secret, now=now, tolerance=tolerance)
    return caught.value.reason


# --- accepted signatures ----------------------------------------------------------------------------------------------


def test_a_good_signature_is_accepted() -> None:
    """A body that Callbell signed passes."""
    verify_signature(BODY, GOOD, SECRET, now=NOW)


def test_the_header_is_the_documented_one() -> None:
    """The header has Callbell's name, and the key is the whole secret with its prefix."""
    assert SIGNATURE_HEADER == "X-Callbell-Signature"
    assert (
        refusal(header(secret=SECRET.removeprefix("whsec_")))
        == "no secret given here made this signature for this body"
    )


@pytest.mark.parametrize("age", [-300, -1, 0, 0.5, 300])
def test_five_minutes_either_way_are_allowed(age: float) -> None:
    """A signature is accepted if its time is up to 300 seconds away, in either direction."""
    verify_signature(BODY, GOOD, SECRET, now=NOW + age)


def test_the_tolerance_can_be_set() -> None:
    """The tolerance may be 0, infinite, or any number of seconds."""
    verify_signature(BODY, GOOD, SECRET, now=NOW + 4000, tolerance=4000)
    verify_signature(BODY, GOOD, SECRET, now=NOW, tolerance=0)
    verify_signature(BODY, GOOD, SECRET, now=0, tolerance=float("inf"))
    assert refusal(GOOD, now=NOW + 1, tolerance=0) == "signed too long ago"


def test_now_is_the_time_of_the_clock() -> None:
    """Without `now` the machine's clock is used."""
    verify_signature(BODY, header(sent=str(int(time.time()))), SECRET, tolerance=3600)
    with pytest.raises(SignatureError, match="ago"):
        verify_signature(BODY, header(sent="1000000000"), SECRET)


@pytest.mark.parametrize("position", range(3))
def test_one_of_several_secrets_suffices(position: int) -> None:
    """While a secret is rotated, both the old and the new one are given, in any order."""
    secrets = ["whsec_old", "whsec_older"]
    secrets.insert(position, SECRET)
    verify_signature(BODY, GOOD, secrets, now=NOW)
    verify_signature(BODY, GOOD, tuple(secrets), now=NOW)


@pytest.mark.parametrize(
    "value",
    [
        f"t={NOW}, v1={v1()}",
        f" v1={v1()} , t={NOW} ",
        f"t={NOW},v1={v1().upper()}",
        f"t={NOW},v0=abc,v1={v1()},v2=é,tt=1,",
        f"t={NOW},v1={'0' * 64},v1={v1()}",
        f"t={NOW},v1={v1()},v1={'0' * 64}",
    ],
    ids=["a blank", "the other way round", "capital digits", "something new", "a second before", "a second after"],
)
def test_the_header_is_read_leniently(value: str) -> None:
    """Order, blanks and other parts don't matter; of several `v1` one must be right, as when two secrets sign."""
    verify_signature(BODY, value, SECRET, now=NOW)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_body_may_be_any_bytes(wrap: Callable[[bytes], Any]) -> None:
    """A body may be in the buffer of a server."""
    verify_signature(wrap(BODY), GOOD, SECRET, now=NOW)


@quick
@given(body=st.binary(), secret=st.text(st.characters(categories=["L", "Nd", "So"]), min_size=1).map("whsec_{}".format))
def test_any_body_and_secret_are_signed_as_documented(body: bytes, secret: str) -> None:
    """`sign` returns the documented header, and it is accepted, for any bytes and any script of the secret."""
    assert sign(body, secret, now=NOW + 0.9) == header(body, secret)
    verify_signature(body, header(body, secret), secret, now=NOW)


def test_sign_and_verify_use_the_same_clock() -> None:
    """Without `now`, signing and verification use the machine's clock."""
    verify_signature(BODY, sign(BODY, SECRET), SECRET, tolerance=3600)


# --- refused signatures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY[:-1], BODY.replace(b"text", b"Text"), b"." + BODY])
def test_a_tampered_body_is_refused(body: bytes) -> None:
    """A body with one byte more, less or changed is refused."""
    assert refusal(GOOD, body=body) == "no secret given here made this signature for this body"


@pytest.mark.parametrize("secret", ["whsec_other", "é", ["whsec_other", "whsec_another"], SECRET + "x"])
def test_a_wrong_secret_is_refused(secret: Any) -> None:
    """Another secret than the webhook's is refused."""
    assert refusal(GOOD, secret=secret) == "no secret given here made this signature for this body"


def test_a_time_that_was_changed_is_refused() -> None:
    """The time is signed, too: an old request can't be sent with a new time."""
    assert (
        refusal(f"t={NOW + 1000},v1={v1()}", now=NOW + 1000) == "no secret given here made this signature for this body"
    )
    assert refusal(f"t=0{NOW},v1={v1()}") == "no secret given here made this signature for this body"


@pytest.mark.parametrize("age", [300.1, 301, 10**9, float("inf"), float("nan")])
def test_a_stale_signature_is_refused(age: float) -> None:
    """A signature of more than five minutes ago is refused, because somebody may have kept the request."""
    assert refusal(GOOD, now=NOW + age) == "signed too long ago"


@pytest.mark.parametrize("age", [-300.1, -301, float("-inf")])
def test_a_signature_of_the_future_is_refused(age: float) -> None:
    """A signature of more than five minutes ahead is refused; most likely the clock of this machine is wrong."""
    assert refusal(GOOD, now=NOW + age) == "signed in the future; is this machine's clock right?"


@pytest.mark.parametrize("value", [None, "", "  \t"])
def test_no_header_is_refused(value: str | None) -> None:
    """A request without a signature has its own reason."""
    assert refusal(value) == "the request has no signature"


@pytest.mark.parametrize(
    "value",
    [
        "t",
        ",",
        "=,=",
        f"t={NOW}",
        f"v1={v1()}",
        f"t={NOW};v1={v1()}",
        f"T={NOW},V1={v1()}",
        v1(),
        f"t={NOW},t={NOW},v1={v1()}",
        f"{GOOD},{GOOD}",
        f"{GOOD}, {GOOD}",
    ],
)
def test_a_header_of_another_form_is_refused(value: str) -> None:
    """A header must have one time and a signature; a repeated header has two times."""
    assert refusal(value) == "the header is not of the form t=…,v1=…"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "now",
        "-5",
        "+5",
        "1e9",
        "1.5",
        "1_790_000_000",
        " 1",
        "٣",
        "１７９",
        "²",
        "9" * 16,
        "9" * 5000,
        "\ud800",
    ],
)
def test_a_time_that_is_not_a_number_is_refused(sent: str) -> None:
    """The time must have 1 to 15 ASCII digits; other forms that Python reads as a number are refused."""
    assert refusal(f"t={sent},v1={'0' * 64}") == "the header's time is not a number of seconds"


@pytest.mark.parametrize(
    "signature", ["", "0", v1()[:-1], v1() + "0", "g" * 64, "é" * 64, "\ud800", "٣" * 64, "0x" + "0" * 62]
)
def test_a_signature_that_is_not_hexadecimal_is_refused(signature: str) -> None:
    """A signature must have 64 hexadecimal digits."""
    assert refusal(f"t={NOW},v1={signature}") == "the header's signature is not 64 hexadecimal digits"
    assert refusal(f"t={NOW},v1={signature},v1=") == "the header's signature is not 64 hexadecimal digits"
    assert refusal(f"t={NOW},v1={signature},v1={'0' * 64}") == "no secret given here made this signature for this body"


@pytest.mark.parametrize("signature", ["", "abc", v1() + "0", "é" * 64, "\ud800"])
def test_a_malformed_signature_beside_a_good_one_is_ignored(signature: str) -> None:
    """Of several `v1` one must be right; the form of the others doesn't matter."""
    verify_signature(BODY, f"{GOOD},v1={signature}", SECRET, now=NOW)
    verify_signature(BODY, f"v1={signature},{GOOD}", SECRET, now=NOW)


@quick
@given(body=st.binary(), value=st.none() | any_text | st.from_regex(r"(t=[0-9]{0,20}|v1=[0-9a-f]{0,64}|,|=){0,6}"))
def test_no_request_raises_anything_else(body: bytes, value: str | None) -> None:
    """Any bytes and any header without the secret raise `SignatureError`, and nothing else."""
    assert refusal(value, body=body)


# --- wrong secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", ["", "  ", "\n", [], (), [""], [SECRET, " "], None, [None], b"whsec_x", 5, "\ud800"], ids=repr
)
def test_a_missing_secret_is_a_configuration_error(secret: Any) -> None:
    """An empty, blank or missing secret, also among several, is an error, even with a signature made with it."""
    forged = f"t={NOW},v1={v1(secret='')}"
    with pytest.raises(ConfigurationError):
        verify_signature(BODY, forged, secret, now=NOW)


@pytest.mark.parametrize("secret", ["", [SECRET], None])
def test_nothing_is_signed_without_a_secret(secret: Any) -> None:
    """`sign` needs exactly one secret."""
    with pytest.raises(ConfigurationError):
        sign(BODY, secret, now=NOW)


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_a_tolerance_is_not_negative(tolerance: float) -> None:
    """A tolerance that no signature can meet is an error."""
    with pytest.raises(ConfigurationError):
        verify_signature(BODY, GOOD, SECRET, now=NOW, tolerance=tolerance)


# --- comparison -------------------------------------------------------------------------------------------------------


def test_every_secret_is_tried_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each secret is compared with each signature by `hmac.compare_digest`, on bytes, also after a match."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watch(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watch)
    verify_signature(BODY, f"{GOOD},v1={'0' * 64}", [SECRET, "whsec_old", SECRET], now=NOW)
    assert len(compared) == 6
    assert {type(value) for pair in compared for value in pair} == {bytes}


# --- error texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (b"other 335544332211", GOOD, SECRET, NOW),
        (BODY, GOOD, SECRET, NOW + 301),
        (BODY, GOOD, SECRET, NOW - 301),
        (BODY, v1(), SECRET, NOW),
        (BODY, f"t={NOW},v1=x{v1()}", SECRET, NOW),
        (BODY, f"t=x{NOW},v1={v1()}", SECRET, NOW),
        (BODY, None, SECRET, NOW),
        (BODY, GOOD, [SECRET, ""], NOW),
        (BODY, GOOD, SECRET + "\ud800", NOW),
    ],
)
def test_no_text_quotes_the_secret_the_signature_or_the_body(arguments: tuple[bytes, str | None, Any, float]) -> None:
    """An error can be logged: it has the reason, quotes nothing, and keeps no exception that does."""
    body, value, secret, now = arguments
    with pytest.raises(CallbellError) as caught:
        verify_signature(body, value, secret, now=now)
    shown = f"{caught.value!s} {caught.value!r} {caught.value.__dict__}"
    for hidden in (SECRET, SECRET[6:], v1(), str(NOW), body.decode(), "335544332211"):
        assert hidden not in shown
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_refusal_can_be_pickled() -> None:
    """An unpickled error has the same `reason`, which is also its text."""
    error = SignatureError("signed too long ago")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.reason, str(again)) == (SignatureError, error.reason, error.reason)
    assert isinstance(error, CallbellError)
