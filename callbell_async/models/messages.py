"""What is sent.

Wrong input raises `InvalidMessageError` when the message is built, so that nothing wrong ever leaves. Source: Callbell's page
`POST /messages/send`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from enum import StrEnum
from typing import Any, Literal

import attrs

from callbell_async.errors import InvalidMessageError
from callbell_async.models.validation import (
    check_json,
    check_key,
    check_metadata,
    check_number,
    check_optional_string,
    check_string,
    check_strings,
    check_url,
)

__all__ = [
    "AudioMessage",
    "BotStatus",
    "CustomMessage",
    "Document",
    "DocumentMessage",
    "Image",
    "ImageMessage",
    "Media",
    "Message",
    "TemplateMessage",
    "TextMessage",
    "Video",
    "VideoMessage",
]

WHATSAPP = "whatsapp"


class BotStatus(StrEnum):
    """What a message does to the contact's bot."""

    BOT_START = "bot_start"
    BOT_END = "bot_end"


def _masked(value: str | None) -> str:
    # A repr ends in logs and tracebacks: enough to tell two messages apart, too little to call anyone.
    return repr(value) if value is None else f"<{len(value)} characters>"


def _masked_items(values: Iterable[Any]) -> str:
    return f"<{len(tuple(values))} items>"


def _listed(value: Iterable[str]) -> Any:
    # Anything that is no list, or has no order, is left for the check, which knows the field's name.
    if type(value) is tuple:
        return value
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set) else value


def _split_fields(value: str | Iterable[str]) -> Any:
    # Callbell's own form is a comma-separated string; both are taken.
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else _listed(value)


def _bot_status(value: BotStatus | Literal["bot_start", "bot_end"] | None) -> BotStatus | None:
    if value is None:
        return None
    try:
        return BotStatus(value)
    except ValueError:
        raise InvalidMessageError("bot_status", "must be 'bot_start' or 'bot_end'") from None


def _metadata(value: Mapping[str, str | float]) -> Mapping[str, str]:
    # To a type checker booleans and whole numbers are floats, too.
    return {} if type(value) is dict and not value else check_metadata("metadata", value)


@attrs.frozen(kw_only=True)
class Message:
    """What all messages share; build one of its subclasses.

    - `to`: telephone number or platform identifier. For WhatsApp blanks, dashes, dots and brackets go and a leading `00` becomes `+`;
      an identifier of another channel is left alone. Required unless `bsuid` is given; Callbell lets `to` win over `bsuid`.
    - `bsuid`: WhatsApp Business Suite User ID.
    - `channel`: the channel's kind (`whatsapp`, `facebook`, `instagram`, `telegram`), `from` on the wire.
    - `channel_uuid`: the channel to send from. Without it the main channel is used; an account with several numbers should give it.
    - `assigned_user` (e-mail), `team_uuid`: whom to assign the conversation to.
    - `fields`: extras wanted in the receipt: `contact`, `conversation`.
    - `bot_status`: `bot_start` or `bot_end`.
    - `metadata`: at most 10 pairs, keys of at most 50 characters, values of at most 500; numbers and booleans become strings. Comes
      back in webhook events.
    - `key`: what a journal knows the message by, 1 to 500 characters; two messages with one key are one to it. Not sent by itself.

    Raises `InvalidMessageError`, which names the field and the remedy.
    """

    to: str | None = attrs.field(default=None, repr=_masked)
    bsuid: str | None = attrs.field(default=None, repr=_masked)
    channel: str = WHATSAPP
    channel_uuid: str | None = None
    assigned_user: str | None = None
    team_uuid: str | None = None
    fields: tuple[str, ...] = attrs.field(default=(), converter=_split_fields)
    bot_status: BotStatus | None = attrs.field(default=None, converter=_bot_status)
    metadata: Mapping[str, str] = attrs.field(factory=dict, converter=_metadata, hash=False, repr=_masked_items)
    key: str | None = attrs.field(default=None, repr=_masked)

    def __attrs_post_init__(self) -> None:
        # Written out, and each optional field looked at only when it is there: this runs for every message of a campaign.
        if self.channel != WHATSAPP:
            check_string("channel", self.channel)
            check_optional_string("to", self.to)
        elif self.to is not None and (number := check_number("to", self.to)) is not self.to:
            object.__setattr__(self, "to", number)
        if self.to is None and self.bsuid is None:
            raise InvalidMessageError(
                "to", "no recipient; give to= (a telephone number or platform identifier) or bsuid="
            )
        if self.bsuid is not None:
            check_string("bsuid", self.bsuid)
        if self.channel_uuid is not None:
            check_string("channel_uuid", self.channel_uuid)
        if self.assigned_user is not None:
            check_string("assigned_user", self.assigned_user)
        if self.team_uuid is not None:
            check_string("team_uuid", self.team_uuid)
        if self.fields != ():
            check_strings("fields", self.fields)
        if self.key is not None:
            check_key("key", self.key)
        self._check()

    def _check(self) -> None:
        if type(self) is Message:
            raise InvalidMessageError("message", "build TextMessage or another kind of message, not Message itself")


