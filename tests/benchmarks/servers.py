"""The server of the benchmarks, in a process of its own: one that accepts every message, or the strict one for the rate."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Server:
    """A running server: its kind, its port, and its process."""

    name: str
    port: int
    pid: int

    @property
    def base_url(self) -> str:
        """The base URL, with the version."""
        return f"http://127.0.0.1:{self.port}/v1"

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of its one thread so far; 0 if the system does not provide them."""
        try:
            nanoseconds, *_ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        except OSError:
            return 0.0
        return int(nanoseconds) / 1e9

    def stats(self) -> dict[str, Any]:
        """Return the numbers of requests that a strict server has counted."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", "/stats")
            stats = json.load(connection.getresponse())
        assert isinstance(stats, dict)
        return stats


def accepting_server(*, delay: float = 0.0) -> contextlib.AbstractContextManager[Server]:
    """Run a server that accepts every message after `delay` milliseconds."""
    return _running("accepting", f"--delay={delay}")


def strict_server(
    *, least_delay: float = 0.0, delay: float = 0.0, inject: int = 0, header: str = ""
) -> contextlib.AbstractContextManager[Server]:
    """Run a server that refuses the 301st request in any window of one second; see `tests.benchmarks.serve.Strict`."""
    return _running(
        "strict", f"--least-delay={least_delay}", f"--delay={delay}", f"--inject={inject}", f"--header={header}"
    )


@contextlib.contextmanager
def _running(kind: str, *arguments: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.benchmarks.serve", kind, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Server(kind, int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()
