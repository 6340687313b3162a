"""Contacts and conversations, as Callbell gives them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

__all__ = ["Contact", "Conversation"]


@attrs.frozen(kw_only=True)
class Contact:
    """A contact; anything may be missing, and is `None` then (`tags` and `custom_fields` are empty).

    `phone_number` is as Callbell writes it, blanks and all. `email` comes only in the short form that a receipt carries.
    `custom_fields` holds Callbell's own forms: a checkbox is a JSON string of a list. `raw` is the untouched JSON.
    """

    uuid: str | None = None
    name: str | None = attrs.field(default=None, repr=False)
    phone_number: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)
    avatar_url: str | None = attrs.field(default=None, repr=False)
    blocked_at: datetime | None = None
    created_at: datetime | None = None
    source: str | None = None
    funnel_id: str | None = None
    closed_at: datetime | None = None
    href: str | None = None
    conversation_href: str | None = None
    tags: tuple[str, ...] = ()
    assigned_user: str | None = None
    custom_fields: Mapping[str, Any] = attrs.field(factory=dict, hash=False, repr=False)
    bsuid: str | None = None
    note: str | None = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Conversation:
    """A conversation with a contact; anything may be missing. `raw` is the untouched JSON."""

    source: str | None = None
    href: str | None = None
    contact: Contact | None = None
    created_at: datetime | None = None
    closed_at: datetime | None = None
    closing_reason: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
