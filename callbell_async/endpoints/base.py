"""What the groups of endpoints have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from callbell_async.caller import Caller
from callbell_async.protocol import Answer, Call, Request

__all__ = ["CallerSource", "Endpoint"]

T = TypeVar("T")

CallerSource = Callable[[], Caller]
"""Gives the open client's caller, or raises `ClientClosedError`."""


class Endpoint:
    """A group of endpoints of one client."""

    def __init__(self, caller: CallerSource) -> None:
        self._caller = caller

    async def _call(self, request: Request, read: Callable[[Request, Answer], T]) -> T:
        return await self._caller().call(Call(request), read)
