"""The sandbox's webhook: one for each account, its validation, and its deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from callbell_async.sandbox import Sandbox, SandboxWebhookDelivery
from tests.fixtures.sandbox import ask, get


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A new sandbox without a limit."""
    async with Sandbox(limit=None) as running:
        yield running


async def test_an_account_has_one_webhook(sandbox: Sandbox) -> None:
    """A subscription replaces the one before; it can be removed once."""
    for name in ("message_created", "contact_deleted"):
        body = {"url": f"https://example.com/{name}", "subscriptions": [name]}
        _, subscribed = await ask(sandbox, "POST", "/webhooks/subscribe", json=body)
        assert subscribed["webhook"]["enabled"] is True
    assert sandbox.account.webhook is not None
    assert sandbox.account.webhook.url == "https://example.com/contact_deleted"
    assert (await ask(sandbox, "DELETE", "/webhooks/unsubscribe"))[1] == {"status": "webhook was destroyed"}
    assert (await ask(sandbox, "DELETE", "/webhooks/unsubscribe"))[0] == 404


@pytest.mark.parametrize(
    ("url", "subscriptions", "fields"),
    [
        ("ftp://example.com", ["message_created"], {"url"}),
        ("https://", ["message_created"], {"url"}),
        ("https://[", ["message_created"], {"url"}),
        ("http://localhost:8000/", ["message_created"], {"url"}),
        ("http://app.localhost/", ["message_created"], {"url"}),
        ("http://0.0.0.0/", ["message_created"], {"url"}),
        (5, ["message_created"], {"url"}),
        ("https://example.com", [], {"subscriptions"}),
        ("https://example.com", "message_created", {"subscriptions"}),
        ("https://example.com", ["message_eaten"], {"subscriptions"}),
        (None, None, {"url", "subscriptions"}),
    ],
)
async def test_a_webhook_is_checked(sandbox: Sandbox, url: Any, subscriptions: Any, fields: set[str]) -> None:
    """A URL that Callbell can't reach and an unknown event are refused; the error names the field."""
    body = {"url": url, "subscriptions": subscriptions}
    status, document = await ask(sandbox, "POST", "/webhooks/subscribe", json=body)
    assert (status, document["error"].keys()) == (400, fields)
    assert sandbox.account.webhook is None


async def test_webhook_events_are_filtered(sandbox: Sandbox) -> None:
    """Attempts are listed newest first, filtered by success and by event, with `items` on a page."""
    for event, good in [("message_created", True), ("contact_created", False), ("contact_deleted", True)]:
        sandbox.account.seed(SandboxWebhookDelivery(event=event, payload={}, success=good))

    async def found(query: str) -> list[str]:
        return [event["event"] for event in (await get(sandbox, f"/webhooks/events?{query}"))["webhook_events"]]

    assert await found("") == ["contact_deleted", "contact_created", "message_created"]
    assert await found("status=failed") == ["contact_created"]
    assert await found("subscriptions=message_created,contact_deleted") == ["contact_deleted", "message_created"]
    assert await found("items=2&page=2") == ["message_created"]
    assert (await ask(sandbox, "GET", "/webhooks/events?status=lost"))[0] == 400
    assert (await ask(sandbox, "GET", "/webhooks/events?items=0"))[0] == 400
