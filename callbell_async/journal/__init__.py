"""A file that records each message before it is sent, and its outcome."""

from callbell_async.journal.journal import Journal, writer_of
from callbell_async.journal.reconcile import reconcile, refresh
from callbell_async.journal.states import State, StateEvent, next_state
from callbell_async.journal.store import Claim, ClaimRequest, Row
from callbell_async.journal.writer import JournalWriter, duplicate_error, in_doubt

__all__ = [
    "Claim",
    "ClaimRequest",
    "Journal",
    "JournalWriter",
    "Row",
    "State",
    "StateEvent",
    "duplicate_error",
    "in_doubt",
    "next_state",
    "reconcile",
    "refresh",
    "writer_of",
]
