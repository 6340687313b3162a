"""The JSON of responses, in the form of the documented examples, quirks included."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from callbell_async.models.validation import normalize_recipient
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.clock import local, local_millis, utc
from callbell_async.sandbox.records import (
    HistoryItem,
    SandboxChannel,
    SandboxContact,
    SandboxCustomField,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxMessage,
    SandboxTeam,
    SandboxTemplate,
    SandboxUser,
    SandboxWebhook,
    SandboxWebhookDelivery,
)

__all__ = [
    "bot",
    "channel",
    "contact",
    "conversation",
    "custom_status",
    "funnel",
    "history_item",
    "member",
    "metadata",
    "short_contact",
    "team",
    "template",
    "user_status",
    "webhook",
    "webhook_event",
]

DASHBOARD = "https://dash.callbell.eu"


def _date(date: datetime | None) -> str | None:
    return None if date is None else utc(date)


def _local(date: datetime | None) -> str | None:
    return None if date is None else local(date)


def contact(
    account: SandboxAccount,
    contact: SandboxContact,
    *,
    always: tuple[str, ...] = (),
    chat: bool = True,
    field_types: bool = False,
) -> dict[str, Any]:
    """Return a contact. Keys without a value are left out, except those that this call's example has `always`."""
    document: dict[str, Any] = {
        "uuid": contact.uuid,
        "name": contact.name,
        "phoneNumber": contact.identifier or None,
        "avatarUrl": contact.avatar_url,
        "createdAt": _date(contact.created_at),
        "source": contact.source,
        "href": f"{DASHBOARD}/contacts/{contact.uuid}",
        **({"conversationHref": f"{DASHBOARD}/chat/{contact.conversation}"} if chat else {}),
        "tags": contact.tags,
        "assignedUser": contact.assigned_user,
        "customFields": {name: _flat(value) for name, value in contact.custom_fields.items()},
    }
    own_team, own_channel = account.teams.find(contact.team), account.channels.find(contact.channel)
    set_or_not = {
        "funnelId": contact.funnel,
        "closedAt": _date(contact.closed_at),
        "blockedAt": _date(contact.blocked_at),
        "team": {} if own_team is None else team(account, own_team),
        "channel": None if own_channel is None else channel(own_channel, listed=True),
        "bsuid": contact.bsuid,
        "note": contact.note,
    }
    document |= {key: value for key, value in set_or_not.items() if value or key in always}
    if field_types:
        document["customFieldsMetadata"] = {
            name: _typed(value, account.custom_fields.get(name)) for name, value in contact.custom_fields.items()
        }
    return document


def _flat(value: str | list[str]) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _typed(value: str | list[str], field: SandboxCustomField | None) -> dict[str, Any]:
    known = field or SandboxCustomField("text" if isinstance(value, str) else "checkbox", None)
    options = value if known.type == "checkbox" and known.options is None else known.options
    return {"value": value, "type": known.type, **({} if options is None else {"options": list(options)})}


def short_contact(contact: SandboxContact) -> dict[str, Any]:
    """Return a contact in the response to a message, which has other keys than elsewhere."""
    return {
        "uuid": contact.uuid,
        "name": contact.name,
        "phone": contact.identifier or None,
        "email": contact.email,
    }


def conversation(contact: SandboxContact) -> dict[str, Any]:
    """Return a conversation in the response to a message."""
    return {
        "source": contact.source,
        "href": f"{DASHBOARD}/chat/{contact.conversation}",
        "createdAt": _date(contact.created_at),
    }


def metadata(message: SandboxMessage) -> dict[str, Any]:
    """Return a message's metadata under its key, or nothing if the message has none."""
    given = message.body.get("metadata")
    return {} if given is None else {"metadata": given}


def history_item(item: HistoryItem) -> dict[str, Any]:
    """Return one item of a contact's history; a system note has no uuid."""
    return {
        "text": item.text,
        "createdAt": utc(item.created_at),
        **({} if item.uuid is None else {"uuid": item.uuid}),
        "status": item.status,
        "channel": item.channel,
        "from": digits(item.sender),
        "to": digits(item.recipient),
    }


