"""Whether a template message fits its template."""

from __future__ import annotations

import re
from collections.abc import Sequence

from callbell_async.errors import InvalidMessageError
from callbell_async.models.account import Template, TemplateStatus, TemplateType
from callbell_async.models.messages import Document, Image, TemplateMessage, Video

__all__ = ["check_template", "fill_template"]

_PLACEHOLDER = re.compile(r"\{\{\s*(\d{1,3})\s*\}\}")

_MEDIA: dict[str, type] = {
    TemplateType.IMAGE: Image,
    TemplateType.DOCUMENT: Document,
    TemplateType.VIDEO: Video,
}


def check_template(message: TemplateMessage, template: Template) -> None:
    """Raise `InvalidMessageError` unless Callbell would send the message: approved, as many values as placeholders, and its kind of media.

    What an answer does not say (no status, no text, a type this library does not know) is not held against the message.
    """
    if template.status is not None and template.status != TemplateStatus.APPROVED:
        raise InvalidMessageError(
            "template_uuid", f"the template is {str(template.status)!r}; only approved ones are sent"
        )
    if template.text is not None:
        wanted = max(map(int, _PLACEHOLDER.findall(template.text)), default=0)
        if len(message.values) != wanted:
            raise InvalidMessageError(
                "values", f"the template has {wanted} placeholders, and {len(message.values)} values are given"
            )
    if template.template_type == TemplateType.TEXT and message.media is not None:
        raise InvalidMessageError("media", "the template has text only; leave media out")
    kind = _MEDIA.get(str(template.template_type))
    if kind is not None and not isinstance(message.media, kind):
        raise InvalidMessageError("media", f"the template needs {kind.__name__}(url)")


def fill_template(text: str, values: Sequence[str]) -> str:
    """What the customer reads: the template's text with its placeholders replaced; those without a value are left."""

    def value(found: re.Match[str]) -> str:
        place = int(found[1]) - 1
        return values[place] if 0 <= place < len(values) else found[0]

    return _PLACEHOLDER.sub(value, text)
