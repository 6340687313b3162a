"""Who sent it: the signature of a webhook's request.

Source: Callbell's page on verifying signatures.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterable, Sequence

from callbell_async.errors import ConfigurationError, SignatureError

__all__ = ["SIGNATURE_HEADER", "sign", "verify_signature"]

SIGNATURE_HEADER = "X-Callbell-Signature"
"""The name of the header that a signed request carries."""

_TIME = re.compile(r"[0-9]{1,15}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


def verify_signature(
    body: bytes,
    header: str | None,
    secret: str | Sequence[str],
    *,
    tolerance: float = 300,
    now: float | None = None,
) -> None:
    """Make sure that Callbell sent this body, and not long ago; raises `SignatureError` where that is not shown.

    `body` is the raw body of the request, before anything parsed it, and `header` the value of its `X-Callbell-Signature`, or `None` where it has
    none. `secret` is the webhook's whole secret, with its `whsec_`; of several, any may have signed, so that the old and the new one hold while a
    secret is rotated. The header's time may be `tolerance` seconds away from `now` (unix seconds; by default the clock's), in
    either direction. A header with two times is refused; of several `v1` one must be right; anything else in it is left alone,
    a `v1` of another form beside a good one included.

    Raises `ConfigurationError` for a secret that is empty or blank, which would let anybody in, and for a negative `tolerance`.
    """
    keys = _keys(secret)
    if not tolerance >= 0:
        raise ConfigurationError("tolerance must be a number of seconds, 0 or more")
    sent, claimed = _read(header)
    # Every secret is tried on every signature: the time it takes tells nothing.
    matches = False
    for key in keys:
        expected = _digest(body, key, sent)
        for signature in claimed:
            matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise SignatureError("no secret given here made this signature for this body")
    # Only now: an age is complained about where Callbell really sent it, and a clock is worth looking at. Written so that NaN is refused.
    age = (time.time() if now is None else now) - int(sent)
    if not age <= tolerance:
        raise SignatureError("signed too long ago")
    if not age >= -tolerance:
        raise SignatureError("signed in the future; is this machine's clock right?")


def sign(body: bytes, secret: str, *, now: float | None = None) -> str:
    """The header with which Callbell would send this body at `now` (unix seconds; by default the clock's): for tests of a receiver."""
    sent = str(int(time.time() if now is None else now))
    return f"t={sent},v1={_digest(body, _key(secret), sent).hex()}"


def _digest(body: bytes, key: bytes, sent: str) -> bytes:
    return hmac.digest(key, b".".join((sent.encode(), body)), "sha256")


def _keys(secret: str | Sequence[str]) -> list[bytes]:
    keys = [_key(secret)] if isinstance(secret, str) or not isinstance(secret, Iterable) else list(map(_key, secret))
    if not keys:
        raise ConfigurationError("no webhook secret is given; without one anybody could send")
    return keys


def _key(secret: object) -> bytes:
    if not isinstance(secret, str) or not secret.strip():
        raise ConfigurationError(
            "a webhook secret must be the whole string that begins with whsec_, not blank or missing"
        )
    try:
        return secret.encode()
    except UnicodeEncodeError:
        # Not chained: that exception holds the secret.
        raise ConfigurationError("a webhook secret can't be read: it holds half a character") from None


def _read(header: str | None) -> tuple[str, list[bytes]]:
    """The time and the signatures in a header."""
    if header is None or not header.strip():
        raise SignatureError("the request has no signature")
    times, signatures = [], []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(times) != 1 or not signatures:
        raise SignatureError("the header is not of the form t=…,v1=…")
    if not _TIME.fullmatch(times[0]):
        raise SignatureError("the header's time is no number of seconds")
    claimed = [bytes.fromhex(signature) for signature in signatures if _HEX.fullmatch(signature)]
    if not claimed:
        raise SignatureError("the header's signature is not 64 hexadecimal digits")
    return times[0], claimed
