"""Messages: from models to JSON."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import attrs
from cattrs.gen import make_dict_unstructure_fn, override

from callbell_async.errors import InvalidMessageError
from callbell_async.models.messages import (
    WHATSAPP,
    AudioMessage,
    CustomMessage,
    Document,
    DocumentMessage,
    Image,
    ImageMessage,
    Message,
    TemplateMessage,
    TextMessage,
    Video,
    VideoMessage,
)
from callbell_async.models.validation import MAX_METADATA_PAIRS, has_one_form, recipient_identity
from callbell_async.wire.converter import converter
from callbell_async.wire.json_text import dump_json

__all__ = ["JOURNAL_IN_METADATA", "KEY_IN_METADATA", "dump_keyed_message", "dump_message"]

KEY_IN_METADATA = "callbell_async_key"
JOURNAL_IN_METADATA = "callbell_async_journal"
"""The metadata keys that carry a message's key and the identifier of its journal. They come back in webhook events, which so name the
message they are about. The journal's identifier is needed because another journal may use the same key for another message.
"""

_OWN_FIELDS = ("text", "url", "caption", "type", "content", "values", "media", "metadata")
"""The fields that the functions below write: those that a kind of message adds to the shared ones, and the metadata."""

_MEDIA_TYPES: dict[type, str] = {Image: "image", Document: "document", Video: "video"}


def _shared_fields(cls: type[Message]) -> Callable[[Message], dict[str, Any]]:
    own: dict[str, Any] = {name: override(omit=True) for name in _OWN_FIELDS if hasattr(attrs.fields(cls), name)}
    return make_dict_unstructure_fn(
        cls,
        converter(),
        _cattrs_omit_if_default=True,
        key=override(omit=True),
        channel=override(rename="from", omit_if_default=False),
        fields=override(unstruct_hook=",".join),
        **own,
    )


def _text_body(message: TextMessage) -> tuple[str, dict[str, Any]]:
    return "text", {"text": message.text}


def _captioned(url: str, caption: str | None) -> dict[str, Any]:
    return {"url": url} if caption is None else {"url": url, "text": caption}


def _image_body(message: ImageMessage) -> tuple[str, dict[str, Any]]:
    return "image", _captioned(message.url, message.caption)


def _document_body(message: DocumentMessage) -> tuple[str, dict[str, Any]]:
    return "document", _captioned(message.url, message.caption)


def _audio_body(message: AudioMessage) -> tuple[str, dict[str, Any]]:
    return message.type, {"url": message.url}


def _video_body(message: VideoMessage) -> tuple[str, dict[str, Any]]:
    return message.type, _captioned(message.url, message.caption)


def _template_body(message: TemplateMessage) -> tuple[str, dict[str, Any]]:
    # The first value is in `content.text` too: a template that had it only in `template_values` was enqueued and never
    # delivered. A template without placeholders still needs `content`.
    content = {"text": message.values[0] if message.values else ""}
    if message.media is None:
        return "text", content
    return _MEDIA_TYPES[type(message.media)], {**content, "url": message.media.url}


def _custom_body(message: CustomMessage) -> tuple[str, dict[str, Any]]:
    return message.type, dict(message.content)


_OWN_BODIES: dict[type[Message], Callable[[Any], tuple[str, dict[str, Any]]]] = {
    TextMessage: _text_body,
    ImageMessage: _image_body,
    DocumentMessage: _document_body,
    AudioMessage: _audio_body,
    VideoMessage: _video_body,
    TemplateMessage: _template_body,
    CustomMessage: _custom_body,
}


@functools.cache
def _writer(cls: type[Message]) -> Callable[[Any], dict[str, Any]]:
    """Return the function that writes messages of a class; a subclass is written as the class of this library beneath it."""
    known = next((base for base in cls.__mro__ if base in _OWN_BODIES), None)
    if known is None:
        raise InvalidMessageError(
            "message", f"{cls.__name__} can't be sent; build CustomMessage for a new kind of message"
        )
    shared = _shared_fields(known)
    own_body = _OWN_BODIES[known]
    several_values = known is TemplateMessage

    def write(message: Any) -> dict[str, Any]:
        body = shared(message)
        body["type"], body["content"] = own_body(message)
        if several_values and len(message.values) > 1:
            body["template_values"] = message.values
        if message.metadata:
            body["metadata"] = dict(message.metadata)
        return body

    return write


def _document(message: Message) -> dict[str, Any]:
    if not isinstance(message, Message):
        raise InvalidMessageError(
            "message", f"must be a message such as TextMessage(...), not {type(message).__name__}"
        )
    kind: Any = type(message)
    return _writer(kind)(message)


def dump_message(message: Message) -> bytes:
    """Return the JSON body of `POST /messages/send`; raises `InvalidMessageError` for any other object, and for content that JSON can't hold."""
    return dump_json(_document(message), field="content")


def dump_keyed_message(message: Message, *, journal: str | None) -> tuple[str, bytes]:
    """Return a message's key, and its JSON body with the key and the journal's identifier in its metadata.

    A message without a key gets one of 32 hex digits, computed from the body. Equal messages have equal keys, in later versions too, because
    one journal may be used by several versions. A telephone number is the same with and without its `+`, and in all forms to which
    WhatsApp corrects it (`recipient_identity`).

    Args:
        message: the message.
        journal: the journal's identifier; without it, or without room for two more pairs, nothing is added to the metadata.

    Raises:
        InvalidMessageError: as `dump_message` does.
    """
    document = _document(message)
    # The keys are sorted, because equal messages must have equal bytes in whatever order their metadata was given.
    body = dump_json(document, field="content", canonical=True)
    key = message.key
    if key is None:
        named = body
        to = message.to
        if message.channel == WHATSAPP and to is not None and not has_one_form(to):
            # A spreadsheet drops the + of a whole column when it saves. The keys are sorted: the last "to" is the recipient.
            before, name, after = body.rpartition(b'"to":"')
            named = b"%b%b%b%b" % (before, name, recipient_identity(to).encode(), after[len(to) :])
        key = hashlib.blake2b(named, digest_size=16).hexdigest()
    if journal is None or len(message.metadata) + 2 > MAX_METADATA_PAIRS:
        return key, body
    own = {KEY_IN_METADATA: key, JOURNAL_IN_METADATA: journal}
    if not message.metadata:
        # Appended, because to write the whole body again would cost as much as the key itself.
        return key, b'%b,"metadata":%b}' % (body[:-1], dump_json(own, field="key"))
    document["metadata"] = {**message.metadata, **own}
    return key, dump_json(document, field="content")
