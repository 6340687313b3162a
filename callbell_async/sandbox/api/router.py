"""The 40 operations by method and path."""

from __future__ import annotations

from urllib.parse import unquote

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import account as account_api
from callbell_async.sandbox.api import contacts, conversations, messages, team, webhooks
from callbell_async.sandbox.exchange import Operation, Refusal, SandboxRequest, SandboxResponse, refusal

__all__ = ["OPERATIONS", "route"]

OPERATIONS: dict[str, Operation] = {
    **messages.OPERATIONS,
    **contacts.OPERATIONS,
    **conversations.OPERATIONS,
    **account_api.OPERATIONS,
    **team.OPERATIONS,
    **webhooks.OPERATIONS,
}
"""By method and path, such as `GET /contacts/:uuid`. If two match a request, the one with fewer `:names` is used."""


def _by_path() -> dict[tuple[str, ...], dict[str, Operation]]:
    paths: dict[tuple[str, ...], dict[str, Operation]] = {}
    for name, operation in OPERATIONS.items():
        method, path = name.split(" ")
        paths.setdefault(tuple(path.split("/")), {})[method] = operation
    return dict(sorted(paths.items(), key=lambda item: sum(part.startswith(":") for part in item[0])))


_PATHS = _by_path()


def route(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Execute a request that has the right token and is within the limit."""
    try:
        operation, names = _find(request)
        return operation(account, request, *names)
    except Refusal as refused:
        return refused.response


def _find(request: SandboxRequest) -> tuple[Operation, list[str]]:
    parts = request.path.split("/") if request.below_v1 else []
    allowed: set[str] = set()
    for pattern, methods in _PATHS.items():
        if not _fits(pattern, parts):
            continue
        if operation := methods.get(request.method):
            return operation, [unquote(part) for wanted, part in zip(pattern, parts, strict=True) if wanted[:1] == ":"]
        allowed |= methods.keys()
    if not allowed:
        raise refusal(404, "not found")
    headers = {"Allow": ", ".join(sorted(allowed))}
    raise Refusal(SandboxResponse(405, {"error": "method not allowed"}, headers))


def _fits(pattern: tuple[str, ...], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        (part != "" if wanted[:1] == ":" else part == wanted) for wanted, part in zip(pattern, parts, strict=True)
    )
