"""The command line, `callbell-async`: an optional extra."""

from __future__ import annotations

import io
import sys
from typing import TextIO

from callbell_async.cli.exits import INTERRUPTED, exit_on_signals

__all__ = ["main"]


def main() -> None:
    """Run the command line; where its extra is not installed, print how to install it."""
    # First, because a signal may come while the program is still being imported.
    with exit_on_signals():
        try:
            for stream in (sys.stdout, sys.stderr):
                _accept_all_characters(stream)
            from callbell_async.cli.program import app

            app()
        except KeyboardInterrupt:
            # While the program starts; a command handles its own.
            raise SystemExit(INTERRUPTED) from None
        except ModuleNotFoundError as error:
            if error.name not in ("click", "rich"):
                raise
            raise SystemExit(
                f"callbell-async: the command line needs {error.name}; "
                "install it with: pip install 'callbell-async[cli]'"
            ) from None


def _accept_all_characters(stream: TextIO) -> None:
    """Write UTF-8 to files and pipes, whatever the locale; a terminal gets escapes for characters that it can't show."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace", encoding=None if stream.isatty() else "utf-8")
