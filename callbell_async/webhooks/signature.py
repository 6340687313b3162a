"""The proof that a request comes from Callbell: its signature, a secret in its URL, a secret in a header, or several of these.

Source: Callbell's page on verifying signatures.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from callbell_async.arguments import Secret, check_flag, check_seconds, check_secret
from callbell_async.errors import ConfigurationError, SignatureError

__all__ = ["SIGNATURE_HEADER", "Credentials", "read_credentials", "sign", "verify_signature"]

SIGNATURE_HEADER = "X-Callbell-Signature"
"""The name of the header with the signature."""

_USUAL = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-fA-F]{64})")
"""The header as Callbell writes it; other forms are read part by part."""
_TIME = re.compile(r"[0-9]{1,15}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")

_URL_SECRET_PARAMETER = "secret"  # noqa: S105
"""The parameter in a URL's query that may hold the secret."""

_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]+")
_HEADER_VALUE = re.compile(rb"[ -~]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


# --- signatures -------------------------------------------------------------------------------------------------------


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
        _verify(body, header, _read_keys(given), tolerance=tolerance, now=now)
    except SignatureError as error:
        # Its other frames hold the keys.
        raise error.with_traceback(None) from None


def _verify(body: bytes, header: str | None, keys: Sequence[bytes], *, tolerance: float, now: float) -> None:
    """Verify a body as `verify_signature` does, with the keys that `_read_keys` returned."""
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


def _read_keys(given: Secret[Any], *, name: str = "webhook secret") -> tuple[bytes, ...]:
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


# --- all that a receiver demands --------------------------------------------------------------------------------------

# Tracebacks show local variables: below, a secret is one only as a `Secret`.


@attrs.frozen
class _HeaderSecret:
    """The name of a header, and the secrets of which it must hold one."""

    name: str
    secrets: tuple[bytes, ...] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Credentials:
    """The proof that a receiver demands of every request with an event. Each part is `None` if it is not demanded.

    Attributes:
        signature_keys: the secrets of which any may have signed.
        url_secrets: the secrets of which the URL must hold one.
        header: a header that must hold a secret.
    """

    signature_keys: tuple[bytes, ...] | None = attrs.field(default=None, repr=False)
    url_secrets: tuple[bytes, ...] | None = attrs.field(default=None, repr=False)
    header: _HeaderSecret | None = None

    def check_secrets(self, url: str | None, headers: Mapping[str, str] | None) -> None:
        """Raise `SignatureError` unless the URL and the header hold the secrets that are demanded."""
        if self.url_secrets is not None and not _holds(_values_in(url or ""), self.url_secrets):
            raise SignatureError("the URL does not hold the secret")
        if self.header is not None and not _holds(_values_of(headers or {}, self.header.name), self.header.secrets):
            raise SignatureError("the header does not hold the secret")

    def check_signature(self, body: bytes, signature: str | None, *, tolerance: float, now: float) -> None:
        """Raise `SignatureError` unless the body is signed, if that is demanded."""
        if self.signature_keys is not None:
            _verify(body, signature, self.signature_keys, tolerance=tolerance, now=now)


def read_credentials(
    secret: Secret[Any], url_secret: Secret[Any], header_secret: Secret[Any], *, unsigned: bool
) -> Credentials:
    """Return the credentials that a receiver's arguments demand; raises `ConfigurationError` for none, and for one that can't be checked.

    No credential at all is an error unless `unsigned`: the variable of `os.environ.get(…)` may not be set.
    """
    check_flag("unsigned", unsigned)
    if unsigned and secret.value is not None:
        raise ConfigurationError("unsigned=True: does not go with a secret; give one of them")
    has_other = url_secret.value is not None or header_secret.value is not None
    if secret.value is None and not has_other and not unsigned:
        raise ConfigurationError(
            "webhook secret: is missing; without one anybody could send events. Give the webhook's secret (is its environment variable set?). If "
            "Callbell does not sign, give url_secret or header_secret, or unsigned=True to accept events from anybody"
        )
    return Credentials(
        signature_keys=None if secret.value is None else _read_keys(secret),
        url_secrets=_read_url_secrets(url_secret),
        header=_read_header_secret(header_secret),
    )


def _read_url_secrets(given: Secret[Any]) -> tuple[bytes, ...] | None:
    if given.value is None:
        return None
    keys = Secret(_read_keys(given, name="url_secret"))
    if all(map(_UNRESERVED.fullmatch, keys.value)):
        return keys.value
    raise ConfigurationError(
        "url_secret: holds a character that a URL may change; use letters, digits and - . _ ~ only, such as the result of "
        "secrets.token_urlsafe(32)"
    )


def _read_header_secret(given: Secret[Any]) -> _HeaderSecret | None:
    if given.value is None:
        return None
    # A string is a sequence of letters.
    if not isinstance(given.value, Sequence) or isinstance(given.value, str | bytes) or len(given.value) != 2:
        raise ConfigurationError(
            'header_secret: must be a pair of a header\'s name and its value, such as ("X-Webhook-Secret", secret)'
        )
    # The items may have been swapped.
    if not isinstance(given.value[0], str) or not _HEADER_NAME.fullmatch(given.value[0]):
        raise ConfigurationError("header_secret: its first item must be the name of a header, such as X-Webhook-Secret")
    name = given.value[0]
    if name.lower() == SIGNATURE_HEADER.lower():
        raise ConfigurationError(f"header_secret: {SIGNATURE_HEADER} holds Callbell's signature; use another header")
    keys = Secret(_read_keys(Secret(given.value[1]), name="header_secret"))
    if all(map(_HEADER_VALUE.fullmatch, keys.value)):
        return _HeaderSecret(name, keys.value)
    raise ConfigurationError(
        "header_secret: a header can't hold it; use printable ASCII characters only, without line breaks"
    )


def _holds(values: Sequence[str], secrets: Sequence[bytes]) -> bool:
    # Every secret is compared with every value: the duration reveals nothing.
    holds = False
    for value in values:
        for secret in secrets:
            holds |= hmac.compare_digest(value.encode(errors="replace"), secret)
    return holds


def _values_in(url: str) -> list[str]:
    """Return the parts of a URL that may be the secret: the parameter in its query, and the last part of its path."""
    try:
        parts = urlsplit(url)
        values = [value for name, value in parse_qsl(parts.query) if name == _URL_SECRET_PARAMETER]
    except ValueError:
        return []
    return [*values, unquote(parts.path.rpartition("/")[2])]


def _values_of(headers: Mapping[str, str], name: str) -> list[str]:
    """Return the values of a header; a plain dict distinguishes capital letters."""
    return [value for key, value in headers.items() if key.lower() == name.lower()]
