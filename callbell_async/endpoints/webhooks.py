"""The account's one webhook, and the deliveries to it."""

from __future__ import annotations

from collections.abc import Sequence

from callbell_async.arguments import Secret, check_string_list
from callbell_async.endpoints.base import Endpoint
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import DeletionResponse, Webhook, WebhookDelivery
from callbell_async.wire import load_one, load_whole

__all__ = ["WebhooksEndpoint"]


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
