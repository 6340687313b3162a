"""The options of a transport."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

import aiohttp
import attrs
from multidict import CIMultiDict

from callbell_async._version import __version__
from callbell_async.arguments import check_header
from callbell_async.errors import ConfigurationError

__all__ = ["MAX_HEADER", "MAX_HEADERS", "TransportOptions", "check_extra_headers", "default_user_agent"]

MAX_HEADER = 64 * 1024
"""The most bytes of one response header over an own session; aiohttp's default of 8190 is less than some proxies send."""

MAX_HEADERS = 500


def default_user_agent() -> str:
    """Return the `User-Agent` header: the versions of callbell-async, aiohttp and Python."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"callbell-async/{__version__} aiohttp/{aiohttp.__version__} python/{python}"


@attrs.frozen(kw_only=True)
class TransportOptions:
    """Where requests go, and their limits: `timeout` and `connect_timeout` in seconds, `None` for no limit.

    `headers` are those of every request of the client, and `extra_headers` those that `with_options` adds.
    """

    base_url: str
    headers: CIMultiDict[str] = attrs.field(repr=False)
    timeout: float | None
    connect_timeout: float | None
    max_connections: int
    extra_headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def all_headers(self) -> CIMultiDict[str]:
        """Both kinds of headers."""
        return CIMultiDict({**self.headers, **self.extra_headers})


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_OWN_HEADERS = {
    "authorization": "it holds the token of the client; build another CallbellClient for another token",
    "user-agent": "set it with CallbellClient(user_agent=…)",
    **dict.fromkeys(
        ("accept", "accept-encoding", "content-encoding", "content-type"),
        "this library writes the request and reads the response; leave the header out",
    ),
    **dict.fromkeys(
        (
            "connection",
            "content-length",
            "expect",
            "host",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        "it belongs to the connection; leave the header out",
    ),
}
"""The headers that `with_options` can't set, each with the remedy."""


def check_extra_headers(headers: object) -> dict[str, str]:
    """Return the headers that are added to each request; raises `ConfigurationError`, which quotes no value."""
    if not isinstance(headers, Mapping):
        raise ConfigurationError(
            f'headers: must be a mapping such as {{"X-Request-Id": "42"}}, not {type(headers).__name__}'
        )
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError("headers: a name must be one word of ASCII letters, digits and hyphens")
        if (remedy := _OWN_HEADERS.get(name.lower())) is not None:
            raise ConfigurationError(f"headers: {name} can't be set here: {remedy}")
        checked[name.lower()] = check_header(f"headers: {name}", value)
    return checked
