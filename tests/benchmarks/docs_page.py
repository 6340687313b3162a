"""The page of figures in the documentation: generated blocks between marks, text by hand around them.

A block is `<!-- figures: NAME -->`, generated lines, `<!-- end of figures -->`. `NAME` is `summary` or a question.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.questions import in_order
from tests.benchmarks.report import Answer

WIDTH = 100
"""The most characters of a line of text in the documentation."""

_BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def update(path: Path, answers: Sequence[Answer]) -> None:
    """Write the figures into the blocks of a page."""
    path.write_text(filled(path.read_text(encoding="utf-8"), answers), encoding="utf-8")


def filled(page: str, answers: Sequence[Answer]) -> str:
    """Return the page with the figures in its blocks; a block without figures stays as it is."""

    def fill(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        lines = list(_summary(answers) if name == "summary" else _question(name, answers))
        return begin + "\n".join([*lines, "", end]) if lines else match[0]

    return _BLOCK.sub(fill, page)


def _summary(answers: Sequence[Answer]) -> Iterator[str]:
    rows = [
        (*aim.cells, f"{answer.question}, {answer.conditions.python}")
        for answer in in_order(answers)
        for aim in answer.findings.aims
    ]
    if rows:
        yield from _table(("figure", "aim", "measured", "result", "question, Python"), rows)


def _question(name: str, answers: Sequence[Answer]) -> Iterator[str]:
    for answer in in_order(answers):
        if answer.question == name:
            conditions = answer.conditions
            yield from _paragraph(f"Python {conditions.python}: `{conditions.command}`, {conditions.text}.")
            for table in answer.findings.tables:
                yield from _paragraph(f"**{table.title}**")
                if table.rows:
                    yield from _table(("", *(column.head for column in table.columns)), table.cells())
                if table.note:
                    yield from _paragraph(table.note)


def _paragraph(text: str) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from ("", _line(head), "|---|" + "---:|" * (len(head) - 1))
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
