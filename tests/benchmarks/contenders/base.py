"""What the contenders have in common: the interface, and the messages they send."""

from __future__ import annotations

import asyncio
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import attrs

TOKEN = "benchmark"

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


@attrs.frozen
class Setup:
    """Where to send (`base_url` ends with the version, as the library's does), how many at once, and on which loop: `plain` or `uvloop`."""

    base_url: str
    concurrency: int
    loop: str = "plain"

    @property
    def url(self) -> str:
        """The whole URL of `POST /messages/send`."""
        return f"{self.base_url}/messages/send"


def recipient(index: int) -> str:
    """A number of its own for each message."""
    return f"+316{index % 100_000_000:08d}"


def text(index: int) -> str:
    """A text of its own for each message."""
    return f"Hello customer {index}, your order is on its way!"


def payload(index: int) -> dict[str, Any]:
    """The body of a message as user code builds it."""
    return {"to": recipient(index), "from": "whatsapp", "type": "text", "content": {"text": text(index)}}


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """A loop of asyncio's or of uvloop's; raises `ModuleNotFoundError` where uvloop isn't installed."""
    if kind == "plain":
        return asyncio.new_event_loop()
    loop = importlib.import_module("uvloop").new_event_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    return loop


class Contender(ABC):
    """One way to send; connections stay open from `start` to `stop`."""

    progress: Callable[[int], None] | None = None
    """Told how many are accepted so far, by those that know before the end."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @abstractmethod
    def start(self) -> None:
        """Make ready to send."""

    @abstractmethod
    def send(self, count: int) -> int:
        """Send so many messages; returns how many were accepted."""

    @abstractmethod
    def stop(self) -> None:
        """Close everything."""


class LoopContender(Contender):
    """A contender on an event loop of its own, which stands still between its slices."""

    def start(self) -> None:
        """Make the loop, and open."""
        self._loop = new_loop(self.setup.loop)
        self._loop.run_until_complete(self.open())

    def send(self, count: int) -> int:
        """Run the loop until all are sent."""
        return self._loop.run_until_complete(self.send_all(count))

    def stop(self) -> None:
        """Close, and close the loop."""
        self._loop.run_until_complete(self.close())
        self._loop.run_until_complete(asyncio.sleep(0.05))  # the transports' last callbacks
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    @abstractmethod
    async def open(self) -> None:
        """Open the client; called on the loop."""

    @abstractmethod
    async def send_all(self, count: int) -> int:
        """Send so many messages; returns how many were accepted."""

    @abstractmethod
    async def close(self) -> None:
        """Close the client."""
