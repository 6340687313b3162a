"""What a message that Callbell tells of may carry besides its text. Anything may be missing, and is `None` or empty then."""

from __future__ import annotations

from collections.abc import Sized
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import attrs

__all__ = [
    "Attachment",
    "AttachmentKind",
    "ContactCard",
    "ContactCardPhone",
    "InteractiveList",
    "ListItem",
    "ListSection",
    "Location",
    "MessageContext",
    "ReplyButton",
    "ReplyOption",
]


def item_count(values: Sized) -> str:
    """How many there are, for a repr: what they say of a person is not for logs."""
    return f"<{len(values)} items>"


class AttachmentKind(StrEnum):
    """What an attachment is, as the ending of its URL's path tells; a sticker is an `IMAGE`, a voice note is `AUDIO`."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


_ENDINGS = {
    AttachmentKind.IMAGE: "jpg jpeg jfif png gif webp bmp heic heif tif tiff",
    AttachmentKind.AUDIO: "mp3 ogg oga opus m4a aac amr wav weba flac",
    AttachmentKind.VIDEO: "mp4 m4v mov 3gp 3gpp 3g2 webm avi mkv mpeg mpg",
    AttachmentKind.DOCUMENT: "pdf doc docx xls xlsx ppt pptx odt ods odp rtf txt csv xml json vcf zip",
}
_KINDS = {f".{ending}": kind for kind, endings in _ENDINGS.items() for ending in endings.split()}


@attrs.frozen(kw_only=True)
class Attachment:
    """A file sent with a message; its `url` expires 10 minutes after the event."""

    url: str = attrs.field(repr=False)

    @property
    def kind(self) -> AttachmentKind | None:
        """What it is, as far as the ending of the URL's path tells."""
        try:
            path = urlsplit(self.url).path
        except ValueError:
            return None
        return _KINDS.get(PurePosixPath(path).suffix.lower())


@attrs.frozen(kw_only=True)
class Location:
    """A place, in degrees; `map_url` is a picture of it. On the wire `x` is the latitude and `y` the longitude."""

    latitude: float | None = attrs.field(default=None, repr=False)
    longitude: float | None = attrs.field(default=None, repr=False)
    map_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ContactCardPhone:
    """A number on a contact card; `wa_id` is the number's name at WhatsApp, if it has one, and `type` such as `MOBILE`."""

    phone: str | None = attrs.field(default=None, repr=False)
    wa_id: str | None = attrs.field(default=None, repr=False)
    type: str | None = None


@attrs.frozen(kw_only=True)
class ContactCard:
    """A contact card that was sent, with its numbers."""

    name: str | None = attrs.field(default=None, repr=False)
    phones: tuple[ContactCardPhone, ...] = ()


@attrs.frozen(kw_only=True)
class ReplyOption:
    """A button of a message with reply buttons."""

    title: str | None = attrs.field(default=None, repr=False)
    type: str | None = None
    postback_text: str | None = attrs.field(default=None, repr=False)
    postback_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ReplyButton:
    """A message with reply buttons: its `type` (such as `quick_reply`), what it says, and its buttons."""

    type: str | None = None
    header: str | None = attrs.field(default=None, repr=False)
    text: str | None = attrs.field(default=None, repr=False)
    caption: str | None = attrs.field(default=None, repr=False)
    url: str | None = attrs.field(default=None, repr=False)
    filename: str | None = attrs.field(default=None, repr=False)
    content_type: str | None = None
    options: tuple[ReplyOption, ...] = attrs.field(default=(), repr=item_count)


@attrs.frozen(kw_only=True)
class ListItem:
    """An entry of an interactive list."""

    header: str | None = attrs.field(default=None, repr=False)
    description: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ListSection:
    """A section of an interactive list."""

    title: str | None = attrs.field(default=None, repr=False)
    subtitle: str | None = attrs.field(default=None, repr=False)
    items: tuple[ListItem, ...] = attrs.field(default=(), repr=item_count)


@attrs.frozen(kw_only=True)
class InteractiveList:
    """An interactive list; `buttons` are the titles of its buttons."""

    header: str | None = attrs.field(default=None, repr=False)
    body: str | None = attrs.field(default=None, repr=False)
    buttons: tuple[str, ...] = attrs.field(default=(), repr=item_count)
    sections: tuple[ListSection, ...] = attrs.field(default=(), repr=item_count)


@attrs.frozen(kw_only=True)
class MessageContext:
    """The message that this one replies to: its `status` is `sent` or `received`."""

    text: str | None = attrs.field(default=None, repr=False)
    created_at: datetime | None = None
    status: str | None = None
