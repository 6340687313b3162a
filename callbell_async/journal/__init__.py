"""What was tried and what came of it, in a file that outlives the program."""

from callbell_async.journal.journal import Journal, JournalRun, duplicate, ended
from callbell_async.journal.reconcile import reconcile, refresh
from callbell_async.journal.store import Doubtful, Intent, Known, Verdict

__all__ = [
    "Doubtful",
    "Intent",
    "Journal",
    "JournalRun",
    "Known",
    "Verdict",
    "duplicate",
    "ended",
    "reconcile",
    "refresh",
]
