"""Messages: send, ask for the status, delete."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import Account
from callbell_async.sandbox.api import responses
from callbell_async.sandbox.api.validation import check_message, read_json
from callbell_async.sandbox.exchange import Operation, Refusal, Reply, SandboxRequest, refusal

__all__ = ["OPERATIONS", "is_good"]


def is_good(account: Account, request: SandboxRequest) -> bool:
    """Whether a request is a message that would be accepted."""
    if (request.method, request.below_v1, request.path) != ("POST", True, "/messages/send"):
        return False
    try:
        _read_message(account, request)
    except Refusal:
        return False
    return True


def _read_message(account: Account, request: SandboxRequest) -> Any:
    body = read_json(request.body)
    if errors := check_message(body) or account.check_references(body):
        raise refusal(400, errors)
    return body


def send(account: Account, request: SandboxRequest) -> Reply:
    """Enqueue a message."""
    body = _read_message(account, request)
    message, contact = account.accept(body, request)
    wanted = {name.strip() for name in (body.get("fields") or "").split(",")}
    document: dict[str, Any] = {"uuid": message.uuid, "status": "enqueued"}
    if "conversation" in wanted:
        document["conversation"] = responses.conversation(contact)
    if "contact" in wanted:
        document["contact"] = responses.short_contact(contact)
    return Reply(200, {"message": document})


def status(account: Account, request: SandboxRequest, uuid: str) -> Reply:
    """How far a message is; the integration's report comes with it once there is one."""
    message = account.message(uuid)
    if message is None:
        raise refusal(404, "not found")
    reached, report = account.status_of(message)
    payload = {} if report is None else {"messageStatusPayload": report}
    return Reply(200, {"message": {"uuid": uuid, "status": reached.value, **payload}})


def delete(account: Account, request: SandboxRequest, identifier: str) -> Reply:
    """Take a message out of its contact's history."""
    found = account.people.entry(identifier)
    if found is None:
        raise refusal(404, "not found")
    contact, entry = found
    contact.history.remove(entry)
    if message := account.message(entry.uuid or ""):
        message.deleted = True
    return Reply(204)


OPERATIONS: dict[str, Operation] = {
    "POST /messages/send": send,
    "GET /messages/status/:uuid": status,
    "DELETE /messages/:uuid": delete,
}
