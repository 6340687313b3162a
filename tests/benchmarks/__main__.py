"""`python -m tests.benchmarks QUESTION ... [options]`, from the root of the repository."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import docs_page, html_page, report
from tests.benchmarks.measure import Options
from tests.benchmarks.questions import QUESTIONS
from tests.benchmarks.report import Answer, conditions, show


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the answers to the questions, and write the results where the options ask for them."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.questions) - QUESTIONS.keys():
        parser.error(f"no such question: {', '.join(sorted(unknown))}; use {', '.join(QUESTIONS)}")
    if not (options.questions or options.all or options.html or options.page):
        parser.error("name a question, or use --all; with --json, --html and --page draw figures again")
    questions = list(QUESTIONS) if options.all else options.questions
    answers = report.load(options.json) if options.json else []
    # The measurement of the rate provokes 429s, and each would be logged.
    logging.getLogger("callbell_async").setLevel(logging.ERROR)
    size = Options(options.seconds, options.messages, options.concurrency, _loops(options.loop))
    if questions:
        show(report.machine())
    for question in questions:
        show("", f"== {question}")
        answer = _answer(question, size)
        show(*report.text(answer.findings))
        answers = report.merged(answers, [answer])
        if options.json:
            # After each, so that an interrupted run keeps what it has measured.
            report.save(options.json, answers)
    if options.html:
        options.html.write_text(html_page.page(answers), encoding="utf-8")
    if options.page:
        docs_page.update(options.page, answers)


def _answer(question: str, size: Options) -> Answer:
    load_before, *_ = os.getloadavg()
    findings = QUESTIONS[question].run(size)
    loop = "" if len(size.loops) > 1 else f" --loop {''.join(size.loops)}"
    command = f"python -m tests.benchmarks {question} --seconds {size.seconds:g} --messages {size.messages}{loop}"
    return Answer(question, conditions(command, load_before), findings)


def _loops(wanted: str) -> tuple[str, ...]:
    loops = ("plain", "uvloop") if wanted == "both" else (wanted,)
    if "uvloop" in loops and importlib.util.find_spec("uvloop") is None:
        show("uvloop: not installed")
        return ("plain",)
    return loops


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Speed, memory and rate on loopback."
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--all", action="store_true", help="measure the answers to all questions")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of measuring each contender (default 10)")
    parser.add_argument("--messages", type=int, default=100_000, help="messages in the longest run (default 100000)")
    parser.add_argument("--concurrency", type=int, default=50, help="messages in flight (default 50)")
    parser.add_argument("--loop", choices=("plain", "uvloop", "both"), default="both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="read raw figures from here, and add the new ones")
    parser.add_argument("--html", type=Path, metavar="FILE", help="draw the figures as charts")
    parser.add_argument("--page", type=Path, metavar="FILE", help="fill the marked blocks of a Markdown page")
    return parser


if __name__ == "__main__":
    main()
