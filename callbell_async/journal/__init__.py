"""The journal: it records each message before it is sent, and its outcome, in a file or in PostgreSQL."""

from callbell_async.journal.claim_queue import BATCH_SIZE, MOST_AHEAD, ClaimQueue
from callbell_async.journal.journal import Journal, claim_queue_of, writer_of
from callbell_async.journal.matching import body_of
from callbell_async.journal.reconcile import reconcile, refresh
from callbell_async.journal.states import IN_FLIGHT, State, StateEvent, next_state
from callbell_async.journal.store import Claim, ClaimRequest, Row
from callbell_async.journal.writer import JournalWriter, duplicate_error, still_unknown

__all__ = [
    "BATCH_SIZE",
    "IN_FLIGHT",
    "MOST_AHEAD",
    "Claim",
    "ClaimQueue",
    "ClaimRequest",
    "Journal",
    "JournalWriter",
    "Row",
    "State",
    "StateEvent",
    "body_of",
    "claim_queue_of",
    "duplicate_error",
    "next_state",
    "reconcile",
    "refresh",
    "still_unknown",
    "writer_of",
]
