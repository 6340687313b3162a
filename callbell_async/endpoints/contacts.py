"""Contacts, their tags, and their history."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from callbell_async.arguments import UNSET, Unset, check_string_list
from callbell_async.endpoints.base import PipelineProvider
from callbell_async.endpoints.contact_changes import change_tags, check_tags, run_steps, with_tags, without_tags
from callbell_async.endpoints.conversations import ConversationCalls
from callbell_async.errors import ConfigurationError, NotFoundError
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import DeletionResponse
from callbell_async.models.contacts import Contact, HistoryMessage, ReplyWindow, reply_window
from callbell_async.models.messages import BotStatus
from callbell_async.models.validation import number_variants
from callbell_async.redaction import HiddenFrames
from callbell_async.wire import load_one, load_whole

__all__ = ["ContactsEndpoint", "TagLocks", "find_contacts"]

CustomFieldValue = str | Sequence[str] | None
"""A string for text, email, number, date (`YYYY-MM-DD`) and dropdown fields; a list of strings for a checkbox."""

TagLocks = weakref.WeakValueDictionary[str, asyncio.Lock]
"""A lock for each contact whose tags are being changed: one for a client and those that `with_options` derives."""

_contact = load_one(Contact, "contact")


class ContactsEndpoint(ConversationCalls):
    """Contacts: `callbell.contacts`. Source: Callbell's Contacts API."""

    def __init__(self, pipeline: PipelineProvider, tag_locks: TagLocks) -> None:
        super().__init__(pipeline)
        self._tag_locks = tag_locks

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
        with HiddenFrames():
            query = {"channel_uuid": channel_uuid}
            return await self._call("GET", "contacts", "phone", number, load=_contact, query=query)

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

    async def add_tags(self, uuid: str, *tags: str) -> Contact:
        """Add tags to a contact, and keep its other tags.

        Callbell replaces the whole list of tags, so the contact is read, changed, and read again to verify the change, up to three
        times. Concurrent calls of one client for one contact wait for each other. A tag that another program adds between reading and
        writing, which takes one request, is lost, because Callbell has no condition for a change.

        Args:
            uuid: the contact's identifier.
            tags: the tags, one by one; upper and lower case are the same. A tag that the contact has already is not added.

        Returns:
            The contact as it was read last; it has the tags.

        Raises:
            ContactConflictError: the contact did not have the tags after three writes, or its present tags can't be read.
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came. The call can be made again, because it adds no tag twice.
        """
        return await self._change_tags(uuid, tags, with_tags)

    async def remove_tags(self, uuid: str, *tags: str) -> Contact:
        """Remove tags from a contact, and keep its other tags; see `add_tags`.

        Args:
            uuid: the contact's identifier.
            tags: the tags, one by one; upper and lower case are the same. Tags that the contact does not have are ignored.

        Returns:
            The contact as it was read last; it does not have the tags.

        Raises:
            ContactConflictError: the contact still had the tags after three writes, or its present tags can't be read.
            NotFoundError: the contact does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came. The call can be made again.
        """
        return await self._change_tags(uuid, tags, without_tags)

    async def _change_tags(
        self, uuid: str, tags: Sequence[str], change: Callable[[Sequence[str], Sequence[str]], Sequence[str]]
    ) -> Contact:
        check_tags(tags)
        lock = self._tag_locks.setdefault(uuid, asyncio.Lock())
        async with lock:
            return await change_tags(
                partial(self.get, uuid),
                lambda changed: self.update(uuid, tags=changed),
                lambda present: [*change(present, tags)],
            )

    async def hand_off(
        self,
        uuid: str,
        *,
        team: str | None = None,
        assigned_user: str | None = None,
        note: str | None = None,
        end_bot: bool = True,
    ) -> Contact:
        """Hand a conversation over to people: assign it, add a note, and end the bot, in this order.

        Args:
            uuid: the contact's identifier.
            team: the uuid of the team to assign; `team` or `assigned_user` is required.
            assigned_user: the e-mail of the user to assign.
            note: a note for the conversation, such as what the customer wants; `@` before a name tags a user.
            end_bot: whether to end the contact's bot.

        Returns:
            The contact as it is after the assignment.

        Raises:
            HandOffError: a step failed. Its `steps` has the outcome of each step, and its `__cause__` is the error.
            ConfigurationError: `uuid` or `note` is not valid, or neither `team` nor `assigned_user` is given; nothing was done.
        """
        if not team and not assigned_user:
            raise ConfigurationError("team: give the uuid of a team, or assigned_user= with the e-mail of a user")
        if note is not None and not (isinstance(note, str) and note.strip()):
            raise ConfigurationError("note: must be a non-blank string; leave it out for no note")
        steps: dict[str, Callable[[], Awaitable[Any]]] = {
            "assign": partial(self.update, uuid, team_uuid=team or UNSET, assigned_user=assigned_user or UNSET)
        }
        if note is not None:
            steps["note"] = partial(self.add_note, uuid, note)
        if end_bot:
            steps["end_bot"] = partial(self.set_bot, uuid, BotStatus.BOT_END)
        contact: Contact = (await run_steps(steps))["assign"]
        return contact

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


async def find_contacts(
    contacts: ContactsEndpoint, *, to: str | None, bsuid: str | None, channel_uuid: str | None
) -> AsyncIterator[str]:
    """Yield the uuid of each contact under a number, as it is written and in the other forms to which WhatsApp corrects it, or under a bsuid."""
    found = set()
    for look_up in _look_ups(contacts, to, bsuid, channel_uuid):
        with contextlib.suppress(NotFoundError):
            uuid = (await look_up()).uuid
            if uuid and uuid not in found:
                found.add(uuid)
                yield uuid


def _look_ups(
    contacts: ContactsEndpoint, to: str | None, bsuid: str | None, channel_uuid: str | None
) -> list[Callable[[], Awaitable[Contact]]]:
    if to is None:
        return [partial(contacts.get_by_bsuid, bsuid or "")]
    return [partial(contacts.get_by_phone, number, channel_uuid=channel_uuid) for number in (to, *number_variants(to))]
