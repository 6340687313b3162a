"""Contacts, their conversations, their history, and their bot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import DeletionResponse
from callbell_async.models.contacts import Bot, Contact, HistoryMessage, ReplyWindow, SuccessResponse, reply_window
from callbell_async.models.messages import BotStatus
from callbell_async.models.unset import UNSET, Unset
from callbell_async.wire import load_one, load_whole

__all__ = ["ContactsEndpoint"]

CustomFieldValue = str | Sequence[str] | None
"""Text, email, number (as a string), date (`YYYY-MM-DD`) and dropdown: a string; checkbox: a list of strings."""

_contact = load_one(Contact, "contact")
_bot = load_one(Bot, "bot")


class ContactsEndpoint(Endpoint):
    """Contacts: `callbell.contacts`. Source: Callbell's Contacts API."""

    def list(
        self,
        *,
        source: str | None = None,
        tags: Sequence[str] | None = None,
        team_uuid: str | None = None,
        include_field_types: bool | None = None,
    ) -> Paginator[Contact]:
        """All contacts, 20 a page: by cursor where the account has one, which goes past the 10 000 that pages by number end at.

        `include_field_types` fills `custom_fields_metadata`.
        """
        return self._pages(
            "contacts",
            load=load_page(Contact, "contacts"),
            filters={
                "source": source,
                "tags": tags,
                "team_uuid": team_uuid,
                "include_field_types": include_field_types,
            },
        )

    async def get(self, uuid: str, *, include_field_types: bool | None = None) -> Contact:
        """One contact."""
        return await self._call(
            "GET", "contacts", uuid, load=_contact, query={"include_field_types": include_field_types}
        )

    async def get_by_phone(self, number: str, *, channel_uuid: str | None = None) -> Contact:
        """The contact with this telephone number, on the main WhatsApp channel or the one given."""
        return await self._call("GET", "contacts", "phone", number, load=_contact, query={"channel_uuid": channel_uuid})

    async def get_by_bsuid(self, bsuid: str) -> Contact:
        """The contact with this WhatsApp Business Suite User ID."""
        return await self._call("GET", "contacts", "bsuid", bsuid, load=_contact)

    async def create(
        self,
        *,
        identifier: str,
        source: str,
        name: str,
        tags: Sequence[str] | Unset = UNSET,
        custom_fields: Mapping[str, CustomFieldValue] | Unset = UNSET,
        assigned_user: str | Unset = UNSET,
        team_uuid: str | Unset = UNSET,
        channel_uuid: str | Unset = UNSET,
        bot_status: BotStatus | str | Unset = UNSET,
        note: str | Unset = UNSET,
    ) -> Contact:
        """Create a contact: `identifier` is its telephone number or platform identifier; a `note` has at most 1000 characters."""
        return await self._call(
            "POST",
            "contacts",
            load=_contact,
            json={
                "identifier": identifier,
                "source": source,
                "name": name,
                "tags": tags,
                "custom_fields": custom_fields,
                "assigned_user": assigned_user,
                "team_uuid": team_uuid,
                "channel_uuid": channel_uuid,
                "bot_status": bot_status,
                "note": note,
            },
        )

    async def update(
        self,
        uuid: str,
        *,
        name: str | Unset = UNSET,
        tags: Sequence[str] | Unset = UNSET,
        custom_fields: Mapping[str, CustomFieldValue] | Unset = UNSET,
        assigned_user: str | Unset = UNSET,
        unassign_user: bool | Unset = UNSET,
        team_uuid: str | Unset = UNSET,
        bot_status: BotStatus | str | Unset = UNSET,
        note: str | Unset = UNSET,
    ) -> Contact:
        """Change what is given and nothing else: `tags` replaces the list and `[]` clears it, `note=""` clears the note."""
        return await self._call(
            "PATCH",
            "contacts",
            uuid,
            load=_contact,
            json={
                "name": name,
                "tags": tags,
                "custom_fields": custom_fields,
                "assigned_user": assigned_user,
                "unassign_user": unassign_user,
                "team_uuid": team_uuid,
                "bot_status": bot_status,
                "note": note,
            },
        )

    async def delete(self, uuid: str) -> DeletionResponse:
        """Delete a contact, which can't be undone. Repeated after a lost answer, it may find the contact gone: `NotFoundError`."""
        return await self._call("DELETE", "contacts", uuid, load=load_whole(DeletionResponse))

    def messages(self, uuid: str) -> Paginator[HistoryMessage]:
        """What was said with a contact, newest first."""
        return self._pages("contacts", uuid, "messages", load=load_page(HistoryMessage, "messages"))

    async def reply_window(self, uuid: str) -> ReplyWindow:
        """Whether other messages than templates may be sent to a contact now: 24 hours from its last message.

        Fetches the history only as far back as it can matter.
        """
        return await reply_window(self.messages(uuid), now=datetime.now(UTC))

    async def open_conversation(self, uuid: str) -> Contact:
        """Open the contact's conversation."""
        return await self._call("POST", "contacts", uuid, "conversation", "open", load=_contact, json={})

    async def close_conversation(self, uuid: str) -> Contact:
        """Close the contact's conversation."""
        return await self._call("POST", "contacts", uuid, "conversation", "close", load=_contact, json={})

    async def add_note(self, uuid: str, text: str) -> SuccessResponse:
        """Add a note to the contact's conversation; `@` before a name tags a colleague."""
        return await self._call(
            "POST", "contacts", uuid, "conversation", "note", load=load_whole(SuccessResponse), json={"text": text}
        )

    async def move_to_funnel(self, uuid: str, funnel_id: str) -> Contact:
        """Move the contact to a funnel."""
        return await self._call(
            "PUT",
            "contacts",
            uuid,
            "conversation",
            "update_funnel",
            load=_contact,
            json={"funnel_id": funnel_id},
        )

    async def get_bot(self, uuid: str) -> Bot:
        """The bot in the contact's conversation."""
        return await self._call("GET", "contacts", uuid, "bot", load=_bot)

    async def set_bot(self, uuid: str, status: BotStatus | str) -> Bot:
        """Start or end the bot: `bot_start` or `bot_end`."""
        return await self._call("POST", "contacts", uuid, "bot", load=_bot, json={"status": status})
