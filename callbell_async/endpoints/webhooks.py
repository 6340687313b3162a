"""The account's one webhook, and what was delivered to it."""

from __future__ import annotations

from collections.abc import Sequence

from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import DeletionResponse, Webhook, WebhookDelivery
from callbell_async.wire import load_one, load_whole

__all__ = ["WebhooksEndpoint"]


class WebhooksEndpoint(Endpoint):
    """The webhook: `callbell.webhooks`. Source: Callbell's Webhooks API."""

    async def subscribe(self, url: str, subscriptions: Sequence[str]) -> Webhook:
        """Have events of these kinds posted to `url` (http or https, no localhost); replaces the account's webhook."""
        return await self._call(
            "POST",
            "webhooks",
            "subscribe",
            load=load_one(Webhook, "webhook"),
            json={"url": url, "subscriptions": list(subscriptions)},
        )

    async def unsubscribe(self) -> DeletionResponse:
        """Remove the account's webhook."""
        return await self._call("DELETE", "webhooks", "unsubscribe", load=load_whole(DeletionResponse))

    def events(
        self, *, status: str | None = None, subscriptions: Sequence[str] | None = None, items: int | None = None
    ) -> Paginator[WebhookDelivery]:
        """What was delivered, or those deliveries whose `status` is `failed` or `success`; `items` a page."""
        return self._pages(
            "webhooks",
            "events",
            load=load_page(WebhookDelivery, "webhook_events"),
            filters={"status": status, "subscriptions": subscriptions, "items": items},
        )
