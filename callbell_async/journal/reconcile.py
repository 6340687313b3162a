"""Resolving `UNKNOWN` messages from the histories of their contacts, and requesting the status of accepted messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from callbell_async.endpoints.contacts import ContactsEndpoint, find_contacts
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.endpoints.templates import TemplatesEndpoint
from callbell_async.errors import (
    AuthenticationError,
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    JournalError,
    Outcome,
)
from callbell_async.journal.journal import Journal, writer_of
from callbell_async.journal.matching import (
    ContactGroup,
    EntryText,
    Matches,
    OtherMessages,
    Recipient,
    body_of,
    group_by_contact,
    is_open,
    match,
    recipient_of,
)
from callbell_async.models.contacts import HistoryMessage
from callbell_async.models.journal import JournalEntry, ReconcileReport, RefreshReport, UnresolvedEntry
from callbell_async.models.receipts import MessageStatus
from callbell_async.models.template_validation import fill_template
from callbell_async.observe import area_logger

__all__ = ["reconcile", "refresh"]

T = TypeVar("T")

CONCURRENCY = 20
"""The number of contacts or messages that are requested at the same time. The client's rate limit applies as well."""

MAX_CLOCK_SKEW = 86_400
"""One day. A clock that differs by more is set to the wrong date, which no tolerance can repair."""

FINAL_STATUSES = (MessageStatus.READ, MessageStatus.FAILED, MessageStatus.DELETED)
FATAL = (AuthenticationError, ClientClosedError, JournalError)

NOT_IN_HISTORY = "is not in the contact's history; it may still have been sent"
WITHOUT_TEXT = "has no text, so it can't be found in a history; it may have been sent"
OTHER_CONTENT = "messages with the same text but another content went to this contact, and its history does not show which of them arrived"
OTHER_MESSAGE = "another message went to this contact meanwhile; reconcile again"

_log = area_logger("journal")

_EntryState = tuple[str, Outcome, bool, datetime | None]


async def reconcile(
    journal: Journal, *, contacts: ContactsEndpoint, templates: TemplatesEndpoint, clock_skew: float
) -> ReconcileReport:
    """Search the contacts' histories for every message whose outcome is unknown; see `CallbellClient.reconcile`."""
    if isinstance(clock_skew, bool) or not isinstance(clock_skew, int | float) or not 0 <= clock_skew <= MAX_CLOCK_SKEW:
        raise ConfigurationError(f"clock_skew={clock_skew!r}: must be seconds, 0 to {MAX_CLOCK_SKEW}")
    return await _Reconciliation(journal, contacts, templates, clock_skew).run()


