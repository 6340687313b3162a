"""Three recipients, and the token of the sandbox that the tests of `send-many` send them to."""

from __future__ import annotations

from pathlib import Path

from callbell_async.sandbox import Sandbox
from tests.support.calls import TOKEN

__all__ = ["ADA", "GRACE", "JOAN", "TOKEN", "recipients", "write_recipients"]

ADA, GRACE, JOAN = "+34600000001", "+34600000002", "+34600000003"


def write_recipients(folder: Path) -> Path:
    """Write a CSV file with the three recipients, and return its path."""
    path = folder / "recipients.csv"
    path.write_text(f"to,name\n{ADA},Ada\n{GRACE},Grace\n{JOAN},Joan\n")
    return path


def recipients(sandbox: Sandbox) -> list[str]:
    """Return the recipients of the sandbox's messages, sorted."""
    return sorted(message.recipient for message in sandbox.messages)
