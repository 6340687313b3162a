"""The bar on a terminal, however narrow it is."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from callbell_async import Outcome
from callbell_async.cli.progress import BarView
from callbell_async.cli.row_results import Counts


@pytest.mark.parametrize(
    ("width", "counts"),
    [
        (20, "124000 accepted"),
        (36, "124000 accepted, 1500 rejected"),
        (80, "124000 accepted, 1500 rejected, 12 unknown"),
    ],
)
def test_no_number_is_cut(width: int, counts: str) -> None:
    """On a narrow terminal the bar, the rate and the last counts are left out; the numbers that are shown are whole."""
    shown = io.StringIO()
    outcomes = Counter({Outcome.ACCEPTED: 124_000, Outcome.REJECTED: 1_500, Outcome.UNKNOWN: 12})
    view = BarView(Console(file=shown, width=width, force_terminal=True, legacy_windows=False), 1_000_000)
    with view:
        view.show(Counts(outcomes=outcomes, complete=124_000))
    assert " 125512/1000000" in shown.getvalue()
    assert f"{counts}\x1b" in shown.getvalue() or f"{counts}\n" in shown.getvalue()
    assert "…" not in shown.getvalue()
    assert ("sending" in shown.getvalue()) is (width == 80)
