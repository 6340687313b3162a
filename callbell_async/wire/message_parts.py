"""The parts of a message besides its text: from JSON to models."""

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
from callbell_async.wire.lenient import fields_reader, model_reader, read_date, read_object, read_text, tuple_reader

__all__ = [
    "read_attachment",
    "read_contact_cards",
    "read_context",
    "read_forwarded",
    "read_interactive_list",
    "read_location",
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


def read_report(value: Any) -> Any:
    """Return an integration's report on a message: the object, read from its JSON string where it comes so, or the value as it is."""
    report = read_object(value)
    return value if report is None else report


def _bytes(value: Any) -> int | None:
    size = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19 else value
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None


# Callbell does not document attachments as objects: the usual spellings are read.
_ATTACHMENT = fields_reader(
    url=(read_text, "url"),
    content_type=(read_text, "content_type", "contentType", "mime_type", "mimeType"),
    file_name=(read_text, "file_name", "fileName", "filename", "name"),
    size=(_bytes, "size", "file_size", "fileSize"),
)


def read_attachment(value: Any) -> Attachment | None:
    """Return an attachment that comes as its URL, or as an object with a `url`."""
    if isinstance(value, str):
        return Attachment(url=value) if value else None
    if not isinstance(value, dict):
        return None
    fields = _ATTACHMENT(value)
    return Attachment(**fields) if fields.get("url") else None


_LOCATION = model_reader(
    Location, latitude=(_degrees, "x"), longitude=(_degrees, "y"), map_url=(read_text, "googleMapsLocation")
)


def read_location(value: Any) -> Any:
    """Read `{coordinates: {x, y}, googleMapsLocation}`, where `x` is the latitude."""
    value = read_object(value) or {}
    return _LOCATION({**value, **(read_object(value.get("coordinates")) or {})})


_CARD = model_reader(
    ContactCard,
    name=(read_text, "name"),
    phones=(
        tuple_reader(
            model_reader(
                ContactCardPhone, phone=(read_text, "phone"), wa_id=(read_text, "wa_id"), type=(read_text, "type")
            )
        ),
        "phones",
    ),
)
_CARDS = tuple_reader(_CARD)


def read_contact_cards(value: Any) -> Any:
    """Read `{contactsInfo: [{name, phones: [{phone, wa_id, type}]}]}`."""
    return _CARDS((read_object(value) or {}).get("contactsInfo"))


_REPLY_BUTTON = model_reader(
    ReplyButton,
    type=(read_text, "type"),
    header=(read_text, "header"),
    text=(read_text, "text"),
    caption=(read_text, "caption"),
    url=(read_text, "url"),
    filename=(read_text, "filename"),
    content_type=(read_text, "contentType"),
    options=(
        tuple_reader(
            model_reader(
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
    """Read `{metadata: {type, content, options}}`."""
    metadata = read_object((read_object(value) or {}).get("metadata")) or {}
    return _REPLY_BUTTON({**(read_object(metadata.get("content")) or {}), **metadata})


def _title(value: Any) -> str | None:
    title: str | None = read_text(value.get("title") if isinstance(value, dict) else value)
    return title


_LIST = model_reader(
    InteractiveList,
    header=(read_text, "header"),
    body=(read_text, "body"),
    buttons=(tuple_reader(_title), "buttons"),
    sections=(
        tuple_reader(
            model_reader(
                ListSection,
                title=(read_text, "title"),
                subtitle=(read_text, "subtitle"),
                items=(
                    tuple_reader(
                        model_reader(ListItem, header=(read_text, "header"), description=(read_text, "description"))
                    ),
                    "items",
                ),
            )
        ),
        "sections",
    ),
)


def read_interactive_list(value: Any) -> Any:
    """Read `{metadata: …}`, where the metadata is a JSON string."""
    return _LIST((read_object(value) or {}).get("metadata"))


_CONTEXT = model_reader(
    MessageContext, text=(read_text, "text"), created_at=(read_date, "createdAt"), status=(read_text, "status")
)


def read_context(value: Any) -> Any:
    """Read `{target: {text, createdAt, status}}`, or the same object without `target` around it."""
    value = read_object(value) or {}
    return _CONTEXT({**value, **(read_object(value.get("target")) or {})})


def read_forwarded(value: Any) -> bool:
    """Read `{forwarded}`."""
    return (read_object(value) or {}).get("forwarded") is True
