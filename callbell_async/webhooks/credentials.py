"""The proof that a receiver demands of a request: a signature, a secret in its URL, a secret in a header, or several of these."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from callbell_async.arguments import Secret, check_flag
from callbell_async.errors import ConfigurationError, SignatureError
from callbell_async.webhooks.signature import SIGNATURE_HEADER, read_keys, verify_with_keys

__all__ = ["URL_SECRET_PARAMETER", "Credentials", "read_credentials"]

URL_SECRET_PARAMETER = "secret"  # noqa: S105
"""The parameter in a URL's query that may hold the secret."""

# Tracebacks show local variables: below, a secret is one only as a `Secret`.
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]+")
_HEADER_VALUE = re.compile(rb"[ -~]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


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
            verify_with_keys(body, signature, self.signature_keys, tolerance=tolerance, now=now)


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
        signature_keys=None if secret.value is None else read_keys(secret),
        url_secrets=_read_url_secrets(url_secret),
        header=_read_header_secret(header_secret),
    )


def _read_url_secrets(given: Secret[Any]) -> tuple[bytes, ...] | None:
    if given.value is None:
        return None
    keys = Secret(read_keys(given, name="url_secret"))
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
    keys = Secret(read_keys(Secret(given.value[1]), name="header_secret"))
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
        values = [value for name, value in parse_qsl(parts.query) if name == URL_SECRET_PARAMETER]
    except ValueError:
        return []
    return [*values, unquote(parts.path.rpartition("/")[2])]


def _values_of(headers: Mapping[str, str], name: str) -> list[str]:
    """Return the values of a header; a plain dict distinguishes capital letters."""
    return [value for key, value in headers.items() if key.lower() == name.lower()]
