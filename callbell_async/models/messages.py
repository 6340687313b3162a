"""The messages that can be sent.

Wrong input raises `InvalidMessageError` when the message is built, before anything is sent. Source: Callbell's page
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
    """The effect of a message on the contact's bot.

    Attributes:
        BOT_START: start the bot.
        BOT_END: end the bot.
    """

    BOT_START = "bot_start"
    BOT_END = "bot_end"


def _masked(value: str | None) -> str:
    # A repr may end in logs and tracebacks, so it holds no personal data.
    return repr(value) if value is None else f"<{len(value)} characters>"


def _masked_items(values: Iterable[Any]) -> str:
    return f"<{len(tuple(values))} items>"


def _listed(value: Iterable[str]) -> Any:
    # Anything that is not a list, or has no order, is left to the check, which knows the field's name.
    if type(value) is tuple:
        return value
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set) else value


def _split_fields(value: str | Iterable[str]) -> Any:
    # Callbell's own form, a comma-separated string, is taken as well.
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else _listed(value)


def _bot_status(value: BotStatus | Literal["bot_start", "bot_end"] | None) -> BotStatus | None:
    if value is None:
        return None
    try:
        return BotStatus(value)
    except ValueError:
        raise InvalidMessageError("bot_status", "must be 'bot_start' or 'bot_end'") from None


def _metadata(value: Mapping[str, str | float]) -> Mapping[str, str]:
    # For a type checker, booleans and whole numbers are floats, too.
    return {} if type(value) is dict and not value else check_metadata("metadata", value)


@attrs.frozen(kw_only=True)
class Message:
    """The base class of all messages; build one of its subclasses.

    Attributes:
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
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
        # Written out, and each optional field is checked only when it is given, because this runs for every message.
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
    """A text message.

    It is delivered within 24 hours of the customer's last message only; after that, a `TemplateMessage` is needed.

    Attributes:
        text: the text; WhatsApp takes at most 4,096 characters.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
    """

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
    """An image at a public URL, with or without a caption.

    Attributes:
        url: public http or https URL of the image.
        caption: text below the image; WhatsApp takes at most 1,024 characters.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
    """


@attrs.frozen(kw_only=True)
class DocumentMessage(_CaptionedMessage):
    """A document at a public URL, with or without a caption.

    Attributes:
        url: public http or https URL of the document.
        caption: text below the document; WhatsApp takes at most 1,024 characters.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
    """


@attrs.frozen(kw_only=True)
class AudioMessage(_MediaMessage):
    """An audio file at a public URL.

    It needs an account on the official WhatsApp Business API.

    Attributes:
        url: public http or https URL of the audio file.
        type: the type in the request: `document` (the default), as in Callbell's documented example, or `audio`, as in its text.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
    """

    type: Literal["document", "audio"] = "document"

    def _check(self) -> None:
        check_url("url", self.url)
        _check_choice("type", self.type, ("document", "audio"))


@attrs.frozen(kw_only=True)
class VideoMessage(_CaptionedMessage):
    """A video at a public URL, with or without a caption.

    It needs an account on the official WhatsApp Business API.

    Attributes:
        url: public http or https URL of the video.
        caption: text below the video; WhatsApp takes at most 1,024 characters.
        type: the type in the request: `document` (the default), as in Callbell's documented example, or `video`, as in its text.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
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
    """An image for a template with an image.

    Attributes:
        url: public http or https URL of the image; any other raises `InvalidMessageError`.
    """


@attrs.frozen
class Document(_Attachment):
    """A document for a template with a document.

    Attributes:
        url: public http or https URL of the document; any other raises `InvalidMessageError`.
    """


@attrs.frozen
class Video(_Attachment):
    """A video for a template with a video.

    Attributes:
        url: public http or https URL of the video; any other raises `InvalidMessageError`.
    """


Media = Image | Document | Video
"""The media of a template message."""
_MEDIA = (Image, Document, Video)


@attrs.frozen(kw_only=True)
class TemplateMessage(Message):
    """A message from an approved WhatsApp template: the only kind that is delivered at any time.

    It needs an account on the official WhatsApp Business API, and credit in its wallet.

    Attributes:
        template_uuid: the template.
        optin_contact: `True` confirms that the contact opted in; any other value is refused.
        values: the values of the placeholders `{{1}}`, `{{2}}` and so on, in this order. WhatsApp takes none with a line break, a tab, or
            more than four blanks in a row.
        media: `Image`, `Document` or `Video`, for a template with media.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
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
                "must be True, which confirms that the contact opted in; Callbell sends templates to no other contact",
            )
        check_strings("values", self.values)
        if self.media is not None and type(self.media) not in _MEDIA:
            raise InvalidMessageError("media", "must be Image(url), Document(url) or Video(url)")


@attrs.frozen(kw_only=True)
class CustomMessage(Message):
    """A message of a type that this library does not know yet; `type` and `content` are sent as they are.

    Attributes:
        type: the type in the request.
        content: the content in the request: a mapping of strings to values that JSON can hold, at most 64 levels deep. It is copied.
        to: telephone number in international form, or identifier of the recipient on another channel. Blanks, dashes, dots and brackets of a
            number are removed, and a leading `00` becomes `+`. Required unless `bsuid` is given; `to` has priority over `bsuid`.
        bsuid: WhatsApp Business Suite User ID of the recipient.
        channel: type of the channel: `whatsapp` (the default), `facebook`, `instagram` or `telegram`; `from` in Callbell's JSON.
        channel_uuid: the channel to send from. Without it Callbell uses the main channel; an account with several numbers should give it.
        assigned_user: e-mail of the user to whom the conversation is assigned.
        team_uuid: the team to which the conversation is assigned.
        fields: extras that the receipt should hold: `contact`, `conversation`.
        bot_status: `bot_start` or `bot_end`.
        metadata: at most 10 pairs, which come back in webhook events; keys of at most 50 characters, values of at most 500. Numbers and
            booleans become strings.
        key: the idempotency key in a journal, 1 to 500 characters: two messages with equal keys are one message. By default it is computed
            from the message. A journal sends it as metadata.

    Raises:
        InvalidMessageError: an argument is missing or wrong; it names the field and the remedy.
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
