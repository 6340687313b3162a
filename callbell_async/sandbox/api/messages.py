"""Messages: send, ask for the status, delete."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses
from callbell_async.sandbox.api.validation import check_message, read_json
from callbell_async.sandbox.exchange import Operation, Refusal, SandboxRequest, SandboxResponse, refusal

__all__ = ["OPERATIONS", "is_good"]


def is_good(account: SandboxAccount, request: SandboxRequest) -> bool:
    """Whether a request is a message that would be accepted."""
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
    message, contact = account.accept(body, request)
    wanted = {name.strip() for name in (body.get("fields") or "").split(",")}
    document: dict[str, Any] = {"uuid": message.uuid, "status": "enqueued"}
    if "conversation" in wanted:
        document["conversation"] = responses.conversation(contact)
    if "contact" in wanted:
        document["contact"] = responses.short_contact(contact)
    return SandboxResponse(200, {"message": document})


def status(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """How far a message is; the integration's report comes with it once there is one."""
    message = account.message(uuid)
    if message is None:
        raise refusal(404, "not found")
    reached, report = account.status_of(message)
    payload = {} if report is None else {"messageStatusPayload": report}
    return SandboxResponse(200, {"message": {"uuid": uuid, "status": reached.value, **payload}})


def delete(account: SandboxAccount, request: SandboxRequest, identifier: str) -> SandboxResponse:
    """Take a message out of its contact's history."""
    found = account.people.entry(identifier)
    if found is None:
        raise refusal(404, "not found")
    contact, entry = found
    contact.history.remove(entry)
    if message := account.message(entry.uuid or ""):
        message.deleted = True
    return SandboxResponse(204)


OPERATIONS: dict[str, Operation] = {
    "POST /messages/send": send,
    "GET /messages/status/:uuid": status,
    "DELETE /messages/:uuid": delete,
}
