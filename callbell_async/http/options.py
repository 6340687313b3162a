"""The options of a transport."""

from __future__ import annotations

import sys

import aiohttp
import attrs
from multidict import CIMultiDict

from callbell_async._version import __version__

__all__ = ["TransportOptions", "default_user_agent"]


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
