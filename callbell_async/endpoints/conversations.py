"""A contact's conversation and its bot."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.models.contacts import Bot, Contact, SuccessResponse
from callbell_async.models.messages import BotStatus
from callbell_async.wire import load_one, load_whole

__all__ = ["ConversationCalls"]

_contact = load_one(Contact, "contact")
_bot = load_one(Bot, "bot")


class ConversationCalls(Endpoint):
    """The calls of `callbell.contacts` about a contact's conversation and its bot."""

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
