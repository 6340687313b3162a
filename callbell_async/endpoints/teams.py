"""Teams, their members, and the statuses that members can set."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import CustomStatus, DeletionResponse, Team, TeamMember
from callbell_async.models.unset import UNSET, Unset
from callbell_async.wire import load_one, load_whole

__all__ = ["CustomStatusesEndpoint", "TeamsEndpoint"]

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
