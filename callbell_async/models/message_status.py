"""The delivery status of a message, and the order of statuses."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["MessageStatus", "has_reached", "supersedes"]


class MessageStatus(StrEnum):
    """The delivery status of a message.

    A status that Callbell adds later is a plain string. Source: Callbell's object type `MessageSendRequest`.

    Attributes:
        ENQUEUED: Callbell accepted the message and has not sent it yet.
        SENT: it was sent to the customer's platform.
        DELIVERED: it arrived on the customer's device.
        READ: the customer opened it.
        FAILED: it was not delivered; `failure` has the reason.
        MISMATCH: WhatsApp corrected the number.
        DELETED: it was deleted (deprecated by Callbell).
    """

    ENQUEUED = "enqueued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    MISMATCH = "mismatch"
    DELETED = "deleted"


_PROGRESS = (MessageStatus.ENQUEUED, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ)
_FINAL = (MessageStatus.FAILED, MessageStatus.DELETED)


def has_reached(status: MessageStatus | str | None, target: MessageStatus) -> bool:
    """Return whether a message with this status has reached `target` or a later status, or never will (failed, deleted)."""
    if status == target or status in _FINAL:
        return True
    return status in _PROGRESS and target in _PROGRESS and _PROGRESS.index(status) > _PROGRESS.index(target)


_RANKS: dict[MessageStatus | str | None, int] = {
    None: 0,
    MessageStatus.ENQUEUED: 1,
    MessageStatus.SENT: 2,
    # 3 is for a corrected number and for statuses that Callbell adds: they don't contradict a delivery.
    MessageStatus.DELIVERED: 4,
    MessageStatus.READ: 5,
    MessageStatus.FAILED: 6,
    MessageStatus.DELETED: 6,
}
_OTHER_RANK = 3


def supersedes(status: MessageStatus | str | None, known: MessageStatus | str | None) -> bool:
    """Return whether a status replaces the known one. Statuses arrive in any order, and a final one stays."""
    rank, known_rank = _RANKS.get(status, _OTHER_RANK), _RANKS.get(known, _OTHER_RANK)
    return rank > known_rank or (rank == known_rank == _OTHER_RANK and status != known)
