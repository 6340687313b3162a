"""The command line as its tests run it: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from click.testing import CliRunner, Result

from callbell_async.bulk import SendRun
from callbell_async.cli.program import app
from callbell_async.client import CallbellClient
from callbell_async.sandbox import Sandbox
from tests.support.fake_callbell import FakeCallbell, Fate, new_run

__all__ = [
    "FakeClient",
    "all_shown",
    "counts_in",
    "environment_for",
    "json_lines",
    "leave_after_a_line",
    "run",
    "started",
]


def run(*arguments: object, environment: Mapping[str, str] | None = None, stdin: bytes | str | None = None) -> Result:
    """The command line's output and exit status."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@contextmanager
def started(
    *arguments: object, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """The command line in a process of its own, which is gone when the block is left."""
    command = [sys.executable, "-m", "callbell_async", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **(environment or {})}, **{**pipes, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


def all_shown(terminal: int) -> bytes:
    """What a pseudo-terminal shows from now on, until nobody has it open any more."""
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # on Linux a closed one reads as an error
            return shown
        if not part:
            return shown
        shown += part


def leave_after_a_line(process: subprocess.Popen[str]) -> str:
    """Read one line of its output, as `head -1` does, and close it; what the process says to that on standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    return process.stderr.read()


def environment_for(sandbox: Sandbox) -> dict[str, str]:
    """What leads the command line to a sandbox as it leads it to Callbell."""
    return {"CALLBELL_TOKEN": sandbox.token, "CALLBELL_BASE_URL": sandbox.url}


def counts_in(output: str) -> dict[str, int]:
    """The counts by outcome that end the output of a run."""
    return {name: int(count) for name, count, *_ in (line.split() for line in output.splitlines())}


def json_lines(output: str) -> list[dict[str, Any]]:
    """The objects in an output, one a line."""
    return [json.loads(line) for line in output.splitlines()]


class FakeClient(CallbellClient):
    """A client whose Callbell is in memory, does with each request as it is told, and keeps nothing."""

    def __init__(self, fate: Callable[[int, int], Fate]) -> None:
        super().__init__("token")
        self._describe = fate

    def send_many(self, messages: object, **options: object) -> SendRun:
        """The run, without a journal."""
        options.pop("journal")
        return new_run(FakeCallbell(self._describe, keeps=False), messages, **options)  # type: ignore[arg-type]
