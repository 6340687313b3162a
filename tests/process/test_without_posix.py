"""The command line without what only POSIX systems have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_POSIX = """
import asyncio, os, signal, sys, types
import aiohttp, click, rich, sqlite3, tempfile  # they see the real platform

for name in ("geteuid", "register_at_fork", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "mkfifo", "fchmod"):
    delattr(os, name)
del signal.SIGHUP
asyncio.AbstractEventLoop.add_signal_handler = None
for name in ("fcntl", "resource", "termios", "pwd"):
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda fd, mode, count: None)
sys.platform = "win32"
from callbell_async.cli import main

main()
"""


def run_without_posix(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; `subprocess.run` ends the process if it takes too long."""
    command = [sys.executable, "-c", WITHOUT_POSIX, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_messages_are_sent_without_what_only_posix_has(tmp_path: Path) -> None:
    """Signals, locks, ownership and limits of files that only POSIX has are not required: a run with a journal sends its messages."""
    file, journal, output = tmp_path / "recipients.csv", tmp_path / "run.db", tmp_path / "sent.csv"
    file.write_text("to\n+31612345678\n+31612345679\n")
    sent = run_without_posix("send-many", file, "--text", "Hi", "--sandbox", "--journal", journal)
    assert (sent.returncode, "accepted    2" in sent.stdout) == (0, True), sent.stderr
    exported = run_without_posix("export", journal, "--output", output)
    assert (exported.returncode, exported.stderr) == (0, "2 entries\n")
    assert len(output.read_text().splitlines()) == 3
