"""Each benchmark with very few messages. The tests assert outcomes, not speeds; `pytest -m benchmark -s` prints the figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.benchmarks import rate, report, shared_rate
from tests.benchmarks.__main__ import main
from tests.benchmarks.measure import Options
from tests.benchmarks.questions import QUESTIONS
from tests.support.services import redis_server

LOOPS = ("plain", "uvloop") if importlib.util.find_spec("uvloop") else ("plain",)

FEW = Options(seconds=0.1, messages=300, concurrency=10, loops=("plain",))
"""Enough for one slice of each contender."""

LONG = {
    "campaign",
    "import",
    "memory",
    "peers",
    "retry-cost",
    "observers",
    "scale",
    "latency",
    "journal",
    "kills",
    "rate",
    "shared-rate",
    "webhooks",
    "workers",
    "instructions",
}
"""The questions whose smallest measurement takes many seconds, or needs a program that may not be installed."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # twilio uses what aiohttp deprecates
@pytest.mark.parametrize("question", sorted(QUESTIONS.keys() - LONG))
def test_a_question_is_answered(question: str) -> None:
    """All messages of every contender are accepted, and the answer has figures for each."""
    findings = QUESTIONS[question].run(FEW)
    assert findings.tables
    for table in findings.tables:
        assert table.rows
        assert all(len(row.values) == len(table.columns) for row in table.rows)


@pytest.mark.slow
def test_figures_are_kept_and_drawn_again(tmp_path: Path) -> None:
    """A measurement with `--json` can be drawn as a page of charts later, without measuring."""
    figures, page = tmp_path / "figures.json", tmp_path / "figures.html"
    main(["import", "--seconds", "0.1", "--json", str(figures)])
    main(["--json", str(figures), "--html", str(page)])
    assert "<svg" in page.read_text(encoding="utf-8")
    assert [answer.question for answer in report.load(figures)] == ["import"]


@pytest.mark.benchmark
@pytest.mark.parametrize("question", sorted(LONG))
def test_a_long_question_is_answered(question: str) -> None:
    """The longer benchmarks find an outcome for every message, and print their figures."""
    findings = QUESTIONS[question].run(Options(seconds=1.0, messages=1_000, loops=LOOPS))
    report.show("", *report.text(findings))
    assert findings.tables


@pytest.mark.benchmark
@pytest.mark.parametrize("behaviour", rate.BEHAVIOURS, ids=lambda behaviour: behaviour.name)
def test_rate(behaviour: rate.ServerBehaviour) -> None:
    """Three seconds at the full rate cause no 429 except the injected ones, with every behaviour of the server."""
    found = rate.send(behaviour, loop="plain", seconds=3.0)
    assert found.failure is None
    assert found.accepted == found.sent
    assert found.refused == 0
    assert found.fullest <= rate.LIMIT


@pytest.mark.benchmark
def test_shared_rate() -> None:
    """Two processes over Redis meet no 429, and all is accepted."""
    with redis_server() as service:
        found = shared_rate.send(shared_rate.warm(service), [450, 450], delay=50.0)
    assert found.accepted == 900
    assert found.refused == 0
    assert found.fullest <= shared_rate.LIMIT
