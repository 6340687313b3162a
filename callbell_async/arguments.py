"""Checks of arguments and settings, each of which raises `ConfigurationError` with the argument's name and the remedy, and `UNSET`.

No error quotes a secret. Every class of the library that takes a number, seconds, a secret or a base URL checks it here, when it is
built and not at the first request.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, Generic, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from callbell_async.errors import ConfigurationError

__all__ = [
    "UNSET",
    "Secret",
    "Unset",
    "check_base_url",
    "check_count",
    "check_flag",
    "check_header",
    "check_instance",
    "check_seconds",
    "check_secret",
    "check_string_list",
    "check_token",
    "is_insecure",
]

T = TypeVar("T")


class _Unset(Enum):
    """The value of an argument that was not given, where `None` has a meaning of its own."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


Unset = Literal[_Unset.UNSET]
"""The type of `UNSET`."""

UNSET: Final = _Unset.UNSET
"""The argument was not given: Callbell's value stays. `None` is sent as `null`."""

# A byte-order mark at the start of a file, and the invisible characters that are copied together with a text.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
# At the end of a secret, `=` is the padding of base64.
_ASSIGNMENT = re.compile(r"(?:export\s+|set\s+|\$env:)?[A-Za-z_][A-Za-z0-9_]*\s*=\s*[^=\s]", re.IGNORECASE)
_BEARER = re.compile(r"\Abearer(?:\s+|\Z)", re.IGNORECASE)


def check_count(name: str, value: object, *, least: int = 1, unit: str = "") -> int:
    """Return a whole number of at least `least`; a boolean is not a number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"{name}={value!r}: must be a whole number{unit and f' of {unit}'}, {least} or more")
    return value


def check_seconds(
    name: str, value: object, *, positive: bool = False, endless: bool = False, optional: bool = False
) -> None:
    """Refuse a value that is not a number of seconds from 0, or above 0 if `positive`; infinity only if `endless`, `None` only if `optional`."""
    if optional and value is None:
        return
    number = _as_float(value)
    if number < 0 or (positive and number == 0) or math.isnan(number) or (math.isinf(number) and not endless):
        bound = "more than 0" if positive else "0 or more"
        none = ", or None for no limit" if optional else ""
        raise ConfigurationError(f"{name}={value!r}: must be a number of seconds, {bound}{none}")


def _as_float(value: object) -> float:
    """Return the number, or NaN for any other value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    return math.nan


def check_flag(name: str, value: object) -> None:
    """Refuse a value that is not a boolean: the strings `"no"` and `"false"` of an environment variable are true in Python."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name}={value!r}: must be True or False")


def check_string_list(name: str, value: object) -> list[str]:
    """Return the strings of an iterable; one string alone is refused, because it would be taken letter by letter."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        items = list(value)
        if all(isinstance(item, str) for item in items):
            return items
    found = "one string" if isinstance(value, str) else type(value).__name__
    raise ConfigurationError(
        f'{name}: must be a list of strings, not {found}; write {name}=["…"], also for a single one'
    )


def check_instance(name: str, value: object, cls: type[T], remedy: str) -> T:
    """Return an instance of `cls`; the error for any other value ends with `remedy`."""
    if not isinstance(value, cls):
        found = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise ConfigurationError(f"{name}: must be {cls.__name__}, not {found}; {remedy}")
    return value


class Secret(Generic[T]):
    """A secret as a local variable: error reporters show the local variables of a traceback, and the `repr` of this one hides its value."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


def check_secret(name: str, value: object) -> str:
    """Return a secret without the blanks around it, as a file or an environment variable may add them.

    Raises `ConfigurationError` for a value that is not a string, is blank, is in quotation marks, or has the form `NAME=value`.
    """
    secret, fault = _read_secret(value)
    # See `Secret`.
    del value
    if fault:
        raise ConfigurationError(f"{name}: {fault}")
    return secret


def check_token(token: object) -> str:
    """Return an API token without blanks around it and without the `Bearer ` that Callbell's dashboard shows before it."""
    secret, fault = _read_token(token)
    # See `Secret`.
    del token
    if fault:
        raise ConfigurationError(fault)
    return secret


def _read_secret(value: object) -> tuple[str, str]:
    """Return the secret, or an empty string and what is wrong with the value."""
    if not isinstance(value, str):
        return "", f"must be a string, not {type(value).__name__}"
    secret = _trim(value)
    if not secret:
        return "", "is blank; give the whole secret"
    if secret[0] in _QUOTES or secret[-1] in _QUOTES:
        return "", "has quotation marks around it; remove them"
    if _ASSIGNMENT.match(secret):
        return "", "has the form NAME=value; give only the part after the equals sign"
    if any("\ud800" <= character <= "\udfff" for character in secret):
        return "", "holds half of a character; copy it again"
    return secret, ""


def _read_token(token: object) -> tuple[str, str]:
    if isinstance(token, str):
        token = _BEARER.sub("", _trim(token), count=1)
    if token is None or token == "":
        return "", "no token; pass CallbellClient(token) or set CALLBELL_TOKEN in the environment"
    secret, fault = _read_secret(token)
    if not fault and any(map(str.isspace, secret)):
        fault = "has blanks or line breaks in it; give the token alone"
    fault = fault or _header_fault(secret)
    return ("", f"token: {fault}") if fault else (secret, "")


def _trim(value: str) -> str:
    return value.strip().strip(_INVISIBLE).strip()


def check_header(name: str, value: object) -> str:
    """Return a value that an HTTP header can hold."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: must be a string, not {type(value).__name__}")
    if fault := _header_fault(value):
        raise ConfigurationError(f"{name}: {fault}")
    return value


def _header_fault(value: str) -> str:
    if value.strip() and value.isprintable() and value.isascii():
        return ""
    return "a header can't hold it; give one line of printable ASCII characters, without line breaks"


def check_base_url(url: object, *, example: str) -> str:
    """Return a base URL without the slash at its end; `example` is quoted in the error."""
    text = url.strip() if isinstance(url, str) else ""
    parts = _split(text)
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or not text.isprintable()
        or " " in text
    ):
        raise ConfigurationError(f"base_url: must be an absolute http or https URL without a query, such as {example}")
    if parts.username or parts.password:
        raise ConfigurationError("base_url: must not hold a user name or a password")
    return text.rstrip("/")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        # Raises `ValueError` for a port that is not a number up to 65535.
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_insecure(url: str) -> bool:
    """Return whether requests to this URL cross a network unencrypted: plain http to a host other than this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
