"""One loop that polls until something is true or the time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from callbell_async.arguments import check_seconds
from callbell_async.errors import ConfigurationError
from callbell_async.models.receipts import MessageStatus

__all__ = ["check_wait", "poll_delays", "poll_until"]

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
"""Seconds between two polls: most messages are delivered in the first few seconds, and read hours later."""
GROWTH = 1.5
LAST_DELAY = 0.9
"""The part of the remaining time before the last poll, which needs time too."""


def check_wait(name: str, status: object, timeout: object) -> MessageStatus:
    """Return the status to wait for, also from its string; refuse another value, and a timeout that is not a number of seconds.

    A timer at NaN would put all timers of the event loop out of order.
    """
    check_seconds("timeout", timeout, endless=True)
    try:
        return MessageStatus(status)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(MessageStatus)
    raise ConfigurationError(f"{name}={status!r}: must be a MessageStatus, which are: {known}")


def poll_delays(remaining: Callable[[], float]) -> Iterator[float]:
    """Yield the seconds to wait before each further poll: 1, then half as much again each time, up to 30.

    Args:
        remaining: returns the seconds left until the deadline. When the next delay would use them up, a shorter one comes instead, for a
            last poll shortly before the deadline.
    """
    delay = FIRST_DELAY
    while delay < remaining():
        yield delay
        delay = min(delay * GROWTH, LONGEST_DELAY)
    if (rest := remaining()) > 0:
        yield rest * LAST_DELAY


async def poll_until(
    is_done: Callable[[], bool],
    poll: Callable[[], Awaitable[object]],
    *,
    deadline: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> bool:
    """Poll until `is_done()` is true or the deadline has passed.

    Args:
        is_done: whether there is nothing left to wait for; evaluated before each poll.
        poll: one poll, which updates what `is_done` reads. It is cancelled at the deadline.
        deadline: a moment of the event loop's time, in seconds.
        sleep: waits at most a number of seconds. It may return early, for example when an event makes `is_done()` true.

    Returns:
        The last value of `is_done()`.

    Raises:
        Exception: whatever `poll` raises, a `TimeoutError` of its own included.
    """
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            if is_done():
                return True
            await poll()
            for delay in poll_delays(lambda: deadline - loop.time()):
                if is_done():
                    return True
                await sleep(delay)
                if is_done():
                    return True
                await poll()
            if not is_done():
                await sleep(deadline - loop.time())
    except TimeoutError:
        if not limit.expired():
            raise
    return is_done()
