"""A contact's conversation: history, open and close, notes, funnel, bot."""

from __future__ import annotations

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import page_of
from callbell_async.sandbox.api.validation import Fields, read_json, required_field
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse

__all__ = ["OPERATIONS"]


def get_messages(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """List the history, the newest first; the service has `meta`, its documentation does not."""
    page, meta = page_of(account.contacts.get(uuid).history[::-1], request.query)
    documents = [responses.history_item(item) for item in page]
    return SandboxResponse(200, {"messages": documents, **({"meta": meta} if account.history_has_meta else {})})


def open_conversation(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Open a conversation that is closed."""
    contact = account.contacts.get(uuid)
    account.open_conversation(contact)
    return SandboxResponse(200, {"contact": [responses.contact(account, contact, always=("closedAt",), chat=False)]})


def close_conversation(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Close a conversation; a closed one keeps its date."""
    contact = account.contacts.get(uuid)
    account.close_conversation(contact)
    always = ("funnelId", "closedAt", "team")
    return SandboxResponse(200, {"contact": responses.contact(account, contact, always=always, chat=False)})


def post_note(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Add a note to the history."""
    contact = account.contacts.get(uuid)
    account.add_note(contact, required_field(request.body, "text"))
    return SandboxResponse(200, {"success": True})


def update_funnel(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Move a conversation to another stage."""
    contact = account.contacts.get(uuid)
    fields = Fields(read_json(request.body))
    funnel = fields.required("funnel_id")
    if isinstance(funnel, str) and not account.funnels.allows(funnel):
        fields.add_error("funnel_id", "is unknown")
    fields.check()
    contact.funnel = funnel
    account.emit("contact_updated", contact)
    always = ("closedAt", "funnelId", "team")
    return SandboxResponse(200, {"contact": [responses.contact(account, contact, always=always, chat=False)]})


def get_bot(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return the state of a contact's bot."""
    return SandboxResponse(200, {"bot": responses.bot(account, account.contacts.get(uuid))})


def post_bot(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Start or end a contact's bot."""
    contact = account.contacts.get(uuid)
    account.set_bot(contact, required_field(request.body, "status", validation.bot_status))
    return SandboxResponse(200, {"bot": responses.bot(account, contact, just_now=True)})


OPERATIONS: dict[str, Operation] = {
    "GET /contacts/:uuid/messages": get_messages,
    "POST /contacts/:uuid/conversation/open": open_conversation,
    "POST /contacts/:uuid/conversation/close": close_conversation,
    "POST /contacts/:uuid/conversation/note": post_note,
    "PUT /contacts/:uuid/conversation/update_funnel": update_funnel,
    "GET /contacts/:uuid/bot": get_bot,
    "POST /contacts/:uuid/bot": post_bot,
}
