"""The tools of the benchmarks: statistics, figures as text and JSON, charts, and the page of figures. The contenders are complete."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks import charts, docs_page, html_page, instructions, report
from tests.benchmarks.__main__ import main
from tests.benchmarks.contenders import CONTENDERS, Setup, build
from tests.benchmarks.latency import Quantiles
from tests.benchmarks.measure import Options, Slice, cpu_ratio, more_cpu
from tests.benchmarks.questions import QUESTIONS, in_order
from tests.benchmarks.report import Aim, Answer, Chart, Column, Conditions, Findings, Row, Table
from tests.benchmarks.spread import Spread

OPTIONAL = {"httpx", "requests", "slack_sdk", "twilio", "aiogram"}

BARS = Table(
    "CPU time, <plain> loop",
    (Column("CPU time", "times", 2),),
    (Row.of("floor", 1.0), Row.of("ours & more", Spread.of([0.8, 0.9, 1.0]))),
    Chart("bars", "CPU time, as a multiple", bound=0.75, judged=("ours & more",)),
)
LINES = Table(
    "memory",
    (Column("1000", digits=1), Column("1000000", digits=1)),
    (Row.of("constant", 41.0, 41.0), Row.of("growing", 45.0, 86.7)),
    Chart("lines", "peak memory in MB", "messages", bound=55.0, judged=("growing",)),
)


def answer(question: str = "peers", python: str = "3.11", value: float = 0.9) -> Answer:
    """Return an answer with one chart of each kind and one aim."""
    conditions = Conditions(
        f"python -m tests.benchmarks {question}", python, "CPython, 2 cores", (1.0, 2.0), "2026-01-02"
    )
    aim = Aim("CPU time of send_many", Spread.of([value]), 0.75, unit="times", cause="the cause")
    return Answer(question, conditions, Findings((BARS, LINES), (aim,)))


@pytest.mark.parametrize("key", sorted(CONTENDERS.keys() - OPTIONAL))
def test_every_contender_can_be_built(key: str) -> None:
    """Each contender that needs no further library is found and built."""
    assert build(key, Setup("http://127.0.0.1:1/v1", 1)) is not None


# --- statistics -------------------------------------------------------------------------------------------------------


def test_a_single_value_has_no_error() -> None:
    """One value is its own median and quartiles, and is shown without an error."""
    assert Spread.of([3]) == Spread(3.0, 0.0, 3.0, 3.0, 1)
    assert Spread.of([1234.5]).text(1) == "1,234.5"


def test_a_spread_has_median_quartiles_and_error() -> None:
    """The median and the quartiles are those of the values; the error is half of the range of the middle ranks."""
    spread = Spread.of(range(1, 101))
    assert (spread.median, spread.low, spread.high) == (50.5, 25.75, 75.25)
    # With 100 values, the true median is between the 41st and the 61st in 95 of 100 cases.
    assert spread.error == 10.0
    assert spread.text(1) == "50.5 ±10.0"


@given(st.lists(st.integers(1, 10**9), min_size=2))
def test_the_quartiles_are_in_order(values: list[int]) -> None:
    """The median and the quartiles are within the values and in order, whatever the values are."""
    # Quarters of whole numbers are exact, so nothing is rounded.
    spread = Spread.of(values)
    assert min(values) <= spread.low <= spread.median <= spread.high <= max(values)


def test_comparisons_are_round_by_round() -> None:
    """A ratio and a difference compare the slices of the same round, so a slow round does not count."""
    ours = [Slice(100, 1.0, 1.0), Slice(100, 10.0, 10.0)]
    floor = [Slice(100, 2.0, 2.0), Slice(200, 40.0, 40.0)]
    assert cpu_ratio(ours, floor).median == 0.5
    assert more_cpu(ours, floor).median == pytest.approx(-55_000)


def test_a_measurement_has_at_least_three_slices() -> None:
    """However short it is, a measurement has three rounds, because one has no error."""
    assert Options(seconds=0.01).slices(0.1) == 3
    assert Options(seconds=10.0).slices(0.1) == 100


def test_quantiles_of_latencies() -> None:
    """The median and the 99th percentile are those of the latencies."""
    assert Quantiles.of(range(101)) == Quantiles(50.0, 99.0)


def test_a_failed_run_is_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The instructions of a command that fails are an error, and no figure."""
    valgrind = tmp_path / "valgrind"
    valgrind.write_text("#!/bin/sh\necho '==1== Collected : 1234' >&2\nexit $CODE\n")
    valgrind.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = instructions.counter()
    assert found is not None
    monkeypatch.setenv("CODE", "0")
    assert found[1](["true"]) == 1234
    monkeypatch.setenv("CODE", "1")
    with pytest.raises(subprocess.CalledProcessError):
        found[1](["false"])


