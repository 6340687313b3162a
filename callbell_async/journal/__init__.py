"""What was tried and what came of it, in a file that outlives the program."""

from callbell_async.journal.journal import Journal, JournalRun
from callbell_async.journal.reconcile import reconcile, refresh
from callbell_async.journal.store import Intent

__all__ = ["Intent", "Journal", "JournalRun", "reconcile", "refresh"]
