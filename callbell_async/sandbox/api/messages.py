"""Messages: send, read the status, delete."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses
from callbell_async.sandbox.api.validation import check_message, read_json
from callbell_async.sandbox.exchange import Operation, Refusal, SandboxRequest, SandboxResponse, refusal

__all__ = ["OPERATIONS", "is_valid_message"]


def is_valid_message(account: SandboxAccount, request: SandboxRequest) -> bool:
    """Return whether a request is a message that would be accepted."""
    if (request.method, request.below_v1, request.path) != ("POST", True, "/messages/send"):
        return False
    try:
        _read_message(account, request)
    except Refusal:
        return False
    return True


def _read_message(account: SandboxAccount, request: SandboxRequest) -> Any:
    body = read_json(request.body)
    if errors := check_message(body) or account.check_references(body):
        raise refusal(400, errors)
    return body


def send(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Enqueue a message."""
    body = _read_message(account, request)
    message = account.accept(body, request)
    wanted = {name.strip() for name in (body.get("fields") or "").split(",")}
    document: dict[str, Any] = {"uuid": message.uuid, "status": "enqueued", **responses.metadata(message)}
    if "conversation" in wanted:
        document["conversation"] = responses.conversation(message.contact)
    if "contact" in wanted:
        document["contact"] = responses.short_contact(message.contact)
    return SandboxResponse(200, {"message": document})


def status(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return the status of a message, and the integration's report if there is one."""
    message = account.find_message(uuid)
    if message is None:
        raise refusal(404, "not found")
    reached, report = account.status_of(message)
    document: dict[str, Any] = {"uuid": uuid, "status": reached.value, **responses.metadata(message)}
    if report is not None:
        document["messageStatusPayload"] = report
    if account.status_has_contact and account.contacts.find(message.contact.uuid) is not None:
        document["contact"] = responses.short_contact(message.contact)
        document["conversation"] = responses.conversation(message.contact)
    return SandboxResponse(200, {"message": document})


def delete(account: SandboxAccount, request: SandboxRequest, identifier: str) -> SandboxResponse:
    """Remove a message from its contact's history."""
    item = account.contacts.find_message(identifier)
    if item is None:
        raise refusal(404, "not found")
    item.contact.history.remove(item)
    if item.message is not None:
        item.message.deleted = True
    return SandboxResponse(204)


OPERATIONS: dict[str, Operation] = {
    "POST /messages/send": send,
    "GET /messages/status/:uuid": status,
    "DELETE /messages/:uuid": delete,
}
