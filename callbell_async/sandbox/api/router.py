"""The 40 operations by method and path."""

from __future__ import annotations

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import account as account_api
from callbell_async.sandbox.api import contacts, conversations, messages, team, webhooks
from callbell_async.sandbox.api.routes import Routes
from callbell_async.sandbox.exchange import Operation, Refusal, SandboxRequest, SandboxResponse

__all__ = ["OPERATIONS", "route"]

OPERATIONS: dict[str, Operation] = {
    **messages.OPERATIONS,
    **contacts.OPERATIONS,
    **conversations.OPERATIONS,
    **account_api.OPERATIONS,
    **team.OPERATIONS,
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
