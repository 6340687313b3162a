"""What a journal knows of a message."""

from __future__ import annotations

from datetime import datetime

import attrs

from callbell_async.errors import Outcome
from callbell_async.models.message_status import MessageStatus
from callbell_async.models.receipts import MessageReceipt

__all__ = ["JournalEntry", "ReconcileReport", "RefreshReport", "UnresolvedEntry"]


@attrs.frozen(kw_only=True)
class JournalEntry:
    """What a journal knows of one message.

    `key` names it. `message_body` is what is sent for it: the JSON of `POST /messages/send`. `outcome` is what became of it so far:
    `UNKNOWN` also while it is `in_flight`, and `SKIPPED` for one that was not tried. `uuid` is Callbell's, once it has accepted it, and
    `status` how far it was when that was last heard of. `attempts` counts the requests of the last run that tried it. `index` is its place
    in that run's input. `tried_at` is when it was about to be tried, the first time if that may have arrived, and `settled_at` when its outcome was known.
    `reason` says in one line why it was not accepted. `resent` is whether it was tried again on request, so that it may be there twice.
    """

    key: str = attrs.field(repr=lambda key: f"<{len(key)} characters>")
    message_body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    outcome: Outcome
    index: int
    uuid: str | None = None
    status: MessageStatus | str | None = None
    attempts: int = 0
    tried_at: datetime
    settled_at: datetime | None = None
    reason: str | None = None
    in_flight: bool = False
    resent: bool = False

    @property
    def receipt(self) -> MessageReceipt | None:
        """Callbell's word for it, as far as it was written down; `None` while it is not known to be accepted."""
        return None if self.uuid is None else MessageReceipt(self.uuid, self.status)


@attrs.frozen(kw_only=True)
class UnresolvedEntry:
    """A message whose fate could not be found out, and why not."""

    entry: JournalEntry
    reason: str


@attrs.frozen(kw_only=True)
class ReconcileReport:
    """What a look into the contacts' histories settled: how many messages are now known to be accepted, and which are still unknown."""

    accepted: int
    unresolved: tuple[UnresolvedEntry, ...]


@attrs.frozen(kw_only=True)
class RefreshReport:
    """What asking for statuses brought: how many messages were asked for, how many have changed, and how many could not be told."""

    asked: int
    changed: int
    failed: int
