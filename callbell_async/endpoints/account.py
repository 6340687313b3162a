"""The account: whose token it is, its plan, its funnels, and its users' statuses."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import Account, Funnel, Plan, UserStatus
from callbell_async.models.unset import UNSET, Unset
from callbell_async.wire import load_user_status, load_whole

__all__ = ["AuthEndpoint", "FunnelsEndpoint", "PlanEndpoint", "UsersEndpoint"]


class AuthEndpoint(Endpoint):
    """The token: `callbell.auth`."""

    async def me(self) -> Account:
        """Whose token it is. The answer holds the token itself: `api_key` is a secret, and so is `raw`."""
        return await self._call("GET", "auth", "me", load=load_whole(Account))


class PlanEndpoint(Endpoint):
    """The plan: `callbell.plan`."""

    async def get(self) -> Plan:
        """The account's plan, and how much of it is used."""
        return await self._call("GET", "plan", load=load_whole(Plan))


class FunnelsEndpoint(Endpoint):
    """Funnels: `callbell.funnels`."""

    def list(self) -> Paginator[Funnel]:
        """All funnels; they come in one page."""
        return self._pages("funnels", load=load_page(Funnel, "funnels"), single=True)


class UsersEndpoint(Endpoint):
    """Users' statuses: `callbell.users`."""

    async def set_status(
        self, uuid: str, *, available: bool | Unset = UNSET, custom_status_uuid: str | Unset | None = UNSET
    ) -> UserStatus:
        """Set what is given: `available`, and the custom status, of which `None` unassigns the present one."""
        return await self._call(
            "PUT",
            "users",
            uuid,
            "status",
            load=load_user_status,
            json={"available": available, "custom_status_uuid": custom_status_uuid},
        )

    async def clear_status(self, uuid: str) -> None:
        """Remove the user's custom status."""
        await self._forget("DELETE", "users", uuid, "status")
