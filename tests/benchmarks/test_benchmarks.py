"""The benchmarks in small: `pytest -m benchmark -s` prints their figures. The tests assert outcomes, not speeds."""

from __future__ import annotations

import importlib.util

import pytest

from tests.benchmarks import (
    import_time,
    journal,
    kills,
    memory,
    million,
    rate,
    retry_cost,
    send_alone,
    shared_rate,
    throughput,
    webhooks,
)
from tests.benchmarks.report import machine, show
from tests.support.services import redis_server

pytestmark = pytest.mark.benchmark

LOOPS = ("plain", "uvloop") if importlib.util.find_spec("uvloop") else ("plain",)


@pytest.fixture(autouse=True)
def _heading(request: pytest.FixtureRequest) -> None:
    """Begin the figures on a new line."""
    show("", machine(), f"== {request.node.name}")


def test_throughput() -> None:
    """All messages of every contender are accepted on each loop, and the table is printed."""
    throughput.run(loops=LOOPS, concurrency=50, seconds=0.6, slice_seconds=0.1)


def test_send_alone() -> None:
    """Single sends and bare requests are all accepted, on each loop, and their ratio is printed."""
    send_alone.run(loops=LOOPS, seconds=0.6, slice_seconds=0.1)


def test_import_time() -> None:
    """The client can be imported in a fresh interpreter, and the ratio to what it needs is printed."""
    import_time.run(seconds=1.0)


def test_retry_cost() -> None:
    """All messages are accepted with and without the pipeline, and the difference is printed."""
    retry_cost.run(loops=LOOPS, concurrency=50, seconds=1.0, slice_seconds=0.1)


def test_journal() -> None:
    """Journalled and unjournalled sends are all accepted, over TLS and without, and their difference is printed."""
    journal.run(loops=("plain",), concurrency=50, seconds=0.6, slice_seconds=0.2)


def test_kills() -> None:
    """A run is killed at any moment and in its first burst, and what it leaves in doubt is printed."""
    kills.run(kills=1)


def test_million() -> None:
    """A campaign is sent from a file with a journal, and again; nothing is sent twice, and the peaks are printed."""
    million.run(messages=5_000, concurrency=50)


def test_memory() -> None:
    """All messages of every contender are accepted in a process of its own, and its peak is printed."""
    memory.run(loops=("plain",), concurrency=50, messages=5_000)


@pytest.mark.parametrize("behaviour", rate.BEHAVIOURS, ids=lambda behaviour: behaviour.name)
def test_rate(behaviour: rate.ServerBehaviour) -> None:
    """Three seconds at the full rate cause no 429 except the injected ones, with every behaviour of the server."""
    found = rate.send(behaviour, loop="plain", seconds=3.0)
    show(f"{found.accepted} accepted, {found.rate:.1f}/s, {found.refused} refused, {found.injected} injected")
    assert found.failure is None
    assert found.accepted == found.sent
    assert found.refused == 0
    assert found.fullest <= rate.LIMIT


def test_shared_rate() -> None:
    """Two processes over Redis meet no 429, and all is accepted."""
    with redis_server() as service:
        found = shared_rate.send(shared_rate.warm(service), [450, 450], delay=50.0)
    show(f"{found.accepted} accepted, {found.rate:.1f}/s, {found.refused} refused")
    assert found.accepted == 900
    assert found.refused == 0
    assert found.fullest <= shared_rate.LIMIT


def test_webhooks() -> None:
    """A route and a bare handler accept every event, and their difference is printed."""
    webhooks.run(loops=("plain",), rounds=2, events=200)
