"""What a fault is: a function of one request and the connection it came on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = ["Act", "Exchange", "Fault", "head"]


class Exchange(Protocol):
    """A request and its connection, as a fault sees them."""

    request: SandboxRequest

    def carry_out(self, failure: DeliveryFailure | None = None) -> SandboxResponse:
        """Do what the request asks for, and say what it is answered; a message it sends will fail so, if it is said how.

        It is done once: called again, this gives the same answer.
        """

    async def send(self, reply: SandboxResponse) -> None:
        """Send a whole answer; the connection stays open."""

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""

    def close(self) -> None:
        """End the connection in order, after what was written."""

    def reset(self) -> None:
        """Break the connection off: the other side meets `ECONNRESET`."""

    def end_writing(self) -> None:
        """End this side of the connection only."""

    async def client_gone(self) -> None:
        """Return when the connection is over."""


Act = Callable[[Exchange], Awaitable[None]]


@attrs.frozen
class Fault:
    """What a request meets: `act` is called in place of answering it.

    - `before_reading`: `act` is called when only the head of the request is there, which is not counted among the sandbox's requests.
      Any other fault is met only by requests with a good token, within the limit.
    - `concerns`: whether a request can meet it at all; `None` for every one.
    - `valid_messages_only`: only a message that would be accepted meets it.
    """

    name: str
    act: Act
    before_reading: bool = False
    concerns: Callable[[SandboxRequest], bool] | None = None
    valid_messages_only: bool = False


def head(reply: SandboxResponse, length: int | None = None) -> bytes:
    """The bytes before an answer's body; `length` is what is promised of it, if not what there is."""
    # There is one length, whatever was given as it, and however that is spelt.
    headers = {name: value for name, value in reply.all_headers.items() if name.lower() != "content-length"}
    # HTTP promises no length where there is never a body.
    if length is not None or reply.has_body:
        headers["Content-Length"] = str(len(reply.content) if length is None else length)
    lines = [f"HTTP/1.1 {reply.status} Sandbox", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