class _Reconciliation:
    """One call of `reconcile`: find the contacts, read and match their histories, and resolve what was found."""

    def __init__(
        self, journal: Journal, contacts: ContactsEndpoint, templates: TemplatesEndpoint, clock_skew: float
    ) -> None:
        self._journal = journal
        self._writer = writer_of(journal)
        self._contacts = contacts
        self._texts = MessageTexts(templates)
        self._clock_skew = clock_skew
        self._searches: list[tuple[Collection[str], list[EntryText]]] = []
        self._searched: set[_EntryState] = set()
        self._matches: list[tuple[list[EntryText], Matches]] = []
        self._reasons: dict[str, str] = {}

    async def run(self) -> ReconcileReport:
        to_find = await _entries_to_find(self._journal)
        await gather_limited(to_find.items(), self._find_contacts)
        groups = group_by_contact(self._searches)
        await gather_limited(
            (group for group in groups if any(is_open(entry) for entry, _ in group.entries)), self._match
        )
        await self._resolve()
        return await self._report([entry for entries in to_find.values() for entry in entries if is_open(entry)])

    async def _find_contacts(self, item: tuple[Recipient, Collection[JournalEntry]]) -> None:
        recipient, entries = item
        with self._isolate_errors(entries):
            pairs = [(entry, await self._texts.get(entry)) for entry in entries]
            to, bsuid, channel_uuid = recipient.to, recipient.bsuid, recipient.channel_uuid
            uuids = set()
            if to is not None and recipient.channel != "whatsapp":
                problem = f"Callbell can't look up a contact by an identifier of {recipient.channel}"
            else:
                found = find_contacts(self._contacts, to=to, bsuid=bsuid, channel_uuid=channel_uuid)
                uuids = {uuid async for uuid in found}
                problem = (
                    f"no contact was found under {'this bsuid' if to is None else 'this number or its other forms'}"
                )
            if uuids:
                self._searches.append((uuids, pairs))
            else:
                self._give_up(entries, f"{problem}; the message may still have been sent")
            self._searched.update(map(_state, entries))

    async def _match(self, group: ContactGroup) -> None:
        entries = [entry for entry, _ in group.entries]
        texts = {text for _, text in group.entries}
        with self._isolate_errors(entries):
            since = min(entry.tried_at for entry in entries) - timedelta(seconds=self._clock_skew)
            # A uuid that an entry has is that of no other entry.
            free = [
                message
                for contact_uuid in sorted(group.contact_uuids)
                for message in await _history_since(self._contacts, contact_uuid, since.replace(microsecond=0))
                if message.text in texts and message.uuid and not await self._writer.has_uuid(message.uuid)
            ]
            matches = match(group.entries, free, clock_skew=self._clock_skew)
            for entry, text in group.entries:
                if entry.key not in matches.found:
                    self._give_up([entry], self._reason(entry, text, matches))
            if matches.found:
                found = [(entry, text) for entry, text in group.entries if entry.key in matches.found]
                self._matches.append((found, matches))

    def _reason(self, entry: JournalEntry, text: str, matches: Matches) -> str:
        if not text:
            return WITHOUT_TEXT
        if entry.key in matches.doubtful:
            return OTHER_CONTENT
        if entry.key in matches.too_early:
            return (
                f"a message with this text is up to {self._clock_skew:g} s older than the attempt: it may be this message if the clocks "
                "differ, or another one"
            )
        return NOT_IN_HISTORY

    async def _resolve(self) -> None:
        others = await self._other_messages() if self._matches else OtherMessages()
        for found, matches in self._matches:
            # A run may have sent the same text to the same contact since then: each message that was found may be that one.
            has_match = any(others.could_match(entry, text) for entry, text in found)
            if has_match or any([await self._writer.has_uuid(uuid) for uuid in matches.candidates]):
                self._give_up([entry for entry, _ in found], OTHER_MESSAGE)
                continue
            for key, uuid in matches.found.items():
                # The reason if the journal leaves the message unresolved: an event may have given its uuid to another entry.
                self._reasons[key] = OTHER_MESSAGE
                # Without a uuid if several messages could be it.
                self._writer.record_report(key, uuid, confirmed_by="history")
        await self._journal.flush()

    async def _other_messages(self) -> OtherMessages:
        """Return the messages without a uuid that may have been accepted, and were not searched in their present state."""
        others = OtherMessages()
        async for entry in self._journal.entries(Outcome.UNKNOWN, Outcome.ACCEPTED):
            if (entry.uuid is None or entry.resent) and _state(entry) not in self._searched:
                text = None
                try:
                    text = await self._texts.get(entry)
                except FATAL:
                    raise
                except CallbellError as error:
                    name = type(error).__name__
                    _log.warning("the text of a message could not be requested: %s", name, extra={"error.type": name})
                others.add(recipient_of(entry), text)
        return others

    async def _report(self, entries: Iterable[JournalEntry]) -> ReconcileReport:
        """Count by what the journal has now: an event or a response may have come meanwhile."""
        inferred = confirmed = 0
        unresolved = []
        for before in entries:
            entry = await self._journal.entry(before.key) or before
            if is_open(entry):
                unresolved.append(UnresolvedEntry(entry=entry, reason=self._reasons[entry.key]))
            elif entry.confirmed_by == "history":
                inferred += 1
            else:
                confirmed += 1
        unresolved.sort(key=lambda item: item.entry.tried_at)
        return ReconcileReport(inferred=inferred, confirmed=confirmed, unresolved=tuple(unresolved))

    def _give_up(self, entries: Iterable[JournalEntry], reason: str) -> None:
        self._reasons.update((entry.key, reason) for entry in entries)

    @contextlib.contextmanager
    def _isolate_errors(self, entries: Iterable[JournalEntry]) -> Iterator[None]:
        """Let an error leave these entries unresolved, and no others."""
        try:
            yield
        except FATAL:
            raise
        except CallbellError as error:
            self._give_up(entries, f"the history could not be searched: {error}")


