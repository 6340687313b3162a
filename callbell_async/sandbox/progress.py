"""Things that are done later, by the event loop's timers, and how accepted messages go on by them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import attrs

from callbell_async.models.message_status import MessageStatus
from callbell_async.sandbox.message_lifecycle import StatusTimings, changes
from callbell_async.sandbox.records import SandboxMessage

__all__ = ["Progress", "Timers"]


class Timers:
    """What is to be done later, and can be called off all at once."""

    def __init__(self) -> None:
        self._handles: set[asyncio.TimerHandle] = set()

    def at(self, moment: float, do: Callable[[], None]) -> None:
        """Do it when the running loop's time is `moment`."""

        def done() -> None:
            self._handles.discard(handle)
            do()

        handle = asyncio.get_running_loop().call_at(moment, done)
        self._handles.add(handle)

    def cancel(self) -> None:
        """Do none of it any more."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()


@attrs.define(kw_only=True, eq=False)
class _Followed:
    message: SandboxMessage
    pace: StatusTimings
    tell: Callable[[MessageStatus, float], None]
    begin: float
    told: int = 0

    def next(self) -> tuple[float, MessageStatus] | None:
        """The change to come; what becomes of a message may be decided while it is under way."""
        to_come = () if self.message.deleted else changes(self.pace, self.message.failure)[self.told :]
        return to_come[0] if to_come else None


class Progress:
    """The messages whose statuses are still to change, each with one timer at a time.

    `ended` is called whenever one of them has come to its end.
    """

    def __init__(self, timers: Timers, ended: Callable[[], None]) -> None:
        self.messages = 0
        self._timers = timers
        self._ended = ended

    def follow(
        self, message: SandboxMessage, pace: StatusTimings, tell: Callable[[MessageStatus, float], None]
    ) -> None:
        """Tell each change of its status from now on, and after how many seconds it came."""
        self.messages += 1
        begin = asyncio.get_running_loop().time()
        self._wait(_Followed(message=message, pace=pace, tell=tell, begin=begin))

    def _wait(self, followed: _Followed) -> None:
        change = followed.next()
        if change is not None:
            self._timers.at(followed.begin + change[0], functools.partial(self._go_on, followed))
        else:
            self.messages -= 1
            self._ended()

    def _go_on(self, followed: _Followed) -> None:
        if change := followed.next():
            after, status = change
            followed.told += 1
            followed.tell(status, after)
        self._wait(followed)
