"""The options of a transport, and their checks and defaults: headers, and the size of the connection pool."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping

import aiohttp
import attrs
from multidict import CIMultiDict

from callbell_async._version import __version__
from callbell_async.arguments import Secret, check_header, is_insecure
from callbell_async.errors import ConfigurationError

try:
    import resource
except ModuleNotFoundError:  # pragma: no cover - not on Windows
    resource = None  # type: ignore[assignment]

__all__ = [
    "CONTENT_TYPE",
    "JSON_TYPE",
    "MAX_HEADER",
    "MAX_HEADERS",
    "TransportOptions",
    "check_extra_headers",
    "client_headers",
    "default_user_agent",
    "open_file_limit",
    "pool_size",
    "setup_warnings",
]

MAX_HEADER = 64 * 1024
"""The most bytes of one response header over an own session; aiohttp's default of 8190 is less than some proxies send."""

MAX_HEADERS = 500

JSON_TYPE = "application/json"

CONTENT_TYPE = frozenset({"Content-Type"})
"""The header that aiohttp must not add to a request without a body."""


def default_user_agent() -> str:
    """Return the `User-Agent` header: the versions of callbell-async, aiohttp and Python."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"callbell-async/{__version__} aiohttp/{aiohttp.__version__} python/{python}"


def client_headers(token: Secret[str], user_agent: str | None) -> CIMultiDict[str]:
    """Return the headers of every request of a client; raises `ConfigurationError` if `user_agent` is not valid."""
    agent = default_user_agent() if user_agent is None else check_header("user_agent", user_agent)
    return CIMultiDict({"Authorization": f"Bearer {token.value}", "Accept": "application/json", "User-Agent": agent})


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


# Standard streams, the event loop, a journal, a log, name resolution.
_OTHER_FILES = 32


def pool_size(max_connections: int | None, files: float, *, most: int) -> int:
    """Return `max_connections`; by default `most`, or the fewer connections that this number of open files allows."""
    return int(max(1, min(most, files - _OTHER_FILES))) if max_connections is None else max_connections


def setup_warnings(base_url: str, max_connections: int | None, files: float, *, least: int, most: int) -> Iterator[str]:
    """Yield a text for each setting that works but is risky.

    Args:
        base_url: The base URL.
        max_connections: The size of the pool; `None` for the default.
        files: The number of files that the process may open.
        least: The number of connections below which a default is reported.
        most: The number of connections that suits `send_many`.
    """
    if is_insecure(base_url):
        yield (
            f"base_url {base_url} is plain http to another host: the token and all messages cross the network unencrypted; use https"
        )
    if max_connections is None and pool_size(None, files, most=most) < least:
        yield (
            f"this process may open {files} files, too few for {least} connections; "
            f"raise the limit (ulimit -n {most + _OTHER_FILES}), or set max_connections to send more slowly"
        )
    elif max_connections is not None and max_connections + _OTHER_FILES > files:
        yield (
            f"this process may open {files} files, too few for max_connections={max_connections}; "
            f"raise the limit (ulimit -n {max_connections + _OTHER_FILES}) or lower max_connections"
        )


def open_file_limit() -> float:
    """Return the number of files and sockets that the process may open; infinity if the system has no limit."""
    if resource is None:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft
