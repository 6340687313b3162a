"""The tutorial: its programs print what the page promises, and its commands work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from callbell_async.sandbox import Sandbox
from tests.unit.test_docs import ROOT, run_examples, served_sandbox

__all__ = ["served_sandbox"]

TUTORIAL = ROOT / "docs" / "tutorial.md"


def commands(page: Path) -> list[list[str]]:
    """Return the `callbell-async` commands of a page as arguments, without the one that runs a server."""
    lines = re.findall(r"^callbell-async (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines if not line.startswith("sandbox ")]


@pytest.mark.slow
def test_the_tutorial_does_what_it_promises(
    served_sandbox: Sandbox, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A reader of the tutorial sees a receipt, two kinds of errors, an event, and a campaign that sends nothing twice."""
    run_examples(TUTORIAL)
    receipt, invalid, refused, event, first, second = capsys.readouterr().out.splitlines()
    assert receipt.endswith(" enqueued")
    assert invalid.startswith("to: is not a telephone number; ")
    assert refused.startswith("not accepted: ")
    assert event == "event: sent Did you get this?"
    assert (first, second) == ("20 accepted now, 0 accepted before", "0 accepted now, 20 accepted before")
    assert len(served_sandbox.messages) == 22

    (tmp_path / "recipients.csv").write_text("to,name\n+31612345678,Ada\n+34600000001,Grace\n", encoding="utf-8")
    assert [command[0] for command in commands(TUTORIAL)] == ["status", "export", "send-many"]
    for command in commands(TUTORIAL):
        subprocess.run([sys.executable, "-m", "callbell_async", *command], check=True, capture_output=True, timeout=60)
    assert len(served_sandbox.messages) == 24


def test_the_readers_file_is_the_tested_one() -> None:
    """The file that the tutorial's last command sends has the rows that the test above writes."""
    assert r"printf 'to,name\n+31612345678,Ada\n+34600000001,Grace\n' > recipients.csv" in TUTORIAL.read_text(
        encoding="utf-8"
    )
