"""Teams, their members, and the statuses these can set."""

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
        """All teams."""
        return self._pages("teams", load=load_page(Team, "teams"))

    async def get(self, uuid: str) -> Team:
        """One team."""
        return await self._call("GET", "teams", uuid, load=_team)

    async def update(self, uuid: str, *, name: str) -> Team:
        """Change a team's name."""
        return await self._call("PATCH", "teams", uuid, load=_team, json={"name": name})

    def members(self, uuid: str, *, status: str | None = None) -> Paginator[TeamMember]:
        """A team's members, or those whose `status` is `available` or `away`."""
        return self._pages("teams", uuid, "members", load=load_page(TeamMember, "users"), filters={"status": status})


class CustomStatusesEndpoint(Endpoint):
    """The statuses users can set: `callbell.custom_statuses`. Source: Callbell's Custom Statuses API."""

    def list(self) -> Paginator[CustomStatus]:
        """All custom statuses."""
        return self._pages("custom_statuses", load=load_page(CustomStatus, "customStatuses"))

    async def create(self, *, name: str, emoji: str) -> CustomStatus:
        """Create a custom status."""
        return await self._call("POST", "custom_statuses", load=_custom_status, json={"name": name, "emoji": emoji})

    async def get(self, id: str) -> CustomStatus:  # noqa: A002 - Callbell's name
        """One custom status."""
        return await self._call("GET", "custom_statuses", id, load=_custom_status)

    async def update(self, id: str, *, name: str | Unset = UNSET, emoji: str | Unset = UNSET) -> CustomStatus:  # noqa: A002
        """Change what is given of a custom status."""
        return await self._call("PUT", "custom_statuses", id, load=_custom_status, json={"name": name, "emoji": emoji})

    async def delete(self, id: str) -> DeletionResponse:  # noqa: A002 - Callbell's name
        """Delete a custom status."""
        return await self._call("DELETE", "custom_statuses", id, load=load_whole(DeletionResponse))
