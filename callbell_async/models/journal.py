"""What a journal knows of a message, and the reports of `reconcile` and `refresh`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

from callbell_async.errors import Outcome
from callbell_async.models.message_status import MessageStatus
from callbell_async.models.receipts import MessageReceipt

__all__ = ["Confirmation", "JournalEntry", "ReconcileReport", "RefreshReport", "UnresolvedEntry"]


Confirmation = Literal["response", "event", "history"]


@attrs.frozen(kw_only=True)
class JournalEntry:
    """What a journal knows of one message.

    Attributes:
        key: What identifies the message in the journal: its own `key`, or 32 hex digits that follow from its content.
        message_body: The JSON body of `POST /messages/send`.
        outcome: `UNKNOWN` also while the message is in flight; `SKIPPED` if the run ended before it was sent.
        index: The position in the input of the last run that sent it, from 0.
        uuid: Callbell's uuid, if it is known.
        status: The last status that the journal has received.
        attempts: The number of requests in the last run that sent it.
        tried_at: When the run was about to send it. After `allow_resend` this is the time of the first attempt.
        finished_at: When the outcome became known.
        reason: Why it was not accepted or not delivered, in one line.
        in_flight: Whether a run is sending it now.
        resent: Whether it was sent again after `allow_resend`, so that the customer may have it twice.
        confirmed_by: How an `ACCEPTED` message was confirmed: `"response"` (Callbell's 2xx response), `"event"` (a webhook event
            with the message's key), `"history"` (inferred by `reconcile` from the contact's history, which can be wrong).
            `None` for any other outcome.
    """

    key: str = attrs.field(repr=lambda key: f"<{len(key)} characters>")
    message_body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    outcome: Outcome
    index: int
    uuid: str | None = None
    status: MessageStatus | str | None = None
    attempts: int = 0
    tried_at: datetime
    finished_at: datetime | None = None
    reason: str | None = None
    in_flight: bool = False
    resent: bool = False
    confirmed_by: Confirmation | None = None

    @property
    def receipt(self) -> MessageReceipt | None:
        """The receipt, as far as the journal has it; `None` without a uuid."""
        return None if self.uuid is None else MessageReceipt(self.uuid, self.status)


@attrs.frozen(kw_only=True)
class UnresolvedEntry:
    """A message that `reconcile` could not resolve, and the reason.

    Attributes:
        entry: The message.
        reason: Why it is still `UNKNOWN`, in one line.
    """

    entry: JournalEntry
    reason: str


@attrs.frozen(kw_only=True)
class ReconcileReport:
    """The result of `CallbellClient.reconcile`.

    Attributes:
        accepted: The number of messages that are now known to be accepted.
        unresolved: The messages that are still `UNKNOWN`, by time of the attempt.
    """

    accepted: int
    unresolved: tuple[UnresolvedEntry, ...]


@attrs.frozen(kw_only=True)
class RefreshReport:
    """The result of `CallbellClient.refresh`.

    Attributes:
        asked: The number of messages whose status was requested.
        changed: The number of messages whose status has changed.
        failed: The number of requests that failed.
    """

    asked: int
    changed: int
    failed: int
