"""Settling what is unknown from what Callbell shows: the contacts' histories, and the messages' statuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import attrs

from callbell_async.endpoints.contacts import ContactsEndpoint
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.endpoints.templates import TemplatesEndpoint
from callbell_async.errors import (
    AuthenticationError,
    CallbellError,
    ClientClosedError,
    JournalError,
    NotFoundError,
    Outcome,
)
from callbell_async.journal.journal import Journal, writer_of
from callbell_async.journal.store import HISTORY
from callbell_async.models.contacts import Contact, HistoryMessage
from callbell_async.models.journal import JournalEntry, ReconcileReport, RefreshReport, UnresolvedEntry
from callbell_async.models.message_status import MessageStatus
from callbell_async.models.template_validation import fill_template
from callbell_async.wire import load_json

__all__ = ["Matches", "match", "reconcile", "refresh"]

T = TypeVar("T")

AT_ONCE = 20
"""How many contacts or messages are asked for at once; the client's rate limit counts for them like for everything."""

ENDED = (MessageStatus.READ, MessageStatus.FAILED, MessageStatus.DELETED)
FATAL = (AuthenticationError, ClientClosedError, JournalError)

NO_CONTENT = ("to", "bsuid", "metadata")
"""What two messages may differ in, and be the same to a customer who has both."""

_log = logging.getLogger("callbell_async")


_State = tuple[str, Outcome, bool, datetime | None]
_Name = tuple[bool, str]


@attrs.frozen
class _Recipient:
    """Whose history a message would be in."""

    channel: str
    to: str | None
    bsuid: str | None
    channel_uuid: str | None


@attrs.frozen
class Matches:
    """What a history shows: which message each entry is (keys to uuids), and the keys of those that may or may not be there."""

    found: Mapping[str, str]
    doubtful: Collection[str]


async def reconcile(
    journal: Journal, *, contacts: ContactsEndpoint, templates: TemplatesEndpoint, clock_skew: float
) -> ReconcileReport:
    """Look for every message whose outcome is unknown in its contact's history; see `CallbellClient.reconcile`."""
    writer = writer_of(journal)
    wanted = await _wanted(journal)
    texts = _Texts(templates)
    # A contact may be named in several ways, and its messages are told apart among all that went to it.
    by_contact: dict[str, list[tuple[JournalEntry, str]]] = defaultdict(list)
    placed: set[_State] = set()
    claimed: list[list[tuple[JournalEntry, str, str]]] = []
    unresolved: list[UnresolvedEntry] = []

    def give_up(entries: Sequence[JournalEntry], reason: str) -> None:
        unresolved.extend(UnresolvedEntry(entry=entry, reason=reason) for entry in entries if _is_open(entry))

    @contextlib.contextmanager
    def stopping_no_others(entries: Sequence[JournalEntry]) -> Iterator[None]:
        try:
            yield
        except FATAL:
            raise
        except CallbellError as error:
            give_up(entries, f"could not be looked for: {error}")

    async def place(recipient: _Recipient) -> None:
        entries = wanted[recipient]
        with stopping_no_others(entries):
            try:
                pairs = [(entry, await texts.of(entry)) for entry in entries]
                contact = await _contact(contacts, recipient)
                by_contact[contact.uuid or ""].extend(pairs)
            except _NotToBeFoundError as error:
                give_up(entries, str(error))
            placed.update(map(_state, entries))

    async def settle(contact_uuid: str) -> None:
        pairs = by_contact[contact_uuid]
        entries = [entry for entry, _ in pairs]
        with stopping_no_others(entries):
            since = min(entry.tried_at for entry in entries) - timedelta(seconds=clock_skew)
            free = [
                message
                for message in await _history_since(contacts, contact_uuid, since)
                if message.uuid is not None and not await writer.has_uuid(message.uuid)
            ]
            matches = match(pairs, free, clock_skew=clock_skew)
            claimed.append(
                [(entry, text, matches.found[entry.key]) for entry, text in pairs if entry.key in matches.found]
            )
            for entry, text in pairs:
                if entry.key in matches.doubtful:
                    give_up([entry], "others with the same text but another content went to this contact")
                elif entry.key not in matches.found:
                    reason = "is not in the contact's history" if text else "has no text by which it could be found"
                    give_up([entry], reason)

    await _each(_of(tuple(wanted)), place)
    to_settle = [uuid for uuid, pairs in by_contact.items() if any(_is_open(entry) for entry, _ in pairs)]
    await _each(_of(to_settle), settle)
    others = await _others(journal, texts, besides=placed) if any(claimed) else _Others()
    accepted = 0
    for claims in claimed:
        # A run may have sent the same to the same contact meanwhile, and any that was found may be that one.
        if any([others.may_be(entry, text) or await writer.has_uuid(uuid) for entry, text, uuid in claims]):
            give_up(
                [entry for entry, _, _ in claims], "another message went to this contact meanwhile; reconcile again"
            )
            continue
        for entry, _, uuid in claims:
            writer.resolve(entry.key, uuid)
        accepted += len(claims)
    await journal.flush()
    # Events may have settled some while this looked for them.
    still = [item for item in unresolved if not await _is_accepted(journal, item.entry.key)]
    return ReconcileReport(
        accepted=accepted + len(unresolved) - len(still),
        unresolved=tuple(sorted(still, key=lambda item: item.entry.tried_at)),
    )


