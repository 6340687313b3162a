"""The options of a transport."""

from __future__ import annotations

import sys

import aiohttp
import attrs
from multidict import CIMultiDict

from callbell_async._version import __version__

__all__ = ["MAX_HEADER", "MAX_HEADERS", "TransportOptions", "default_user_agent"]

MAX_HEADER = 64 * 1024
"""The most bytes of one response header over an own session; aiohttp's default of 8190 is less than some proxies send."""

MAX_HEADERS = 500


def default_user_agent() -> str:
    """Return the `User-Agent` header: the versions of callbell-async, aiohttp and Python."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"callbell-async/{__version__} aiohttp/{aiohttp.__version__} python/{python}"


@attrs.frozen(kw_only=True)
class TransportOptions:
    """Where requests go, and their limits: `timeout` and `connect_timeout` in seconds, `None` for no limit."""

    base_url: str
    headers: CIMultiDict[str] = attrs.field(repr=False)
    timeout: float | None
    connect_timeout: float | None
    max_connections: int
