"""The results of a run of `send_many`."""

from __future__ import annotations

import attrs

from callbell_async.errors import BulkSendError, DuplicateMessageError, InvalidMessageError, OptedOutError, Outcome
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt

__all__ = ["Item", "SendReport", "SendResult"]

Item = Message | InvalidMessageError
"""An item of `send_many`'s input: a message, or the `InvalidMessageError` of a message that could not be built."""

_WORST_FIRST = (Outcome.UNKNOWN, Outcome.REJECTED, Outcome.NEVER_SENT, Outcome.SKIPPED)


@attrs.frozen
class SendResult:
    """The result of one message of a run.

    Attributes:
        index: The position of the message in the input, from 0.
        message: The message, or the item of the input that is not a message.
        outcome: The outcome, as far as it is known. That of a message that is resent after `Journal.allow_resend` is `ACCEPTED` or
            `UNKNOWN`, whatever `error` this attempt has.
        receipt: Callbell's receipt if the outcome is `ACCEPTED`, also for a duplicate that was accepted in an earlier run.
        error: The exception if the outcome is not `ACCEPTED`. For `SKIPPED`: the error that stopped the run, the
            `DuplicateMessageError` of a duplicate, an `OptedOutError`, or `None` if the run was cancelled or closed.
        attempts: The number of requests made for this message in this run.
        key: With a journal, the key of the message in it; otherwise `None`.
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
        """Whether the message is a duplicate that needs no sending: accepted in an earlier run, or given earlier in this one."""
        error = self.error
        return isinstance(error, DuplicateMessageError) and (
            error.first_index is not None or error.entry.outcome is Outcome.ACCEPTED
        )

    @property
    def is_opted_out(self) -> bool:
        """Whether the message was not sent because its recipient is in the run's `exclude`."""
        return self.outcome is Outcome.SKIPPED and isinstance(self.error, OptedOutError)


@attrs.frozen(kw_only=True)
class SendReport:
    """The results of a run, counted.

    Attributes:
        results: One result for each message, in the order of the input. Empty if the run was iterated with `async for`.
        accepted: The number of messages that Callbell accepted.
        rejected: The number of messages that Callbell refused.
        never_sent: The number of messages that never left this process.
        unknown: The number of messages that may have been accepted.
        skipped: The number of messages that were not attempted, duplicates included.
        elapsed: The duration of the run, in seconds.
        duplicates: The number of skipped messages that need no sending: accepted in an earlier run, or given twice.
        opted_out: The number of skipped messages whose recipient is in the run's `exclude`.
    """

    # Reports are logged, and may have very many results.
    results: tuple[SendResult, ...] = attrs.field(repr=lambda results: f"<{len(results)} results>")
    accepted: int
    rejected: int
    never_sent: int
    unknown: int
    skipped: int
    elapsed: float
    duplicates: int = 0
    opted_out: int = 0

    @property
    def total(self) -> int:
        """The number of messages that have a result."""
        return self.accepted + self.rejected + self.never_sent + self.unknown + self.skipped

    @property
    def rate(self) -> float:
        """The number of messages attempted per second; 0 for a run that took no time."""
        return (self.total - self.skipped) / self.elapsed if self.elapsed else 0.0

    def raise_for_failures(self) -> None:
        """Raise an exception unless every message is accepted, a duplicate, or opted out.

        Raises:
            BulkSendError: Its `outcome` is the worst in the report: `UNKNOWN`, then `REJECTED`, `NEVER_SENT`, `SKIPPED`.
                Its `__cause__` is the error of the first message with that outcome.
        """
        counts = {outcome: int(getattr(self, outcome.value)) for outcome in _WORST_FIRST}
        counts[Outcome.SKIPPED] -= self.duplicates + self.opted_out
        worst = next((outcome for outcome, count in counts.items() if count), None)
        if worst is None:
            return
        summary = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
        cause = next(
            (
                result.error
                for result in self.results
                if result.outcome is worst and not (result.is_duplicate or result.is_opted_out)
            ),
            None,
        )
        raise BulkSendError(
            f"{sum(counts.values())} of {self.total} messages were not accepted: {summary}",
            report=self,
            outcome=worst,
        ) from cause