def match(
    wanted: Sequence[tuple[JournalEntry, str]], history: Collection[HistoryMessage], *, clock_skew: float
) -> Matches:
    """Which message of a contact's history each entry is, as far as it can be told.

    An entry is a message that was sent, with its text, not before it was tried (but for `clock_skew` seconds), and that no other entry is.
    Entries that are known to be accepted have theirs first, and are not among those found: which is theirs is not certain.
    Equal texts are told apart by their order only. To equal contents that makes no difference: each was accepted, or none was. Where contents
    differ that the text does not tell apart, there has to be a message for each of them, or none is found; and none is where one of them was sent
    again, because that one may be there more than once.
    """
    by_text: dict[str, list[JournalEntry]] = defaultdict(list)
    for entry, text in sorted(wanted, key=lambda pair: pair[0].tried_at):
        if text:
            by_text[text].append(entry)
    sent: dict[str | None, dict[str, datetime]] = defaultdict(dict)
    for message in history:
        if message.status == "sent" and message.created_at and message.uuid:
            sent[message.text][message.uuid] = message.created_at
    found: dict[str, str] = {}
    doubtful: set[str] = set()
    for text, entries in by_text.items():
        open_entries = [entry for entry in entries if _is_open(entry)]
        settled = [entry for entry in entries if not _is_open(entry) and entry.uuid is None]
        again = [entry for entry in entries if not _is_open(entry) and entry.uuid is not None]
        contents = [_content(entry) for entry in (*open_entries, *again)]
        differ = any(content != contents[0] for content in contents)
        perhaps = [*open_entries, *again] if differ else open_entries
        claims = _claims([*settled, *perhaps], sent[text], clock_skew)
        # Who has one is settled; now the earlier ones have the earlier messages.
        claims = _claims([entry for entry in entries if entry.key in claims], sent[text], clock_skew)
        there = {entry.key: claims[entry.key] for entry in perhaps if entry.key in claims}
        # What was sent again may be there more than once, however often.
        if differ and there and (len(there) < len(perhaps) or any(entry.resent for entry in perhaps)):
            doubtful.update(entry.key for entry in open_entries)
        else:
            found |= {entry.key: there[entry.key] for entry in open_entries if entry.key in there}
    return Matches(found, doubtful)


def _claims(entries: Sequence[JournalEntry], sent: Mapping[str, datetime], clock_skew: float) -> Mapping[str, str]:
    """For each entry in turn the earliest message that it can be, and that none before it has: keys to uuids."""
    free = sorted(sent, key=sent.__getitem__)
    claims: dict[str, str] = {}
    for entry in entries:
        earliest = entry.tried_at - timedelta(seconds=clock_skew)
        uuid = next((uuid for uuid in free if sent[uuid] >= earliest), None)
        if uuid is not None:
            claims[entry.key] = uuid
            free.remove(uuid)
    return claims


async def refresh(journal: Journal, *, messages: MessagesEndpoint) -> RefreshReport:
    """Ask for the status of every accepted message that has not come to its end; see `CallbellClient.refresh`."""
    writer = writer_of(journal)
    asked = changed = failed = 0

    async def ask(entry: JournalEntry) -> None:
        nonlocal asked, changed, failed
        if entry.uuid is None or entry.status in ENDED:
            return
        asked += 1
        try:
            receipt = await messages.status(entry.uuid)
        except FATAL:
            raise
        except CallbellError as error:
            failed += 1
            _log.warning("a message's status could not be asked for: %s", error)
            return
        if receipt.status != entry.status:
            changed += 1
            status = None if receipt.status is None else str(receipt.status)
            writer.record_report(entry.key, entry.uuid, status, failure=receipt.failure, confirmed_by=HISTORY)

    await _each(journal.entries(Outcome.ACCEPTED), ask)
    await journal.flush()
    return RefreshReport(asked=asked, changed=changed, failed=failed)


class _NotToBeFoundError(Exception):
    """Callbell has no way to it; the text says why."""


