"""The journal as a program uses it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

from callbell_async.errors import ConfigurationError, JournalError, Outcome
from callbell_async.guarded_observers import Observers, observers_from
from callbell_async.journal.claim_queue import ClaimQueue
from callbell_async.journal.postgres_url import is_postgres_url, parse_journal_url
from callbell_async.journal.sqlite import SQLiteStore
from callbell_async.journal.states import State, outcome_of, states_of
from callbell_async.journal.store import JournalStore, entry_from, known_status
from callbell_async.journal.writer import JournalWriter, is_text
from callbell_async.models.events import Event, MessageCreated, MessageStatusUpdated
from callbell_async.models.journal import JournalEntry
from callbell_async.models.receipts import MessageStatus
from callbell_async.observe import Observer
from callbell_async.redaction import HiddenFrames
from callbell_async.wire import JOURNAL_IN_METADATA, KEY_IN_METADATA

__all__ = ["Journal", "claim_queue_of", "writer_of"]

ENTRIES_AT_ONCE = 500


class Journal:
    """Records each message before it is sent, and its outcome: in a file, or in PostgreSQL for several processes.

    ```python
    report = await callbell.send_many(messages, journal=Journal("spring.db"))
    ```

    One journal sends a message once: within a run, across runs and across crashes. A message that was `ACCEPTED`, or may have
    been (`UNKNOWN`), is not sent again. One that was `REJECTED`, `NEVER_SENT` or `SKIPPED` is sent by the next run with the same
    input. A message is identified by its `key`, or else by everything that would be sent for it. See docs/how-to/campaigns.md.

    `async with journal:` opens it; `send_many` opens it for the length of a run. `Journal.connect` also takes the URL of a PostgreSQL
    database.

    Args:
        path: An SQLite file. It is created if it does not exist, readable by its owner only: it holds recipients and texts.
        key_in_metadata: Whether each message carries its key and the journal's `id` in its metadata, as `callbell_async_key`
            and `callbell_async_journal`, so that a webhook event proves that Callbell has it. A message with more than eight
            pairs of its own carries neither.
        risk_power_loss: Whether not to wait for the disk. A killed program loses nothing, but a power failure may lose the last
            transactions: the journal is then refused, or messages are sent twice.
        read_only: Whether to look at a journal only, also while another process sends with it.
        clock: Returns the time in seconds since 1970.
        observer: An `Observer` of the batches that are written, or a sequence of them.

    Attributes:
        path: The path as given; `None` for a journal in PostgreSQL.
        label: The name of the journal in texts: the path, or the URL without its password.
        key_in_metadata: As given.

    Raises:
        ConfigurationError: `path` is empty or `":memory:"`. From other methods: the journal is open on a running event loop of
            another thread.
        JournalError: From `open`: the journal is in use, damaged, not a journal, or behind the files beside it. From other
            methods: it is not open, or can't be written, as on a full disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key_in_metadata: bool = True,
        risk_power_loss: bool = False,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        observer: Observer | Sequence[Observer] | None = None,
    ) -> None:
        if not os.fspath(path) or os.fspath(path) == ":memory:":
            raise ConfigurationError("path: give a file's path; a journal in memory would not outlive a crash")
        # The directory may be another when it is opened again.
        file = Path(path)
        connect = partial(SQLiteStore, file.absolute(), read_only=read_only, risk_power_loss=risk_power_loss)
        self._set_up(
            connect,
            file,
            str(file),
            key_in_metadata=key_in_metadata,
            read_only=read_only,
            clock=clock,
            observers=observers_from(observer),
        )

    def _set_up(
        self,
        connect: Callable[[], JournalStore],
        path: Path | None,
        label: str,
        *,
        key_in_metadata: bool,
        read_only: bool,
        clock: Callable[[], float],
        observers: Observers | None,
    ) -> None:
        self.path = path
        self.label = label
        self.key_in_metadata = key_in_metadata
        self._writer = JournalWriter(connect, name=label, read_only=read_only, clock=clock, observers=observers)
        self._claims: ClaimQueue | None = None

    @classmethod
    def connect(
        cls,
        url: str | os.PathLike[str],
        *,
        name: str | None = None,
        key_in_metadata: bool = True,
        risk_power_loss: bool = False,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        observer: Observer | Sequence[Observer] | None = None,
    ) -> Self:
        """Return the journal with this URL or path. It connects when it is opened.

        ```python
        journal = Journal.connect("postgresql://user@127.0.0.1/shop", name="spring")
        ```

        Any number of processes may send with one journal in PostgreSQL. Its tables are created when it is opened for the first time,
        if the user may create tables; docs/reference/journal-schema.md has them. Needs the extra `postgres`.

        Args:
            url: `postgresql://user:password@host:port/database`, or the path of a file. libpq's environment variables and password
                file count too, so the URL needs no password.
            name: The journal's name in the database, 1 to 100 characters; it may also be in the URL, as `?name=spring`. Not for a file.
            key_in_metadata: As for `Journal`.
            risk_power_loss: As for `Journal`; in PostgreSQL it sets `synchronous_commit = off`.
            read_only: As for `Journal`.
            clock: As for `Journal`.
            observer: As for `Journal`.

        Returns:
            The journal, which is not open yet.

        Raises:
            ConfigurationError: The URL or the name is not valid. The text never quotes the URL.
            ModuleNotFoundError: The extra `postgres` is not installed.
        """
        with HiddenFrames():
            text = os.fspath(url)
            if not is_postgres_url(text):
                if "://" in text:
                    raise ConfigurationError("url: must begin with postgresql://, or be the path of a file")
                if name is not None:
                    raise ConfigurationError("name: only a journal in PostgreSQL has a name; leave it out for a file")
                return cls(
                    text,
                    key_in_metadata=key_in_metadata,
                    risk_power_loss=risk_power_loss,
                    read_only=read_only,
                    clock=clock,
                    observer=observer,
                )
            address = parse_journal_url(text, name)
            # Only here: the driver is an extra.
            store: Callable[..., JournalStore] = import_module("callbell_async.journal.postgres").PostgresStore
            journal = cls.__new__(cls)
            journal._set_up(
                partial(store, address, read_only=read_only, risk_power_loss=risk_power_loss),
                None,
                address.label,
                key_in_metadata=key_in_metadata,
                read_only=read_only,
                clock=clock,
                observers=observers_from(observer),
            )
            return journal

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label} {'open' if self._writer.is_open else 'closed'}>"

    async def open(self) -> Self:
        """Open the journal, if it is not open. Each `open` needs its `close`.

        Returns:
            The journal itself.

        Raises:
            JournalError: The journal is in use, damaged, not a journal, or behind the files beside it.
        """
        await self._writer.open()
        return self

    async def close(self) -> None:
        """Write everything, and close the journal if nobody else has opened it; harmless when it is closed.

        Raises:
            JournalError: Something can't be written.
        """
        await self._writer.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def id(self) -> str:
        """16 hex digits that distinguish this journal from every other; its messages carry them. The journal must be open."""
        return self._writer.id

    async def counts(self) -> dict[Outcome, int]:
        """Return the number of messages by outcome. Those in flight are `UNKNOWN`.

        Returns:
            The number for each of the five outcomes, 0 or more.
        """
        counts = dict.fromkeys(Outcome, 0)
        for state, _, count in await self._writer.call_flushed(lambda store: store.counts()):
            counts[outcome_of(state)] += count
        return counts

    async def funnel(self) -> dict[MessageStatus | str, int]:
        """Return the number of accepted messages by status, in the order in which a message gets them.

        Returns:
            The number for each status, 0 or more. A status that this library does not know is a plain string.
        """
        funnel: dict[MessageStatus | str, int] = dict.fromkeys(MessageStatus, 0)
        for state, status, count in await self._writer.call_flushed(lambda store: store.counts()):
            if state is State.ACCEPTED:
                known = known_status(status) or MessageStatus.ENQUEUED
                funnel[known] = funnel.get(known, 0) + count
        return funnel

    async def entries(self, *outcomes: Outcome) -> AsyncIterator[JournalEntry]:
        """Iterate over all messages, or those with these outcomes, in the order of their first attempt; in constant memory.

        Args:
            *outcomes: The outcomes of the messages; none for all messages.

        Returns:
            An iterator over the entries. A message that is recorded meanwhile may be among them.
        """
        states, last = states_of(outcomes or Outcome), 0
        while rows := await self._writer.call_flushed(
            lambda store, after=last: store.rows(states, after=after, count=ENTRIES_AT_ONCE)  # type: ignore[misc]
        ):
            for row in rows:
                yield entry_from(row)
            last = rows[-1].id

    async def entry(self, key: str) -> JournalEntry | None:
        """Return the message with this key, or `None`.

        Args:
            key: The key of the message.

        Returns:
            The entry, or `None` if the journal has no message with this key.
        """
        (row,) = await self._writer.call_flushed(lambda store: store.find([key])) if is_text(key) else [None]
        return None if row is None else entry_from(row)

    async def allow_resend(self, *keys: str) -> None:
        """Let the next run send these `UNKNOWN` messages again: they may then reach the customer twice.

        They stay `UNKNOWN` unless that attempt is accepted.

        Args:
            keys: The keys of the messages.

        Raises:
            JournalError: One of them is not `UNKNOWN`, or is in flight; nothing was changed.
        """
        wrong = [key for key in keys if not is_text(key)]
        if not wrong:
            wrong = await self._writer.call_flushed(lambda store: store.allow_resend(keys))
        if wrong:
            raise JournalError(
                f"{self.label}: {len(wrong)} of {len(keys)} keys do not belong to UNKNOWN messages; nothing was changed"
            )

    def handle_event(self, event: Event) -> None:
        """Record what a webhook event shows: Callbell has the message whose key it carries, and the message's status.

        For `receiver.add_listener(journal.handle_event)`. It returns at once, and writes within a moment; `await journal.flush()` waits for
        that. Events about other messages do no harm.

        Args:
            event: Any webhook event.

        Raises:
            JournalError: The journal is not open, or can't be written.
        """
        match event:
            case MessageCreated(is_incoming=False):
                self._writer.record_report(self._key_in(event.metadata), event.uuid)
            case MessageStatusUpdated(status=status):
                told = None if status is None else str(status)
                self._writer.record_report(self._key_in(event.metadata), event.uuid, told, failure=event.failure)

    def _key_in(self, metadata: Mapping[str, str]) -> str | None:
        # Another journal may have another message under the same key.
        return metadata.get(KEY_IN_METADATA) if metadata.get(JOURNAL_IN_METADATA) == self.id else None

    async def flush(self) -> None:
        """Write everything that was recorded.

        Raises:
            JournalError: It can't be written, or something could not be written before.
        """
        await self._writer.flush()

    async def notes(self) -> dict[str, str]:
        """Return the notes that a program keeps beside the messages, by name.

        Returns:
            The texts by name; empty if there are none.
        """
        return await self._writer.call(lambda store: store.notes())

    async def write_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same name. Do not keep a secret in them.

        Args:
            notes: The texts by name. A lone surrogate or a NUL is refused.

        Raises:
            ConfigurationError: A note holds a lone surrogate or a NUL.
        """
        if not all(is_text(f"{name}{text}") for name, text in notes.items()):
            raise ConfigurationError("notes: one holds a lone surrogate or a NUL, which can't be stored")
        await self._writer.call(lambda store: store.write_notes(notes))


def writer_of(journal: Journal) -> JournalWriter:
    """Return the writer of a journal, which runs and `reconcile` use."""
    return journal._writer


def claim_queue_of(journal: Journal) -> ClaimQueue:
    """Return the queue of a journal in which `send` claims single messages in this event loop."""
    if journal._claims is None or journal._claims.loop is not asyncio.get_running_loop():
        journal._claims = ClaimQueue(journal._writer)
    return journal._claims
