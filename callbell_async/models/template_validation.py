"""Checks of a whole message before it is sent: WhatsApp's limits, and whether a template message fits its template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from callbell_async.arguments import check_string_list
from callbell_async.errors import InvalidMessageError
from callbell_async.models.account import Template, TemplateStatus, TemplateType
from callbell_async.models.messages import (
    WHATSAPP,
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

__all__ = ["check_message", "check_template", "fill_template"]

MAX_TEXT = 4096
MAX_CAPTION = 1024
"""Characters that WhatsApp takes."""

_PLACEHOLDER = re.compile(r"\{\{\s*(\d{1,3})\s*\}\}")
_LINE_BREAK = re.compile(r"[\n\r]")
_MANY_BLANKS = re.compile(" {5}")

_MEDIA: dict[str, type] = {
    TemplateType.IMAGE: Image,
    TemplateType.DOCUMENT: Document,
    TemplateType.VIDEO: Video,
}


def check_message(message: Message) -> tuple[InvalidMessageError, ...]:
    """Return the reasons for which WhatsApp would not deliver a message, although Callbell accepts it.

    WhatsApp takes texts of at most 4096 characters and captions of at most 1024. It takes no template value with a line break, a tab, or
    more than four blanks in a row. Messages on other channels are not checked.

    Args:
        message: a message of any kind.

    Returns:
        One error for each fault, with its field and its remedy; nothing is raised. Empty for a message without faults.
    """
    return tuple(_faults(message)) if message.channel == WHATSAPP else ()


def _faults(message: Message) -> Iterator[InvalidMessageError]:
    match message:
        case TextMessage():
            yield from _length_faults("text", message.text, MAX_TEXT)
        case ImageMessage() | DocumentMessage() | VideoMessage():
            yield from _length_faults("caption", message.caption or "", MAX_CAPTION)
        case TemplateMessage():
            for index, value in enumerate(message.values):
                yield from _value_faults(f"values[{index}]", value)


def _length_faults(field: str, text: str, limit: int) -> Iterator[InvalidMessageError]:
    if len(text) > limit:
        yield InvalidMessageError(field, f"has {len(text)} characters; WhatsApp takes at most {limit}, so shorten it")


def _value_faults(field: str, value: str) -> Iterator[InvalidMessageError]:
    if _LINE_BREAK.search(value):
        yield InvalidMessageError(
            field, "has a line break, which WhatsApp does not take in a template value; replace it by a blank"
        )
    if "\t" in value:
        yield InvalidMessageError(
            field, "has a tab, which WhatsApp does not take in a template value; replace it by a blank"
        )
    if _MANY_BLANKS.search(value):
        yield InvalidMessageError(
            field, "has more than four blanks in a row, which WhatsApp does not take in a template value; remove some"
        )


def check_template(message: TemplateMessage, template: Template) -> None:
    """Check that a template message fits its template, and that WhatsApp takes its values.

    A property that Callbell left out of the template (status, text, or type) is not checked.

    Args:
        message: the message.
        template: its template, as Callbell returned it.

    Raises:
        InvalidMessageError: the template is not approved, the number of values or the media does not fit, or a value has a fault that
            `check_message` finds.
    """
    if template.status is not None and template.status != TemplateStatus.APPROVED:
        raise InvalidMessageError(
            "template_uuid",
            f"the template is {str(template.status)!r}; only an approved one can be sent, so choose another or wait for approval",
        )
    if template.text is not None:
        expected = max(map(int, _PLACEHOLDER.findall(template.text)), default=0)
        if len(message.values) != expected:
            raise InvalidMessageError(
                "values",
                f"the template has {_counted(expected, 'placeholder')}, and the message has {_counted(len(message.values), 'value')}; give {expected}",
            )
    if template.template_type == TemplateType.TEXT and message.media is not None:
        raise InvalidMessageError("media", "the template has text only; leave media out")
    kind = _MEDIA.get(str(template.template_type))
    if kind is not None and not isinstance(message.media, kind):
        raise InvalidMessageError("media", f"the template needs {kind.__name__}(url)")
    for fault in check_message(message):
        raise fault


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def fill_template(text: str, values: Sequence[str]) -> str:
    """Return the text that the customer reads.

    Args:
        text: the template's text, with its placeholders `{{1}}`, `{{2}}` and so on.
        values: the values in the order of the placeholders.

    Returns:
        The text with the values in place of the placeholders. A placeholder without a value stays.

    Raises:
        ConfigurationError: `values` is not a list of strings.
    """
    texts = check_string_list("values", values)

    def replacement(placeholder: re.Match[str]) -> str:
        index = int(placeholder[1]) - 1
        return texts[index] if 0 <= index < len(texts) else placeholder[0]

    return _PLACEHOLDER.sub(replacement, text)
