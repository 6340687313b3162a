"""How far a message has come, and which of two reports says more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

__all__ = ["MessageStatus", "has_reached", "is_news", "pauses"]

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
"""Seconds between two looks at a status: most messages are delivered in the first few, and read hours later."""
_LAST_PAUSE = 0.9
"""Of the time that is left, the part before the last look: the look takes time, too."""


class MessageStatus(StrEnum):
    """How far a message has come. A status that Callbell adds later is given as a plain string."""

    ENQUEUED = "enqueued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    MISMATCH = "mismatch"
    """WhatsApp corrected the number."""
    DELETED = "deleted"


_PROGRESS = (MessageStatus.ENQUEUED, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ)
_ENDS = (MessageStatus.FAILED, MessageStatus.DELETED)


def has_reached(status: MessageStatus | str | None, until: MessageStatus) -> bool:
    """Whether a message with this status has reached another or gone beyond it, or never will."""
    if status == until or status in _ENDS:
        return True
    return status in _PROGRESS and until in _PROGRESS and _PROGRESS.index(status) > _PROGRESS.index(until)


_RANKS: dict[MessageStatus | str | None, int] = {
    None: 0,
    MessageStatus.ENQUEUED: 1,
    MessageStatus.SENT: 2,
    # 3 is for a corrected number, and for what Callbell adds: no reason to doubt a delivery.
    MessageStatus.DELIVERED: 4,
    MessageStatus.READ: 5,
    MessageStatus.FAILED: 6,
    MessageStatus.DELETED: 6,
}
_OTHER_RANK = 3


def is_news(status: MessageStatus | str | None, known: MessageStatus | str | None) -> bool:
    """Whether a status says more of a message than the one known; they come in any order, and an end stays one."""
    rank, known_rank = _RANKS.get(status, _OTHER_RANK), _RANKS.get(known, _OTHER_RANK)
    return rank > known_rank or (rank == known_rank == _OTHER_RANK and status != known)


def pauses(left: Callable[[], float]) -> Iterator[float]:
    """Seconds to wait between one look at a status and the next: 1, then half as long again each time, to 30; the last is shorter.

    `left` tells the seconds left for looking. Where the next pause would take all of them, one more look comes shortly before their end.
    """
    pause = _FIRST_PAUSE
    while pause < left():
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    if (rest := left()) > 0:
        yield rest * _LAST_PAUSE
