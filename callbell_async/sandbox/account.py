"""The state of the sandbox: a Callbell account in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import attrs

from callbell_async.arguments import check_string_list
from callbell_async.models.message_parts import Location
from callbell_async.models.receipts import MessageStatus
from callbell_async.models.template_validation import fill_template
from callbell_async.sandbox.clock import START, Calendar
from callbell_async.sandbox.collections import Collection, ContactBook
from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.message_lifecycle import (
    OUTSIDE_WINDOW,
    ReportShape,
    StatusTimings,
    render_report,
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

__all__ = ["EventSink", "SandboxAccount"]

DAY = 24 * 60 * 60.0

KEPT_DELIVERIES = 10_000
"""The number of attempts to deliver an event that are kept."""

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
    """A Callbell account in memory. A test may change it between requests.

    Args:
        clock: Returns seconds that only grow.
        start: The date of the clock's time now.
        status_timings: When the status of a message changes.

    Attributes:
        calendar: The account's date.
        status_timings: When the status of a message changes; a new value applies to messages accepted afterwards.
        messages: The accepted messages, in order.
        contacts: The contacts, the most recent conversation first.
        channels: The channels.
        templates: The templates.
        teams: The teams.
        users: The collaborators.
        custom_statuses: The custom statuses.
        funnels: The stages of the funnel.
        custom_fields: The types of contacts' custom fields, by name.
        webhook: The webhook; `None` without one.
        webhook_events: The last 10,000 attempts to deliver an event, the newest first.
        on_event: Called with each event's name and the record it is about; a running sandbox sets it.
        revision: A number that grows with each event, request, fault and move of the clock, but not when a test sets an attribute of a
            record.
        contacts_have_cursors: Whether `meta` of the list of contacts has `next` (default true).
        history_has_meta: Whether a contact's history has `meta`: true (default) as the service, false as its documentation.
        contact_in_list: Whether `GET` and `PATCH /contacts/:uuid` return a list of one: false (default) as the service, true as its
            documentation.
        status_has_contact: Whether `GET /messages/status/:uuid` returns `contact` and `conversation`: true (default) as the service,
            false as its documentation.
        report_shape: The form of `messageStatusPayload` for successes: `gupshup` (default) or `meta` (Meta's Cloud API).
        plan: The name of the plan.
        licenses: The plan's number of licenses.
        included_channels: The plan's number of channels.
        bot_uuid: The bot's identifier.
        bot_name: The bot's name.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        start: datetime = START,
        status_timings: StatusTimings = StatusTimings(),  # noqa: B008 - immutable
    ) -> None:
        self.calendar = Calendar(clock, start)
        self.status_timings = status_timings
        self.contacts_have_cursors = True
        self.history_has_meta = True
        self.contact_in_list = False
        self.status_has_contact = True
        self.report_shape: ReportShape = "gupshup"
        self.plan = "business_plus"
        self.licenses = 5
        self.included_channels = 3
        self.bot_uuid = "f7155fc557b74597b429bd3dbb5ca677"
        self.bot_name = "My Bot"
        self.on_event: EventSink | None = None
        self.revision = 0
        self.messages: list[SandboxMessage] = []
        self.reset()

    def reset(self) -> None:
        """Remove all records and messages, and add the defaults of a new account again. The options stay."""
        self.revision += 1
        self.messages.clear()
        self._by_uuid: dict[str, SandboxMessage] = {}
        self.contacts = ContactBook()
        now = self.calendar.now()
        self.channels = Collection(
            SandboxChannel(title="phone_number_1", main=True),
            SandboxChannel(title="page_1", type="facebook"),
            SandboxChannel(title="profile_1", type="instagram"),
            SandboxChannel(title="telegram_bot_1", type="telegram"),
        )
        self.templates = Collection(
            SandboxTemplate(
                uuid="d980fb66fd5043d3ace1aa06ba044342",
                title="Template title",
                text="Hello {{1}}, this is a template message example",
                created_at=now,
            )
        )
        self.teams = Collection(SandboxTeam(name="General", default=True, created_at=now))
        self.users = Collection(SandboxUser(email="john_doe@email.com", name="John Doe", updated_at=now))
        self.custom_statuses: Collection[SandboxCustomStatus] = Collection()
        self.funnels: Collection[SandboxFunnel] = Collection()
        self.custom_fields: dict[str, SandboxCustomField] = {}
        self.webhook: SandboxWebhook | None = None
        self.webhook_events: deque[SandboxWebhookDelivery] = deque(maxlen=KEPT_DELIVERIES)

    def seed(self, record: Record) -> Record:
        """Add a record, without an event.

        The first channel, template, team or user replaces the defaults of its kind. A webhook replaces the one before.

        Returns:
            The record.
        """
        self.revision += 1
        now = self.calendar.now()
        for name in ("created_at", "updated_at"):
            if getattr(record, name, now) is None:
                setattr(record, name, now)
        match record:
            case SandboxContact():
                self.contacts.add(record)
            case SandboxWebhook():
                self.webhook = record
            case SandboxWebhookDelivery():
                self.webhook_events.appendleft(record)
            case _:
                collections: dict[type, Collection[Any]] = {
                    SandboxChannel: self.channels,
                    SandboxCustomStatus: self.custom_statuses,
                    SandboxFunnel: self.funnels,
                    SandboxTeam: self.teams,
                    SandboxTemplate: self.templates,
                    SandboxUser: self.users,
                }
                collections[type(record)].seed(record)
        return record

    def emit(self, event: str, record: SandboxContact | SandboxUser | HistoryItem) -> None:
        """Report an event about a record to `on_event`.

        Args:
            event: The name of the event.
            record: The record that changed.
        """
        self.revision += 1
        if self.on_event is not None:
            self.on_event(event, record)

    def members(self, team: SandboxTeam) -> list[SandboxUser]:
        """Return the users of a team; users without teams belong to the default team."""
        return [user for user in self.users if team.uuid in user.teams or (team.default and not user.teams)]

    def check_references(self, fields: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return the errors of a request's references by field; only kinds that a test has seeded are checked."""
        unknown = {
            "channel_uuid": not self.channels.allows(fields.get("channel_uuid")),
            "team_uuid": not self.teams.allows(fields.get("team_uuid")),
            "template_uuid": not self.templates.allows(fields.get("template_uuid")),
            "assigned_user": self.users.seeded
            and all(user.email != fields.get("assigned_user") for user in self.users),
        }
        errors = {name: ["is unknown"] for name, wrong in unknown.items() if wrong and fields.get(name) is not None}
        template = self.templates.find(fields.get("template_uuid"))
        if template is not None and template.status != "approved":
            errors["template_uuid"] = ["must be an approved template"]
        return errors

    # --- messages ---------------------------------------------------------------------------------------------------------

    def accept(self, body: Mapping[str, Any], request: SandboxRequest) -> SandboxMessage:
        """Accept a valid message: enqueue it and add it to the history of its contact, which is created if needed.

        Args:
            body: The JSON of the request.
            request: The request.

        Returns:
            The message.
        """
        contact = self._contact_of(body)
        message = SandboxMessage(uuid=new_id(), body=body, request=request, contact=contact, at=self.calendar.elapsed())
        replied = contact.last_reply
        if replied is not None and message.at - replied >= DAY and "template_uuid" not in body:
            message.failure = OUTSIDE_WINDOW
        self.messages.append(message)
        self._by_uuid[message.uuid] = message
        item = self._add_to_history(contact, self._text_of(body), "sent", uuid=message.uuid)
        item.message = message
        item.attachments = [] if body["type"] == "text" else [body["content"]["url"]]
        self.contacts.touch(contact)
        self.open_conversation(contact)
        assigned = body.get("assigned_user") or contact.assigned_user, body.get("team_uuid") or contact.team
        if assigned != (contact.assigned_user, contact.team):
            contact.assigned_user, contact.team = assigned
            self.emit("contact_updated", contact)
        self.set_bot(contact, body.get("bot_status"))
        self.emit("message_created", item)
        return message

    def receive_message(
        self,
        text: str = "",
        *,
        sender: str,
        channel: str = "whatsapp",
        attachments: Sequence[str] = (),
        location: Location | None = None,
    ) -> HistoryItem:
        """Receive a message from a customer, which opens the conversation and starts the 24 hours for replies.

        Args:
            text: The text; by default none, for a customer who sends a file or a place only.
            sender: The customer's number, or identifier in the channel; the contact is created if needed.
            channel: The type of the channel.
            attachments: The URLs of media, which only webhook events contain.
            location: A place, which only webhook events contain.

        Returns:
            The item in the contact's history.
        """
        contact = self.contacts.by_bsuid(sender) or self._contact_of({"to": sender, "from": channel})
        contact.last_reply = self.calendar.elapsed()
        self.contacts.touch(contact)
        self.open_conversation(contact)
        item = self._add_to_history(contact, text, "received", uuid=f"wamid.{new_id()}")
        item.attachments = check_string_list("attachments", attachments)
        item.location = location
        self.emit("message_created", item)
        return item

    def find_message(self, uuid: str) -> SandboxMessage | None:
        """Return the accepted message with this uuid; `None` if it does not exist."""
        return self._by_uuid.get(uuid)

    def status_of(self, message: SandboxMessage) -> tuple[MessageStatus, dict[str, Any] | None]:
        """Return a message's current status and the integration's report; `None` before the first report."""
        status, at = status_after(self.calendar.elapsed() - message.at, self.status_timings, message.failure)
        report = None if at is None else self.report(message, status, at)
        return (MessageStatus.DELETED if message.deleted else status), report

    def report(self, message: SandboxMessage, status: MessageStatus, after: float) -> dict[str, Any] | None:
        """Return the integration's report of a status.

        Args:
            message: The message.
            status: The status that the message reached.
            after: The seconds from the acceptance to the status.

        Returns:
            The report; `None` if the integration reports nothing for this status.
        """
        return render_report(
            status,
            uuid=message.uuid,
            destination=message.recipient.removeprefix("+"),
            ts=int(self.calendar.after(message.at + after).timestamp()),
            failure=message.failure,
            shape=self.report_shape,
        )

    def _text_of(self, body: Mapping[str, Any]) -> str:
        text = str(body["content"].get("text") or "")
        template = self.templates.find(body.get("template_uuid"))
        return text if template is None else fill_template(template.text, body.get("template_values") or [text])

    # --- contacts ---------------------------------------------------------------------------------------------------------

    def add_note(self, contact: SandboxContact, text: str, *, system: bool = False) -> HistoryItem:
        """Add a note of a colleague, or of the system, to a contact's history.

        A system note has no uuid, and its `from` equals its `to`.

        Args:
            contact: The contact.
            text: The text of the note.
            system: Whether it is a note of the system.

        Returns:
            The note.
        """
        return self._add_to_history(contact, text, "note", uuid=None if system else new_id())

    def open_conversation(self, contact: SandboxContact) -> None:
        """Open the contact's conversation, if it is closed."""
        if contact.closed_at is not None:
            contact.closed_at = None
            self.contacts.touch(contact)
            self.emit("conversation_opened", contact)

    def close_conversation(self, contact: SandboxContact) -> None:
        """Close the contact's conversation, if it is open."""
        if contact.closed_at is None:
            contact.closed_at = self.calendar.now()
            self.emit("conversation_closed", contact)

    def set_bot(self, contact: SandboxContact, bot_status: str | None) -> None:
        """Start or end the contact's bot.

        Args:
            contact: The contact.
            bot_status: `bot_start` or `bot_end`; `None` changes nothing.
        """
        if bot_status is not None:
            contact.bot = attrs.evolve(contact.bot, running=bot_status == "bot_start", at=self.calendar.elapsed())

    def _contact_of(self, body: Mapping[str, Any]) -> SandboxContact:
        to, bsuid, source = body.get("to") or "", body.get("bsuid"), body["from"]
        contact = self.contacts.by_identifier(source, to) if to else self.contacts.by_bsuid(bsuid)
        if contact is None:
            contact = SandboxContact(identifier=to, name=to or bsuid or "", source=source, bsuid=None if to else bsuid)
            contact.channel = body.get("channel_uuid")
            self.seed(contact)
            self.emit("contact_created", contact)
            self.emit("conversation_opened", contact)
        return contact

    def _add_to_history(
        self, contact: SandboxContact, text: str, status: Literal["sent", "received", "note"], *, uuid: str | None
    ) -> HistoryItem:
        customer, own = contact.identifier or contact.bsuid or "", self._number_of(contact)
        sender, recipient = (customer, own) if status == "received" else (own, customer)
        if uuid is None:
            sender = customer
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
        chosen = self.channels.find(contact.channel)
        of_type = [channel for channel in self.channels if channel.type == contact.source and not channel.discarded]
        main = next((channel for channel in of_type if channel.main), of_type[0] if of_type else None)
        channel = chosen or main
        return "" if channel is None else channel.number
