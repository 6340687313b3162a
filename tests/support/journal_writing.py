"""Writing to a journal without a run, and reading it, for the tests of `Journal`."""

from __future__ import annotations

from datetime import UTC, datetime

from callbell_async import Journal, JournalEntry, JournalError, MessageReceipt, Outcome, SendResult, TextMessage
from callbell_async.journal import Claim, ClaimRequest, writer_of

__all__ = ["MESSAGE", "NOW", "claim", "entry_of", "outcomes_of", "record_report", "record_result", "result"]

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
MESSAGE = TextMessage(to="+31612345678", text="Hello!")


async def claim(journal: Journal, *keys: str) -> dict[str, Claim]:
    """Claim messages in a new run; return the claims that are granted."""
    writer = writer_of(journal)
    requests = [ClaimRequest(key, b'{"to":"+31612345678"}', index) for index, key in enumerate(keys)]
    claims = await writer.claim(requests, run=await writer.begin_run())
    return {key: claim for key, claim in zip(keys, claims, strict=True) if claim.granted}


def record_result(journal: Journal, claim: Claim, result: SendResult) -> None:
    """Record the result of a claim."""
    writer_of(journal).record_result(claim, result)


def record_report(journal: Journal, key: str | None, uuid: str | None) -> None:
    """Record that Callbell has a message."""
    writer_of(journal).record_report(key, uuid)


def result(outcome: Outcome, *, uuid: str | None = None, status: str = "enqueued", attempts: int = 1) -> SendResult:
    """Return the result of a message in a run."""
    receipt = None if uuid is None else MessageReceipt(uuid, status)
    error = None if outcome is Outcome.ACCEPTED else JournalError("it broke")
    return SendResult(0, MESSAGE, outcome, receipt, error, attempts)


async def entry_of(journal: Journal, key: str) -> JournalEntry:
    """Return the entry of a message that is in the journal."""
    entry = await journal.entry(key)
    assert entry is not None
    return entry


async def outcomes_of(journal: Journal) -> dict[str, Outcome]:
    """Return the outcomes of all messages by key."""
    return {entry.key: entry.outcome async for entry in journal.entries()}
