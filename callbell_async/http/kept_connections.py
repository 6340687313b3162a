"""Kept connections that the server has closed, although the event loop has not noticed it yet."""

from __future__ import annotations

import asyncio
import select
from weakref import WeakSet

__all__ = ["has_ended_unnoticed"]

_used: WeakSet[asyncio.BaseProtocol] = WeakSet()


def has_ended_unnoticed(protocol: asyncio.BaseProtocol, transport: asyncio.BaseTransport) -> bool:
    """Return whether a connection that had a request before must not have another one; called before each request.

    On an idle connection nothing is expected, so whatever there is to read is its end. The event loop has not read it yet if
    it was blocked, or if the process was suspended, for longer than the server keeps idle connections. A request that is
    written then would be `UNKNOWN`. The first request of a connection is never checked: TLS may have its session tickets to
    read.
    """
    if protocol not in _used:
        _used.add(protocol)
        return False
    connection = transport.get_extra_info("socket")
    return connection is not None and _is_readable(connection.fileno())


def _is_readable(descriptor: int) -> bool:
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
