"""The package's names, as type checkers see them: a misspelt name is an error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.language_server import pyright_command
from tests.support.services import need_package

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
    need_package("mypy")
    return [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"]


def checker_of_pyright() -> list[str]:
    """Return the command of Pyright, for this interpreter's packages."""
    return [*pyright_command("index.js"), "--pythonpath", sys.executable]


def check(command: list[str], *files: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Check files, and return the exit code and the output."""
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    done = subprocess.run(
        [*command, *map(str, files)], cwd=cwd, capture_output=True, text=True, check=False, timeout=240
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("checker", [mypy_command, checker_of_pyright], ids=["mypy", "pyright"])
def test_a_misspelt_name_is_an_error(
    checker: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt import and a misspelt attribute are two errors for each checker; the right names are none."""
    files = [tmp_path / "misspelt.py", tmp_path / "right.py"]
    files[0].write_text(MISSPELT)
    files[1].write_text(SPELT)
    code, output = check(checker(), *files, cwd=tmp_path, monkeypatch=monkeypatch)
    assert code == 1, output
    assert "TextMesage" in output
    assert "CallbelError" in output
    assert "2 errors" in output
    assert "right.py" not in output
