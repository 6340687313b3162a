"""The rate limit over real HTTP, against a local server that enforces the limit by its own clock."""

from __future__ import annotations

from collections import Counter

import pytest

from callbell_async import CallbellClient, RateLimitError, RetryPolicy
from tests.support.fake_callbell import texts
from tests.support.strict_server import StrictServer, fullest_window


@pytest.mark.slow
@pytest.mark.parametrize("delay", [(0.0, 0.0), (0.0, 0.2)], ids=["at once", "0 to 200 ms"])
async def test_no_request_is_refused(delay: tuple[float, float]) -> None:
    """700 messages to a server that refuses the 301st in any second: no 429, and each is accepted once."""
    async with (
        StrictServer(limit=300, delay=delay, seed=7) as server,
        CallbellClient("token", base_url=server.base_url) as callbell,
    ):
        report = await callbell.send_many(texts(700), concurrency=100)
        assert (report.accepted, report.total) == (700, 700)
        assert {result.attempts for result in report.results} == {1}
    assert server.refused == 0
    assert server.accepted == Counter(str(number) for number in range(700))
    assert fullest_window(server.arrivals) <= 300


@pytest.mark.slow
async def test_injected_refusals_cost_no_message() -> None:
    """After 429s within the limit the messages are retried, each is accepted once, and the limit still holds."""
    async with (
        StrictServer(limit=100, inject_every=37, retry_after="0") as server,
        CallbellClient(
            "token", base_url=server.base_url, rate_limit=100, retry=RetryPolicy(wait_initial=0.01)
        ) as callbell,
    ):
        report = await callbell.send_many(texts(150), concurrency=30)
        assert report.accepted == 150
    assert server.injected >= 4
    assert sum(result.attempts - 1 for result in report.results) == server.injected
    assert server.refused == 0
    assert server.accepted == Counter(str(number) for number in range(150))
    assert fullest_window(server.arrivals) <= 100


async def test_without_a_limit_the_server_refuses() -> None:
    """The same server does refuse a client without a limit, so the other tests can fail."""
    async with (
        StrictServer(limit=20, period=600.0) as server,
        CallbellClient(
            "token", base_url=server.base_url, rate_limit=None, retry=RetryPolicy(attempts=1, wait_initial=0.0)
        ) as callbell,
    ):
        report = await callbell.send_many(texts(60), concurrency=30)
    assert (server.refused, report.rejected, len(server.accepted)) == (40, 40, 20)
    assert all(isinstance(result.error, RateLimitError) for result in report.results if result.error)
