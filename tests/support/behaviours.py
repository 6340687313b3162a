"""What a `FaultServer` may do when a request comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tests.support.fault_server import Behaviour, Connection

__all__ = [
    "accepted",
    "after_reading",
    "answer",
    "close_after_reading",
    "flood",
    "half_an_answer",
    "head",
    "held_until",
    "raw",
    "reset_after_reading",
    "reset_before_reading",
    "silence",
    "then_dropped",
    "trickle",
]


def after_reading(
    *pieces: bytes, then: Behaviour = Connection.stay, on_read: Callable[[], object] = lambda: None
) -> Behaviour:
    """Read the request, call `on_read`, write the pieces, each on its own way through the event loop, and end as told."""

    async def behave(connection: Connection) -> None:
        await connection.read_request()
        on_read()
        for piece in pieces:
            await connection.write(piece)
            await asyncio.sleep(0)
        await then(connection)

    return behave


def head(status: int, headers: Mapping[str, str] | None, length: int) -> bytes:
    """The bytes before an answer's body; `length` is what is promised of it."""
    fields = {**(headers or {}), "Content-Length": str(length)}
    return "\r\n".join([f"HTTP/1.1 {status} Answer", *map(": ".join, fields.items()), "\r\n"]).encode()


def answer(status: int, body: bytes | Mapping[str, Any] = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    """An answer; a mapping is sent as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return after_reading(head(status, headers, len(content)) + content)


def accepted(uuid: str = "adf3d1216d4c4dcd908199d6700f2381") -> Behaviour:
    """Callbell's receipt for a message."""
    return answer(200, {"message": {"uuid": uuid, "status": "enqueued"}}, {"Content-Type": "application/json"})


def half_an_answer(
    status: int, body: bytes, headers: Mapping[str, str] | None = None, *, then: Behaviour = Connection.close
) -> Behaviour:
    """An answer of which half the promised body comes."""
    return after_reading(head(status, headers, len(body)) + body[: len(body) // 2], then=then)


def trickle(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Behaviour:
    """An answer byte by byte."""
    return after_reading(*(bytes([byte]) for byte in head(status, headers, len(body)) + body))


def flood(status: int, size: int) -> Behaviour:
    """An answer of `size` bytes, written as fast as the client takes them."""

    async def behave(connection: Connection) -> None:
        await after_reading(head(status, {"Content-Type": "text/html"}, size))(connection)
        for start in range(0, size, len(_PIECE)):
            await connection.write(_PIECE[: size - start])

    return behave


_PIECE = b"x" * 65536


def raw(data: bytes) -> Behaviour:
    """Any bytes, HTTP or not, and the end of the connection."""
    return after_reading(data, then=Connection.close)


def silence(on_read: Callable[[], object] = lambda: None, *, after: bytes = b"") -> Behaviour:
    """No answer, or nothing `after` its beginning, until the client leaves; `on_read` is called when the request was read."""
    return after_reading(after, then=Connection.wait_for_client, on_read=on_read)


def held_until(event: asyncio.Event, behaviour: Behaviour) -> Behaviour:
    """`behaviour`, not before `event` is set."""

    async def behave(connection: Connection) -> None:
        await event.wait()
        await behaviour(connection)

    return behave


def then_dropped(first: Behaviour) -> Behaviour:
    """`first`, and the connection, promised to be kept alive, is dropped while it is idle; the client has seen it when it is gone."""

    async def behave(connection: Connection) -> None:
        await first(connection)
        await connection.close_and_wait()

    return behave


async def reset_before_reading(connection: Connection) -> None:
    """A reset as soon as the first byte is there; the request isn't counted."""
    await connection.reset()


reset_after_reading = after_reading(then=Connection.reset)
"""A reset in place of an answer."""

close_after_reading = after_reading(then=Connection.close)
"""An orderly end in place of an answer."""
