"""Ways to send many messages, with one interface. Each module imports only the library that it measures."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from tests.benchmarks.contenders.base import Contender, Setup

__all__ = ["CONTENDERS", "LOOPLESS", "Contender", "Setup", "build"]

CONTENDERS: Mapping[str, str] = {
    "floor": "aiohttp_floor:Floor",
    "send_many": "ours:AwaitedSendMany",
    "send_many, async for": "ours:IteratedSendMany",
    "send_many, journal": "journalled:Journalled",
    "send, gather": "ours:GatheredSends",
    "send, one by one": "ours:OneByOne",
    "naive aiohttp": "naive:NaiveAiohttp",
    "httpx": "httpx_client:Httpx",
    "requests": "over_requests:RequestsThreads",
    "slack_sdk": "slack:SlackSdk",
    "twilio": "twilio_client:Twilio",
    "aiogram": "telegram:Aiogram",
}
"""The module and the class of each. A module is imported when its contender is built: its library may not be installed, and its memory is measured."""

LOOPLESS = frozenset({"requests"})
"""The contenders that run in threads, and are measured once instead of once for each loop."""


def build(key: str, setup: Setup) -> Contender | None:
    """Return a contender that is not started; `None` if its library is not installed."""
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
