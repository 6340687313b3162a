"""The common parts of all contenders: the interface, and the messages."""

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
    """The base URL (with the version), the number of messages in flight, and the event loop: `plain` or `uvloop`."""

    base_url: str
    concurrency: int
    loop: str = "plain"

    @property
    def url(self) -> str:
        """The URL of `POST /messages/send`."""
        return f"{self.base_url}/messages/send"

    @property
    def root(self) -> str:
        """The URL of the server, without a path, for the libraries of other services."""
        return self.base_url.removesuffix("/v1")


def recipient(index: int) -> str:
    """Return a recipient that no other message has: a mobile number that could exist."""
    return f"+316{10_000_000 + index % 40_000_000}"


def text(index: int) -> str:
    """Return a text that no other message has."""
    return f"Hello customer {index}, your order is on its way!"


def payload(index: int) -> dict[str, Any]:
    """Return the body of a message as user code builds it."""
    return {"to": recipient(index), "from": "whatsapp", "type": "text", "content": {"text": text(index)}}


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """Return a new event loop of asyncio or of uvloop; raises `ModuleNotFoundError` if uvloop is not installed."""
    if kind == "plain":
        return asyncio.new_event_loop()
    loop = importlib.import_module("uvloop").new_event_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    return loop


class Contender(ABC):
    """One way to send messages. Connections stay open from `start` to `stop`."""

    progress: Callable[[int], None] | None = None
    """Called with the number of accepted messages so far, by contenders that know it before the end."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @abstractmethod
    def start(self) -> None:
        """Open everything."""

    @abstractmethod
    def send(self, count: int) -> int:
        """Send this number of messages, and return the number of accepted ones."""

    @abstractmethod
    def stop(self) -> None:
        """Close everything."""


class LoopContender(Contender):
    """A contender with an event loop of its own, which does not run between its slices."""

    def start(self) -> None:
        """Build the loop, and open the client."""
        self._loop = new_loop(self.setup.loop)
        self._loop.run_until_complete(self.open())

    def send(self, count: int) -> int:
        """Run the loop until all messages are sent."""
        return self._loop.run_until_complete(self.send_all(count))

    def stop(self) -> None:
        """Close the client and the loop."""
        self._loop.run_until_complete(self.close())
        self._loop.run_until_complete(asyncio.sleep(0.05))  # the transports' last callbacks
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    @abstractmethod
    async def open(self) -> None:
        """Open the client; called on the loop."""

    @abstractmethod
    async def send_all(self, count: int) -> int:
        """Send this number of messages, and return the number of accepted ones."""

    @abstractmethod
    async def close(self) -> None:
        """Close the client."""
