"""The router: it finds the operation of a request by its method and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import account as account_api
from callbell_async.sandbox.api import contacts, messages, webhooks
from callbell_async.sandbox.exchange import Operation, Refusal, SandboxRequest, SandboxResponse, refusal

__all__ = ["OPERATIONS", "Routes", "route"]

T = TypeVar("T")


class Routes(Generic[T]):
    """Operations by method and path, such as `GET /contacts/:uuid`.

    Args:
        operations: The operations by name. If two paths match a request, the one with fewer `:names` is used.
    """

    def __init__(self, operations: Mapping[str, T]) -> None:
        paths: dict[tuple[str, ...], dict[str, T]] = {}
        for name, operation in operations.items():
            method, path = name.split(" ")
            paths.setdefault(tuple(path.split("/")), {})[method] = operation
        self._paths = dict(sorted(paths.items(), key=lambda item: sum(part.startswith(":") for part in item[0])))

    def find(self, method: str, parts: list[str]) -> tuple[T, list[str]]:
        """Return the operation and the values of the `:names`, or refuse the request with 404 or 405."""
        allowed: set[str] = set()
        for pattern, methods in self._paths.items():
            if not _fits(pattern, parts):
                continue
            if operation := methods.get(method):
                names = [unquote(part) for wanted, part in zip(pattern, parts, strict=True) if wanted[:1] == ":"]
                return operation, names
            allowed |= methods.keys()
        if not allowed:
            raise refusal(404, "not found")
        headers = {"Allow": ", ".join(sorted(allowed))}
        raise Refusal(SandboxResponse(405, {"error": "method not allowed"}, headers))


def _fits(pattern: tuple[str, ...], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        (part != "" if wanted[:1] == ":" else part == wanted) for wanted, part in zip(pattern, parts, strict=True)
    )


OPERATIONS: dict[str, Operation] = {
    **messages.OPERATIONS,
    **contacts.OPERATIONS,
    **account_api.OPERATIONS,
    **webhooks.OPERATIONS,
}
"""By method and path, such as `GET /contacts/:uuid`."""

_ROUTES = Routes(OPERATIONS)


def route(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Execute a request that has the right token and is within the limit."""
    try:
        operation, names = _ROUTES.find(request.method, request.path.split("/") if request.below_v1 else [])
        return operation(account, request, *names)
    except Refusal as refused:
        return refused.response
