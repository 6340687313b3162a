"""Running the command line, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from click.testing import CliRunner, Result

from callbell_async.bulk import SendRun
from callbell_async.cli.program import app
from callbell_async.client import CallbellClient
from callbell_async.sandbox import Sandbox
from tests.support.fake_callbell import Behaviour, FakeCallbell, new_run

__all__ = [
    "FakeClient",
    "PseudoTerminal",
    "counts_in",
    "environment_for",
    "json_lines",
    "leave_after_a_line",
    "read_until",
    "run",
    "started",
    "started_in_terminal",
]


def run(*arguments: object, environment: Mapping[str, str] | None = None, stdin: bytes | str | None = None) -> Result:
    """Run the command line in this process, and return its output and exit status."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@contextmanager
def started(
    *arguments: object, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run the command line in a process of its own, which is killed at the end of the block."""
    command = [sys.executable, "-m", "callbell_async", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **(environment or {})}, **{**pipes, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


class PseudoTerminal:
    """The user's end of a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def read(self, until: str | None = None) -> str:
        """Return the next output, up to this text, or until no process has the terminal open."""
        shown = b""
        while until is None or until.encode() not in shown:
            try:
                part = os.read(self._open, 65536)
            except OSError:
                # On Linux, a terminal that no process has open.
                part = b""
            if not part:
                assert until is None, f"{until!r} is not in {shown!r}"
                break
            shown += part
        return shown.decode()

    def type(self, text: str) -> None:
        """Send input, as typed by a user."""
        os.write(self._open, text.encode())

    def close(self) -> None:
        """Close the terminal."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _open(self) -> int:
        assert self._descriptor is not None
        return self._descriptor


@contextmanager
def started_in_terminal(
    *arguments: object, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[tuple[subprocess.Popen[str], PseudoTerminal]]:
    """Run the command line on a terminal, in a session of its own. Options such as `stdout` redirect a stream."""
    descriptor, other_end = pty.openpty()
    terminal = PseudoTerminal(descriptor)
    try:
        streams = {"stdin": other_end, "stdout": other_end, "stderr": other_end, "start_new_session": True}
        with started(*arguments, environment=environment, **{**streams, **options}) as process:
            os.close(other_end)
            yield process, terminal
    finally:
        terminal.close()


def read_until(stream: IO[str] | None, text: str) -> list[str]:
    """Read lines up to the first that has this text, and return them; fail at the end of the stream."""
    assert stream is not None
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} is not in {lines}")


def leave_after_a_line(process: subprocess.Popen[str]) -> str:
    """Read one line of a process's output and close it, as `head -1` does; return its standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    return process.stderr.read()


def environment_for(sandbox: Sandbox) -> dict[str, str]:
    """Return the environment with which the command line uses a sandbox instead of Callbell."""
    return {"CALLBELL_TOKEN": sandbox.token, "CALLBELL_BASE_URL": sandbox.url}


def counts_in(output: str) -> dict[str, int]:
    """Return the counts by outcome at the end of a run's output."""
    return {name: int(count) for name, count, *_ in (line.split() for line in output.splitlines())}


def json_lines(output: str) -> list[dict[str, Any]]:
    """Return the objects in an output, one for each line."""
    return [json.loads(line) for line in output.splitlines()]


class FakeClient(CallbellClient):
    """A client whose server is in memory, behaves as `behaviour` defines, and records nothing."""

    def __init__(self, behaviour: Callable[[int, int], Behaviour]) -> None:
        super().__init__("token")
        self._describe = behaviour

    def send_many(self, messages: object, **options: object) -> SendRun:
        """Return the run, without a journal."""
        options.pop("journal")
        return new_run(FakeCallbell(self._describe, keeps=False), messages, **options)  # type: ignore[arg-type]
