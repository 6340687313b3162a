"""How far the accepted messages have come, as a funnel: whoever has read a message also got it."""

from __future__ import annotations

from collections.abc import Mapping

from callbell_async.models.message_status import MessageStatus

__all__ = ["stages"]

_WAY = (MessageStatus.ENQUEUED, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ)


def stages(statuses: Mapping[str, int]) -> dict[str, int]:
    """From the numbers of messages by their last status: how many came to each stage or beyond, and then how many ended otherwise.

    All were enqueued; of one that failed it is not known whether it had been sent.
    """
    stages: dict[str, int] = {}
    for place, stage in enumerate(_WAY):
        stages[stage.value] = sum(statuses.get(further, 0) for further in _WAY[place:])
    others = {str(status): count for status, count in statuses.items() if status not in _WAY and count}
    stages[MessageStatus.ENQUEUED.value] += sum(others.values())
    return {**stages, **others}
