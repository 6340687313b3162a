"""What a message says once a template's values are filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callbell_async.sandbox.records import SandboxTemplate

__all__ = ["text_of"]


def text_of(body: Mapping[str, Any], template: SandboxTemplate | None) -> str:
    """The text of a message's body, or its template's with the values in their places."""
    text = str(body["content"].get("text") or "")
    if template is None:
        return text
    values = body.get("template_values") or [text]

    def value(found: re.Match[str]) -> str:
        place = int(found[1]) - 1
        return str(values[place]) if 0 <= place < len(values) else found[0]

    return re.sub(r"\{\{([0-9]{1,3})\}\}", value, template.text)
