"""Contacts: list, find, create, change, delete."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import cut_contacts
from callbell_async.sandbox.api.validation import CHANNELS, Fields, read_json
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse, refusal
from callbell_async.sandbox.records import SandboxContact

__all__ = ["OPERATIONS"]


def _typed(request: SandboxRequest) -> bool:
    return request.query.get("include_field_types") in ("true", "1")


def _tags(text: str) -> set[str]:
    return {tag.strip() for tag in text.split(",") if tag.strip()}


def get_contacts(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """The contacts that fit all filters, oldest first."""
    query = request.query
    tags = _tags(query.get("tags", ""))
    fitting = [
        contact
        for contact in account.people
        if query.get("source", contact.source) == contact.source
        and tags.issubset(contact.tags)
        and ("team_uuid" not in query or contact.team == query["team_uuid"])
    ]
    page, meta = cut_contacts(fitting, query, cursors=account.contacts_have_cursors)
    documents = [responses.contact(account, contact, field_types=_typed(request)) for contact in page]
    return SandboxResponse(200, {"contacts": documents, "meta": meta})


def post_contact(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """A new contact."""
    fields = Fields(read_json(request.body))
    identifier, name = fields.required("identifier"), fields.required("name")
    source = fields.required("source", validation.one_of(CHANNELS))
    changes = _changes(fields)
    channel, bot_status = fields.optional("channel_uuid"), fields.optional("bot_status", validation.bot_status)
    _check_references(account, fields, {**changes, "channel_uuid": channel})
    fields.done()
    if account.people.by_identifier(source, identifier):
        raise refusal(400, {"identifier": ["has already been taken"]})
    contact = account.add(SandboxContact(identifier=identifier, name=name, source=source, channel=channel))
    _change(contact, changes)
    account.set_bot(contact, bot_status)
    account.emit("contact_created", contact)
    return SandboxResponse(200, {"contact": [responses.contact(account, contact)]})


def get_contact(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """One contact, in a list of one."""
    contact = account.people.get(uuid)
    return SandboxResponse(200, {"contact": [responses.contact(account, contact, field_types=_typed(request))]})


def get_by_phone(account: SandboxAccount, request: SandboxRequest, number: str) -> SandboxResponse:
    """The WhatsApp contact with this number, however it is spelt."""
    contact = account.people.by_identifier("whatsapp", number)
    wanted = request.query.get("channel_uuid")
    if contact is None or (wanted is not None and contact.channel not in (None, wanted)):
        raise refusal(404, "not found")
    return SandboxResponse(200, {"contact": responses.contact(account, contact)})


def get_by_bsuid(account: SandboxAccount, request: SandboxRequest, bsuid: str) -> SandboxResponse:
    """The contact with this bsuid."""
    contact = account.people.by_bsuid(bsuid)
    if contact is None:
        raise refusal(404, "not found")
    return SandboxResponse(200, {"contact": responses.contact(account, contact)})


def patch_contact(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Change what is given, and nothing else."""
    contact = account.people.get(uuid)
    fields = Fields(read_json(request.body))
    changes = _changes(fields)
    if "name" in fields:
        changes["name"] = fields.required("name")
    bot_status = fields.optional("bot_status", validation.bot_status)
    unassign = fields.optional("unassign_user", validation.flag)
    _check_references(account, fields, changes)
    fields.done()
    _change(contact, changes)
    if unassign:
        contact.assigned_user = None
    account.set_bot(contact, bot_status)
    account.emit("contact_updated", contact)
    return SandboxResponse(200, {"contact": [responses.contact(account, contact)]})


def delete_contact(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """It is gone, with its history."""
    contact = account.people.get(uuid)
    account.people.remove(contact)
    account.emit("contact_deleted", contact)
    return SandboxResponse(200, {"status": "contact was destroyed"})


def _changes(fields: Fields) -> dict[str, Any]:
    """What may be given to a new contact and to an old one; null leaves it."""
    found = {
        "tags": fields.optional("tags", validation.strings),
        "custom_fields": fields.optional("custom_fields", validation.custom_fields),
        "assigned_user": fields.optional("assigned_user", validation.filled),
        "team_uuid": fields.optional("team_uuid", validation.filled),
        "note": fields.optional("note", validation.note),
    }
    return {name: value for name, value in found.items() if value is not None}


def _check_references(account: SandboxAccount, fields: Fields, given: dict[str, Any]) -> None:
    # What is no string was complained of already.
    strings = {name: value for name, value in given.items() if isinstance(value, str)}
    for name, complaints in account.check_references(strings).items():
        for complaint in complaints:
            fields.complain(name, complaint)


def _change(contact: SandboxContact, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        match name:
            case "custom_fields":
                contact.custom_fields |= value
            case "team_uuid":
                contact.team = value
            case "note":
                contact.note = value or None
            case _:
                setattr(contact, name, value)


OPERATIONS: dict[str, Operation] = {
    "GET /contacts": get_contacts,
    "POST /contacts": post_contact,
    "GET /contacts/phone/:number": get_by_phone,
    "GET /contacts/bsuid/:bsuid": get_by_bsuid,
    "GET /contacts/:uuid": get_contact,
    "PATCH /contacts/:uuid": patch_contact,
    "DELETE /contacts/:uuid": delete_contact,
}
