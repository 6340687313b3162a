"""The command line, `callbell-async`: an optional extra."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; where its extra is not installed, say how to install it."""
    try:
        from callbell_async.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(
            f"callbell-async: the command line needs {error.name}; install it with: pip install 'callbell-async[cli]'"
        )
    app()
