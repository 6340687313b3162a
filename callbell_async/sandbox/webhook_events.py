"""What happens in an account, as Callbell's webhook tells it: from an operation to the event's payload, without I/O.

There is a function for each event. Without an outlet, or a webhook that wants the event, it does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from callbell_async.models.message_status import MessageStatus
from callbell_async.sandbox.api import responses
from callbell_async.sandbox.api.validation import EVENTS, is_loopback
from callbell_async.sandbox.clock import local_millis, utc, utc_millis
from callbell_async.sandbox.records import Contact, Entry, SandboxMessage, User, Webhook

if TYPE_CHECKING:
    from callbell_async.sandbox.account import Account

__all__ = [
    "Outlet",
    "agent_status_updated",
    "contact_created",
    "contact_deleted",
    "contact_updated",
    "conversation_closed",
    "conversation_opened",
    "emit",
    "message_received",
    "message_sent",
    "message_status_updated",
    "subscriber",
]

CLOSING_REASON = "issue_resolved"


def subscriber(webhook: Webhook | None, event: str) -> Webhook | None:
    """The webhook, if this event is to be posted to it: it is enabled, on this machine, and subscribed to the event.

    An event that Callbell doesn't document can't be subscribed to, and goes to every webhook.
    """
    if webhook is None or not webhook.enabled or (event in EVENTS and event not in webhook.subscriptions):
        return None
    return webhook if is_loopback(webhook.url) else None


class Outlet(Protocol):
    """Where events go."""

    def send(self, event: str, payload: Any) -> None:
        """Post an event."""

    def follow(self, message: SandboxMessage, contact: Contact) -> None:
        """Tell how an accepted message goes on."""


def emit(account: Account, event: str, payload: Any) -> None:
    """Any event."""
    if outlet := _outlet_for(account, event):
        outlet.send(event, payload)


def contact_created(account: Account, contact: Contact) -> None:
    """Somebody is there from now on."""
    _tell_of_contact(account, "contact_created", contact)


def contact_updated(account: Account, contact: Contact) -> None:
    """Something about a contact was changed."""
    _tell_of_contact(account, "contact_updated", contact)


def contact_deleted(account: Account, contact: Contact) -> None:
    """A contact is gone."""
    if outlet := _outlet_for(account, "contact_deleted"):
        now = account.calendar.now()
        outlet.send("contact_deleted", {"uuid": contact.uuid, "deleted": utc_millis(now)})


def conversation_opened(account: Account, contact: Contact) -> None:
    """A conversation begins, or begins again."""
    if outlet := _outlet_for(account, "conversation_opened"):
        outlet.send("conversation_opened", _conversation(account, contact))


def conversation_closed(account: Account, contact: Contact, at: datetime) -> None:
    """A conversation is over."""
    if outlet := _outlet_for(account, "conversation_closed"):
        end = {"closingReason": CLOSING_REASON, "closedAt": utc(at)}
        outlet.send("conversation_closed", {**_conversation(account, contact), **end})


def agent_status_updated(account: Account, user: User) -> None:
    """A collaborator comes, goes, or has another custom status."""
    if outlet := _outlet_for(account, "agent_status_updated"):
        outlet.send("agent_status_updated", responses.member(account, user))


def message_sent(account: Account, message: SandboxMessage, contact: Contact, entry: Entry) -> None:
    """A message was accepted."""
    content, metadata = message.body["content"], message.body.get("metadata")
    attachments = [] if message.body["type"] == "text" else [content["url"]]
    _tell_of_message(account, contact, entry, attachments, {} if metadata is None else {"metadata": metadata})
    if outlet := _outlet_for(account, "message_status_updated"):
        outlet.follow(message, contact)


def message_received(account: Account, contact: Contact, entry: Entry, attachments: Sequence[str]) -> None:
    """A customer wrote."""
    _tell_of_message(account, contact, entry, attachments, {})


def message_status_updated(
    account: Account, message: SandboxMessage, contact: Contact, status: MessageStatus, after: float
) -> None:
    """A message has this status since so many seconds after its acceptance."""
    if outlet := _outlet_for(account, "message_status_updated"):
        metadata = message.body.get("metadata")
        payload = {
            "uuid": message.uuid,
            "status": status.value,
            **({} if metadata is None else {"metadata": metadata}),
            "messageStatusPayload": account.report(message, status, after),
            "contact": responses.contact(account, contact),
        }
        outlet.send("message_status_updated", payload)


def _outlet_for(account: Account, event: str) -> Outlet | None:
    return None if subscriber(account.webhook, event) is None else account.outlet


def _tell_of_contact(account: Account, event: str, contact: Contact) -> None:
    if outlet := _outlet_for(account, event):
        outlet.send(event, responses.contact(account, contact))


def _conversation(account: Account, contact: Contact) -> dict[str, Any]:
    return {**responses.conversation(contact), "contact": responses.contact(account, contact, chat=False)}


def _tell_of_message(
    account: Account, contact: Contact, entry: Entry, attachments: Sequence[str], more: dict[str, Any]
) -> None:
    if outlet := _outlet_for(account, "message_created"):
        payload = {
            "uuid": entry.uuid,
            "to": entry.recipient,
            "from": entry.sender,
            "text": entry.text,
            "attachments": list(attachments),
            "status": entry.status,
            "channel": entry.channel,
            "contact": responses.contact(account, contact),
            **more,
            "createdAt": local_millis(entry.created_at),
        }
        outlet.send("message_created", payload)
