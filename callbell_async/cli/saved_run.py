"""What a run does with its journal before it sends: the order goes in, and what is to be sent again is let out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.notes import Order, options_in
from callbell_async.cli.output import counted, say
from callbell_async.client import DEFAULT_BASE_URL
from callbell_async.errors import ConfigurationError, JournalError, Outcome
from callbell_async.journal import Journal

__all__ = ["go_on", "keys_in", "send_again"]


async def go_on(order: Order, journal: Journal) -> None:
    """Write an order into its journal, which may have an earlier one.

    Raises `ConfigurationError` where only one of the two goes to the sandbox: the journal would take what never came to Callbell for
    accepted, and it would never be sent.
    """
    before = options_in(await journal.notes())
    if before and before.get("sandbox", False) != order.sandbox:
        counts = await journal.counts()
        if counts[Outcome.ACCEPTED] or counts[Outcome.UNKNOWN]:
            said = "went to Callbell, and this run has" if order.sandbox else "went to the sandbox only, by"
            raise ConfigurationError(f"--journal: what {journal.path} holds {said} --sandbox; give another journal")
    elif before and not order.sandbox:
        old, new = _address(before.get("base_url")), _address(order.base_url)
        if old != new:
            say(f"{journal.path}: went to {old} before, and goes to {new} now; what is done is not sent again")
    await journal.write_notes(order.notes())


def _address(base_url: str | None) -> str:
    return (base_url or DEFAULT_BASE_URL).strip().rstrip("/")


async def send_again(journal: Journal, keys: tuple[str, ...]) -> None:
    """Let these messages be sent again, all or none, and say how many; raises `ConfigurationError` if one is not `UNKNOWN`."""
    if not keys:
        return
    try:
        await journal.allow_resend(*keys)
    except JournalError as error:
        raise ConfigurationError(f"--resend: {error}") from None
    say(f"{counted(len(keys), 'message')} that may have been accepted will be sent again")


def keys_in(file: Path) -> Iterator[str]:
    """The keys in CSV or JSONL with a `key`, as `export` and `reconcile` write it. Raises `ConfigurationError`, which names the line."""
    rows = RowFile(file)
    if rows.columns is not None and "key" not in rows.columns:
        raise ConfigurationError(
            f"--resend-file: {rows.name} has no column 'key'; it must be as export writes it, heading and all"
        )
    place = None if rows.columns is None else rows.columns.index("key")
    for row in rows.rows():
        # Blanks around a key belong to it: stripped, it would name another message, or none.
        key = row.cells.get("key") if place is None or row.error else row.original[place]
        if row.error is not None or not key:
            raise ConfigurationError(f"--resend-file: line {row.line} of {rows.name} {row.error or 'has no key'}")
        yield key
