"""The sandbox's further attempts after failures, and the webhook that is disabled by them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from callbell_async import CallbellClient
from callbell_async.sandbox import Sandbox
from tests.fixtures.sandbox import get
from tests.support.calls import nobody_listening
from tests.support.clock import current_loop
from tests.support.webhook_listener import Listen, failures, subscribed_to_all

HOUR = 3600.0
"""Seconds that do not elapse while a test runs."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox on the loop's clock."""
    async with Sandbox(clock=asyncio.get_running_loop().time, limit=None) as running:
        yield running


async def test_a_failed_attempt_is_repeated(sandbox: Sandbox, listen: Listen) -> None:
    """An event is sent again after each delay until the response is 2xx; a redirect is not followed."""
    listener = await listen(500, web.Response(status=302, headers={"Location": "/elsewhere"}), 404, 204)
    sandbox.deliveries.retry_delays = (HOUR, 2 * HOUR, 4 * HOUR)
    sandbox.emit("message_created", {"text": "Hi"})
    for number, wait in enumerate(sandbox.deliveries.retry_delays, start=1):
        await failures(sandbox, number)
        assert sandbox.deliveries.waiting == 1
        current_loop().advance(wait)
    await sandbox.wait_delivered()
    assert (sandbox.deliveries.delivered, sandbox.deliveries.failed, sandbox.deliveries.given_up) == (1, 3, 0)
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(listener.posts)]
    assert all(gap >= wait for gap, wait in zip(gaps, sandbox.deliveries.retry_delays, strict=True))
    assert {post.body for post in listener.posts} == {b'{"event":"message_created","payload":{"text":"Hi"}}'}


async def test_it_gives_up(sandbox: Sandbox, listen: Listen) -> None:
    """The attempt after the last delay is the final one: six attempts by default."""
    listener = await listen(*[500] * 7)
    sandbox.emit("message_created", {})
    for number in range(1, 6):
        await failures(sandbox, number)
        current_loop().advance(2.0 ** (number - 1))
    await sandbox.wait_delivered()
    assert (sandbox.deliveries.delivered, sandbox.deliveries.failed, sandbox.deliveries.given_up) == (0, 6, 1)
    assert len(listener.posts) == 6


async def test_an_attempt_without_response_is_repeated(sandbox: Sandbox, listen: Listen) -> None:
    """An attempt without a response in time has failed, and is recorded without a code."""
    listener = await listen(None)
    sandbox.deliveries.timeout = HOUR
    sandbox.emit("message_created", {})
    await listener.posted(1)
    assert sandbox.deliveries.failed == 0
    # aiohttp rounds long timeouts up to a whole second.
    current_loop().advance(HOUR + 1.0)
    await failures(sandbox, 1)
    current_loop().advance(1.0)
    await sandbox.wait_delivered()
    good, bad = (await get(sandbox, "/webhooks/events"))["webhook_events"]
    assert (good["success"], good["response"]["code"]) == (True, 200)
    assert (bad["success"], bad["response"]) == (False, {"body": {}, "code": None, "headers": {}})


async def test_a_refused_connection_is_a_failure(sandbox: Sandbox) -> None:
    """An attempt to a webhook that refuses connections has failed, and a probe returns no status."""
    sandbox.deliveries.retry_delays = ()
    with nobody_listening() as url:
        sandbox.account.seed(subscribed_to_all(url))
        sandbox.emit("message_created", {})
        await sandbox.wait_delivered()
        assert await sandbox.probe() is None
    assert (sandbox.deliveries.failed, sandbox.deliveries.given_up) == (1, 1)


async def test_a_url_that_can_not_be_called_is_a_failure(sandbox: Sandbox) -> None:
    """An attempt to an invalid URL has failed, like one to a webhook that refuses connections."""
    sandbox.deliveries.retry_delays = ()
    sandbox.account.seed(subscribed_to_all("http://127.0.0.1:99999/"))
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    assert (sandbox.deliveries.failed, sandbox.deliveries.given_up) == (1, 1)


