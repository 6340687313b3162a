"""The README and the pages of the docs: their examples run, their links lead somewhere, their tables say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from callbell_async.sandbox import Sandbox
from tests.support.threaded_sandbox import sandbox_in_a_thread

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def served_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """The examples' Callbell: a sandbox in another thread, which the environment leads them to; their files are thrown away."""
    monkeypatch.chdir(tmp_path)
    with sandbox_in_a_thread("token") as sandbox:
        monkeypatch.setenv("CALLBELL_BASE_URL", sandbox.url)
        monkeypatch.setenv("CALLBELL_TOKEN", "token")
        yield sandbox


def run_examples(page: Path) -> None:
    """Run the Python examples of a page, top to bottom, as one module."""
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(page)
    document.namespace["__name__"] = page.stem
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_run(page: Path, served_sandbox: Sandbox) -> None:
    """Every Python example of a page runs as it stands, top to bottom."""
    run_examples(page)


def test_the_readme_sends(served_sandbox: Sandbox) -> None:
    """The README's examples really send: one message, and a campaign of fifty twice."""
    run_examples(ROOT / "README.md")
    assert len(served_sandbox.messages) == 101


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project leads to one."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_s_commands_are_the_checked_ones() -> None:
    """The command line in the README is one that works, and its test command is the one CI calls."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```bash\n(.+?)\n```", readme, re.DOTALL)
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert commands[0].endswith(
        ".venv/bin/callbell-async send-many docs/recipients.csv --text 'Hello {name}!' --sandbox"
    )
    assert commands[1].endswith("/bin/python -m pytest -n auto")
    assert " -m pytest -n auto\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
