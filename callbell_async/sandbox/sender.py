"""The sandbox's webhook, as a test handles it."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.webhook_sender import WebhookSender

__all__ = ["Sender"]


class Sender:
    """What a sandbox tells the webhook of its `account`; `deliveries` has the settings and the counts."""

    account: SandboxAccount
    deliveries: WebhookSender

    @property
    def webhook_secret(self) -> str | None:
        """What events are signed with, `None` for no signature; a new one counts from the next attempt on."""
        return self.deliveries.secret

    @webhook_secret.setter
    def webhook_secret(self, secret: str | None) -> None:
        self.deliveries.secret = secret

    def emit(self, event: str, payload: Any) -> None:
        """Deliver an event of a test's own, if it is subscribed to; one that Callbell doesn't document goes to any webhook."""
        self.deliveries.emit(event, payload)

    async def probe(self) -> int | None:
        """Post what is no event, as Callbell does to see whether the webhook is there; gives the status, `None` for no answer.

        Raises `LookupError` if nobody on this machine has subscribed.
        """
        return await self.deliveries.probe()

    async def wait_delivered(self, *, statuses: bool = False) -> None:
        """Return when no event is under way, in the queue, or waiting for its next attempt.

        Messages whose status will still change count only with `statuses`: by the account's `pace` that takes its time.
        """
        await self.deliveries.done(statuses=statuses)
