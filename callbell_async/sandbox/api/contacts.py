"""Contacts: list, find, create, change, delete; and their conversations: history, open and close, notes, funnel, bot."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import contacts_page, page_of
from callbell_async.sandbox.api.validation import CHANNELS, Fields, read_json, required_field
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse, refusal
from callbell_async.sandbox.records import SandboxContact

__all__ = ["OPERATIONS"]


def _typed(request: SandboxRequest) -> bool:
    return request.query.get("include_field_types") in ("true", "1")


def _tags(request: SandboxRequest) -> set[str]:
    """Return the tags of a filter: `tags=a,b`, or `tags[]=a` for each; case does not matter."""
    given = [*request.query.get("tags", "").split(","), *request.query_values("tags[]")]
    return {tag.strip().casefold() for tag in given if tag.strip()}


def get_contacts(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List the contacts that pass all filters, the most recent conversation first."""
    query, tags = request.query, _tags(request)

    def matches(contact: SandboxContact) -> bool:
        return (
            query.get("source", contact.source) == contact.source
            and tags.issubset(tag.casefold() for tag in contact.tags)
            and ("team_uuid" not in query or contact.team == query["team_uuid"])
        )

    page, meta = contacts_page(account.contacts, query, matches=matches, cursors=account.contacts_have_cursors)
    documents = [responses.contact(account, contact, field_types=_typed(request)) for contact in page]
    return SandboxResponse(200, {"contacts": documents, "meta": meta})


def post_contact(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Create a contact."""
    fields = Fields(read_json(request.body))
    identifier, name = fields.required("identifier"), fields.required("name")
    source = fields.required("source", validation.one_of(CHANNELS))
    changes = _changes(fields)
    channel, bot_status = fields.optional("channel_uuid"), fields.optional("bot_status", validation.bot_status)
    _check_references(account, fields, {**changes, "channel_uuid": channel})
    fields.check()
    if account.contacts.by_identifier(source, identifier):
        raise refusal(400, {"identifier": ["has already been taken"]})
    contact = account.seed(SandboxContact(identifier=identifier, name=name, source=source, channel=channel))
    _change(contact, changes)
    account.set_bot(contact, bot_status)
    account.emit("contact_created", contact)
    return SandboxResponse(200, {"contact": [responses.contact(account, contact)]})


def get_contact(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return one contact."""
    contact = account.contacts.get(uuid)
    return _one(account, responses.contact(account, contact, field_types=_typed(request)))


def _one(account: SandboxAccount, document: dict[str, Any]) -> SandboxResponse:
    return SandboxResponse(200, {"contact": [document] if account.contact_in_list else document})


def get_by_phone(account: SandboxAccount, request: SandboxRequest, number: str) -> SandboxResponse:
    """Return the WhatsApp contact with this number, in any spelling."""
    contact = account.contacts.by_identifier("whatsapp", number)
    wanted = request.query.get("channel_uuid")
    if contact is None or (wanted is not None and contact.channel not in (None, wanted)):
        raise refusal(404, "not found")
    return SandboxResponse(200, {"contact": responses.contact(account, contact)})


def get_by_bsuid(account: SandboxAccount, request: SandboxRequest, bsuid: str) -> SandboxResponse:
    """Return the contact with this bsuid."""
    contact = account.contacts.by_bsuid(bsuid)
    if contact is None:
        raise refusal(404, "not found")
    return SandboxResponse(200, {"contact": responses.contact(account, contact)})


def patch_contact(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Change the fields of the body, and no others."""
    contact = account.contacts.get(uuid)
    fields = Fields(read_json(request.body))
    changes = _changes(fields)
    if "name" in fields:
        changes["name"] = fields.required("name")
    bot_status = fields.optional("bot_status", validation.bot_status)
    unassign = fields.optional("unassign_user", validation.flag)
    _check_references(account, fields, changes)
    fields.check()
    _change(contact, changes)
    if unassign:
        contact.assigned_user = None
    account.set_bot(contact, bot_status)
    account.emit("contact_updated", contact)
    return _one(account, responses.contact(account, contact))


def delete_contact(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Delete a contact with its history."""
    contact = account.contacts.get(uuid)
    account.contacts.remove(contact)
    account.emit("contact_deleted", contact)
    return SandboxResponse(200, {"status": "contact was destroyed"})


def _changes(fields: Fields) -> dict[str, Any]:
    """Read the fields that both a new and an existing contact can have; null changes nothing."""
    found = {
        "tags": fields.optional("tags", validation.strings),
        "custom_fields": fields.optional("custom_fields", validation.custom_fields),
        "assigned_user": fields.optional("assigned_user", validation.filled),
        "team_uuid": fields.optional("team_uuid", validation.filled),
        "note": fields.optional("note", validation.note),
    }
    return {name: value for name, value in found.items() if value is not None}


def _check_references(account: SandboxAccount, fields: Fields, given: dict[str, Any]) -> None:
    # Other types are errors already.
    strings = {name: value for name, value in given.items() if isinstance(value, str)}
    for name, errors in account.check_references(strings).items():
        for error in errors:
            fields.add_error(name, error)


def _change(contact: SandboxContact, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        match name:
            case "custom_fields":
                contact.custom_fields |= {key: _field_value(item) for key, item in value.items()}
            case "team_uuid":
                contact.team = value
            case "note":
                contact.note = value or None
            case _:
                setattr(contact, name, value)


def _field_value(value: str | float | list[str]) -> str | list[str]:
    """Return the value of a custom field; numbers are kept as strings."""
    return value if isinstance(value, str | list) else str(value)


# --- conversations ----------------------------------------------------------------------------------------------------


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
    "GET /contacts": get_contacts,
    "POST /contacts": post_contact,
    "GET /contacts/phone/:number": get_by_phone,
    "GET /contacts/bsuid/:bsuid": get_by_bsuid,
    "GET /contacts/:uuid": get_contact,
    "PATCH /contacts/:uuid": patch_contact,
    "DELETE /contacts/:uuid": delete_contact,
    "GET /contacts/:uuid/messages": get_messages,
    "POST /contacts/:uuid/conversation/open": open_conversation,
    "POST /contacts/:uuid/conversation/close": close_conversation,
    "POST /contacts/:uuid/conversation/note": post_note,
    "PUT /contacts/:uuid/conversation/update_funnel": update_funnel,
    "GET /contacts/:uuid/bot": get_bot,
    "POST /contacts/:uuid/bot": post_bot,
}
