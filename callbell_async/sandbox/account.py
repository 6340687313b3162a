"""What the sandbox knows: a Callbell account in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import attrs

from callbell_async.models.message_status import MessageStatus
from callbell_async.sandbox.clock import START, Calendar
from callbell_async.sandbox.collections import Shelf
from callbell_async.sandbox.contact_book import People
from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.message_lifecycle import (
    OUTSIDE_WINDOW,
    DeliveryFailure,
    StatusTimings,
    report,
    status_after,
)
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
    new_id,
)
from callbell_async.sandbox.texts import text_of

__all__ = ["EventSink", "SandboxAccount"]

DAY = 24 * 60 * 60.0

KEPT_EVENTS = 10_000
"""How many of the webhook's deliveries are kept."""

EventSink = Callable[[str, "SandboxContact | SandboxUser | HistoryItem"], None]
"""Called with the name of a webhook event and the record it is about."""

Record = TypeVar(
    "Record",
    SandboxChannel,
    SandboxContact,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxTeam,
    SandboxTemplate,
    SandboxUser,
    SandboxWebhook,
    SandboxWebhookDelivery,
)


class SandboxAccount:
    """A Callbell account: change it in a test as you like, between requests.

    `on_event`, if set, is called with each event's name and the record that it is about.
    `add` seeds records. `custom_fields` are the types of contacts' fields by name. `history_has_meta` and `contacts_have_cursors`
    choose between what is documented and what is seen.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        start: datetime = START,
        pace: StatusTimings = StatusTimings(),  # noqa: B008
    ) -> None:
        self.calendar = Calendar(clock, start)
        self.pace = pace
        self.history_has_meta = False
        self.contacts_have_cursors = True
        self.plan = "business_plus"
        self.licenses = 5
        self.included_channels = 3
        self.bot_uuid = "f7155fc557b74597b429bd3dbb5ca677"
        self.bot_name = "My Bot"
        self.messages: list[SandboxMessage] = []
        self._by_id: dict[str, SandboxMessage] = {}
        self.people = People()
        now = self.calendar.now()
        self.channels = Shelf(
            SandboxChannel(title="phone_number_1", main=True),
            SandboxChannel(title="page_1", type="facebook"),
            SandboxChannel(title="profile_1", type="instagram"),
            SandboxChannel(title="telegram_bot_1", type="telegram"),
        )
        self.templates = Shelf(
            SandboxTemplate(
                uuid="d980fb66fd5043d3ace1aa06ba044342",
                title="Template title",
                text="Hello {{1}}, this is a template message example",
                created_at=now,
            )
        )
        self.teams = Shelf(SandboxTeam(name="General", default=True, created_at=now))
        self.users = Shelf(SandboxUser(email="john_doe@email.com", name="John Doe", updated_at=now))
        self.custom_statuses: Shelf[SandboxCustomStatus] = Shelf()
        self.funnels: Shelf[SandboxFunnel] = Shelf()
        self.custom_fields: dict[str, SandboxCustomField] = {}
        self.webhook: SandboxWebhook | None = None
        self.webhook_events: deque[SandboxWebhookDelivery] = deque(maxlen=KEPT_EVENTS)
        self.on_event: EventSink | None = None

    def add(self, record: Record) -> Record:
        """Seed a record, which is given back. The first of its kind replaces what every sandbox has of that kind."""
        now = self.calendar.now()
        for name in ("created_at", "updated_at"):
            if getattr(record, name, now) is None:
                setattr(record, name, now)
        match record:
            case SandboxContact():
                self.people.add(record)
            case SandboxWebhook():
                self.webhook = record
            case SandboxWebhookDelivery():
                self.webhook_events.appendleft(record)
            case _:
                shelves: dict[type, Shelf[Any]] = {
                    SandboxChannel: self.channels,
                    SandboxCustomStatus: self.custom_statuses,
                    SandboxFunnel: self.funnels,
                    SandboxTeam: self.teams,
                    SandboxTemplate: self.templates,
                    SandboxUser: self.users,
                }
                shelves[type(record)].seed(record)
        return record

    def emit(self, event: str, record: SandboxContact | SandboxUser | HistoryItem) -> None:
        """Report an event about a record to `on_event`."""
        if self.on_event is not None:
            self.on_event(event, record)

    def members(self, team: SandboxTeam) -> list[SandboxUser]:
        """The users of a team; the default team's are also those who name none."""
        return [user for user in self.users if team.uuid in user.teams or (team.default and not user.teams)]

    def check_references(self, fields: Mapping[str, Any]) -> dict[str, list[str]]:
        """What a request refers to and isn't there, by field; only kinds that a test has seeded are checked."""
        unknown = {
            "channel_uuid": not self.channels.knows(fields.get("channel_uuid")),
            "team_uuid": not self.teams.knows(fields.get("team_uuid")),
            "template_uuid": not self.templates.knows(fields.get("template_uuid")),
            "assigned_user": self.users.seeded
            and all(user.email != fields.get("assigned_user") for user in self.users),
        }
        errors = {name: ["is unknown"] for name, wrong in unknown.items() if wrong and fields.get(name) is not None}
        template = self.templates.find(fields.get("template_uuid"))
        if template is not None and template.status != "approved":
            errors["template_uuid"] = ["must be an approved template"]
        return errors

    # --- messages ---------------------------------------------------------------------------------------------------------

    def accept(self, body: Mapping[str, Any], request: SandboxRequest) -> tuple[SandboxMessage, SandboxContact]:
        """Take a good message: it is enqueued, its contact is there from now on, and its history has it."""
        contact = self._contact_of(body)
        message = SandboxMessage(uuid=new_id(), body=body, request=request, at=self.calendar.elapsed())
        replied = contact.last_reply
        if replied is not None and message.at - replied >= DAY and "template_uuid" not in body:
            message.failure = OUTSIDE_WINDOW
        self.messages.append(message)
        self._by_id[message.uuid] = message
        text = text_of(body, self.templates.find(body.get("template_uuid")))
        item = self._write(contact, text, "sent", uuid=message.uuid)
        item.message = message
        item.attachments = [] if body["type"] == "text" else [body["content"]["url"]]
        self.open(contact)
        assigned = body.get("assigned_user") or contact.assigned_user, body.get("team_uuid") or contact.team
        if assigned != (contact.assigned_user, contact.team):
            contact.assigned_user, contact.team = assigned
            self.emit("contact_updated", contact)
        self.set_bot(contact, body.get("bot_status"))
        self.emit("message_created", item)
        return message, contact

    def receive(
        self, text: str, *, sender: str, channel: str = "whatsapp", attachments: Sequence[str] = ()
    ) -> HistoryItem:
        """A customer writes: the contact is there from now on, and the 24 hours for answering it begin.

        `attachments` are URLs, which only the webhook is told.
        """
        contact = self._contact_of({"to": sender, "from": channel})
        contact.last_reply = self.calendar.elapsed()
        self.open(contact)
        item = self._write(contact, text, "received", uuid=f"wamid.{new_id()}")
        item.attachments = list(attachments)
        self.emit("message_created", item)
        return item

    def message(self, uuid: str) -> SandboxMessage | None:
        """The accepted message with this uuid."""
        return self._by_id.get(uuid)

    def status_of(self, message: SandboxMessage) -> tuple[MessageStatus, dict[str, Any] | None]:
        """How far a message is by now, and the integration's report of it, once there is one."""
        status, at = status_after(self.calendar.elapsed() - message.at, self.pace, message.failure)
        told = None if at is None else self.report(message, status, at)
        return (MessageStatus.DELETED if message.deleted else status), told

    def report(self, message: SandboxMessage, status: MessageStatus, after: float) -> dict[str, Any]:
        """The integration's report of this status, so many seconds after the message was accepted."""
        return report(
            status,
            uuid=message.uuid,
            destination=message.recipient.removeprefix("+"),
            ts=int(self.calendar.after(message.at + after).timestamp()),
            failure=message.failure,
        )

    def fail(self, message: SandboxMessage, failure: DeliveryFailure) -> None:
        """From now on this message is one that won't be delivered."""
        message.failure = failure

    # --- contacts ---------------------------------------------------------------------------------------------------------

    def note(self, contact: SandboxContact, text: str) -> None:
        """Write a note into the contact's history."""
        self._write(contact, text, "note")

    def open(self, contact: SandboxContact) -> None:
        """Open the contact's conversation, if it is closed."""
        if contact.closed_at is not None:
            contact.closed_at = None
            self.emit("conversation_opened", contact)

    def set_bot(self, contact: SandboxContact, bot_status: str | None) -> None:
        """Start or end the contact's bot, or leave it."""
        if bot_status is not None:
            contact.bot = attrs.evolve(contact.bot, running=bot_status == "bot_start", at=self.calendar.elapsed())

    def _contact_of(self, body: Mapping[str, Any]) -> SandboxContact:
        to, bsuid, source = body.get("to") or "", body.get("bsuid"), body["from"]
        contact = self.people.by_identifier(source, to) if to else self.people.by_bsuid(bsuid)
        if contact is None:
            contact = SandboxContact(identifier=to, name=to or bsuid or "", source=source, bsuid=None if to else bsuid)
            contact.channel = body.get("channel_uuid")
            self.add(contact)
            self.emit("contact_created", contact)
            self.emit("conversation_opened", contact)
        return contact

    def _write(self, contact: SandboxContact, text: str, status: Any, *, uuid: str | None = None) -> HistoryItem:
        theirs, ours = contact.identifier or contact.bsuid or "", self._number_of(contact)
        sender, recipient = {"sent": (ours, theirs), "received": (theirs, ours), "note": (theirs, theirs)}[status]
        item = HistoryItem(
            contact=contact,
            text=text,
            status=status,
            channel=contact.source,
            sender=sender,
            recipient=recipient,
            created_at=self.calendar.now(),
            uuid=uuid,
        )
        contact.history.append(item)
        return item

    def _number_of(self, contact: SandboxContact) -> str:
        own = self.channels.find(contact.channel)
        of_type = [channel for channel in self.channels if channel.type == contact.source and not channel.discarded]
        main = next((channel for channel in of_type if channel.main), of_type[0] if of_type else None)
        channel = own or main
        return "" if channel is None else channel.number
