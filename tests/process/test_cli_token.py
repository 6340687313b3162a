"""The token of a command: from a file, the environment or a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbell_async.sandbox import Sandbox
from tests.support.command_line import (
    all_shown,
    run,
)
from tests.support.recipients import ADA, GRACE, JOAN, TOKEN, recipients, write_recipients
from tests.support.threaded_sandbox import sandbox_in_a_thread


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A mock server that accepts one token."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        yield sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three recipients."""
    return write_recipients(tmp_path)


def test_the_token_comes_from_a_file(file: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """`--token-file` is read, blanks around the token and a BOM are dropped, and it goes before the environment."""
    token = tmp_path / "token"
    token.write_text(f"\ufeff{TOKEN}\n")
    environment = {"CALLBELL_TOKEN": "wrong", "CALLBELL_BASE_URL": sandbox.url}
    result = run("send-many", file, "--text", "Hi", "--token-file", token, environment=environment)
    assert result.exit_code == 0
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    ("interrupted", "status", "said"),
    [(False, 2, b"no token; set CALLBELL_TOKEN or give --token-file FILE"), (True, 130, b"interrupted")],
)
def test_nothing_typed_at_the_prompt_is_no_interrupt(file: Path, interrupted: bool, status: int, said: bytes) -> None:
    """Ctrl-D where the token is asked for says that there is none, with the status 2; Ctrl-C is an interrupt."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "callbell_async", "send-many", str(file), "--text", "Hi"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        shown = b""
        while b"API key" not in shown:
            shown += os.read(master, 1024)
        if interrupted:
            process.send_signal(signal.SIGINT)
        else:
            os.write(master, b"\x04")
        shown += all_shown(master)
    os.close(master)
    assert process.returncode == status
    assert said in shown


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read (No such file or directory)"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is no text"),
        (b"CALLBELL_TOKEN=x", "begins like a line of .env; give only what stands behind CALLBELL_TOKEN="),
        (b"one two", "has blanks or line breaks in it; give the key alone"),
    ],
)
def test_a_token_file_that_has_none_is_one_line(file: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    """What is wrong with the file is said, and nothing of what is in it."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    result = run("send-many", file, "--text", "Hi", "--token-file", token)
    assert (result.exit_code, result.stderr) == (2, f"callbell-async: --token-file: {token} {said}\n")


def test_a_terminal_is_asked_for_the_token(file: Path, sandbox: Sandbox) -> None:
    """Where somebody sits at a terminal and no token is given, it is asked for, and not shown."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "callbell_async", "send-many", str(file), "--text", "Hi"]
    environment = {**os.environ, "CALLBELL_BASE_URL": sandbox.url}
    # In a session of its own, so that the terminal it asks is this one.
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as process:
        os.close(slave)
        shown = b""
        while b"API key" not in shown:
            shown += os.read(master, 1024)
        os.write(master, f"{TOKEN}\n".encode())
        shown += all_shown(master)
    os.close(master)
    assert process.returncode == 0
    assert recipients(sandbox) == [ADA, GRACE, JOAN]
    assert TOKEN.encode() not in shown
