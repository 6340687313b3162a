"""The command line, `callbell-async`: an optional extra."""

from __future__ import annotations

import io
import sys
from typing import TextIO

__all__ = ["main"]


def main() -> None:
    """Run the command line; where its extra is not installed, say how to install it."""
    for stream in (sys.stdout, sys.stderr):
        _take_all_characters(stream)
    try:
        from callbell_async.cli.app import app

        app()
    except KeyboardInterrupt:
        # Before a command could take care of it.
        raise SystemExit(130) from None
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        raise SystemExit(
            f"callbell-async: the command line needs {error.name}; install it with: pip install 'callbell-async[cli]'"
        ) from None


def _take_all_characters(stream: TextIO) -> None:
    """Files and pipes get UTF-8, whatever the locale; a terminal gets escapes for what it can't show."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace", encoding=None if stream.isatty() else "utf-8")
