"""Contacts, their conversations, their history, and their bot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from callbell_async.arguments import check_string_list
from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import DeletionResponse
from callbell_async.models.contacts import Bot, Contact, HistoryMessage, ReplyWindow, SuccessResponse, reply_window
from callbell_async.models.messages import BotStatus
from callbell_async.models.unset import UNSET, Unset
from callbell_async.wire import load_one, load_whole

__all__ = ["ContactsEndpoint"]

CustomFieldValue = str | Sequence[str] | None
"""A string for text, email, number, date (`YYYY-MM-DD`) and dropdown fields; a list of strings for a checkbox."""

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
        """List the contacts, the most recent conversation first, 20 on a page.

        Pages are fetched by cursor where the account has one. Without a cursor, Callbell ends the list at page 500, after 10,000 contacts.

        Args:
            source: only contacts of this channel type, such as `whatsapp`.
            tags: only contacts with these tags; upper and lower case are the same.
            team_uuid: only contacts that are assigned to this team.
            include_field_types: whether to fill `custom_fields_metadata`.

        Returns:
            The contacts. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages(
            "contacts",
            load=load_page(Contact, "contacts"),
            filters={
                "source": source,
                "tags": None if tags is None else check_string_list("tags", tags),
                "team_uuid": team_uuid,
                "include_field_types": include_field_types,
            },
        )

    async def get(self, uuid: str, *, include_field_types: bool | None = None) -> Contact:
        """Return one contact.

        Args:
            uuid: the contact's identifier.
            include_field_types: whether to fill `custom_fields_metadata`.

        Returns:
            The contact.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call(
            "GET", "contacts", uuid, load=_contact, query={"include_field_types": include_field_types}
        )

    async def get_by_phone(self, number: str, *, channel_uuid: str | None = None) -> Contact:
        """Return the contact with a telephone number.

        WhatsApp corrects some numbers (Brazil, Mexico, Argentina), so the contact may exist under another form of the number.

        Args:
            number: the telephone number in international form.
            channel_uuid: the channel on which to look; by default the main WhatsApp channel.

        Returns:
            The contact.

        Raises:
            NotFoundError: no contact has this number.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "contacts", "phone", number, load=_contact, query={"channel_uuid": channel_uuid})

    async def get_by_bsuid(self, bsuid: str) -> Contact:
        """Return the contact with a WhatsApp Business Suite User ID.

        Args:
            bsuid: the identifier.

        Returns:
            The contact.

        Raises:
            NotFoundError: no contact has this identifier.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
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
        """Create a contact.

        Args:
            identifier: its telephone number or platform identifier.
            source: its channel type, such as `whatsapp`.
            name: its name.
            tags: its tags.
            custom_fields: values of custom fields by name: a string, or a list of strings for a checkbox.
            assigned_user: the e-mail of the user to assign.
            team_uuid: the team to assign.
            channel_uuid: the channel of the contact.
            bot_status: `bot_start` or `bot_end`.
            note: a note of at most 1,000 characters.

        Returns:
            The new contact.

        Raises:
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the contact may have been created.
        """
        return await self._call(
            "POST",
            "contacts",
            load=_contact,
            json={
                "identifier": identifier,
                "source": source,
                "name": name,
                "tags": UNSET if tags is UNSET else check_string_list("tags", tags),
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
        """Change a contact; only the arguments given are changed.

        Args:
            uuid: the contact's identifier.
            name: the new name.
            tags: the new list of tags, which replaces the present one; `[]` clears it.
            custom_fields: new values of custom fields by name: a string, or a list of strings for a checkbox.
            assigned_user: the e-mail of the user to assign.
            unassign_user: `True` removes the assigned user.
            team_uuid: the team to assign.
            bot_status: `bot_start` or `bot_end`.
            note: the new note, of at most 1,000 characters; `""` clears it.

        Returns:
            The changed contact.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call(
            "PATCH",
            "contacts",
            uuid,
            load=_contact,
            json={
                "name": name,
                "tags": UNSET if tags is UNSET else check_string_list("tags", tags),
                "custom_fields": custom_fields,
                "assigned_user": assigned_user,
                "unassign_user": unassign_user,
                "team_uuid": team_uuid,
                "bot_status": bot_status,
                "note": note,
            },
        )

    async def delete(self, uuid: str) -> DeletionResponse:
        """Delete a contact. This can't be undone.

        Args:
            uuid: the contact's identifier.

        Returns:
            Callbell's confirmation.

        Raises:
            NotFoundError: the contact does not exist; after a retry, perhaps because an earlier attempt deleted it.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the contact may have been deleted.
        """
        return await self._call("DELETE", "contacts", uuid, load=load_whole(DeletionResponse))

    def messages(self, uuid: str) -> Paginator[HistoryMessage]:
        """List the messages sent to a contact and received from it, newest first.

        Args:
            uuid: the contact's identifier.

        Returns:
            The messages. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("contacts", uuid, "messages", load=load_page(HistoryMessage, "messages"))

    async def reply_window(self, uuid: str) -> ReplyWindow:
        """Return whether messages other than templates may be sent to a contact now: within 24 hours of its last message.

        The history is fetched only as far back as it can matter.

        Args:
            uuid: the contact's identifier.

        Returns:
            The window: whether it is open, and until when.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await reply_window(self.messages(uuid), now=datetime.now(UTC))

    async def open_conversation(self, uuid: str) -> Contact:
        """Open a contact's conversation.

        Args:
            uuid: the contact's identifier.

        Returns:
            The contact.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the conversation may have been opened.
        """
        return await self._call("POST", "contacts", uuid, "conversation", "open", load=_contact, json={})

    async def close_conversation(self, uuid: str) -> Contact:
        """Close a contact's conversation.

        Args:
            uuid: the contact's identifier.

        Returns:
            The contact.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the conversation may have been closed.
        """
        return await self._call("POST", "contacts", uuid, "conversation", "close", load=_contact, json={})

    async def add_note(self, uuid: str, text: str) -> SuccessResponse:
        """Add a note to a contact's conversation.

        Args:
            uuid: the contact's identifier.
            text: the note; `@` before a name tags a user.

        Returns:
            Callbell's confirmation.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the note may have been added.
        """
        return await self._call(
            "POST", "contacts", uuid, "conversation", "note", load=load_whole(SuccessResponse), json={"text": text}
        )

    async def move_to_funnel(self, uuid: str, funnel_id: str) -> Contact:
        """Move a contact to a funnel.

        Args:
            uuid: the contact's identifier.
            funnel_id: the funnel's identifier.

        Returns:
            The contact.

        Raises:
            NotFoundError: the contact or the funnel does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the contact may have been moved.
        """
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
        """Return the bot in a contact's conversation.

        Args:
            uuid: the contact's identifier.

        Returns:
            The bot.

        Raises:
            NotFoundError: the contact or its bot does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "contacts", uuid, "bot", load=_bot)

    async def set_bot(self, uuid: str, status: BotStatus | str) -> Bot:
        """Start or end the bot in a contact's conversation.

        Args:
            uuid: the contact's identifier.
            status: `bot_start` or `bot_end`.

        Returns:
            The bot.

        Raises:
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call("POST", "contacts", uuid, "bot", load=_bot, json={"status": status})
