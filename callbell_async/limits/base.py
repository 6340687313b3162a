"""The base class of all rate limiters."""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["RateLimiter", "TrackedSlot"]


class TrackedSlot(ABC):
    """The slot of one request, for a limiter with `tracks_writes`: it is also informed when the request is written.

    It ends with exactly one `release` or one `refund`, which replace those of the limiter.
    """

    @abstractmethod
    def written(self) -> None:
        """The request begins to leave. Called at most once, not from another task."""

    @abstractmethod
    def release(self, *, has_response: bool) -> None:
        """The request has ended, as for `RateLimiter.release`.

        Args:
            has_response: Whether any response was received.
        """

    @abstractmethod
    def refund(self) -> None:
        """The request was never sent, as for `RateLimiter.refund`."""


class RateLimiter(ABC):
    """Gives permission for each request of a client, retries included. Subclass it, for example to share a limit between processes.

    The permission to send one request is a slot. Each `acquire`, and each `try_acquire` that returned `True`, is followed by exactly
    one `release` or one `refund`. All methods are called on one event loop at a time.

    A client awaits `start` before its first `acquire` and `aclose` when it is closed. Several clients may share a limiter: then each of
    them awaits both, once.

    Attributes:
        tracks_writes: Whether the limiter needs the time at which a request is written. Then the client calls `track_slot` after each
            acquired slot.
        problem: Why the limiter gives no slot at present, for error texts; `None` if it works.
    """

    tracks_writes: bool = False
    problem: str | None = None

    async def start(self) -> None:  # noqa: B027 - optional
        """Prepare for the first request of a client, such as by opening a connection; does nothing by default.

        An exception fails the request that waits for it; the next request starts the limiter again.
        """

    async def aclose(self) -> None:  # noqa: B027 - optional
        """Free what `start` opened, after the last request of a client; does nothing by default."""

    def try_acquire(self) -> bool:
        """Return whether one more request may be sent at once, without overtaking those that wait in `acquire`.

        A limiter that must wait to find out returns `False`, as this method does by default.

        Returns:
            True if a slot was acquired.
        """
        return False

    @abstractmethod
    async def acquire(self) -> None:
        """Wait until one more request may be sent, in the order of the calls. If it is cancelled, no slot is taken."""

    @abstractmethod
    def release(self, *, has_response: bool) -> None:
        """The request that held the slot has ended.

        Args:
            has_response: Whether any response was received. Without one, the request may still reach the server.
        """

    @abstractmethod
    def refund(self) -> None:
        """The request that was to use the slot was never sent."""

    def track_slot(self) -> TrackedSlot:
        """Return the slot that was just acquired, if the limiter `tracks_writes`.

        Returns:
            The slot, which ends with its own `release` or `refund`.
        """
        raise NotImplementedError(f"{type(self).__name__} has tracks_writes, and must define track_slot")

    def pause(self, seconds: float) -> None:  # noqa: B027 - optional
        """Callbell responded with 429: give no slot for this time. Does nothing by default.

        The client that got the response pauses in any case. A limiter that several clients share stops the others as well.

        Args:
            seconds: The length of the pause that begins now, 0 or more. A longer pause that has begun already stays as it is.
        """
