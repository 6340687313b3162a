"""Settling what is unknown from what Callbell shows: the contacts' histories, and the messages' statuses."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
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
from callbell_async.journal.journal import Journal
from callbell_async.models.contacts import Contact, HistoryMessage
from callbell_async.models.journal import JournalEntry, Reconciliation, Refreshment, Unresolved
from callbell_async.models.statuses import MessageStatus
from callbell_async.models.template_check import fill_template
from callbell_async.wire import load_json

__all__ = ["match", "reconcile", "refresh"]

T = TypeVar("T")

AT_ONCE = 20
"""How many contacts or messages are asked for at once; the client's rate limit counts for them like for everything."""

ENDED = (MessageStatus.READ, MessageStatus.FAILED, MessageStatus.DELETED)
FATAL = (AuthenticationError, ClientClosedError, JournalError)

_log = logging.getLogger("callbell_async")


@attrs.frozen
class _Recipient:
    """Whose history a message would be in."""

    channel: str
    to: str | None
    bsuid: str | None
    channel_uuid: str | None


async def reconcile(
    journal: Journal, *, contacts: ContactsEndpoint, templates: TemplatesEndpoint, clock_skew: float
) -> Reconciliation:
    """Look for every message whose outcome is unknown in its contact's history; see `CallbellClient.reconcile`."""
    unknown: dict[_Recipient, list[JournalEntry]] = defaultdict(list)
    async for entry in journal.entries(Outcome.UNKNOWN):
        if not entry.under_way:
            unknown[_recipient(load_json(entry.message_body))].append(entry)
    texts = _Texts(templates)
    # By uuid: a contact may be named in several ways, and its history is then looked at for each of them, at the same time.
    claimed: dict[str, JournalEntry] = {}
    unresolved: list[Unresolved] = []

    async def settle(recipient: _Recipient) -> None:
        entries = unknown[recipient]
        try:
            wanted = [(entry, await texts.of(entry)) for entry in entries]
            since = min(entry.tried_at for entry in entries) - timedelta(seconds=clock_skew)
            contact = await _contact(contacts, recipient)
            history = [
                message
                for message in await _history_since(contacts, contact, since)
                if message.uuid is not None and not await journal.has_uuid(message.uuid)
            ]
        except FATAL:
            raise
        except _NotToBeFoundError as error:
            unresolved.extend(Unresolved(entry=entry, reason=str(error)) for entry in entries)
        except CallbellError as error:
            unresolved.extend(Unresolved(entry=entry, reason=f"could not be looked for: {error}") for entry in entries)
        else:
            free = [message for message in history if message.uuid not in claimed]
            found = match(wanted, free, clock_skew=clock_skew)
            for entry, text in wanted:
                if entry.key in found:
                    claimed[found[entry.key]] = entry
                else:
                    reason = "is not in the contact's history" if text else "has no text by which it could be found"
                    unresolved.append(Unresolved(entry=entry, reason=reason))

    await _each(_of(tuple(unknown)), settle)
    others = await _names(journal, besides={entry.key for entries in unknown.values() for entry in entries})
    accepted = 0
    for uuid, entry in claimed.items():
        # A run may have sent the same to the same contact meanwhile, and what was found may be that one.
        if _name(entry) in others or await journal.has_uuid(uuid):
            reason = "another message went to this contact meanwhile; reconcile again"
            unresolved.append(Unresolved(entry=entry, reason=reason))
        else:
            journal.see(entry.key, uuid, None)
            accepted += 1
    await journal.flush()
    # Events may have settled some while this looked for them.
    still = [item for item in unresolved if not await _is_accepted(journal, item.entry.key)]
    return Reconciliation(
        accepted=accepted + len(unresolved) - len(still),
        unresolved=tuple(sorted(still, key=lambda item: item.entry.tried_at)),
    )


def match(
    wanted: Sequence[tuple[JournalEntry, str]], history: Collection[HistoryMessage], *, clock_skew: float
) -> Mapping[str, str]:
    """Which message of a contact's history each entry is: keys to uuids, as far as it can be told.

    An entry is a message that was sent, with its text, not before it was tried (but for `clock_skew` seconds), and that no other entry is.
    Equal texts are told apart by their order only, which makes no difference: each was accepted, or none was.
    """
    sent = sorted(
        (message for message in history if message.status == "sent" and message.created_at and message.uuid),
        key=lambda message: message.created_at or datetime.max,
    )
    found: dict[str, str] = {}
    for entry, text in sorted(wanted, key=lambda pair: pair[0].tried_at):
        earliest = entry.tried_at - timedelta(seconds=clock_skew)
        for message in sent:
            if text and message.text == text and message.created_at and message.created_at >= earliest:
                found[entry.key] = str(message.uuid)
                sent.remove(message)
                break
    return found


async def refresh(journal: Journal, *, messages: MessagesEndpoint) -> Refreshment:
    """Ask for the status of every accepted message that has not come to its end; see `CallbellClient.refresh`."""
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
            journal.see(entry.key, entry.uuid, receipt.status, failure=receipt.failure)

    await _each(journal.entries(Outcome.ACCEPTED), ask)
    await journal.flush()
    return Refreshment(asked=asked, changed=changed, failed=failed)


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


async def _names(journal: Journal, *, besides: Collection[str]) -> set[str | None]:
    """Whom messages went to whose outcome is open, `besides` those with these keys."""
    return {_name(entry) async for entry in journal.entries(Outcome.UNKNOWN) if entry.key not in besides}


def _name(entry: JournalEntry) -> str | None:
    recipient = _recipient(load_json(entry.message_body))
    return recipient.bsuid if recipient.to is None else recipient.to.lstrip("+")


async def _is_accepted(journal: Journal, key: str) -> bool:
    entry = await journal.entry(key)
    return entry is not None and entry.outcome is Outcome.ACCEPTED


def _recipient(body: Any) -> _Recipient:
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


async def _history_since(contacts: ContactsEndpoint, contact: Contact, since: datetime) -> list[HistoryMessage]:
    found = []
    async for message in contacts.messages(contact.uuid or ""):
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
