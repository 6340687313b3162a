"""The account: the token's owner, the plan, channels, funnels, users' statuses, teams, and the webhook."""

from __future__ import annotations

from collections.abc import Sequence

from callbell_async.arguments import UNSET, Secret, Unset, check_string_list
from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import (
    Account,
    Channel,
    CustomStatus,
    DeletionResponse,
    Funnel,
    Plan,
    Team,
    TeamMember,
    UserStatus,
    Webhook,
    WebhookDelivery,
)
from callbell_async.wire import load_one, load_user_status, load_whole

__all__ = [
    "AuthEndpoint",
    "ChannelsEndpoint",
    "CustomStatusesEndpoint",
    "FunnelsEndpoint",
    "PlanEndpoint",
    "TeamsEndpoint",
    "UsersEndpoint",
    "WebhooksEndpoint",
]

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


_team = load_one(Team, "team")
_custom_status = load_one(CustomStatus, "customStatus")


class TeamsEndpoint(Endpoint):
    """Teams: `callbell.teams`. Source: Callbell's Teams API."""

    def list(self) -> Paginator[Team]:
        """List all teams.

        Returns:
            The teams. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("teams", load=load_page(Team, "teams"))

    async def get(self, uuid: str) -> Team:
        """Return one team.

        Args:
            uuid: the team's identifier.

        Returns:
            The team.

        Raises:
            NotFoundError: the team does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "teams", uuid, load=_team)

    async def update(self, uuid: str, *, name: str) -> Team:
        """Change a team's name.

        Args:
            uuid: the team's identifier.
            name: the new name.

        Returns:
            The changed team.

        Raises:
            NotFoundError: the team does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call("PATCH", "teams", uuid, load=_team, json={"name": name})

    def members(self, uuid: str, *, status: str | None = None) -> Paginator[TeamMember]:
        """List a team's members.

        Args:
            uuid: the team's identifier.
            status: only members with this status: `available` or `away`.

        Returns:
            The members. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("teams", uuid, "members", load=load_page(TeamMember, "users"), filters={"status": status})


class CustomStatusesEndpoint(Endpoint):
    """The statuses that users can set: `callbell.custom_statuses`. Source: Callbell's Custom Statuses API."""

    def list(self) -> Paginator[CustomStatus]:
        """List all custom statuses.

        Returns:
            The custom statuses. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("custom_statuses", load=load_page(CustomStatus, "customStatuses"))

    async def create(self, *, name: str, emoji: str | Unset = UNSET) -> CustomStatus:
        """Create a custom status.

        Args:
            name: the status's name.
            emoji: the status's emoji; Callbell does not require one.

        Returns:
            The new custom status.

        Raises:
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the status may have been created.
        """
        return await self._call("POST", "custom_statuses", load=_custom_status, json={"name": name, "emoji": emoji})

    async def get(self, id: str) -> CustomStatus:  # noqa: A002 - Callbell's name
        """Return one custom status.

        Args:
            id: the status's identifier.

        Returns:
            The custom status.

        Raises:
            NotFoundError: the status does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "custom_statuses", id, load=_custom_status)

    async def update(self, id: str, *, name: str | Unset = UNSET, emoji: str | Unset = UNSET) -> CustomStatus:  # noqa: A002
        """Change a custom status; only the arguments given are changed.

        Args:
            id: the status's identifier.
            name: the new name.
            emoji: the new emoji.

        Returns:
            The changed custom status.

        Raises:
            NotFoundError: the status does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call("PUT", "custom_statuses", id, load=_custom_status, json={"name": name, "emoji": emoji})

    async def delete(self, id: str) -> DeletionResponse:  # noqa: A002 - Callbell's name
        """Delete a custom status.

        Args:
            id: the status's identifier.

        Returns:
            Callbell's confirmation.

        Raises:
            NotFoundError: the status does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the status may have been deleted.
        """
        return await self._call("DELETE", "custom_statuses", id, load=load_whole(DeletionResponse))


class WebhooksEndpoint(Endpoint):
    """The webhook: `callbell.webhooks`. Source: Callbell's Webhooks API."""

    async def subscribe(self, url: str, subscriptions: Sequence[str]) -> Webhook:
        """Subscribe a URL to events. It replaces the account's present webhook.

        Args:
            url: where Callbell posts the events: http or https, not localhost. It may hold the receiver's `url_secret`, for example
                `https://shop.example.com/callbell?secret=…`.
            subscriptions: the names of the events, such as `message_created`.

        Returns:
            The new webhook.

        Raises:
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
            ConfigurationError: `subscriptions` is not a list of strings.
        """
        given = Secret(url)
        # The URL may hold a secret, and a traceback shows the local variables of this frame.
        del url
        return await self._call(
            "POST",
            "webhooks",
            "subscribe",
            load=load_one(Webhook, "webhook"),
            json={"url": given.value, "subscriptions": check_string_list("subscriptions", subscriptions)},
        )

    async def unsubscribe(self) -> DeletionResponse:
        """Remove the account's webhook.

        Returns:
            Callbell's confirmation.

        Raises:
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the webhook may have been removed.
        """
        return await self._call("DELETE", "webhooks", "unsubscribe", load=load_whole(DeletionResponse))

    def events(
        self, *, status: str | None = None, subscriptions: Sequence[str] | None = None, items: int | None = None
    ) -> Paginator[WebhookDelivery]:
        """List the deliveries to the webhook.

        Args:
            status: only deliveries with this status: `failed` or `success`.
            subscriptions: only deliveries of these events.
            items: the number of deliveries on a page.

        Returns:
            The deliveries. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages(
            "webhooks",
            "events",
            load=load_page(WebhookDelivery, "webhook_events"),
            filters={
                "status": status,
                "subscriptions": None if subscriptions is None else check_string_list("subscriptions", subscriptions),
                "items": items,
            },
        )
