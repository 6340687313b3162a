"""Signatures of webhook requests: proof that Callbell sent a body.

Source: Callbell's page on verifying signatures.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from callbell_async.arguments import Secret, check_seconds, check_secret
from callbell_async.errors import ConfigurationError, SignatureError

__all__ = ["SIGNATURE_HEADER", "read_keys", "sign", "verify_signature", "verify_with_keys"]

SIGNATURE_HEADER = "X-Callbell-Signature"
"""The name of the header with the signature."""

_USUAL = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-fA-F]{64})")
"""The header as Callbell writes it; other forms are read part by part."""
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
    """Verify that Callbell signed this body recently; return nothing if so.

    Args:
        body: the raw body of the request, before any parsing.
        header: the value of `X-Callbell-Signature`; `None` if the request has none. Several `v1` are allowed, and one of them must be
            right; two times are refused. Other parts are ignored.
        secret: the webhook's whole secret with its `whsec_`, or several secrets of which any may have signed (while a secret is rotated).
            Blanks and line breaks around a secret are removed.
        tolerance: how far the signature's time may be from `now`, in seconds, in either direction.
        now: unix time in seconds; by default that of the clock.

    Raises:
        SignatureError: the header does not prove it; `reason` has the cause and quotes nothing.
        ConfigurationError: a secret is missing, blank, in quotation marks or has the form `NAME=value`; or `tolerance` is negative.
    """
    given = Secret(secret)
    # A traceback shows the local variables of this frame.
    del secret
    check_seconds("tolerance", tolerance, endless=True)
    now = time.time() if now is None else now
    try:
        verify_with_keys(body, header, read_keys(given), tolerance=tolerance, now=now)
    except SignatureError as error:
        # Its other frames hold the keys.
        raise error.with_traceback(None) from None


def verify_with_keys(body: bytes, header: str | None, keys: Sequence[bytes], *, tolerance: float, now: float) -> None:
    """Verify a body as `verify_signature` does, with the keys that `read_keys` returned."""
    sent, signatures = _read_header(header)
    # Every key is tried on every signature: the duration reveals nothing.
    matches = False
    for key in keys:
        expected = _digest(body, key, sent)
        for signature in signatures:
            matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise SignatureError("no secret given here made this signature for this body")
    # Checked last: only a signature of Callbell's own is reported as too old. The comparisons are negated so that NaN is refused.
    age = now - int(sent)
    if not age <= tolerance:
        raise SignatureError("signed too long ago")
    if not age >= -tolerance:
        raise SignatureError("signed in the future; is this machine's clock right?")


def sign(body: bytes, secret: str, *, now: float | None = None) -> str:
    """Return the value of the signature header with which Callbell would send this body. It is for tests of a receiver.

    Args:
        body: the raw body.
        secret: the webhook's secret.
        now: unix time in seconds; by default that of the clock.

    Raises:
        ConfigurationError: the secret is missing, blank, in quotation marks or has the form `NAME=value`.
    """
    given = Secret(secret)
    del secret
    sent = str(int(time.time() if now is None else now))
    return f"t={sent},v1={_digest(body, _key(given), sent).hex()}"


def read_keys(given: Secret[Any], *, name: str = "webhook secret") -> tuple[bytes, ...]:
    """Return the keys of a secret or of several; raises `ConfigurationError` with this name for a secret that can't be one."""
    several = isinstance(given.value, Iterable) and not isinstance(given.value, str | bytes)
    keys = tuple(_key(one, name) for one in map(Secret, given.value)) if several else (_key(given, name),)
    if not keys:
        raise ConfigurationError(f"{name}: the list is empty; give the secret")
    return keys


def _digest(body: bytes, key: bytes, sent: str) -> bytes:
    return hmac.digest(key, b".".join((sent.encode(), body)), "sha256")


def _key(given: Secret[Any], name: str = "webhook secret") -> bytes:
    return check_secret(name, given.value).encode()


def _read_header(header: str | None) -> tuple[str, list[bytes]]:
    """Return the time and the signatures."""
    if header is None or not header.strip():
        raise SignatureError("the request has no signature")
    if usual := _USUAL.fullmatch(header):
        return usual[1], [bytes.fromhex(usual[2])]
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
        raise SignatureError("the header's time is not a number of seconds")
    digests = [bytes.fromhex(signature) for signature in signatures if _HEX.fullmatch(signature)]
    if not digests:
        raise SignatureError("the header's signature is not 64 hexadecimal digits")
    return times[0], digests
