"""The curl commands of a page of the docs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

__all__ = ["curl_commands"]


def curl_commands(page: Path) -> list[list[str]]:
    """Return the words of each curl command on a page, as a shell splits them."""
    blocks = re.findall(r"```bash\n(curl .+?)\n```", page.read_text(encoding="utf-8"), re.DOTALL)
    # A command may be continued by a backslash, and its body may have several lines.
    words = [word for block in blocks for word in shlex.split(block.replace("\\\n", " "))]
    starts = [place for place, word in enumerate(words) if word == "curl"]
    return [words[start:end] for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]
