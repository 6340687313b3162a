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
from callbell_async.sandbox.records import Entry, SandboxContact, SandboxMessage, SandboxUser, SandboxWebhook

if TYPE_CHECKING:
    from callbell_async.sandbox.account import SandboxAccount

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


def subscriber(webhook: SandboxWebhook | None, event: str) -> SandboxWebhook | None:
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

    def follow(self, message: SandboxMessage, contact: SandboxContact) -> None:
        """Tell how an accepted message goes on."""


def emit(account: SandboxAccount, event: str, payload: Any) -> None:
    """Any event."""
    if outlet := _outlet_for(account, event):
        outlet.send(event, payload)


def contact_created(account: SandboxAccount, contact: SandboxContact) -> None:
    """Somebody is there from now on."""
    _tell_of_contact(account, "contact_created", contact)


def contact_updated(account: SandboxAccount, contact: SandboxContact) -> None:
    """Something about a contact was changed."""
    _tell_of_contact(account, "contact_updated", contact)


def contact_deleted(account: SandboxAccount, contact: SandboxContact) -> None:
    """A contact is gone."""
    if outlet := _outlet_for(account, "contact_deleted"):
        now = account.calendar.now()
        outlet.send("contact_deleted", {"uuid": contact.uuid, "deleted": utc_millis(now)})


def conversation_opened(account: SandboxAccount, contact: SandboxContact) -> None:
    """A conversation begins, or begins again."""
    if outlet := _outlet_for(account, "conversation_opened"):
        outlet.send("conversation_opened", _conversation(account, contact))


def conversation_closed(account: SandboxAccount, contact: SandboxContact, at: datetime) -> None:
    """A conversation is over."""
    if outlet := _outlet_for(account, "conversation_closed"):
        end = {"closingReason": CLOSING_REASON, "closedAt": utc(at)}
        outlet.send("conversation_closed", {**_conversation(account, contact), **end})


def agent_status_updated(account: SandboxAccount, user: SandboxUser) -> None:
    """A collaborator comes, goes, or has another custom status."""
    if outlet := _outlet_for(account, "agent_status_updated"):
        outlet.send("agent_status_updated", responses.member(account, user))


def message_sent(account: SandboxAccount, message: SandboxMessage, contact: SandboxContact, entry: Entry) -> None:
    """A message was accepted."""
    content, metadata = message.body["content"], message.body.get("metadata")
    attachments = [] if message.body["type"] == "text" else [content["url"]]
    _tell_of_message(account, contact, entry, attachments, {} if metadata is None else {"metadata": metadata})
    if outlet := _outlet_for(account, "message_status_updated"):
        outlet.follow(message, contact)


def message_received(
    account: SandboxAccount, contact: SandboxContact, entry: Entry, attachments: Sequence[str]
) -> None:
    """A customer wrote."""
    _tell_of_message(account, contact, entry, attachments, {})


def message_status_updated(
    account: SandboxAccount, message: SandboxMessage, contact: SandboxContact, status: MessageStatus, after: float
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


def _outlet_for(account: SandboxAccount, event: str) -> Outlet | None:
    return None if subscriber(account.webhook, event) is None else account.outlet


def _tell_of_contact(account: SandboxAccount, event: str, contact: SandboxContact) -> None:
    if outlet := _outlet_for(account, event):
        outlet.send(event, responses.contact(account, contact))


def _conversation(account: SandboxAccount, contact: SandboxContact) -> dict[str, Any]:
    return {**responses.conversation(contact), "contact": responses.contact(account, contact, chat=False)}


def _tell_of_message(
    account: SandboxAccount, contact: SandboxContact, entry: Entry, attachments: Sequence[str], more: dict[str, Any]
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
