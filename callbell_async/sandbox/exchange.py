"""A request to the sandbox and its response: values, and what a fault may do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import attrs
import orjson

from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = [
    "NOT_AUTHORIZED",
    "TOO_MANY",
    "Exchange",
    "Operation",
    "Refusal",
    "SandboxRequest",
    "SandboxResponse",
    "refusal",
    "response_head",
]


@attrs.define(kw_only=True)
class SandboxRequest:
    """A request that the sandbox received.

    Attributes:
        method: The HTTP method, such as `POST`.
        path: The path as it was sent, after `/v1` and without the query. A path that is not `below_v1` is complete.
        query: The parameters of the query. Of equal names it has the first; `query_values` returns all.
        headers: The headers by lower-case name. Of equal names it has the first.
        body: The body; `b""` if it could not be read.
        at: The sandbox's clock when the request had been read, in seconds.
        below_v1: Whether the path begins with `/v1/`.
        target: The path and the query as they were sent.
        raw_headers: All headers, in the order and spelling in which they were sent.
        status: The status of the response; `None` before it, or if the connection ended without a complete response.
        fault: The name of the fault that was applied; `None` without one.
        response: The complete response that was sent; `None` before it, or if a fault sent other bytes or none.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    # The headers hold the token, which must not appear in a traceback.
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = b""
    at: float = 0.0
    below_v1: bool = True
    target: str = ""
    raw_headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    status: int | None = None
    fault: str | None = None
    response: SandboxResponse | None = attrs.field(default=None, repr=False)

    @property
    def document(self) -> Any:
        """The JSON of the body; `None` if the body is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def to(self) -> str | None:
        """The recipient of a message; `None` for any other request."""
        document = self.document
        if not isinstance(document, dict):
            return None
        to = document.get("to") or document.get("bsuid")
        return to if isinstance(to, str) else None

    def query_values(self, name: str) -> list[str]:
        """Return every value of a query parameter, in order.

        Args:
            name: The name of the parameter.

        Returns:
            The values; empty if the query lacks it.
        """
        query = self.target.partition("#")[0].partition("?")[2]
        return [value for key, value in parse_qsl(query, keep_blank_values=True) if key == name]

    def __str__(self) -> str:
        line = f"{self.method} {self.path}" + (f" to {self.to}" if self.to else "")
        line += f" -> {'no complete response' if self.status is None else self.status}"
        return f"{line} ({self.fault})" if self.fault else line


@attrs.frozen
class SandboxResponse:
    """A response of the sandbox.

    Attributes:
        status: The HTTP status.
        document: The JSON value of the body; `None` for a body that is given as `raw`.
        headers: The headers. A JSON body gets its `Content-Type` by itself.
        raw: The body, if `document` is `None`.
    """

    status: int
    document: Any = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    raw: bytes = b""

    @property
    def has_body(self) -> bool:
        """Whether a response with this status has a body; clients read none after 1xx, 204 and 304."""
        return self.status >= 200 and self.status not in (204, 304)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if not self.has_body:
            return b""
        return self.raw if self.document is None else orjson.dumps(self.document)

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with the `Content-Type` of a JSON body that has none."""
        has_type = any(name.lower() == "content-type" for name in self.headers)
        default = {} if has_type or self.document is None else {"Content-Type": "application/json; charset=utf-8"}
        return {**default, **self.headers}


def response_head(response: SandboxResponse, length: int | None = None) -> bytes:
    """Return the bytes before a response's body; `length` replaces the true `Content-Length`."""
    # The response has one length, also if its headers name another one.
    headers = {name: value for name, value in response.all_headers.items() if name.lower() != "content-length"}
    # HTTP allows no length where there is never a body.
    if length is not None or response.has_body:
        headers["Content-Length"] = str(len(response.content) if length is None else length)
    lines = [f"HTTP/1.1 {response.status} Sandbox", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Exchange(Protocol):
    """A request and its connection, as a fault uses them.

    Attributes:
        request: The request.
    """

    request: SandboxRequest

    def execute(self, failure: DeliveryFailure | None = None) -> SandboxResponse:
        """Execute the request and return its response; a second call returns the same response.

        Args:
            failure: If the request is a message, why it will not be delivered.

        Returns:
            The response.
        """
        ...

    async def send(self, response: SandboxResponse) -> None:
        """Send a complete response; the connection stays open.

        Args:
            response: The response.
        """

    async def write(self, data: bytes) -> None:
        """Send bytes unchanged.

        Args:
            data: The bytes.
        """

    def close(self) -> None:
        """Close the connection after what was written."""

    def reset(self) -> None:
        """Reset the connection: the client gets `ECONNRESET`."""

    def end_writing(self) -> None:
        """Close the sandbox's side of the connection only."""

    async def client_gone(self) -> None:
        """Return when the connection has ended."""


Operation = Callable[..., SandboxResponse]
"""Called with the account, the request, and the values of the `:names` in the path."""


class Refusal(Exception):  # noqa: N818 - a regular response, not an error of the sandbox
    """The request is refused with `response`."""

    def __init__(self, response: SandboxResponse) -> None:
        super().__init__(response)
        self.response = response


def refusal(status: int, error: Any) -> Refusal:
    """Return a refusal in Callbell's form; `error` is a text, or a list of texts for each field."""
    return Refusal(SandboxResponse(status, {"error": error}))


NOT_AUTHORIZED = SandboxResponse(401, {"error": "not authorized"})
TOO_MANY = SandboxResponse(429, {"error": "too many requests"})
