"""Running `send-many` with a journal, for the tests of the journal commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from callbell_async.sandbox import Sandbox
from tests.support.command_line import environment_for, run
from tests.support.recipients import TOKEN, recipients

__all__ = ["NUMBERS", "TOKEN", "recipients", "send"]

NUMBERS = [f"+346000000{place:02}" for place in range(10)]


def send(file: Path | str, journal: Path, sandbox: Sandbox, *more: str, stdin: str | None = None) -> Any:
    """Run `send-many` with a journal."""
    arguments = ["send-many", file, "--text", "Hi {name}", "--journal", journal, *more]
    return run(*arguments, environment=environment_for(sandbox), stdin=stdin)
