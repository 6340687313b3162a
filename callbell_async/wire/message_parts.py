"""What a message may carry besides its text: from JSON to models."""

from __future__ import annotations

import math
from typing import Any

from callbell_async.models.message_parts import (
    Attachment,
    ContactCard,
    ContactCardPhone,
    InteractiveList,
    ListItem,
    ListSection,
    Location,
    MessageContext,
    ReplyButton,
    ReplyOption,
)
from callbell_async.wire.lenient import canonical, model_of, read_date, read_object, read_text, several_of

__all__ = [
    "read_attachment",
    "read_contact_cards",
    "read_context",
    "read_forwarded",
    "read_interactive_list",
    "read_location",
    "read_metadata",
    "read_reply_button",
    "read_report",
]


def _degrees(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        degrees = float(value)
    except ValueError:
        return None
    return degrees if math.isfinite(degrees) else None


def read_metadata(value: Any) -> dict[str, str]:
    """Pairs of strings: numbers and booleans are written as JSON writes them, and so is what is nested."""
    pairs = {}
    for key, item in (read_object(value) or {}).items():
        if isinstance(item, str):
            pairs[key] = item
        elif item is not None and (written := canonical(item)) is not None:
            pairs[key] = written.decode()
    return pairs


def read_report(value: Any) -> Any:
    """An integration's report on a message: the object in it, or whatever it is."""
    report = read_object(value)
    return value if report is None else report


def read_attachment(value: Any) -> Attachment | None:
    """One attachment, by its URL or as an object that has one."""
    if isinstance(value, dict):
        value = value.get("url")
    return Attachment(url=value) if isinstance(value, str) and value else None


_PLACE = model_of(
    Location, latitude=(_degrees, "x"), longitude=(_degrees, "y"), map_url=(read_text, "googleMapsLocation")
)


def read_location(value: Any) -> Any:
    """`{coordinates: {x, y}, googleMapsLocation}`, whose `x` is the latitude."""
    value = read_object(value) or {}
    return _PLACE({**value, **(read_object(value.get("coordinates")) or {})})


_CARD = model_of(
    ContactCard,
    name=(read_text, "name"),
    phones=(
        several_of(
            model_of(ContactCardPhone, phone=(read_text, "phone"), wa_id=(read_text, "wa_id"), type=(read_text, "type"))
        ),
        "phones",
    ),
)
_CARDS = several_of(_CARD)


def read_contact_cards(value: Any) -> Any:
    """`{contactsInfo: [{name, phones: [{phone, wa_id, type}]}]}`."""
    return _CARDS((read_object(value) or {}).get("contactsInfo"))


_REPLY_BUTTON = model_of(
    ReplyButton,
    type=(read_text, "type"),
    header=(read_text, "header"),
    text=(read_text, "text"),
    caption=(read_text, "caption"),
    url=(read_text, "url"),
    filename=(read_text, "filename"),
    content_type=(read_text, "contentType"),
    options=(
        several_of(
            model_of(
                ReplyOption,
                title=(read_text, "title"),
                type=(read_text, "type"),
                postback_text=(read_text, "postback_text"),
                postback_url=(read_text, "postback_url"),
            )
        ),
        "options",
    ),
)


def read_reply_button(value: Any) -> Any:
    """`{metadata: {type, content, options}}`."""
    metadata = read_object((read_object(value) or {}).get("metadata")) or {}
    return _REPLY_BUTTON({**(read_object(metadata.get("content")) or {}), **metadata})


def _title(value: Any) -> str | None:
    title: str | None = read_text(value.get("title") if isinstance(value, dict) else value)
    return title


_LIST = model_of(
    InteractiveList,
    header=(read_text, "header"),
    body=(read_text, "body"),
    buttons=(several_of(_title), "buttons"),
    sections=(
        several_of(
            model_of(
                ListSection,
                title=(read_text, "title"),
                subtitle=(read_text, "subtitle"),
                items=(
                    several_of(
                        model_of(ListItem, header=(read_text, "header"), description=(read_text, "description"))
                    ),
                    "items",
                ),
            )
        ),
        "sections",
    ),
)


def read_interactive_list(value: Any) -> Any:
    """`{metadata: …}`, whose metadata is a JSON string."""
    return _LIST((read_object(value) or {}).get("metadata"))


_CONTEXT = model_of(
    MessageContext, text=(read_text, "text"), created_at=(read_date, "createdAt"), status=(read_text, "status")
)


def read_context(value: Any) -> Any:
    """`{target: {text, createdAt, status}}`, or the same without that box."""
    value = read_object(value) or {}
    return _CONTEXT({**value, **(read_object(value.get("target")) or {})})


def read_forwarded(value: Any) -> bool:
    """`{forwarded}`."""
    return (read_object(value) or {}).get("forwarded") is True
