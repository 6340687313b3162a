"""The README and the pages of the docs: their examples run, their links lead somewhere, and their lines are short."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from callbell_async.sandbox import Sandbox
from tests.support.threaded_sandbox import sandbox_in_a_thread

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_name(page: Path) -> str:
    """Return the name of a page in the name of a test."""
    return str(page.relative_to(ROOT))


@pytest.fixture
def served_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """Run the examples against a sandbox in another thread, which the environment names, and in an empty directory."""
    monkeypatch.chdir(tmp_path)
    with sandbox_in_a_thread("token") as sandbox:
        monkeypatch.setenv("CALLBELL_BASE_URL", sandbox.url)
        monkeypatch.setenv("CALLBELL_TOKEN", "token")
        yield sandbox


def run_examples(page: Path) -> None:
    """Run the Python examples of a page, top to bottom, as one module; they may `await`, as the cells of a notebook do."""
    with asyncio.Runner() as notebook:

        def evaluate(example: Example) -> None:
            # The empty lines give a traceback the lines of the page.
            source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
            code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            result = eval(code, example.namespace)
            if inspect.iscoroutine(result):
                notebook.run(result)

        document = Sybil(parsers=[CodeBlockParser("python", evaluate)]).parse(page)
        document.namespace["__name__"] = page.stem
        for example in document.examples():
            example.evaluate()


IN_A_PROCESS = {ROOT / "docs" / "how-to" / "observability.md", ROOT / "docs" / "reference" / "logging.md"}
"""Tracers change other libraries, and the levels of loggers are set, for the whole process."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_examples_run(page: Path, served_sandbox: Sandbox) -> None:
    """Every Python example of a page runs unchanged, top to bottom."""
    if page not in IN_A_PROCESS:
        run_examples(page)
        return
    code = "import sys, pathlib; from tests.unit.test_docs import run_examples; run_examples(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-W", "error", "-c", code, str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_readme_sends(served_sandbox: Sandbox) -> None:
    """The README's examples send what they show: one message, and fifty messages twice."""
    run_examples(ROOT / "README.md")
    assert len(served_sandbox.messages) == 101


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project leads to one, and every link to a heading to one of that page."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def test_the_readme_stands_alone() -> None:
    """The README is also the page of a package index, where links to files of the project lead nowhere: it names them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", readme) == []
    named = re.findall(r"`(docs(?:/[\w./-]+)?|[A-Z]+\.md)`", readme)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_have_at_most_100_characters(page: Path) -> None:
    """A line of text has at most 100 characters. A row of a table and a line of code can't be broken."""
    is_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        is_code ^= line.startswith("```")
        assert is_code or line.startswith("|") or len(line) <= 100, number


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


def test_the_glossary_is_sorted() -> None:
    """Each table of the glossary is in the order of its terms, and no term is explained twice."""
    glossary = (ROOT / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8")
    tables = [re.findall(r"^\| (.+?) \|", part, re.MULTILINE)[2:] for part in glossary.split("\n## ")[1:]]
    assert len(tables) > 4
    for terms in tables:
        assert terms == sorted(terms, key=lambda term: (term[0].isdigit(), term))
    every_term = [term for terms in tables for term in terms]
    assert len(every_term) == len(set(every_term))
