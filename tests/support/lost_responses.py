"""Messages whose responses are lost, and other helpers for the tests of `reconcile`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from callbell_async import CallbellClient, ImageMessage, Journal, Message, ReconcileReport, RetryPolicy, TextMessage
from callbell_async.sandbox import Sandbox, faults
from tests.support.clock import current_loop

__all__ = ["client_of", "found", "image", "running_sandbox", "send_without_response", "text"]

CLOCK_AHEAD = timedelta(seconds=0.5)
"""The sandbox's calendar is ahead of the journal's clock, so that no message is older than its attempt, however slow the machine is."""


@asynccontextmanager
async def running_sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox with the present date and no rate limit."""
    start = datetime.now(UTC) + CLOCK_AHEAD
    async with Sandbox(limit=None, clock=current_loop().time, start=start) as sandbox:
        yield sandbox


def client_of(sandbox: Sandbox) -> CallbellClient:
    """A client of the sandbox that makes one attempt."""
    return CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1))


def text(number: int = 0, **changes: Any) -> TextMessage:
    """A text message; `number` is the last digit of its recipient and of its key."""
    return TextMessage(**{"to": f"+3161234567{number}", "text": "Hello!", "key": f"k{number}", **changes})


def image(key: str, **changes: Any) -> ImageMessage:
    """An image of its own, with the caption that all these images have."""
    fields = {"to": "+31612345670", "url": f"https://example.org/{key}.png", "caption": "Your ticket", "key": key}
    return ImageMessage(**{**fields, **changes})


def found(count: int) -> ReconcileReport:
    """The report when this number of messages was found, and none is left."""
    return ReconcileReport(inferred=count, confirmed=0, unresolved=())


async def send_without_response(
    callbell: CallbellClient, sandbox: Sandbox, journal: Journal, *messages: Message, accepted: bool = True
) -> None:
    """Send messages whose responses are lost, whether Callbell has `accepted` them or not."""
    rule = sandbox.inject(faults.accept_then_close() if accepted else faults.close_after_reading())
    report = await callbell.send_many(messages, journal=journal)
    rule.remove()
    assert report.unknown == len(messages)
