"""The one cattrs converter: bytes to models and back. Every quirk of Callbell's JSON lives here.

Keys are snake_case in requests and camelCase in answers; null and missing are the same; unknown keys are ignored and unknown
enum values become plain strings, so that nothing Callbell adds breaks a reader.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs
import orjson
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from callbell_async.errors import InvalidMessageError
from callbell_async.models.contacts import Contact, Conversation
from callbell_async.models.messages import (
    AudioMessage,
    CustomMessage,
    Document,
    DocumentMessage,
    Image,
    ImageMessage,
    Message,
    MessageReceipt,
    MessageStatus,
    TemplateMessage,
    TextMessage,
    Video,
    VideoMessage,
)

__all__ = ["WireError", "dump_json", "dump_message", "load_json", "load_receipt"]

T = TypeVar("T")

_converter = make_converter(detailed_validation=False)


class WireError(ValueError):
    """JSON that is not what the documentation promises; the text says what was missing, and quotes nothing."""


# --- JSON -------------------------------------------------------------------------------------------------------------


def load_json(body: bytes) -> Any:
    """Parse JSON; raises `WireError`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Its text names a position, never the content; but it keeps the document, which is why it isn't chained.
        raise WireError(f"not JSON: {error.msg} at character {error.pos}") from None


def dump_json(value: Any, *, field: str) -> bytes:
    """Write JSON; raises `InvalidMessageError` naming `field` for what JSON can't hold."""
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidMessageError(field, f"can't be written as JSON: {error}") from None


# --- messages, on the way out -----------------------------------------------------------------------------------------

_OWN_FIELDS = ("text", "url", "caption", "type", "content", "values", "media")
"""What a kind of message adds to the shared fields; it goes into `type` and `content`, written by hand below."""

_MEDIA_TYPES: dict[type, str] = {Image: "image", Document: "document", Video: "video"}


def _shared_fields(cls: type[Message]) -> Callable[[Message], dict[str, Any]]:
    own: dict[str, Any] = {name: override(omit=True) for name in _OWN_FIELDS if hasattr(attrs.fields(cls), name)}
    return make_dict_unstructure_fn(
        cls,
        _converter,
        _cattrs_omit_if_default=True,
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
    # The first value stands in `content.text` too: a template that had it only in `template_values` was enqueued and never
    # delivered. A template without placeholders still needs `content`.
    content = {"text": message.values[0] if message.values else ""}
    if message.media is None:
        return "text", content
    return _MEDIA_TYPES[type(message.media)], {**content, "url": message.media.url}


def _custom_body(message: CustomMessage) -> tuple[str, dict[str, Any]]:
    return message.type, dict(message.content)


def _register_message(cls: type[Any], own_body: Callable[[Any], tuple[str, dict[str, Any]]]) -> None:
    shared = _shared_fields(cls)
    several_values = cls is TemplateMessage

    def unstructure(message: Any) -> dict[str, Any]:
        body = shared(message)
        body["type"], body["content"] = own_body(message)
        if several_values and len(message.values) > 1:
            body["template_values"] = message.values
        return body

    _converter.register_unstructure_hook(cls, unstructure)


for _cls, _own_body in (
    (TextMessage, _text_body),
    (ImageMessage, _image_body),
    (DocumentMessage, _document_body),
    (AudioMessage, _audio_body),
    (VideoMessage, _video_body),
    (TemplateMessage, _template_body),
    (CustomMessage, _custom_body),
):
    _register_message(_cls, _own_body)


_unstructure_hook = functools.cache(_converter.get_unstructure_hook)


def dump_message(message: Message) -> bytes:
    """The JSON body of `POST /messages/send`; raises `InvalidMessageError` for what is no message or can't be written."""
    if not isinstance(message, Message):
        raise InvalidMessageError(
            "message", f"must be a message such as TextMessage(...), not {type(message).__name__}"
        )
    kind: Any = type(message)
    return dump_json(_unstructure_hook(kind)(message), field="content")


# --- answers, on the way in -------------------------------------------------------------------------------------------

_RAW = "\0raw"
"""Where a model finds its untouched JSON; no JSON key of Callbell's can be spelt so."""

_OFFSET_AFTER_BLANK = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)")


def _load_datetime(value: Any, _: Any) -> datetime:
    """All documented forms: `…Z`, `….000+02:00`, and `2025-12-18 20:00:19 +0100`; one without an offset is taken as UTC."""
    moment = datetime.fromisoformat(_OFFSET_AFTER_BLANK.sub("", value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _load_string(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise WireError(f"a string was expected, not {type(value).__name__}")


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def _register_answer(cls: type[Any], **aliases: str) -> None:
    """Read `cls` from camelCase keys, drop nulls, keep the untouched JSON in `raw`, and read `aliases` (key: other spelling)."""
    renamed: dict[str, Any] = {
        field.name: override(rename=_camel(field.name)) for field in attrs.fields(cls) if field.name != "raw"
    }
    inner = make_dict_structure_fn(
        cls, _converter, raw=override(rename=_RAW, struct_hook=lambda value, _: value), **renamed
    )

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise WireError(f"an object was expected for {cls.__name__}, not {type(value).__name__}")
        present = {key: item for key, item in value.items() if item is not None}
        for key, alias in aliases.items():
            if key not in present and alias in present:
                present[key] = present[alias]
        present[_RAW] = value
        return inner(present, cls)

    _converter.register_structure_hook(cls, structure)


_converter.register_structure_hook(datetime, _load_datetime)
_converter.register_structure_hook(str, _load_string)
# In a receipt this contact has `phone` instead of `phoneNumber`.
_register_answer(Contact, phoneNumber="phone")
_register_answer(Conversation)


def _lenient(cls: type[T], value: Any) -> T | None:
    """A model that only adorns an answer: what can't be read is left out, for the answer's own truth doesn't depend on it."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not value:
        return None
    try:
        return _converter.structure(value, cls)
    except (WireError, ValueError, TypeError, KeyError, AttributeError):
        return None


_STATUSES = {status.value: status for status in MessageStatus}


def _load_status(value: Any) -> MessageStatus | str | None:
    return _STATUSES.get(value, value) if isinstance(value, str) else None


def load_receipt(document: Any) -> MessageReceipt:
    """Read `{"message": MessageSendRequest}`; raises `WireError` when there is no uuid.

    Only the uuid decides: a contact or a conversation that can't be read is left out, and stays reachable in `raw`.
    """
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        raise WireError('the answer has no object "message"')
    uuid = message.get("uuid")
    if not uuid or not isinstance(uuid, str):
        raise WireError("the answer's message has no uuid")
    contact, conversation = message.get("contact"), message.get("conversation")
    return MessageReceipt(
        uuid,
        _load_status(message.get("status")),
        message.get("messageStatusPayload"),
        None if contact is None else _lenient(Contact, contact),
        None if conversation is None else _lenient(Conversation, conversation),
        message,
    )