def test_a_counter_of_instructions_without_support_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where perf reports that the processor does not count, it is not used; without any tool it returns `None`."""
    perf = tmp_path / "perf"
    perf.write_text("#!/bin/sh\necho '<not supported>,,instructions:u,0,100.00,,' >&2\n")
    perf.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert instructions.counter() is None
    perf.write_text("#!/bin/sh\nexit 255\n")
    assert instructions.counter() is None
    perf.write_text("#!/bin/sh\necho '1234,,instructions:u,0,100.00,,' >&2\n")
    found = instructions.counter()
    assert found is not None
    assert (found[0], found[1](["true"])) == ("perf stat", 1234)


# --- aims and tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "bound", "at_least", "verdict"),
    [
        ([0.7], 0.75, False, "met"),
        ([0.8], 0.75, False, "missed"),
        ([0.75], 0.75, False, "met"),
        ([0.7, 0.74, 0.78], 0.75, False, "too close to decide"),
        ([1.6], 1.5, True, "met"),
        ([1.4], 1.5, True, "missed"),
    ],
)
def test_the_verdict_on_an_aim(values: list[float], bound: float, at_least: bool, verdict: str) -> None:
    """An aim is met, missed, or too close to decide where the bound is within the error of the median."""
    assert Aim("figure", Spread.of(values), bound, at_least=at_least).verdict == verdict


def test_a_missed_aim_names_its_cause() -> None:
    """The cause is shown with a missed aim, and not with one that is met."""
    missed, met = (Aim("figure", Spread.of([value]), 1.0, cause="the cause") for value in (2.0, 0.5))
    assert missed.cells == ("figure", "at most 1", "2.00", "missed: the cause")
    assert met.cells[-1] == "met"


def test_the_worst_of_several_aims() -> None:
    """Of several figures with one bound, the summary has the one that is furthest from it."""
    upper = [Aim(str(value), Spread.of([value]), 3.0) for value in (1.0, 2.0)]
    lower = [Aim(str(value), Spread.of([value]), 0.5, at_least=True) for value in (1.0, 2.0)]
    assert report.worst(upper).what == "2.0"
    assert report.worst(lower).what == "1.0"


def test_answers_survive_a_file(tmp_path: Path) -> None:
    """Figures that are saved as JSON are the same when they are loaded, and a missing file has none."""
    path = tmp_path / "figures.json"
    assert report.load(path) == []
    answers = [answer(), Answer("rate", answer().conditions, Findings((Table("empty", (), (Row.of("x", None),)),)))]
    report.save(path, answers)
    assert report.load(path) == answers


def test_a_new_answer_replaces_the_old_one_on_the_same_python() -> None:
    """A file keeps one answer to each question and minor version of Python: the newest."""
    old, other, new = answer(value=0.9), answer(python="3.13"), answer(value=0.7)
    assert report.merged([old, other], [new]) == [new, other]
    assert in_order([other, answer("send"), old]) == [old, other, answer("send")]


def test_text_has_every_figure() -> None:
    """The text for a terminal has the table with its units, and the aims with their verdicts."""
    text = "\n".join(report.text(answer().findings))
    assert "CPU time, times" in text
    assert "0.90 ±0.10" in text
    assert "aim: CPU time of send_many: at most 0.75 times; measured 0.90 times: missed: the cause" in text


# --- charts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (20.2, [0, 5, 10, 15, 20, 25]),
        (86.7, [0, 20, 40, 60, 80, 100]),
        (0, [0, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_largest_value(largest: float, expected: list[float]) -> None:
    """An axis has steps of 1, 2 or 5 times a power of ten, from 0 to at least the largest value."""
    assert charts.ticks(largest) == pytest.approx(expected)


def test_bars_are_as_long_as_their_values() -> None:
    """Each row has a bar in proportion to its value, with label, error and value; the aim is a line with a text."""
    svg = ET.fromstring(charts.draw(BARS))
    floor, ours = (float(bar.attrib["width"]) for bar in svg.iter("rect"))
    assert ours / floor == pytest.approx(0.9, abs=0.01)
    texts = [text.text for text in svg.iter("text")]
    assert {"floor", "ours & more", "0.90 missed", "CPU time, as a multiple", "dashed line: at most 0.75"} <= set(texts)
    assert [line.attrib["class"] for line in svg.iter("line")].count("aim") == 1


def test_negative_bars_begin_at_zero() -> None:
    """A difference below zero is a bar to the left of zero, within the drawing."""
    table = Table("more", (Column("more"),), (Row.of("less", -2.0), Row.of("more", 4.0)), Chart("bars", "µs"))
    left, right = list(ET.fromstring(charts.draw(table)).iter("rect"))
    assert float(left.attrib["x"]) + float(left.attrib["width"]) == pytest.approx(float(right.attrib["x"]), abs=0.2)
    assert float(left.attrib["x"]) >= 0


def test_lines_have_axes_a_legend_and_visible_misses() -> None:
    """Each row has a line and an entry of the legend; the axes have their quantities, and a point beyond the aim its value."""
    svg = ET.fromstring(charts.draw(LINES))
    texts = {text.text for text in svg.iter("text")}
    assert {"constant", "growing", "1,000", "1,000,000", "messages (logarithmic)", "peak memory in MB"} <= texts
    assert "86.7 missed" in texts
    assert len(list(svg.iter("polyline"))) == 2
    assert [circle.attrib["class"] for circle in svg.iter("circle")].count("missed") == 1


def test_a_table_without_a_chart_is_not_drawn() -> None:
    """A table that names no chart, or has no rows, gives no drawing."""
    assert charts.draw(Table("plain", (Column("x"),), (Row.of("a", 1.0),))) == ""
    assert charts.draw(Table("empty", (Column("x"),), (), Chart("bars", "µs"))) == ""


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_page_of_charts_is_self_contained() -> None:
    """The page has no script and loads nothing; it has both colour schemes, all figures, and marks the misses."""
    page = html_page.page([answer(), answer("send", "3.13", 0.7)])
    assert not re.search(r"<script|<link|\bsrc=|href=|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == 4
    assert "Aims: 2, missed: 1" in page
    assert '<td class="missed">missed: the cause</td>' in page
    assert "&lt;plain&gt;" in page
    assert "<plain>" not in page


def test_marked_blocks_of_a_page_are_filled() -> None:
    """The figures of each question replace its block; text between the blocks stays, and filling twice changes nothing."""
    page = (
        "# Title\n\n<!-- figures: summary -->\nold\n<!-- end of figures -->\n\nBy hand.\n\n"
        "<!-- figures: peers -->\n<!-- end of figures -->\n\n<!-- figures: rate -->\nkept\n<!-- end of figures -->\n"
    )
    filled = docs_page.filled(page, [answer(), answer(python="3.13")])
    assert "old" not in filled
    assert "By hand." in filled
    assert "| CPU time of send_many | at most 0.75 times | 0.90 times | missed: the cause | peers, 3.11 |" in filled
    assert "| ours & more | 0.90 ±0.10 |" in filled
    assert filled.count("**memory**") == 2
    assert "kept" in filled
    assert docs_page.filled(filled, [answer(), answer(python="3.13")]) == filled
    assert all(len(line) <= 100 for line in filled.splitlines() if not line.startswith("|"))


def test_the_documentation_has_a_block_for_each_question() -> None:
    """Every question has its block on the page of benchmarks, so no figure is left out."""
    page = Path(__file__).parents[2].joinpath("docs/explanation/benchmarks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- figures: ([\w-]+) -->", page)) == {"summary", *QUESTIONS}


def test_nothing_to_do_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a question and without a page to write, the command ends with an error that names the remedy."""
    with pytest.raises(SystemExit):
        main([])
    assert "name a question, or use --all" in capsys.readouterr().err


def test_an_unknown_question_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A question that does not exist ends the command with an error that names those that do."""
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "no such question: speed; use peers, send," in capsys.readouterr().err
