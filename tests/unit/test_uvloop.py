"""On uvloop, if it is installed, everything works as on asyncio's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from callbell_async import (
    CallbellClient,
    ConnectError,
    ConnectionLostError,
    Outcome,
    RequestTimeoutError,
    RetryPolicy,
    TextMessage,
)
from callbell_async.sandbox import Sandbox, faults
from tests.support.calls import nobody_listening

uvloop = pytest.importorskip("uvloop")

pytestmark = pytest.mark.usefixtures("http_path")

HELLO = TextMessage(to="+31612345678", text="Hello!")
ONCE = RetryPolicy(attempts=1)


def on_uvloop(scenario: Callable[[Sandbox], Awaitable[None]]) -> None:
    """Run a scenario with a sandbox of its own."""

    async def run() -> None:
        async with Sandbox() as sandbox:
            await scenario(sandbox)

    uvloop.run(run())


@pytest.mark.slow
def test_a_paced_run_is_accepted_whole() -> None:
    """More messages than the limit are paced without a refusal and without a second copy."""

    async def scenario(sandbox: Sandbox) -> None:
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
            report = await callbell.send_many([HELLO] * 320, concurrency=40)
        assert report.accepted == 320
        sandbox.assert_sent(320)
        assert [request.status for request in sandbox.requests] == [200] * 320

    on_uvloop(scenario)


def test_a_lost_response_is_unknown_and_not_retried() -> None:
    """A written request without a response is `UNKNOWN`, and the server gets it once."""

    async def scenario(sandbox: Sandbox) -> None:
        sandbox.inject(faults.accept_then_close())
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
            with pytest.raises(ConnectionLostError) as caught:
                await callbell.send(HELLO)
        assert caught.value.outcome is Outcome.UNKNOWN
        sandbox.assert_sent(1)

    on_uvloop(scenario)


def test_a_refused_connection_was_never_sent() -> None:
    """If nobody listens, the message was never sent."""

    async def scenario(_: Sandbox) -> None:
        with nobody_listening() as url:
            async with CallbellClient("token", base_url=url, retry=ONCE) as callbell:
                with pytest.raises(ConnectError) as caught:
                    await callbell.send(HELLO)
        assert caught.value.outcome is Outcome.NEVER_SENT

    on_uvloop(scenario)


def test_a_timeout_expires() -> None:
    """A server that never responds causes a timeout with the right outcome."""

    async def scenario(sandbox: Sandbox) -> None:
        sandbox.inject(faults.no_response())
        async with CallbellClient(sandbox.token, base_url=sandbox.url, timeout=0.2, retry=ONCE) as callbell:
            with pytest.raises(RequestTimeoutError):
                await callbell.send(HELLO)

    on_uvloop(scenario)


def test_leaving_a_run_leaves_nothing_behind() -> None:
    """A consumer that stops early leaves no task of the client's."""

    async def scenario(sandbox: Sandbox) -> None:
        before = asyncio.all_tasks()
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
            async for _ in callbell.send_many([HELLO] * 100):
                break
        named = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}  # type: ignore[union-attr]
        assert not {
            name for name in named if name.startswith(("SendRun", "WorkerPool", "RequestPipeline", "Transport"))
        }

    on_uvloop(scenario)
