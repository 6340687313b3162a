"""All figures on one self-contained HTML page: a summary, and the charts and tables of each question."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from tests.benchmarks.charts import draw
from tests.benchmarks.questions import QUESTIONS, in_order
from tests.benchmarks.report import Answer, Table

__all__ = ["page"]

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1f24; --dim: #59636e; --ground: #ffffff; --grid: #d8dee4; --bar: #8c96a3; --ours: #0969da; --missed: #cf222e;
  --s0: #59636e; --s1: #0969da; --s2: #bf5b00; --s3: #1a7f37; --s4: #8250df }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6edf3; --dim: #9da7b1; --ground: #0d1117; --grid: #30363d; --bar: #6e7781; --ours: #58a6ff; --missed: #ff7b72;
  --s0: #9da7b1; --s1: #58a6ff; --s2: #f0a04b; --s3: #56d364; --s4: #bc8cff } }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h2 { margin-top: 2.5rem } .dim { color: var(--dim); font-size: .9rem; overflow-wrap: anywhere }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { flex: 1 1 20rem; max-width: 34rem; min-width: 0; margin: 0 }
figcaption { font-weight: 600 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .9rem; margin: .75rem 0 }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--grid); text-align: right; vertical-align: top }
th:first-child, td:first-child, .summary td, .summary th { text-align: left } td { white-space: nowrap }
.summary td { white-space: normal } td.missed { color: var(--missed); font-weight: 600 }
svg { width: 100%; height: auto; font: 12.5px system-ui, sans-serif } text { fill: var(--ink) } .axis { fill: var(--dim) }
.label, .value { paint-order: stroke; stroke: var(--ground); stroke-width: 4px }
.grid { stroke: var(--grid) } .error { stroke: var(--ink); stroke-width: 1.5 } .bar { fill: var(--bar) } .ours { fill: var(--ours) }
rect.missed, circle.missed { fill: var(--missed) } .aim { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 5 4 }
.line { fill: none; stroke-width: 2.5; stroke: var(--dim) } .mark { fill: var(--dim) }
"""


def page(answers: Sequence[Answer]) -> str:
    """Return the page."""
    return "\n".join(_page(in_order(answers)))


def _page(answers: Sequence[Answer]) -> Iterator[str]:
    series = "\n".join(f".line.s{n} {{ stroke: var(--s{n}) }} .mark.s{n} {{ fill: var(--s{n}) }}" for n in range(5))
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>callbell_async: benchmarks</title><style>{STYLE}{series}\n</style></head><body>"
    yield "<h1>callbell_async: benchmarks</h1>"
    yield from _summary(answers)
    for answer in answers:
        conditions = answer.conditions
        yield f"<h2>{_safe(QUESTIONS[answer.question].title)}, Python {_safe(conditions.python)}</h2>"
        yield f'<p class="dim"><code>{_safe(conditions.command)}</code><br>{_safe(conditions.text)}</p><div class="charts">'
        for table in answer.findings.tables:
            if chart := draw(table):
                yield f"<figure><figcaption>{_safe(table.title)}</figcaption>{chart}</figure>"
        yield "</div>"
        for table in answer.findings.tables:
            yield from _table(table)
    yield "</body></html>"


def _summary(answers: Sequence[Answer]) -> Iterator[str]:
    aims = [(answer, aim) for answer in answers for aim in answer.findings.aims]
    if not aims:
        return
    missed = sum(aim.verdict == "missed" for _, aim in aims)
    yield f'<h2>Aims: {len(aims)}, missed: {missed}</h2><div class="scroll"><table class="summary">'
    yield "<tr><th>figure</th><th>aim</th><th>measured</th><th>result</th><th>Python</th></tr>"
    for answer, aim in aims:
        *cells, verdict = map(_safe, aim.cells)
        kind = ' class="missed"' if aim.verdict == "missed" else ""
        shown = "".join(f"<td>{cell}</td>" for cell in cells)
        yield f"<tr>{shown}<td{kind}>{verdict}</td><td>{_safe(answer.conditions.python)}</td></tr>"
    yield "</table></div>"


def _table(table: Table) -> Iterator[str]:
    yield f'<details><summary>{_safe(table.title)}: figures</summary><div class="scroll"><table>'
    yield "<tr><th></th>" + "".join(f"<th>{_safe(column.head)}</th>" for column in table.columns) + "</tr>"
    for cells in table.cells():
        yield "<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in cells) + "</tr>"
    yield f'</table></div><p class="dim">{_safe(table.note)}</p></details>'


def _safe(text: str) -> str:
    return html.escape(text)
