"""The account: the token's owner, the plan, channels, funnels, and users' statuses."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import Account, Channel, Funnel, Plan, UserStatus
from callbell_async.models.unset import UNSET, Unset
from callbell_async.wire import load_one, load_user_status, load_whole

__all__ = ["AuthEndpoint", "ChannelsEndpoint", "FunnelsEndpoint", "PlanEndpoint", "UsersEndpoint"]

_channel = load_one(Channel, "channel")


class AuthEndpoint(Endpoint):
    """The token: `callbell.auth`. Source: Callbell's page `GET /auth/me`."""

    async def me(self) -> Account:
        """Return the owner of the token.

        Returns:
            The account. Callbell's response holds the token itself: `api_key` and `raw` are secrets.

        Raises:
            AuthenticationError: Callbell does not know the token.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "auth", "me", load=load_whole(Account))


class PlanEndpoint(Endpoint):
    """The plan: `callbell.plan`. Source: Callbell's page `GET /plan`."""

    async def get(self) -> Plan:
        """Return the account's plan and how much of it is used.

        Returns:
            The plan.

        Raises:
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "plan", load=load_whole(Plan))


class ChannelsEndpoint(Endpoint):
    """Channels: `callbell.channels`. Source: Callbell's Channels API."""

    def list(self, *, type: str | None = None, active: bool | None = None) -> Paginator[Channel]:  # noqa: A002 - Callbell's name
        """List the channels from which messages are sent.

        Args:
            type: only channels of this type: `facebook`, `whatsapp`, `instagram` or `telegram`.
            active: only channels in use (`True`) or out of use (`False`).

        Returns:
            The channels. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("channels", load=load_page(Channel, "channels"), filters={"type": type, "active": active})

    async def get(self, uuid: str) -> Channel:
        """Return one channel.

        Args:
            uuid: the channel's identifier.

        Returns:
            The channel.

        Raises:
            NotFoundError: the channel does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "channels", uuid, load=_channel)

    async def update(self, uuid: str, *, title: str) -> Channel:
        """Change a channel's title.

        Args:
            uuid: the channel's identifier.
            title: the new title.

        Returns:
            The changed channel.

        Raises:
            NotFoundError: the channel does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call("PATCH", "channels", uuid, load=_channel, json={"title": title})


class FunnelsEndpoint(Endpoint):
    """Funnels: `callbell.funnels`. Source: Callbell's page `GET /funnels`."""

    def list(self) -> Paginator[Funnel]:
        """List all funnels; they come in one page.

        Returns:
            The funnels. Iteration fetches the page, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("funnels", load=load_page(Funnel, "funnels"), single=True)


class UsersEndpoint(Endpoint):
    """Users' statuses: `callbell.users`. Source: Callbell's pages `PUT` and `DELETE /users/:uuid/status`."""

    async def set_status(
        self, uuid: str, *, available: bool | Unset = UNSET, custom_status_uuid: str | Unset | None = UNSET
    ) -> UserStatus:
        """Set a user's status; only the arguments given are changed.

        Args:
            uuid: the user's identifier.
            available: whether the user is available.
            custom_status_uuid: the custom status to assign; `None` unassigns the present one.

        Returns:
            The user's status after the change.

        Raises:
            NotFoundError: the user does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call(
            "PUT",
            "users",
            uuid,
            "status",
            load=load_user_status,
            json={"available": available, "custom_status_uuid": custom_status_uuid},
        )

    async def clear_status(self, uuid: str) -> None:
        """Remove a user's custom status.

        Args:
            uuid: the user's identifier.

        Raises:
            NotFoundError: the user does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        await self._call_without_result("DELETE", "users", uuid, "status")
