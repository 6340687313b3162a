"""The size of a connection pool, and the number of files that the process may open."""

from __future__ import annotations

import math
from collections.abc import Iterator

from callbell_async.arguments import is_insecure

try:
    import resource
except ModuleNotFoundError:  # pragma: no cover - not on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["default_connections", "open_file_limit", "setup_warnings"]

# Standard streams, the event loop, a journal, a log, name resolution.
_OTHER_FILES = 32


def default_connections(files: float, *, most: int) -> int:
    """Return `most`, or the fewer connections that this number of open files allows."""
    return int(max(1, min(most, files - _OTHER_FILES)))


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
    if max_connections is None and default_connections(files, most=most) < least:
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
