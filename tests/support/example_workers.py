"""The workers of the example applications in docs/examples, in processes of their own."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["SCALING", "SYNC", "example_environment", "load_example", "run_in_group"]

SCALING = Path(__file__).parents[2] / "docs" / "examples" / "scaling"
SYNC = SCALING.with_name("sync")


def example_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without warnings that are errors here, and with the settings of an example."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **settings}


@contextlib.contextmanager
def run_in_group(
    *command: str, settings: Mapping[str, str], log: Path, directory: Path = SCALING
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with these arguments in the examples' directory; end it and all its children with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            # The shell kills the group when its input ends: tests that are killed end all processes, too.
            ["/bin/sh", "-c", '"$@" </dev/null & read _; kill -9 -$$', "sh", sys.executable, *command],
            cwd=directory,
            env=example_environment(settings),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def load_example(name: str, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module of the examples with these settings, until the test ends."""
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.syspath_prepend(str(SCALING))
    for module in (name, "sending"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    found = importlib.import_module(name)
    for module in (name, "sending"):
        # monkeypatch removes it again.
        monkeypatch.setitem(sys.modules, module, sys.modules.pop(module))
    return found