def digits(identifier: str) -> str:
    """Return a telephone number as messages have it, without `+` and blanks; any other identifier as it is."""
    return normalize_recipient(identifier).removeprefix("+")


def bot(account: SandboxAccount, contact: SandboxContact, *, just_now: bool = False) -> dict[str, Any]:
    """Return a contact's bot: `started` in the response that starts it, `in_progress` afterwards."""
    running = contact.bot.running
    status = "ended" if not running else "started" if just_now else "in_progress"
    return {
        "uuid": account.bot_uuid,
        "name": account.bot_name,
        "status": status,
        "conversationStartedAt": utc(account.calendar.after(contact.bot.at)) if running and not just_now else None,
        "version": 5,
        "latestBotVersion": True,
    }


def channel(channel: SandboxChannel, *, listed: bool = False) -> dict[str, Any]:
    """Return a channel; only lists contain `discardedAt`."""
    document = {"uuid": channel.uuid, "title": channel.title, "type": channel.type, "main": channel.main}
    return {**document, "discardedAt": channel.discarded} if listed else document


def template(template: SandboxTemplate, *, patched: bool = False) -> dict[str, Any]:
    """Return a template; the response to a change lacks two keys."""
    document = {
        "uuid": template.uuid,
        "title": template.title,
        "templateType": template.template_type,
        "category": template.category,
        "status": template.status,
        "text": template.text,
        "createdAt": _date(template.created_at),
    }
    return {key: document[key] for key in document if key not in ("category", "status")} if patched else document


def team(account: SandboxAccount, team: SandboxTeam) -> dict[str, Any]:
    """Return a team, with the number of its members."""
    return {
        "uuid": team.uuid,
        "name": team.name,
        "createdAt": _date(team.created_at),
        "default": team.default,
        "members": len(account.members(team)),
    }


def member(account: SandboxAccount, user: SandboxUser) -> dict[str, Any]:
    """Return a member of a team, with the custom status if there is one."""
    document = {
        "email": user.email,
        "name": user.name,
        "available": user.available,
        "lastUpdatedAt": _date(user.updated_at),
    }
    if status := account.custom_statuses.find(user.custom_status):
        document["userCustomStatus"] = {
            "updatedAt": _date(user.custom_status_at),
            "id": status.uuid,
            "name": status.name,
            "emoji": status.emoji,
        }
    return document


def user_status(account: SandboxAccount, user: SandboxUser) -> dict[str, Any]:
    """Return a user's status after a change: the only response in snake_case."""
    status, at, updated_at = account.custom_statuses.find(user.custom_status), user.custom_status_at, user.updated_at
    custom = None
    if status is not None and at is not None:
        custom = {"id": status.uuid, "name": status.name, "last_updated_at": local_millis(at)}
    appearance = {
        "available": user.available,
        "last_updated_at": None if updated_at is None else local_millis(updated_at),
    }
    return {"custom_status": custom, "appearance": appearance}


def custom_status(status: SandboxCustomStatus) -> dict[str, Any]:
    """Return a custom status."""
    return {
        "name": status.name,
        "createdAt": _local(status.created_at),
        "updatedAt": _local(status.updated_at),
        "emoji": status.emoji,
        "id": status.uuid,
    }


def funnel(funnel: SandboxFunnel) -> dict[str, Any]:
    """Return a stage of the funnel."""
    return {
        "position": funnel.position,
        "name": funnel.name,
        "emoji": funnel.emoji,
        "createdAt": _local(funnel.created_at),
        "uuid": funnel.uuid,
    }


def webhook(webhook: SandboxWebhook) -> dict[str, Any]:
    """Return the webhook."""
    return {
        "url": webhook.url,
        "subscriptions": webhook.subscriptions,
        "createdAt": _local(webhook.created_at),
        "enabled": webhook.enabled,
    }


def webhook_event(event: SandboxWebhookDelivery) -> dict[str, Any]:
    """Return an attempt to deliver an event."""
    return {
        "event": event.event,
        "payload": event.payload,
        "response": {"body": event.body, "code": event.code, "headers": dict(event.headers)},
        "success": event.success,
        "createdAt": _date(event.created_at),
    }
