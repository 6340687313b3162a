"""The token of a command: from a file, the environment or a terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbell_async.sandbox import Sandbox
from tests.support.command_line import (
    run,
    started_in_terminal,
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
    token.chmod(0o600)
    environment = {"CALLBELL_TOKEN": "wrong", "CALLBELL_BASE_URL": sandbox.url}
    result = run("send-many", file, "--text", "Hi", "--token-file", token, environment=environment)
    assert result.exit_code == 0
    assert TOKEN not in result.output


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_token_file_that_all_users_can_read_is_a_warning(
    tmp_path: Path, sandbox: Sandbox, mode: int, warned: bool
) -> None:
    """A token in a file that every user can read is used, and a warning gives the remedy."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(mode)
    result = run("me", "--token-file", token, environment={"CALLBELL_BASE_URL": sandbox.url})
    warning = f"callbell-async: warning: --token-file: other users can read {token}; run chmod 600 {token}\n"
    assert (result.exit_code, result.stderr) == (0, warning if warned else "")


@pytest.mark.parametrize(
    ("interrupted", "status", "text"),
    [(False, 2, "no token; set CALLBELL_TOKEN or use --token-file FILE"), (True, 130, "interrupted")],
)
def test_ctrl_d_at_the_prompt_is_no_interrupt(file: Path, interrupted: bool, status: int, text: str) -> None:
    """Ctrl-D at the prompt for the token means that there is none, with the status 2; Ctrl-C is an interrupt."""
    with started_in_terminal("send-many", file, "--text", "Hi") as (process, terminal):
        terminal.read(until="API token")
        if interrupted:
            process.send_signal(signal.SIGINT)
        else:
            terminal.type("\x04")
        assert text in terminal.read()
        assert process.wait() == status


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, " can't be read (No such file or directory)"),
        (b" \n", " is empty"),
        (b"\xff\xfe", " is not a text file"),
        (b"CALLBELL_TOKEN=x", ": has the form NAME=value; give only the part after the equals sign"),
        (b"'x'\n", ": has quotation marks around it; remove them"),
        (b'"x"', ": has quotation marks around it; remove them"),
        (b"one two", ": has blanks or line breaks in it; give the token alone"),
    ],
)
def test_a_token_file_that_has_none_is_one_line(file: Path, tmp_path: Path, content: bytes | None, error: str) -> None:
    """The error gives the fault of the file, and nothing of its content."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
        token.chmod(0o600)
    result = run("send-many", file, "--text", "Hi", "--token-file", token)
    assert (result.exit_code, result.stderr) == (2, f"callbell-async: --token-file: {token}{error}\n")


def test_a_terminal_is_asked_for_the_token(file: Path, sandbox: Sandbox) -> None:
    """On a terminal, without a token, the command asks for it and does not show it."""
    environment = {"CALLBELL_BASE_URL": sandbox.url}
    with started_in_terminal("send-many", file, "--text", "Hi", environment=environment) as (process, terminal):
        terminal.read(until="API token")
        terminal.type(f"{TOKEN}\n")
        shown = terminal.read()
        assert process.wait() == 0
    assert recipients(sandbox) == [ADA, GRACE, JOAN]
    assert TOKEN not in shown
