"""An entry of a journal, and the reports of `reconcile` and `refresh`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

from callbell_async.errors import Outcome
from callbell_async.models.receipts import MessageReceipt, MessageStatus

__all__ = ["Confirmation", "JournalEntry", "ReconcileReport", "RefreshReport", "UnresolvedEntry"]


Confirmation = Literal["response", "event", "history"]


@attrs.frozen(kw_only=True)
class JournalEntry:
    """One message in a journal.

    Attributes:
        key: The identifier of the message in the journal: its own `key`, or 32 hex digits that are derived from its content.
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
        """The receipt as far as the journal has it, its `uuid` and its `status`; `None` without a uuid."""
        return None if self.uuid is None else MessageReceipt(self.uuid, self.status)


@attrs.frozen(kw_only=True)
class UnresolvedEntry:
    """A message that `reconcile` could not resolve.

    Attributes:
        entry: The message.
        reason: Why it is still `UNKNOWN`, in one line, without personal data. No reason proves that the message was not sent.
    """

    entry: JournalEntry
    reason: str


@attrs.frozen(kw_only=True)
class ReconcileReport:
    """The result of `CallbellClient.reconcile`: the messages that were `UNKNOWN` before, by what is known of them now.

    Attributes:
        inferred: The number of messages that are `ACCEPTED` because the contact's history shows them. This can be wrong.
        confirmed: The number of messages that a webhook event or a response confirmed during the search.
        unresolved: The messages that are still `UNKNOWN`, in the order of their attempts.
    """

    inferred: int
    confirmed: int
    unresolved: tuple[UnresolvedEntry, ...]

    @property
    def accepted(self) -> int:
        """The number of messages that are now `ACCEPTED`: `inferred` and `confirmed` together."""
        return self.inferred + self.confirmed


@attrs.frozen(kw_only=True)
class RefreshReport:
    """The result of `CallbellClient.refresh`.

    Attributes:
        requested: The number of messages whose status was requested.
        changed: The number of messages whose status has changed.
        failed: The number of requests that failed.
    """

    requested: int
    changed: int
    failed: int
