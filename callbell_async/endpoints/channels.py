"""Channels: what messages are sent from."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import Channel
from callbell_async.wire import load_one

__all__ = ["ChannelsEndpoint"]

_channel = load_one(Channel, "channel")


class ChannelsEndpoint(Endpoint):
    """Channels: `callbell.channels`. Source: Callbell's Channels API."""

    def list(self, *, type: str | None = None, active: bool | None = None) -> Paginator[Channel]:  # noqa: A002 - Callbell's name
        """All channels, or those of a type (`facebook`, `whatsapp`, `instagram`, `telegram`), or those in use."""
        return self._pages("channels", load=load_page(Channel, "channels"), filters={"type": type, "active": active})

    async def get(self, uuid: str) -> Channel:
        """One channel."""
        return await self._call("GET", "channels", uuid, load=_channel)

    async def update(self, uuid: str, *, title: str) -> Channel:
        """Change a channel's title."""
        return await self._call("PATCH", "channels", uuid, load=_channel, json={"title": title})
