"""What became of messages that were sent in bulk."""

from __future__ import annotations

import attrs

from callbell_async.errors import BulkSendError, DuplicateMessageError, InvalidMessageError, Outcome
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt

__all__ = ["Item", "SendReport", "SendResult"]

Item = Message | InvalidMessageError
"""What `send_many` takes: a message, or the `InvalidMessageError` met while building one, which keeps its place in the results."""

_GRAVEST_FIRST = (Outcome.UNKNOWN, Outcome.REJECTED, Outcome.NEVER_SENT, Outcome.SKIPPED)


@attrs.frozen
class SendResult:
    """What became of one message.

    `index` is its place in the input, from 0; `receipt` is there when `outcome` is `ACCEPTED`, and `error` when it is not (for
    `SKIPPED`: what stopped the run, if anything did). `attempts` is how many requests were tried. With a journal, `key` is what it knows
    the message by; one that it has already, or that was given twice, is `SKIPPED` with a `DuplicateMessageError`, and with a receipt if
    it was accepted before; one that was sent again on request is `ACCEPTED` or `UNKNOWN`, whatever `error` says of this attempt.
    """

    index: int
    message: Item
    outcome: Outcome
    receipt: MessageReceipt | None = None
    error: BaseException | None = None
    attempts: int = 0
    key: str | None = attrs.field(default=None, kw_only=True, repr=False)

    @property
    def is_duplicate(self) -> bool:
        """Whether there was no need to try it: a journal knows that it was accepted before, or it repeats a message of this run, whose
        result is the one that counts.
        """
        error = self.error
        return isinstance(error, DuplicateMessageError) and (
            error.first_index is not None or error.entry.outcome is Outcome.ACCEPTED
        )


@attrs.frozen(kw_only=True)
class SendReport:
    """What became of a run: `results` in the order given, the five counts, and how long it took.

    `results` is empty when they were consumed one by one with `async for`. `elapsed` is in seconds, `rate` in messages tried a second.
    `duplicates` are those of the skipped that a journal knows to be accepted, and those given twice.
    """

    # A report ends in logs, and may hold very many.
    results: tuple[SendResult, ...] = attrs.field(repr=lambda results: f"<{len(results)} results>")
    accepted: int
    rejected: int
    never_sent: int
    unknown: int
    skipped: int
    elapsed: float
    duplicates: int = 0

    @property
    def total(self) -> int:
        """How many messages have a result."""
        return self.accepted + self.rejected + self.never_sent + self.unknown + self.skipped

    @property
    def rate(self) -> float:
        """Messages tried a second."""
        return (self.total - self.skipped) / self.elapsed if self.elapsed else 0.0

    def raise_for_failures(self) -> None:
        """Raise `BulkSendError`, caused by the first of the gravest failures, unless all were accepted, in this run or before."""
        counts = {outcome: int(getattr(self, outcome.value)) for outcome in _GRAVEST_FIRST}
        counts[Outcome.SKIPPED] -= self.duplicates
        gravest = next((outcome for outcome, count in counts.items() if count), None)
        if gravest is None:
            return
        said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
        cause = next(
            (result.error for result in self.results if result.outcome is gravest and not result.is_duplicate), None
        )
        raise BulkSendError(
            f"{sum(counts.values())} of {self.total} messages were not accepted: {said}",
            report=self,
            outcome=gravest,
        ) from cause
