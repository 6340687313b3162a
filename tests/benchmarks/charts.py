"""Charts as inline SVG: bars and lines. Colours come from the page's style sheet, for light and dark."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence

from tests.benchmarks.report import Chart, Row, Table

__all__ = ["draw"]

WIDTH = 420
"""Narrow, because the drawing is scaled to the screen, and its text with it."""
BAR, GAP, LABEL_GAP = 14, 8, 15
LINE_HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 14, 58
TICKS = 5


def draw(table: Table) -> str:
    """Return the chart of a table as an SVG element; empty if it has none, or no values."""
    if table.chart is None or not table.rows:
        return ""
    parts = _bars(table, table.chart) if table.chart.kind == "bars" else _lines(table, table.chart)
    return "\n".join(parts)


def ticks(largest: float) -> list[float]:
    """Return round positions from 0 to at least `largest`: steps of 1, 2 or 5 times a power of ten."""
    if largest <= 0:
        return [0.0, 1.0]
    power = 10 ** math.floor(math.log10(largest / TICKS))
    step = next(step * power for step in (1, 2, 5, 10) if step * power * TICKS >= largest)
    return [step * index for index in range(math.ceil(round(largest / step, 9)) + 1)]


def _scale(values: Sequence[tuple[float, float]], bound: float) -> list[float]:
    """Return the positions on the axis of bars, which has a negative part only if there are negative values."""
    highest = max([bound, *(median + error for median, error in values)])
    lowest = min([0.0, *(median - error for median, error in values if median < 0)])
    step = ticks(highest - lowest)[1]
    below, above = (math.ceil(round(value / step, 9)) for value in (-lowest, highest))
    return [step * index for index in range(-below, above + 1)]


def is_missed(value: float, chart: Chart, label: str) -> bool:
    """Return whether this value of a row misses the aim of the chart, if the aim applies to the row."""
    if chart.bound is None or label not in chart.judged:
        return False
    return value < chart.bound if chart.at_least else value > chart.bound


def number(value: float) -> str:
    """Return a short text for an axis or a bar."""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(content)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(height: float, title: str, parts: Sequence[str]) -> Iterator[str]:
    yield f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title, quote=True)}">'
    yield from parts
    yield "</svg>"


def _bars(table: Table, chart: Chart) -> Iterator[str]:
    """Yield a bar for each row, with its label above it, so that long labels fit on a narrow screen."""
    values = [(row.label, row.values[chart.column]) for row in table.rows]
    shown = [(label, value) for label, value in values if value is not None]
    marks = _scale([(value.median, value.error) for _, value in shown], chart.bound or 0.0)
    first, last = marks[0], marks[-1]
    step_height = BAR + GAP + LABEL_GAP
    bottom = TOP + len(shown) * step_height

    def at(value: float) -> float:
        return 8 + (value - first) / (last - first) * (WIDTH - 110)

    # The texts are above all lines.
    parts, texts = [], []
    for mark in marks:
        parts += [
            _line(at(mark), TOP, at(mark), bottom, "grid"),
            _text(at(mark), bottom + 15, number(mark), "axis", "middle"),
        ]
    for index, (label, value) in enumerate(shown):
        y = TOP + index * step_height + LABEL_GAP
        missed = is_missed(value.median, chart, label)
        kind = "missed" if missed else "ours" if label in chart.judged else "bar"
        left, right = sorted((at(0.0), at(value.median)))
        low, high = (at(max(first, value.median + error)) for error in (-value.error, value.error))
        parts += [
            f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="{BAR}"/>',
            _line(low, y + BAR / 2, high, y + BAR / 2, "error"),
        ]
        texts += [
            _text(8, y - 3, label, "label"),
            _text(max(right, high) + 5, y + BAR - 2, f"{number(value.median)}{' missed' if missed else ''}", "value"),
        ]
    if chart.bound is not None:
        parts.append(_line(at(chart.bound), TOP, at(chart.bound), bottom, "aim"))
    parts += [*texts, *_caption(chart, bottom + 34)]
    yield from _svg(bottom + BOTTOM, table.title, parts)


def _caption(chart: Chart, y: float) -> list[str]:
    """Return the quantity of the values and, below it, the aim."""
    parts = [_text(8, y, chart.y_axis, "axis")]
    if chart.bound is not None:
        direction = "at least" if chart.at_least else "at most"
        parts.append(_text(8, y + 16, f"dashed line: {direction} {chart.bound:g}", "axis"))
    return parts


def _series(row: Row, index: int, chart: Chart, at: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Yield the line of a row through these positions, and a mark at each."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    yield f'<polyline class="line s{index}" points="{path}"/>'
    for value, (x, y) in zip(filter(None, row.values), at, strict=True):
        missed = is_missed(value.median, chart, row.label)
        yield f'<circle class="{"missed" if missed else f"mark s{index}"}" cx="{x:.1f}" cy="{y:.1f}" r="{5 if missed else 3}"/>'
        if missed:
            yield _text(x, y - 9, f"{number(value.median)} missed", "value", "end" if x > WIDTH / 2 else "start")


def _lines(table: Table, chart: Chart) -> Iterator[str]:
    """Yield a line for each row over a logarithmic axis, and a legend below."""
    places = [math.log10(float(column.name)) for column in table.columns]
    points = [value.median for row in table.rows for value in row.values if value is not None]
    marks = ticks(max([*points, chart.bound or 0.0]))
    top = TOP + (36 if chart.bound is not None else 20)
    bottom = top + LINE_HEIGHT
    span = max(places[-1] - places[0], 1e-9)
    across = [LEFT + 14 + (place - places[0]) / span * (WIDTH - LEFT - RIGHT - 50) for place in places]

    def up(value: float) -> float:
        return bottom - value / marks[-1] * LINE_HEIGHT

    parts = _caption(chart, TOP)
    for mark in marks:
        parts += [
            _line(LEFT, up(mark), WIDTH - RIGHT, up(mark), "grid"),
            _text(LEFT - 6, up(mark) + 4, number(mark), "axis", "end"),
        ]
    for x, column in zip(across, table.columns, strict=True):
        parts.append(_text(x, bottom + 16, f"{int(column.name):,}", "axis", "middle"))
    parts.append(_text((LEFT + WIDTH) / 2, bottom + 34, f"{chart.x_axis} (logarithmic)", "axis", "middle"))
    if chart.bound is not None:
        parts.append(_line(LEFT, up(chart.bound), WIDTH - RIGHT, up(chart.bound), "aim"))
    legend = bottom + 58
    for index, row in enumerate(table.rows):
        at = [(x, up(value.median)) for x, value in zip(across, row.values, strict=True) if value is not None]
        parts += _series(row, index, chart, at)
        y = legend + index * 18
        parts += [_line(8, y - 4, 32, y - 4, f"line s{index}"), _text(40, y, row.label, "label")]
    yield from _svg(legend + len(table.rows) * 18, table.title, parts)
