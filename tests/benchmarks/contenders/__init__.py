"""Ways to send many messages, all behind one small interface; each module imports the one library it is about."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from tests.benchmarks.contenders.base import Contender, Setup

__all__ = ["CONTENDERS", "LOOPLESS", "Contender", "Setup", "build"]

CONTENDERS: Mapping[str, str] = {
    "floor": "aiohttp_floor:Floor",
    "floor, tuned": "aiohttp_floor:TunedFloor",
    "send_many": "ours:AwaitedSendMany",
    "send_many, async for": "ours:IteratedSendMany",
    "send_many, rate_limit=None": "ours:UnlimitedSendMany",
    "send_many, journal": "journalled:Journalled",
    "naive aiohttp": "naive:NaiveAiohttp",
    "httpx": "httpx_client:Httpx",
    "httpx, as installed": "httpx_client:InstalledHttpx",
    "requests": "over_requests:RequestsThreads",
}
"""Module and class of each; imported when it is built, so that what isn't installed is left out, and memory can be told apart."""

LOOPLESS = frozenset({"requests"})
"""What runs in threads, and is listed once."""


def build(key: str, setup: Setup) -> Contender | None:
    """The contender, not started yet; `None` when the library it needs isn't installed."""
    module, name = CONTENDERS[key].split(":")
    try:
        loaded = importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == __name__.partition(".")[0]:
            raise
        return None
    contender = getattr(loaded, name)(setup)
    assert isinstance(contender, Contender)
    return contender
