"""The parts of a received or sent message besides its text. A field that is missing in an event is `None` or empty."""

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
    """Return the number of items, for a repr that holds no personal data."""
    return f"<{len(values)} items>"


class AttachmentKind(StrEnum):
    """The kind of an attachment, from its content type, or from the suffix of its URL's path or of its name.

    Attributes:
        IMAGE: A picture, or a sticker.
        AUDIO: A sound, or a voice note.
        VIDEO: A film.
        DOCUMENT: Any other kind of file.
    """

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
_MAIN_TYPES = frozenset(AttachmentKind)
_KINDS = {f".{ending}": kind for kind, endings in _ENDINGS.items() for ending in endings.split()}


@attrs.frozen(kw_only=True)
class Attachment:
    """A file that was sent with a message.

    Source: Callbell's page on the event `message_created`. Callbell documents attachments as URLs; objects have been seen, too.

    Attributes:
        url: the file's URL, which expires 10 minutes after the event.
        content_type: the media type, such as `image/jpeg`, or only its first part; `None` if the attachment is only a URL.
        file_name: the name of the file; `None` if the attachment is only a URL.
        size: the size in bytes; `None` if the attachment is only a URL.
    """

    url: str = attrs.field(repr=False)
    content_type: str | None = None
    file_name: str | None = attrs.field(default=None, repr=False)
    size: int | None = None

    @property
    def kind(self) -> AttachmentKind | None:
        """The kind of the file, from the content type if there is one, otherwise from the suffix of the URL's path or of the name."""
        return _kind_of_type(self.content_type) or _kind_of_path(self._path) or _kind_of_path(self.file_name or "")

    @property
    def _path(self) -> str:
        try:
            return urlsplit(self.url).path
        except ValueError:
            return ""


def _kind_of_type(content_type: str | None) -> AttachmentKind | None:
    main = (content_type or "").partition("/")[0].strip().lower()
    if main in _MAIN_TYPES:
        return AttachmentKind(main)
    # A document in most cases; but `application/octet-stream` has no meaning, and the suffix decides.
    return None


def _kind_of_path(path: str) -> AttachmentKind | None:
    return _KINDS.get(PurePosixPath(path).suffix.lower())


@attrs.frozen(kw_only=True)
class Location:
    """A place.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        latitude: the latitude in degrees, `x` in the JSON.
        longitude: the longitude in degrees, `y` in the JSON.
        map_url: URL of a map of the place.
    """

    latitude: float | None = attrs.field(default=None, repr=False)
    longitude: float | None = attrs.field(default=None, repr=False)
    map_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ContactCardPhone:
    """A telephone number on a contact card.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        phone: the number.
        wa_id: the number's identifier at WhatsApp, if it has one.
        type: the type, such as `MOBILE`.
    """

    phone: str | None = attrs.field(default=None, repr=False)
    wa_id: str | None = attrs.field(default=None, repr=False)
    type: str | None = None


@attrs.frozen(kw_only=True)
class ContactCard:
    """A contact card that was sent.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        name: the name.
        phones: the telephone numbers.
    """

    name: str | None = attrs.field(default=None, repr=False)
    phones: tuple[ContactCardPhone, ...] = ()


@attrs.frozen(kw_only=True)
class ReplyOption:
    """A button of a message with reply buttons.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        title: the text on the button.
        type: the type, such as `text`.
        postback_text: the text that a click sends.
        postback_url: the URL that a click opens.
    """

    title: str | None = attrs.field(default=None, repr=False)
    type: str | None = None
    postback_text: str | None = attrs.field(default=None, repr=False)
    postback_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ReplyButton:
    """The content of a message with reply buttons.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        type: the type, such as `quick_reply`.
        header: the header.
        text: the text.
        caption: the caption.
        url: URL of the file, if there is one.
        filename: name of the file.
        content_type: type of the file, such as `image`.
        options: the buttons.
    """

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
    """An item of an interactive list.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        header: the item's text.
        description: the description.
    """

    header: str | None = attrs.field(default=None, repr=False)
    description: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ListSection:
    """A section of an interactive list.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        title: the title.
        subtitle: the subtitle.
        items: the items.
    """

    title: str | None = attrs.field(default=None, repr=False)
    subtitle: str | None = attrs.field(default=None, repr=False)
    items: tuple[ListItem, ...] = attrs.field(default=(), repr=item_count)


@attrs.frozen(kw_only=True)
class InteractiveList:
    """The content of an interactive list.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        header: the header.
        body: the text.
        buttons: the titles of the buttons.
        sections: the sections.
    """

    header: str | None = attrs.field(default=None, repr=False)
    body: str | None = attrs.field(default=None, repr=False)
    buttons: tuple[str, ...] = attrs.field(default=(), repr=item_count)
    sections: tuple[ListSection, ...] = attrs.field(default=(), repr=item_count)


@attrs.frozen(kw_only=True)
class MessageContext:
    """The message to which another message replies.

    Source: Callbell's page on the event `message_created`.

    Attributes:
        text: the text.
        created_at: when it was created.
        status: `sent` or `received`.
    """

    text: str | None = attrs.field(default=None, repr=False)
    created_at: datetime | None = None
    status: str | None = None
