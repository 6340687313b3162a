"""Starts and ends processes that share a rate limit; see `tests.support.rate_process`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

__all__ = ["RateProcess", "rate_processes"]

ROOT = Path(__file__).parents[2]


class RateProcess:
    """One process: `begin` lets it send, `result` waits for what it found."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.rate_process", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Return when its limiter is connected."""
        assert self._output.readline() == "ready\n"

    def begin(self) -> None:
        """Let it send."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Return its results: `accepted`, `errors`, `seconds`, `cpu` and `reports` to the engine."""
        found = json.loads(self._output.readline())
        assert isinstance(found, dict)
        return found

    def end(self) -> None:
        """Kill it, also while it is suspended."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    @property
    def _output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout


@contextlib.contextmanager
def rate_processes(
    limiter: str, base_url: str, messages: Sequence[int], *extra: str, concurrency: int = 100
) -> Iterator[list[RateProcess]]:
    """Start one process for each number of messages, and end them with the block; they are ready after `wait_until_ready`."""
    processes: list[RateProcess] = []
    try:
        for name, count in enumerate(messages):
            processes.append(
                RateProcess(
                    [
                        f"--limiter={limiter}",
                        f"--base-url={base_url}",
                        f"--name={name}",
                        f"--messages={count}",
                        f"--concurrency={concurrency}",
                        *extra,
                    ]
                )
            )
        yield processes
    finally:
        for process in processes:
            process.end()