async def test_an_event_goes_to_the_current_webhook(sandbox: Sandbox, listen: Listen) -> None:
    """An event that waits for its next attempt goes to the webhook at that time; without one, it is dropped."""
    first = await listen(500, 500)
    sandbox.deliveries.retry_delays = (HOUR, HOUR)
    sandbox.emit("message_created", {})
    await failures(sandbox, 1)
    second = await listen(500)
    current_loop().advance(HOUR)
    await failures(sandbox, 2)
    sandbox.account.webhook = None
    current_loop().advance(HOUR)
    await sandbox.wait_delivered()
    assert (len(first.posts), len(second.posts)) == (1, 1)
    assert (sandbox.deliveries.delivered, sandbox.deliveries.waiting) == (0, 0)


async def test_an_event_has_the_state_when_it_happened(sandbox: Sandbox, listen: Listen) -> None:
    """An event has the state of the account when it happened, and so does its record."""
    listener = await listen()
    tags = ["Lead"]
    sandbox.emit("contact_updated", {"tags": tags})
    tags.append("Sale")
    await sandbox.wait_delivered()
    assert listener.payloads("contact_updated") == [{"tags": ["Lead"]}]
    assert sandbox.account.webhook_events[0].payload == {"tags": ["Lead"]}


@pytest.mark.parametrize("status", [500, 401, None])
async def test_repeated_failures_disable_the_webhook(sandbox: Sandbox, listen: Listen, status: int | None) -> None:
    """After ten events given up in a row the webhook is disabled, and further events are not posted, until it is enabled again."""
    listener = await listen(*[status] * 10)
    sandbox.deliveries.retry_delays, sandbox.deliveries.timeout = (), HOUR
    webhook = sandbox.account.webhook
    assert webhook is not None
    for number in range(10):
        assert (webhook.enabled, webhook.disabled_at, webhook.failed_events) == (True, None, number)
        sandbox.emit("message_created", {})
        await listener.posted(number + 1)
        if status is None:
            current_loop().advance(HOUR + 1.0)
        await sandbox.wait_delivered()
    assert (webhook.enabled, webhook.failed_events) == (False, 10)
    last = sandbox.account.webhook_events[0].created_at
    assert last is not None
    assert webhook.disabled_at is not None
    assert webhook.disabled_at >= last
    sandbox.emit("message_created", {})
    assert sandbox.deliveries.waiting == 0
    webhook.enable()
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    after = sandbox.account.webhook
    assert after is not None
    assert (after.enabled, after.disabled_at, after.failed_events, len(listener.posts)) == (True, None, 0, 11)


async def test_a_new_subscription_enables_the_webhook(sandbox: Sandbox, listen: Listen) -> None:
    """A disabled webhook that is subscribed again is enabled, and the API shows it; events that waited are delivered to it."""
    listener = await listen(500, 500)
    sandbox.deliveries.retry_delays, sandbox.deliveries.disable_after = (), 2
    for _ in range(2):
        sandbox.emit("message_created", {})
        await sandbox.wait_delivered()
    assert sandbox.account.webhook is not None
    assert not sandbox.account.webhook.enabled
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        webhook = await callbell.webhooks.subscribe(listener.url, ["message_created"])
    assert webhook.enabled
    sandbox.emit("message_created", {})
    await sandbox.wait_delivered()
    assert len(listener.posts) == 3


async def test_a_success_forgets_the_failures(sandbox: Sandbox, listen: Listen) -> None:
    """Only events given up in a row disable the webhook; one delivery in between begins the count anew, and `None` never disables."""
    await listen(*[500, 200] * 3, *[500] * 20)
    sandbox.deliveries.retry_delays, sandbox.deliveries.disable_after = (), 2
    webhook = sandbox.account.webhook
    assert webhook is not None
    for _ in range(6):
        sandbox.emit("message_created", {})
        await sandbox.wait_delivered()
    assert webhook.enabled
    sandbox.deliveries.disable_after = None
    for _ in range(20):
        sandbox.emit("message_created", {})
        await sandbox.wait_delivered()
    assert (webhook.enabled, webhook.failed_events) == (True, 20)
