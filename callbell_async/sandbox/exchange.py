"""A request as the sandbox saw it, and what it answers: values, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import orjson

__all__ = ["NOT_AUTHORIZED", "TOO_MANY", "Operation", "Refusal", "SandboxRequest", "SandboxResponse", "refusal"]


@attrs.define(kw_only=True)
class SandboxRequest:
    """A request that was read, or refused while it was: then without its body.

    - `path`: as it was sent, after the `/v1`, without the query. A path that is not `below_v1` is whole.
    - `query` and `headers` (lower-case names) keep the first of equal names.
    - `target` (path and query) and `raw_headers` (all of them, in their order) are as they came.
    - `at`: the sandbox's clock when it had been read.
    - `status`: what it was answered, `None` while it isn't, or when the connection ended without a whole answer.
    - `fault`: the name of the fault it met.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    # The token is in the headers, and no business of a traceback's.
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = b""
    at: float = 0.0
    below_v1: bool = True
    target: str = ""
    raw_headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    status: int | None = None
    fault: str | None = None

    @property
    def document(self) -> Any:
        """The body's JSON; `None` if it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def to(self) -> str | None:
        """The recipient of a message; `None` for every other request."""
        document = self.document
        if not isinstance(document, dict):
            return None
        to = document.get("to") or document.get("bsuid")
        return to if isinstance(to, str) else None

    def __str__(self) -> str:
        told = f"{self.method} {self.path}" + (f" to {self.to}" if self.to else "")
        told += f" -> {'no whole answer' if self.status is None else self.status}"
        return f"{told} ({self.fault})" if self.fault else told


@attrs.frozen
class SandboxResponse:
    """An answer: `document`, if it isn't `None`, is its body's JSON, and `raw` the body otherwise."""

    status: int
    document: Any = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    raw: bytes = b""

    @property
    def has_body(self) -> bool:
        """Whether its status is one that comes with a body; after the others a client reads none."""
        return self.status >= 200 and self.status not in (204, 304)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if not self.has_body:
            return b""
        return self.raw if self.document is None else orjson.dumps(self.document)

    @property
    def all_headers(self) -> dict[str, str]:
        """Its headers, and the type of a JSON body where none is given."""
        typed = any(name.lower() == "content-type" for name in self.headers)
        own = {} if typed or self.document is None else {"Content-Type": "application/json; charset=utf-8"}
        return {**own, **self.headers}


Operation = Callable[..., SandboxResponse]
"""Called with the account, the request, and what stands in the path in place of `:names`."""


class Refusal(Exception):  # noqa: N818 - it is one, and no error of the sandbox's
    """The request is not carried out; `reply` says why."""

    def __init__(self, reply: SandboxResponse) -> None:
        super().__init__(reply)
        self.reply = reply


def refusal(status: int, error: Any) -> Refusal:
    """A refusal in Callbell's form, with words or with complaints by field."""
    return Refusal(SandboxResponse(status, {"error": error}))


NOT_AUTHORIZED = SandboxResponse(401, {"error": "not authorized"})
TOO_MANY = SandboxResponse(429, {"error": "too many requests"})
