"""The page on troubleshooting quotes the texts that the code emits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import callbell_async

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")


def first_cells(page: str) -> Iterator[str]:
    """Yield the first cell of each row in the page's tables."""
    yield from re.findall(r"^\| (.+?) (?<!\\)\|", page, re.MULTILINE)


SYMPTOMS = list(first_cells(PAGE))
QUOTED = [text for cell in SYMPTOMS if re.fullmatch(r"(`[^`]+`(, )?)+", cell) for text in re.findall("`([^`]+)`", cell)]


@cache
def emitted_texts() -> set[str]:
    """Return every text in the code except docstrings, with `…` for each value that is filled in."""
    texts = set()
    for path in Path(callbell_async.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                texts.add(node.value)
    return texts


@pytest.mark.parametrize("text", QUOTED)
def test_every_quoted_text_is_in_the_code(text: str) -> None:
    """An error text on the page is a part of a text in the code, with `…` for each value."""
    assert [found for found in emitted_texts() if text in found] != []


def test_a_text_that_nothing_emits_is_noticed() -> None:
    """The test above can fail: docstrings do not count."""
    assert len(QUOTED) > 80
    assert not any("Checks of arguments and settings" in text for text in emitted_texts())


def test_no_symptom_is_listed_twice() -> None:
    """Each symptom has one row, with one cause and one remedy."""
    rows = [cell for cell in SYMPTOMS if cell not in ("symptom", "---")]
    assert sorted(rows) == sorted(set(rows))
