"""A contact's conversation: history, open and close, notes, funnel, bot."""

from __future__ import annotations

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import cut
from callbell_async.sandbox.api.validation import Fields, read_json
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse

__all__ = ["OPERATIONS"]


def get_messages(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """The history, newest first; documented without `meta`, seen with it."""
    page, meta = cut(account.people.get(uuid).history[::-1], request.query)
    documents = [responses.entry(entry) for entry in page]
    return SandboxResponse(200, {"messages": documents, **({"meta": meta} if account.history_has_meta else {})})


def open_conversation(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Open it, if it was closed."""
    contact = account.people.get(uuid)
    account.open(contact)
    return SandboxResponse(200, {"contact": [responses.contact(account, contact, always=("closedAt",), chat=False)]})


def close_conversation(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Close it; one that is closed stays so since then."""
    contact = account.people.get(uuid)
    if contact.closed_at is None:
        contact.closed_at = account.calendar.now()
        account.emit("conversation_closed", contact)
    always = ("funnelId", "closedAt", "team")
    return SandboxResponse(200, {"contact": responses.contact(account, contact, always=always, chat=False)})


def post_note(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """A note, which stands in the history."""
    contact = account.people.get(uuid)
    fields = Fields(read_json(request.body))
    text = fields.required("text")
    fields.done()
    account.note(contact, text)
    return SandboxResponse(200, {"success": True})


def update_funnel(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Move it to another stage."""
    contact = account.people.get(uuid)
    fields = Fields(read_json(request.body))
    funnel = fields.required("funnel_id")
    if isinstance(funnel, str) and not account.funnels.knows(funnel):
        fields.complain("funnel_id", "is unknown")
    fields.done()
    contact.funnel = funnel
    account.emit("contact_updated", contact)
    always = ("closedAt", "funnelId", "team")
    return SandboxResponse(200, {"contact": [responses.contact(account, contact, always=always, chat=False)]})


def get_bot(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """What its bot does."""
    return SandboxResponse(200, {"bot": responses.bot(account, account.people.get(uuid))})


def post_bot(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Start or end its bot."""
    contact = account.people.get(uuid)
    fields = Fields(read_json(request.body))
    status = fields.required("status", validation.bot_status)
    fields.done()
    account.set_bot(contact, status)
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