class _Texts:
    """What the customer reads, by which a history is searched; templates are asked for once."""

    def __init__(self, templates: TemplatesEndpoint) -> None:
        self._templates = templates
        self._known: dict[str, str] = {}
        self._asking = asyncio.Lock()

    async def of(self, entry: JournalEntry) -> str:
        """The text of a message, or nothing."""
        body = load_json(entry.message_body)
        content = body.get("content")
        text = content.get("text") if isinstance(content, dict) else None
        template = body.get("template_uuid")
        if template is None:
            return text if isinstance(text, str) else ""
        async with self._asking:
            if template not in self._known:
                self._known[template] = (await self._templates.get(template)).text or ""
        return fill_template(self._known[template], body.get("template_values") or [text or ""])


async def _wanted(journal: Journal) -> Mapping[_Recipient, Sequence[JournalEntry]]:
    """What is to be looked for, with what was accepted and may have gone to the same contacts: its messages are no others'."""
    wanted: dict[_Recipient, dict[str, JournalEntry]] = defaultdict(dict)
    async for entry in journal.entries(Outcome.UNKNOWN):
        if not entry.in_flight:
            wanted[_recipient(entry)][entry.key] = entry
    names = {_name(recipient) for recipient in wanted}
    kinds = {by_bsuid for by_bsuid, _ in names}
    if wanted:
        async for entry in journal.entries(Outcome.ACCEPTED):
            if entry.uuid is None or entry.resent:
                by_bsuid, value = _name(recipient := _recipient(entry))
                if (by_bsuid, value) in names or (not by_bsuid) in kinds:
                    # In place of what it was a moment ago, if it was wanted then.
                    wanted[recipient][entry.key] = entry
    return {recipient: tuple(entries.values()) for recipient, entries in wanted.items()}


@attrs.frozen
class _Others:
    """Messages whose contacts were not looked at: whom they went to, and what texts went to contacts with either kind of name (`None` for any)."""

    names: set[_Name] = attrs.field(factory=set)
    texts: set[tuple[bool, str | None]] = attrs.field(factory=set)

    def may_be(self, entry: JournalEntry, text: str) -> bool:
        """Whether one of them may be the message that was found for this entry; a number and a bsuid may be one contact's."""
        by_bsuid, _ = name = _name(_recipient(entry))
        return name in self.names or not self.texts.isdisjoint({(not by_bsuid, text), (not by_bsuid, None)})


async def _others(journal: Journal, texts: _Texts, *, besides: Collection[_State]) -> _Others:
    """The messages that have no uuid and may have been accepted, `besides` those that are still in one of these states."""
    others = _Others()
    async for entry in journal.entries(Outcome.UNKNOWN, Outcome.ACCEPTED):
        if (entry.uuid is None or entry.resent) and _state(entry) not in besides:
            by_bsuid, _ = name = _name(_recipient(entry))
            others.names.add(name)
            try:
                others.texts.add((by_bsuid, await texts.of(entry)))
            except FATAL:
                raise
            except CallbellError:
                others.texts.add((by_bsuid, None))
    return others


def _is_open(entry: JournalEntry) -> bool:
    return entry.outcome is not Outcome.ACCEPTED


def _state(entry: JournalEntry) -> _State:
    """What changes when it is tried again, or settled."""
    return entry.key, entry.outcome, entry.in_flight, entry.finished_at


def _content(entry: JournalEntry) -> Mapping[str, Any]:
    return {name: value for name, value in load_json(entry.message_body).items() if name not in NO_CONTENT}


def _name(recipient: _Recipient) -> _Name:
    """Whether it is a bsuid, and that, or the number however it is written."""
    return (True, recipient.bsuid or "") if recipient.to is None else (False, recipient.to.lstrip("+"))


async def _is_accepted(journal: Journal, key: str) -> bool:
    entry = await journal.entry(key)
    return entry is not None and entry.outcome is Outcome.ACCEPTED


def _recipient(entry: JournalEntry) -> _Recipient:
    body = load_json(entry.message_body)
    return _Recipient(body["from"], body.get("to"), body.get("bsuid"), body.get("channel_uuid"))


async def _contact(contacts: ContactsEndpoint, recipient: _Recipient) -> Contact:
    try:
        if recipient.to is None:
            return await contacts.get_by_bsuid(recipient.bsuid or "")
        if recipient.channel == "whatsapp":
            return await contacts.get_by_phone(recipient.to, channel_uuid=recipient.channel_uuid)
    except NotFoundError:
        raise _NotToBeFoundError("there is no such contact") from None
    raise _NotToBeFoundError(f"Callbell finds no contact by an identifier of {recipient.channel}")


async def _history_since(contacts: ContactsEndpoint, contact_uuid: str, since: datetime) -> list[HistoryMessage]:
    found = []
    async for message in contacts.messages(contact_uuid):
        if message.created_at is not None and message.created_at < since:
            break
        found.append(message)
    return found


async def _of(items: Sequence[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


async def _each(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Work on all items, some at once; the first failure ends it."""
    turn = asyncio.Lock()

    async def worker() -> None:
        while True:
            async with turn:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
