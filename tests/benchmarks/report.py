"""Text output: tables with aligned columns, and the machine that was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence


def show(*lines: str) -> None:
    """Print at once, so that a long run can be watched."""
    for line in lines:
        print(line, flush=True)  # noqa: T201


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def machine() -> str:
    """Return versions and cores in one line."""
    packages = ", ".join(f"{name} {_version(name)}" for name in ("aiohttp", "uvloop", "httpx", "requests"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {packages}; {sys.platform}, {os.cpu_count()} cores"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