@attrs.frozen(kw_only=True)
class TextMessage(Message):
    """A text. Outside the 24 hours after the customer's last reply only template messages may be sent."""

    text: str = attrs.field(repr=_masked)

    def _check(self) -> None:
        check_string("text", self.text)


@attrs.frozen(kw_only=True)
class _MediaMessage(Message):
    url: str = attrs.field(repr=_masked)


@attrs.frozen(kw_only=True)
class _CaptionedMessage(_MediaMessage):
    caption: str | None = attrs.field(default=None, repr=_masked)

    def _check(self) -> None:
        check_url("url", self.url)
        check_optional_string("caption", self.caption)


@attrs.frozen(kw_only=True)
class ImageMessage(_CaptionedMessage):
    """An image at a public URL, with a caption or without."""


@attrs.frozen(kw_only=True)
class DocumentMessage(_CaptionedMessage):
    """A document at a public URL, with a caption or without."""


@attrs.frozen(kw_only=True)
class AudioMessage(_MediaMessage):
    """A sound file at a public URL.

    `type` is what stands on the wire: Callbell's documented example sends audio as `document`, its prose knows `audio`.
    Needs an account on the official WhatsApp Business API.
    """

    type: Literal["document", "audio"] = "document"

    def _check(self) -> None:
        check_url("url", self.url)
        _check_choice("type", self.type, ("document", "audio"))


@attrs.frozen(kw_only=True)
class VideoMessage(_CaptionedMessage):
    """A video at a public URL, with a caption or without.

    `type` is what stands on the wire: Callbell's documented example sends video as `document`, its prose knows `video`.
    Needs an account on the official WhatsApp Business API.
    """

    type: Literal["document", "video"] = "document"

    def _check(self) -> None:
        check_url("url", self.url)
        check_optional_string("caption", self.caption)
        _check_choice("type", self.type, ("document", "video"))


@attrs.frozen
class _Attachment:
    url: str = attrs.field(repr=_masked)

    def __attrs_post_init__(self) -> None:
        check_url("media.url", self.url)


@attrs.frozen
class Image(_Attachment):
    """An image for a media template."""


@attrs.frozen
class Document(_Attachment):
    """A document for a media template."""


@attrs.frozen
class Video(_Attachment):
    """A video for a media template."""


Media = Image | Document | Video
"""What a media template carries."""
_MEDIA = (Image, Document, Video)


@attrs.frozen(kw_only=True)
class TemplateMessage(Message):
    """An approved WhatsApp template; the only kind that may be sent outside the 24 hours after the customer's last reply.

    `optin_contact` has no default: pass `True` to confirm that the contact has opted in. `values` replace `{{1}}`, `{{2}}` … in
    this order. `media` is for templates with an image, a document or a video. Needs an account on the official WhatsApp
    Business API, and credit in its wallet.
    """

    template_uuid: str
    optin_contact: bool
    values: tuple[str, ...] = attrs.field(default=(), converter=_listed, repr=_masked_items)
    media: Media | None = None

    def _check(self) -> None:
        check_string("template_uuid", self.template_uuid)
        if self.optin_contact is not True:
            raise InvalidMessageError(
                "optin_contact",
                "Callbell sends templates only to contacts who opted in; pass optin_contact=True once this one has",
            )
        check_strings("values", self.values)
        if self.media is not None and type(self.media) not in _MEDIA:
            raise InvalidMessageError("media", "must be Image(url), Document(url) or Video(url)")


@attrs.frozen(kw_only=True)
class CustomMessage(Message):
    """A type of message this library does not know yet: `type` and `content` go out as they are.

    `content` is a mapping of what JSON can hold; it is copied.
    """

    type: str
    content: Mapping[str, Any] = attrs.field(hash=False, repr=_masked_items)

    def _check(self) -> None:
        check_string("type", self.type)
        if not isinstance(self.content, Mapping):
            raise InvalidMessageError("content", f"must be a mapping, not {type(self.content).__name__}")
        object.__setattr__(self, "content", check_json("content", self.content))


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidMessageError(field, f"must be {' or '.join(map(repr, choices))}")
