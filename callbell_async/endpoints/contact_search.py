"""Finding the contacts of a recipient."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from callbell_async.endpoints.contacts import ContactsEndpoint
from callbell_async.errors import NotFoundError
from callbell_async.models.contacts import Contact
from callbell_async.models.validation import number_variants

__all__ = ["find_contacts"]


async def find_contacts(
    contacts: ContactsEndpoint, *, to: str | None, bsuid: str | None, channel_uuid: str | None
) -> AsyncIterator[str]:
    """Yield the uuid of each contact under a number, as it is written and in the other forms to which WhatsApp corrects it, or under a bsuid."""
    found = set()
    for look_up in _look_ups(contacts, to, bsuid, channel_uuid):
        with contextlib.suppress(NotFoundError):
            uuid = (await look_up()).uuid
            if uuid and uuid not in found:
                found.add(uuid)
                yield uuid


def _look_ups(
    contacts: ContactsEndpoint, to: str | None, bsuid: str | None, channel_uuid: str | None
) -> list[Callable[[], Awaitable[Contact]]]:
    if to is None:
        return [partial(contacts.get_by_bsuid, bsuid or "")]
    return [partial(contacts.get_by_phone, number, channel_uuid=channel_uuid) for number in (to, *number_variants(to))]