async def refresh(journal: Journal, *, messages: MessagesEndpoint) -> RefreshReport:
    """Request the status of every accepted message that may still change; see `CallbellClient.refresh`."""
    writer = writer_of(journal)
    requested = changed = failed = 0

    async def request_status(entry: JournalEntry) -> None:
        nonlocal requested, changed, failed
        if entry.uuid is None or entry.status in FINAL_STATUSES:
            return
        requested += 1
        try:
            receipt = await messages.status(entry.uuid)
        except FATAL:
            raise
        except CallbellError as error:
            failed += 1
            name = type(error).__name__
            _log.warning("the status of a message could not be requested: %s", name, extra={"error.type": name})
            return
        if receipt.status != entry.status:
            changed += 1
            status = None if receipt.status is None else str(receipt.status)
            # By the uuid alone: an event may have given this entry another uuid meanwhile.
            writer.record_report(None, entry.uuid, status, failure=receipt.failure, confirmed_by="history")

    await gather_limited(journal.entries(Outcome.ACCEPTED), request_status)
    await journal.flush()
    return RefreshReport(requested=requested, changed=changed, failed=failed)


class MessageTexts:
    """The texts that customers read, by which a history is searched. Each template is requested once."""

    def __init__(self, templates: TemplatesEndpoint) -> None:
        self._templates = templates
        self._known: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def get(self, entry: JournalEntry) -> str:
        """Return the text of a message; empty if it has none."""
        body = body_of(entry.key, entry.message_body)
        content = body.get("content")
        text = content.get("text") if isinstance(content, dict) else None
        text = text if isinstance(text, str) else ""
        template = body.get("template_uuid")
        if template is None:
            return text
        async with self._lock:
            if template not in self._known:
                self._known[template] = (await self._templates.get(template)).text or ""
        return fill_template(self._known[template], body.get("template_values") or [text])


async def _entries_to_find(journal: Journal) -> Mapping[Recipient, Collection[JournalEntry]]:
    """Return the open entries by recipient, with those accepted entries whose messages may be in the same histories."""
    to_find: dict[Recipient, dict[str, JournalEntry]] = defaultdict(dict)
    async for entry in journal.entries(Outcome.UNKNOWN):
        if not entry.in_flight:
            to_find[recipient_of(entry)][entry.key] = entry
    names = {recipient.name for recipient in to_find}
    kinds = {by_bsuid for by_bsuid, _ in names}
    if to_find:
        async for entry in journal.entries(Outcome.ACCEPTED):
            if entry.uuid is None or entry.resent:
                by_bsuid, _ = name = (recipient := recipient_of(entry)).name
                if name in names or (not by_bsuid) in kinds:
                    # It replaces the same entry, if that was open a moment ago.
                    to_find[recipient][entry.key] = entry
    return {recipient: entries.values() for recipient, entries in to_find.items()}


def _state(entry: JournalEntry) -> _EntryState:
    """Return what changes when an entry is sent again or resolved."""
    return entry.key, entry.outcome, entry.in_flight, entry.finished_at


async def _history_since(contacts: ContactsEndpoint, contact_uuid: str, since: datetime) -> list[HistoryMessage]:
    found = []
    async for message in contacts.messages(contact_uuid):
        if message.created_at is not None and message.created_at < since:
            break
        found.append(message)
    return found


async def gather_limited(items: Iterable[T] | AsyncIterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Call `work` for each item, `CONCURRENCY` at the same time. The first exception ends it and is raised."""
    iterator = _iterate(items)
    lock = asyncio.Lock()

    async def worker() -> None:
        while True:
            async with lock:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    return
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(CONCURRENCY)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _iterate(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
