"""What became of messages that were sent in bulk."""

from __future__ import annotations

import attrs

from callbell_async.errors import BulkSendError, InvalidMessageError, Outcome
from callbell_async.models.messages import Message, MessageReceipt

__all__ = ["Item", "SendReport", "SendResult"]

Item = Message | InvalidMessageError
"""What `send_many` takes: a message, or the `InvalidMessageError` met while building one, which keeps its place in the results."""

_GRAVEST_FIRST = (Outcome.UNKNOWN, Outcome.REJECTED, Outcome.NEVER_SENT, Outcome.SKIPPED)


@attrs.frozen
class SendResult:
    """What became of one message.

    `index` is its place in the input, from 0; `receipt` is there when `outcome` is `ACCEPTED`, and `error` when it is not (for
    `SKIPPED`: what stopped the run, if anything did). `attempts` is how many requests were tried.
    """

    index: int
    message: Item
    outcome: Outcome
    receipt: MessageReceipt | None = None
    error: BaseException | None = None
    attempts: int = 0


@attrs.frozen(kw_only=True)
class SendReport:
    """What became of a run: `results` in the order given, the five counts, and how long it took.

    `results` is empty when they were consumed one by one with `async for`. `elapsed` is in seconds, `rate` in messages tried a second.
    """

    # A report ends in logs, and may hold very many.
    results: tuple[SendResult, ...] = attrs.field(repr=lambda results: f"<{len(results)} results>")
    accepted: int
    rejected: int
    never_sent: int
    unknown: int
    skipped: int
    elapsed: float

    @property
    def total(self) -> int:
        """How many messages have a result."""
        return self.accepted + self.rejected + self.never_sent + self.unknown + self.skipped

    @property
    def rate(self) -> float:
        """Messages tried a second."""
        return (self.total - self.skipped) / self.elapsed if self.elapsed else 0.0

    def raise_for_failures(self) -> None:
        """Raise `BulkSendError`, caused by the first of the gravest failures, unless all were accepted."""
        counts = {outcome: int(getattr(self, outcome.value)) for outcome in _GRAVEST_FIRST}
        gravest = next((outcome for outcome, count in counts.items() if count), None)
        if gravest is None:
            return
        said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
        cause = next((result.error for result in self.results if result.outcome is gravest), None)
        raise BulkSendError(
            f"{self.total - self.accepted} of {self.total} messages were not accepted: {said}",
            report=self,
            outcome=gravest,
        ) from cause
