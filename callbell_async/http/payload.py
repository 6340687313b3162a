"""The request body that records when aiohttp starts to write it."""

from __future__ import annotations

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from callbell_async.http.kept_connections import has_ended_unnoticed
from callbell_async.http.requests import CallState

__all__ = ["CONTENT_TYPE", "JSON_TYPE", "TrackedPayload"]

JSON_TYPE = "application/json"

CONTENT_TYPE = frozenset({"Content-Type"})
"""The header that aiohttp must not add to a request without a body."""


class TrackedPayload(aiohttp.BytesPayload):
    """A JSON body, possibly empty, that sets `written` on its call when aiohttp starts to write it.

    An exception alone does not distinguish `NEVER_SENT` from `UNKNOWN`: a timeout looks the same in the queue for a
    connection and while waiting for the response. But aiohttp asks for the body only when it has a connection to
    write it on. A request whose body was never asked for can't have been accepted.
    """

    def __init__(self, call: CallState) -> None:
        super().__init__(call.request.body or b"", content_type=JSON_TYPE)
        self._call: CallState | None = call

    @property
    def consumed(self) -> bool:
        """Whether it can't be sent again; keeps aiohttp from retrying GET, PUT and DELETE by itself."""
        return self._call is None or self._call.written

    def cancel(self) -> None:
        """Refuse to be written later: a request reported as `NEVER_SENT` must never leave."""
        self._call = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, and record that it left."""
        if self._call is None:
            raise ConnectionResetError("the request was cancelled before its body was written")
        # aiohttp holds the headers back to write them with the body. If the connection is closing by now (the
        # server has just dropped it), aiohttp writes neither and raises: nothing has left.
        if not isinstance(writer, StreamWriter):
            self._call.mark_written()
        elif (transport := writer.transport) is not None and not transport.is_closing():
            if has_ended_unnoticed(writer.protocol, transport):
                raise ConnectionResetError("the connection ended before the request was written")
            self._call.mark_written()
        await writer.write(self._value)
